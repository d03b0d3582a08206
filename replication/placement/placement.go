// Package placement decides where things lie in a region: which nodes keep the
// replicas of a partition, which change of them is due next, who should lead,
// which partitions keep a stream, which partition keeps a key, and which nodes
// vote in the region's metadata group.
//
// It decides and does nothing: no clock, no goroutine, no state. Whoever asks
// hands over a View and carries the answers out, one step at a time. The same
// question gets the same answer, whatever the order in which nodes and
// partitions are listed.
//
// Replicas lie by rendezvous hashing with bounded loads: each partition has
// its own order of preference of all nodes, and takes the first that its zones
// and their load allow. Zones come before load: with zones given, no zone holds
// more of a partition's replicas than it must. A node's share is what is even,
// by weight, among all ways that keep to that; its load may be a quarter above
// its share and a quarter below before anything moves.
//
// Spread and Partition are part of the format of stored streams: they never
// change for streams that exist.
package placement

import (
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

const (
	// DeadAfter is how long a node is unreachable before its replicas are
	// replaced: longer than a restart, shorter than a repair.
	DeadAfter = 5 * time.Minute

	// MaxCatchingUp bounds the replicas that catch up on one node at a time.
	MaxCatchingUp = 2

	// MaxWeight bounds a node's weight.
	MaxWeight = 64
)

// slack is how far above its share a node's load may lie, and how far the
// share may lie above the load, as a factor.
const slack = 1.25

// State says what a node is to be used for.
type State uint8

const (
	Active   State = iota // keeps replicas and gets new ones
	Draining              // is to be rid of its replicas, and serves them until then
	Gone                  // has left, its replicas with it
)

// Node is a node of the region as placement sees it.
type Node struct {
	ID     peer.ID
	Zone   string // nodes of one zone fail together; "" is a zone, too
	Weight int    // its capacity beside the others': 1 to MaxWeight, less counts as 1
	State  State
	Alive  bool          // whether it can be reached now
	Down   time.Duration // how long it could not, if it cannot
	Leads  int           // how many partitions it said it leads, if more than the asker knows of
}

// Replica is one node's copy of a partition, under the epoch that makes it
// different from all others the node ever had.
type Replica struct {
	Node  peer.ID
	Epoch uint64
	Voter bool // else it is catching up
	Lost  bool // what it knew is lost: it will never vote again
}

// Change is a change of a partition's replicas that is under way.
type Change struct {
	Add    Replica // the replica that is to vote; Node is empty if none is added
	Remove Replica // the replica that is to go; Node is empty if none goes

	// Undoable says that the change may still be given up, because Add does
	// not vote yet.
	Undoable bool
}

// Group is a partition, which is a Raft group, as placement sees it.
type Group struct {
	ID       [16]byte
	Want     int       // how many replicas it should have, if there are nodes enough
	Replicas []Replica // voters, and what catches up
	Leader   peer.ID   // who leads it; empty if nobody does or nobody knows
	Change   *Change   // the change under way, or nil
}

// View is a region at one moment.
type View struct {
	Nodes      []Node
	Partitions []Group
}

// Why says what a step is good for.
type Why string

const (
	WhyLost     Why = "lost"     // the replica lost what it knew
	WhyGone     Why = "gone"     // its node has left
	WhyDead     Why = "dead"     // its node has been down for DeadAfter
	WhyDraining Why = "draining" // its node is to be emptied
	WhyGrow     Why = "grow"     // the partition has too few replicas
	WhySurplus  Why = "surplus"  // the partition has too many replicas
	WhyZones    Why = "zones"    // too many of its replicas are in one zone
	WhyLoad     Why = "load"     // its node has too many replicas, or another too few
	WhyStuck    Why = "stuck"    // the node that was to be added is lost
)

// Step is a change of one partition that is due.
type Step struct {
	Partition [16]byte
	Why       Why

	// Undo says to give up the change under way; the fields below are zero.
	Undo bool

	Add    peer.ID // gets a new replica; empty if none is added
	Remove Replica // goes when Add votes; Node is empty if none goes

	// RemoveFirst says to remove before Add gets its vote, once Add has caught
	// up: right if Remove is down, since Add's vote is then never needed for a
	// quorum that was there without it.
	RemoveFirst bool
}

// dead reports whether a node has been down for so long that its replicas are
// to be replaced.
func (n Node) dead() bool { return !n.Alive && n.Down >= DeadAfter }

// eligible reports whether replicas may stay on a node.
func (n Node) eligible() bool { return n.State == Active && !n.dead() }

// weight is the node's weight within its bounds.
func (n Node) weight() int { return min(max(n.Weight, 1), MaxWeight) }

// quorum is how many of n voters decide.
func quorum(n int) int { return n/2 + 1 }
