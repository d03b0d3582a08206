// Package flow carries events to a region in order and once, or says exactly
// what was lost.
//
// A flow is the events of one origin node, since one start of it, towards one
// region, on one lane; they are numbered from 1 without holes. Three machines
// share the work:
//
//   - Origin, where events are published, numbers them and keeps each until the
//     region has acknowledged it. When the path changes it sends again from the
//     first that is unacknowledged. What it must drop it replaces by a gap that
//     keeps the numbers' place. While a flow is unacknowledged or was used a
//     moment ago, it says every second how far the numbers go.
//   - Entry, at the region's entry node, accepts only the next number, hands
//     each event to the nodes that want it, and acknowledges a number once every
//     node it was handed to has received it or has no link.
//   - Receiver, at every node of the region, keeps one number per flow: up to
//     there all is delivered or reported. Each frame claims that its sender has
//     looked at everything after Prev and up to Upto. What lies at or below the
//     receiver's number is a duplicate; a Prev above it is a gap.
//
// Base and Age of a frame say until when what came before the present entry node's
// work was acknowledged, so that a node which has started since does not take it for
// a loss.
//
// So nothing about a loss is known only to an entry node, which may crash: the
// receiver finds every gap itself, by comparing whoever's claim it hears with
// what it knows. A gap may thus be reported in which nothing was for the node:
// when the entry node changed before a mark had told the node how far it missed
// nothing. The reverse, a loss without a gap, does not happen.
//
// A receiver may forget the number of a flow only once nothing can come that it has
// delivered: an origin that was out of sight, and taken for gone, may still keep
// events whose acknowledgement was lost, and sends them again when it is back. So
// an origin keeps no event for longer than MaxTTL and a quarter of it, and sends
// none that it has kept too long, even if it was stopped meanwhile. A receiver
// forgets what an origin that is gone had sent when DefaultForget, which is longer,
// has passed since that came or its end was told, whichever was later. This relies
// on clocks that go on while a process is stopped: an origin on a machine that slept,
// and does not count that, may send again what others have forgotten.
//
// For its own region an origin is its own entry node: it gives what it publishes
// to its Entry and keeps nothing.
//
// The flows of an origin that has left are kept by entry nodes until every node of
// the region knows how far they came: what a node missed that had no link then, and
// was not waited for, nobody else can tell it. One that broke off is a loss to all,
// and its flows are kept for a moment only, for nodes that take it for one that left.
//
// Nothing here does I/O, reads a clock or starts a goroutine. Calls are the
// inputs, of which the machines keep copies only; outputs are handed to the
// caller's functions, as views valid during the call. A machine is for one
// goroutine at a time; flows do not depend on each other, so that a node may
// have a machine of each kind per lane, each under a lock of its own.
package flow

import (
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// ID names a flow.
type ID struct {
	Origin peer.ID
	Boot   uint64 // the origin's start, which grows
	Region string // the target
	Lane   uint8
}

// AllLanes stands for every lane of an origin, towards this region: in the gap of
// a lost origin.
const AllLanes = 255

// clone is id without views of somebody else's bytes.
func (id ID) clone() ID {
	id.Origin = peer.ID(strings.Clone(string(id.Origin)))
	id.Region = strings.Clone(id.Region)
	return id
}

// Cause says why events were lost.
type Cause uint8

// Causes of gaps. The values are part of the protocol.
const (
	Overflow   Cause = 1 // the origin's buffer was full while the region did not acknowledge
	Expired    Cause = 2 // the region did not acknowledge in time
	Reset      Cause = 3 // it was not known what the region wanted, or the origin was taken for gone and is not: nobody knows how many
	Missed     Cause = 4 // the node had no link while the events passed its region
	OriginLost Cause = 5 // the origin is gone, and what it had not sent with it
)

// Causes is how many there are, with the unknown.
const Causes = 6

// causeNames are what people see.
var causeNames = [Causes]string{"unknown", "overflow", "expired", "reset", "missed", "origin_lost"}

// String is the cause's name in logs and metrics.
func (c Cause) String() string {
	if int(c) >= len(causeNames) {
		c = 0
	}
	return causeNames[c]
}

// Gap says that the events From to To of a flow were not delivered at this node,
// as far as they would have been.
type Gap struct {
	Flow     ID
	From, To uint64 // of OriginLost, 1 and 0: whatever had not come
	Cause    Cause
	Labels   Labels // of what kinds the events were
	// First is set when the node had not heard of the flow before: the events
	// may have passed before the node was there at all. Those up to Old were
	// acknowledged by the region at least Age ago: they are no loss to a node that
	// was not running then.
	First bool
	Old   uint64
	Age   time.Duration
}
