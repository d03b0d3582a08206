// Package transport is this node's one UDP port and all that goes through it:
// the links to other nodes, private layers for gossip, native clients. It says
// who the other side is, keeps links up, and moves bytes; what is in them is
// for others to know.
//
// A link is two QUIC connections and more, so that events never hold up the rest:
//
//	control:  frames in order (Send), calls (Call), heartbeats
//	lanes:    batches of events (Offer, Forward), in order for each slice of the keys
//	bulk:     calls for much (CallBulk), one at a time on each, while there are any
//
// There is one lane until more are needed: QUIC's windows shrink with each lost
// packet, and 16 of them recover 16 times as fast, see demand. The keys come in 16
// slices, each on one lane at a time; how a slice moves to another one and
// keeps its order says whereabouts.
//
// Batches to a peer of another region that is 2 ms away or more are compressed
// while that makes them smaller, see packer.
//
// To a peer that is 2 ms away or more, package repair makes up for packets that
// get lost, below QUIC, see mender.
//
// Every connection begins with a Hello each way, on its first stream, which
// then goes on as what the connection is for. The node with the lower ID dials
// at once; the other when there was no link for 2 s, so that it is enough if
// one can reach the other. A heartbeat goes each way every 400 ms; when three
// in a row are missing the link is down, and dialled again after a pause that
// grows from 0.1 to 5 s.
//
// Identity: both sides show a certificate that a mesh key has issued (or an
// outside PKI), see Identity and credentials. Who is refused is told why, and
// both sides log it.
//
// What is lost: frames and batches that were queued or on their way when a
// link went down. Events that were still queued are counted as dropped; the
// node above sees to the rest. A queue that is full refuses, it never grows.
//
// Goroutines, besides those of quic-go: the acceptor of connections; the
// flusher of parity; one for each incoming handshake; one for each incoming
// connection until it belongs to
// a link, or as long as it lives if it never does; one for each link (dials,
// calls LinkUp and LinkDown) and, while the link is up, those of session.serve.
// Close waits for all of them.
package transport
