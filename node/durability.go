package node

import "fmt"

// Durability is how safe an event is when a publisher hears that it is published. It
// concerns streams: what none wants is routed, whatever was asked for.
type Durability string

// The levels, the least first. Empty is Quorum.
const (
	// Routed: the event is on its way to the partitions that keep it, and nobody
	// waits for them: it is lost if their leader, or this node, is lost just then, and
	// nobody is told. An event for a stream that this region does not keep is waited
	// for all the same.
	Routed Durability = "routed"
	// Leader: it is on the disk of the partition's leader. Nodes do not tell that before
	// they can tell Quorum, since it is Raft that writes and sends: the level that is
	// reached is Quorum.
	Leader Durability = "leader"
	// Quorum: it is on the disks of most replicas of the partition.
	Quorum Durability = "quorum"
	// Waiting cannot be asked for: it is on this node's disk, since the region that is
	// to keep it cannot be reached.
	Waiting Durability = "waiting"
)

// ParseDurability reads a level that is asked for; the empty string is Quorum.
func ParseDurability(s string) (Durability, error) {
	switch d := Durability(s); d {
	case "":
		return Quorum, nil
	case Routed, Leader, Quorum:
		return d, nil
	}
	return "", fmt.Errorf("durability %.40q: must be routed, leader or quorum", s)
}

// Reached is the level that all events of a publish have reached, by what it told of
// them: the least of all.
func Reached(events int, positions []Position) Durability {
	level, seen, last := Quorum, 0, -1
	for _, p := range positions { // in the order of the events
		if p.Event != last {
			seen, last = seen+1, p.Event
		}
		switch {
		case p.Routed:
			level = Routed
		case p.Waiting && level == Quorum:
			level = Waiting
		}
	}
	if seen < events { // no stream wants the others
		return Routed
	}
	return level
}

// PublishOptions say how to publish.
type PublishOptions struct {
	Overflow   Overflow   // empty is the node's own
	Durability Durability // empty is Quorum
}
