// Package httpapi is a node's HTTP face: CloudEvents in, by the HTTP protocol
// binding; CloudEvents out, as WebSocket, Server-Sent Events or long poll; the
// mesh under /mesh; health, metrics and the OpenAPI description of all of it.
//
// An API is the http.Handler; a Server runs it on listeners with the limits
// that a port open to strangers needs. A handler returns an error and never
// writes one: problemOf alone turns errors into RFC 9457 problem documents, so
// statuses are decided in one place.
//
// Ingress. The content mode follows from Content-Type alone. A binary event is
// written from headers and body straight into its envelope, in pooled memory.
// 202 means that the node has routed the event: a copy is in the queue of every
// local subscriber and in the lane of every peer it goes to.
//
// Subscriptions over HTTP are ephemeral: they end with their connection, or,
// for polls, when nobody asks for a while. What a slow reader misses is a gap,
// and a gap is never silent: see gaps.go for what each face does with it. An
// event handed to a WebSocket or to an event stream counts as delivered when
// it is written; a poll's answer is kept until the next poll confirms it.
//
// Goroutines: a writer and a heartbeat for each WebSocket, and one reaper of
// polls that nobody asks for; Close ends and awaits them. All else runs on
// net/http's own goroutines, which the Server's Close awaits.
package httpapi
