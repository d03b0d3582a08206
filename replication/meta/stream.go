package meta

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Retention says when a stream's events go. What is zero does not limit.
type Retention struct {
	Age    time.Duration `json:"age,omitempty"`
	Bytes  int64         `json:"bytes,omitempty"`  // of each of its logs
	Events int64         `json:"events,omitempty"` // of each of its logs
}

// Window says for how long, and for how many events, a second event of the same
// source and id is known to be a duplicate. Zero of either: not at all.
type Window struct {
	Age    time.Duration `json:"age,omitempty"`
	Events int64         `json:"events,omitempty"`
}

// The dedup window of a stream that says none.
const (
	DefaultDedupAge    = 10 * time.Minute
	DefaultDedupEvents = 200_000
)

// Definition is what the user says of a stream. All but the filter, replicas,
// retention and dedup stay as they were created.
type Definition struct {
	Namespace  string          `json:"namespace"`
	Name       string          `json:"name"`
	Filter     json.RawMessage `json:"filter,omitempty"` // not read here; none captures everything
	Partitions int             `json:"partitions"`       // in each region that keeps it
	Replicas   int             `json:"replicas"`
	Placement  string          `json:"placement"` // see ParsePlacement
	Dedicated  bool            `json:"dedicated,omitempty"`
	Retention  Retention       `json:"retention,omitzero"`
	Dedup      Window          `json:"dedup,omitzero"`
}

// Tombstone says that a stream was deleted.
type Tombstone struct {
	At time.Time `json:"at"`
	By string    `json:"by,omitempty"`
}

// Stream is a stream's definition. It belongs to one region, whose metadata
// alone changes it; copies elsewhere give way to (OwnerEpoch, Version) that is
// higher.
type Stream struct {
	UUID ID `json:"uuid"`
	Definition
	Owner      string     `json:"owner"`
	OwnerEpoch uint64     `json:"ownerEpoch"`
	Version    uint64     `json:"version"` // Raft index of its last change, in the owner
	Created    time.Time  `json:"created"`
	Tombstone  *Tombstone `json:"tombstone,omitempty"`
}

// Newer reports whether a definition replaces another of the same stream.
func (d Stream) Newer(than Stream) bool {
	return d.OwnerEpoch > than.OwnerEpoch || d.OwnerEpoch == than.OwnerEpoch && d.Version > than.Version
}

// WithDefaults fills in what the user left out. It is for the proposer: what is
// applied is what stands in the command.
func (d Definition) WithDefaults() Definition {
	if d.Namespace == "" {
		d.Namespace = "default"
	}
	if d.Partitions == 0 {
		d.Partitions = 1
	}
	if d.Replicas == 0 {
		d.Replicas = 3
	}
	if d.Placement == "" {
		d.Placement = "local"
	}
	if d.Dedup == (Window{}) {
		d.Dedup = Window{DefaultDedupAge, DefaultDedupEvents}
	}
	return d
}

// ParsePlacement reads a placement: "local" keeps a stream in each region that
// captures events for it, "local:a,b" in these regions only, and "home:a" in
// one. For home, it returns the region alone; for local, the list or none.
func ParsePlacement(s string) (home bool, regions []string, err error) {
	kind, list, listed := strings.Cut(s, ":")
	if listed {
		regions = strings.Split(list, ",")
	}
	bad := kind != "local" && kind != "home" || kind == "home" && len(regions) != 1 || len(regions) > MaxRegions
	for i, r := range regions {
		bad = bad || !peer.ValidRegion(r)
		for _, other := range regions[:i] {
			bad = bad || other == r
		}
	}
	if bad {
		return false, nil, refuse(ErrInvalid, "placement %.80q: right are \"local\", \"local:REGION,REGION…\" and \"home:REGION\"", s)
	}
	return kind == "home", regions, nil
}

const (
	maxAge         = 100 * 365 * 24 * time.Hour
	maxDedupAge    = 7 * 24 * time.Hour
	maxDedupEvents = 1_000_000 // a partition remembers a little more at most
	maxPlacement   = 4096
)

// Check says what is wrong with a definition, and what would be right.
func (d Definition) Check() error {
	const named = "1 to 64 characters of a-z, 0-9, '.', '_' and '-', the first of them a letter or a digit"
	switch {
	case !validName(d.Namespace):
		return refuse(ErrInvalid, "namespace %.80q: right are %s", d.Namespace, named)
	case !validName(d.Name):
		return refuse(ErrInvalid, "stream %.80q: right are %s", d.Name, named)
	case len(d.Filter) > MaxFilter:
		return refuse(ErrInvalid, "stream %s: its filter has %d bytes, %d are the most", d.Name, len(d.Filter), MaxFilter)
	case len(d.Filter) > 0 && !json.Valid(d.Filter):
		return refuse(ErrInvalid, "stream %s: its filter is not JSON", d.Name)
	case d.Partitions < 1 || d.Partitions > MaxSpread:
		return refuse(ErrInvalid, "stream %s: %d partitions; 1 to %d are right", d.Name, d.Partitions, MaxSpread)
	case d.Replicas < 1 || d.Replicas > MaxReplicas:
		return refuse(ErrInvalid, "stream %s: %d replicas; 1 to %d are right", d.Name, d.Replicas, MaxReplicas)
	case d.Retention.Age < 0 || d.Retention.Age > maxAge || d.Retention.Bytes < 0 || d.Retention.Events < 0:
		return refuse(ErrInvalid, "stream %s: retention is not negative, and its age at most a hundred years", d.Name)
	case d.Dedup.Age < 0 || d.Dedup.Age > maxDedupAge || d.Dedup.Events < 0 || d.Dedup.Events > maxDedupEvents:
		return refuse(ErrInvalid, "stream %s: the dedup window has at most 7 days and %d events", d.Name, maxDedupEvents)
	case len(d.Placement) > maxPlacement:
		return refuse(ErrInvalid, "stream %s: its placement has %d bytes, %d are the most", d.Name, len(d.Placement), maxPlacement)
	}
	_, _, err := ParsePlacement(d.Placement)
	return err
}

func validName(s string) bool {
	return len(s) > 0 && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == "" &&
		!strings.ContainsRune("._-", rune(s[0]))
}

// compact gives a filter the form in which it is kept: without spaces.
func (d Definition) compact() Definition {
	var b bytes.Buffer
	if len(d.Filter) == 0 || json.Compact(&b, d.Filter) != nil {
		d.Filter = nil
		return d
	}
	d.Filter = b.Bytes()
	return d
}

// Stream returns a stream that the region owns, deleted or not.
func (s *State) Stream(uuid ID) (Stream, bool) { return pick(s, s.streams, uuid) }

// StreamNamed returns the stream of a name that the region owns and that is not
// deleted.
func (s *State) StreamNamed(namespace, name string) (Stream, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, ok := s.streams[s.names[fullName{namespace, name}]]
	return d, ok
}

// Streams lists the streams that the region owns by UUID, deleted ones included.
func (s *State) Streams() []Stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return byID(s.streams)
}

// KeptIn reports whether the stream's events that are published in a region are
// kept there.
func (d Definition) KeptIn(region string) bool {
	home, regions, err := ParsePlacement(d.Placement)
	return err == nil && (!home && len(regions) == 0 || slices.Contains(regions, region))
}
