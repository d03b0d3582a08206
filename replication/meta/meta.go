// Package meta is what a region agrees on: its nodes, its partitions and their
// replicas, the streams it owns, which partitions keep which stream, and, in
// the founding region, the register of the mesh's regions. It is the state
// machine of the region's metadata Raft group and nothing else: no I/O, no
// clock, no goroutine, and no waiting for changes, which is for the layer above.
//
// The same commands in the same order make the same state, and equal states
// make equal snapshots, byte for byte. Time is what the proposer of a command
// says it is, never running backwards. Decisions that are a matter of taste
// (where a replica goes) are made by the proposer, with package placement, and
// come in the command; what is a matter of right (may it go there) is checked
// when the command is applied. So the taste can change without a state forking.
//
// Three promises matter most:
//
//   - An identity of a replica, (node, epoch), is given out once. A replica
//     that lost its memory comes back under another epoch, or not at all.
//   - A partition has one first configuration, made by one command, and at most
//     one change of its replicas at a time.
//   - Nothing is deleted because nothing is known of it. A stream is deleted by
//     a tombstone that can be undone for a day; after that a purge leaves a
//     grave, and only a grave says that what was kept of it may go.
//
// Commands and snapshots carry versions. A command of a kind that came later
// than the region's level is refused by old and new nodes alike, and the level
// rises by a command of its own, once every node knows it.
//
// State's methods may be called concurrently: a RWMutex guards the records, and
// a record is replaced, never altered. What the methods return shares slices
// with the state, so it is to be read only.
package meta

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Level is the newest level of commands that this package knows.
const Level = 1

// Limits of a region, and of a command. They are part of what nodes must agree
// on: raising one takes a new level.
const (
	MaxNodes       = 1024   // nodes, those that are gone and remembered included
	MaxPartitions  = 4096   // partitions, shared and dedicated
	MaxStreams     = 20_000 // streams that the region owns, tombstones included
	MaxAssignments = 40_000 // streams that its partitions keep, own and foreign
	MaxGraves      = 50_000 // purged streams that are remembered
	MaxRegions     = 1024   // regions of the mesh: routing is made for fewer
	MaxReplicas    = 7      // voters of a partition
	MaxSpread      = 64     // partitions of a stream in one region
	MaxFilter      = 16 << 10
	MaxCommand     = 64 << 10

	maxText    = 256 // names and zones of nodes, who deleted a stream
	maxRefused = 64  // kinds of unknown commands that are remembered
)

// Grace is how long a deleted stream can be had back.
const Grace = 24 * time.Hour

// ID is a UUID: of a partition, of a stream, of one start of a node.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether the ID is none.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText writes the ID in hexadecimal.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) || strings.ToLower(string(text)) != string(text) {
		return fmt.Errorf("meta: %.40q is no id: 32 hexadecimal digits in lower case", text)
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// Parts says which parts of a state a command changed.
type Parts uint8

// The parts of a state.
const (
	Nodes Parts = 1 << iota
	Partitions
	Streams
	Assignments
	Regions
	Levels
)

// Outcome is what applying a command came to.
type Outcome struct {
	// Result is the record that the command made, changed or found there: a
	// Node, Partition, Stream, Assignment, Grave, Region, or a level as uint32.
	Result any

	// Changed is zero if the command found everything as it should be.
	Changed Parts
}

// State is a region's metadata.
type State struct {
	region string

	mu         sync.RWMutex // guards the fields below
	applied    uint64       // index of the last command
	clock      time.Time    // never runs backwards
	level      uint32
	nextNumber uint32 // of the next partition
	epochFloor uint64 // no node begins below: epochs of forgotten nodes are

	nodes       map[peer.ID]Node
	partitions  map[ID]Partition
	numbers     map[uint32]ID
	streams     map[ID]Stream
	names       map[fullName]ID // of streams without a tombstone
	assignments map[ID]Assignment
	graves      map[ID]Grave
	regions     map[string]Region
	refused     map[string]Refused

	history    history       // of streams
	unassigned map[ID]Stream // derived: those that are to get partitions
	deleted    map[ID]Stream // derived: those with a tombstone
}

type fullName struct{ namespace, name string }

// New is the empty state of a region.
func New(region string) *State {
	return &State{
		region: region, level: 1, clock: time.Unix(0, 0).UTC(), epochFloor: 1,
		nodes: map[peer.ID]Node{}, partitions: map[ID]Partition{}, numbers: map[uint32]ID{},
		streams: map[ID]Stream{}, names: map[fullName]ID{}, assignments: map[ID]Assignment{},
		graves: map[ID]Grave{}, regions: map[string]Region{}, refused: map[string]Refused{},
		unassigned: map[ID]Stream{}, deleted: map[ID]Stream{},
	}
}

// Region is the region whose state this is.
func (s *State) Region() string { return s.region }

// Applied is the index of the last command.
func (s *State) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied
}

// Clock is the region's time at the last command.
func (s *State) Clock() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.clock
}

// AgreedLevel is the level of commands that the region uses. If it is above
// Level, this program is too old for the region and must stop applying.
func (s *State) AgreedLevel() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.level
}

// pick returns the record under a key.
func pick[K comparable, V any](s *State, m map[K]V, key K) (V, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := m[key]
	return v, ok
}

// byID lists the records of a map by its keys, for thousands: keys are sorted, and each
// record is copied once. The caller holds the lock.
func byID[V any](m map[ID]V) []V {
	ids := make([]ID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	list := make([]V, len(ids))
	for i, id := range ids {
		list[i] = m[id]
	}
	return list
}

// sorted lists the records of a map by an order; the caller holds the lock.
func sorted[K comparable, V any](m map[K]V, order func(a, b V) int) []V {
	list := make([]V, 0, len(m))
	for _, v := range m {
		list = append(list, v)
	}
	slices.SortFunc(list, order)
	return list
}
