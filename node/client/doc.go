// Package client is the Go client for programs: the verbs of a node, remote.
// It publishes and subscribes CloudEvents (the SDK's event type) over the
// native protocol, which is pipelined, batched, and acknowledged by window.
//
//	c, err := client.Dial(ctx, "http://127.0.0.1:8420")
//	err = c.Publish(ctx, event)                     // returns once the node has routed it
//	ack, err := c.PublishAsync(ctx, event)          // returns at once; ack.Wait(ctx) later
//	sub, err := c.Subscribe(ctx, client.ByType("order.>"), func(e cloudevents.Event) { … })
//	kept, err := c.Stream("orders").Read(ctx, client.Earliest, client.Follow())
//	for ev, err := range kept.Events(ctx) { … }
//
// Publishing. Events of one goroutine keep their order. At most a window of
// them is unacknowledged; then publishing waits, which is how a busy node
// slows its publishers down.
//
// When the connection breaks, the client connects again, with growing pauses,
// to each of its addresses in turn. The outcome of a publish that was not
// acknowledged by then is unknown: it ends with ErrUnknownOutcome, or, with
// WithAtLeastOnce, is sent again, so the event may be routed twice. Publishing
// meanwhile waits. Subscriptions are made anew, and each is told of a Gap whose
// cause is "reconnect": events of the time between are lost to it.
//
// Subscribing. A subscription's handler runs on a goroutine of its own, one
// call at a time, in the order of arrival. A slow handler delays nobody else:
// what it does not take stays in its bounded queue at the node, which drops the
// oldest and says how many in a Gap.
//
// Streams. An event that streams want is acknowledged when they keep it: on the
// disks of most of its replicas. A Reader reads what a stream keeps, each event
// once, also over lost connections; what it does not take stays where it is kept. While
// a region is out of reach it goes on with the others, or ends with a MissingError, see
// Follow, Partial and OnMissing.
//
// Goroutines of a Client: one that keeps the connection and reads from it, one
// that writes, and one for each subscription. Close stops and awaits them all.
package client
