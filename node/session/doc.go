// Package session is the server side of the native protocol: it serves the
// connections of programs that use node/client, over HTTP upgrades and over
// QUIC alike. The frames are drawn in transport/wire's client.go.
//
// Publishing. One goroutine reads a session's frames; the events of a publish
// frame are checked and given to the node in one call, and acknowledged when it
// has routed them. While the node makes it wait, nothing more is read: that is
// how publishers are slowed down. An event that is not valid is refused alone.
//
// Subscribing. Each subscription has a goroutine that moves events from its
// queue at the node into the session's outbox while it has credit. Whoever puts
// something there writes all there is, unless another does. A program that does
// not read fills its outbox and its credit, then its queue at the node, which drops
// the oldest events and says so with a gap; others do not notice.
//
// Streams. Where the broker is a Keeper with streams, publishing waits for
// replicas and their disks. So frames are published as they come, up to a bound,
// without waiting for those before, and end, and are acknowledged, in their order: a
// goroutine does that while there are any. Those that come when no more may be under
// way, or while another region is asked, are then published together: what of them
// is not kept fails together, too. What is only to be routed is acknowledged before it
// is kept, but is under way until it is, so that such a publisher becomes as slow as
// the streams instead of being refused. A client that reads a stream has a goroutine that moves
// its events to the outbox, a frame ahead at most, while it has credit.
//
// Everything is bounded: sessions, subscriptions of a session, frames, the
// outbox. A peer that sends what is not the protocol is told so with a bye, and
// the connection is closed; nothing else ends. Events between queue and socket
// are lost when a connection breaks: the client, when it is back, tells of it.
package session
