package meta

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// A command, as it lies in the Raft log:
//
//	version (1 byte, 1) | JSON of {"kind", "level", "now", "body"}
//
// now is the proposer's time, in nanoseconds since 1970; level is the level
// that the kind, with these fields, came with. Fields that a kind does not have
// are refused, so a new field needs a new level as a new kind does.
const commandVersion = 1

// Command is a change to a region's metadata: one of this package's types.
type Command interface {
	kind() string
	apply(s *State, index uint64) (Outcome, error)
}

type envelope struct {
	Kind  string          `json:"kind"`
	Level uint32          `json:"level"`
	Now   int64           `json:"now"`
	Body  json.RawMessage `json:"body"`
}

// newCommand is an empty command of a kind, or nil if there is none.
func newCommand(kind string) Command {
	for _, c := range []Command{
		&RegisterNode{}, &SetNodeState{}, &RaiseLevel{},
		&CreatePartition{}, &SetWant{}, &MarkReplica{}, &RetirePartition{},
		&BeginChange{}, &AdvanceChange{}, &UndoChange{},
		&CreateStream{}, &UpdateStream{}, &DeleteStream{}, &UndeleteStream{}, &PurgeStream{},
		&AssignStream{}, &LearnStream{}, &DropStream{}, &FoundRegion{},
	} {
		if c.kind() == kind {
			return c
		}
	}
	return nil
}

// Encode makes the bytes of a command, with the proposer's time.
func Encode(now time.Time, c Command) ([]byte, error) {
	body, err := marshal(c)
	if err != nil {
		return nil, refuse(ErrInvalid, "encode %s: %v", c.kind(), err)
	}
	data, err := marshal(envelope{Kind: c.kind(), Level: 1, Now: now.UnixNano(), Body: body})
	if err != nil {
		return nil, refuse(ErrInvalid, "encode %s: %v", c.kind(), err)
	}
	if len(data) >= MaxCommand {
		return nil, refuse(ErrLimit, "%s takes %d bytes, and a command at most %d", c.kind(), len(data)+1, MaxCommand)
	}
	return append([]byte{commandVersion}, data...), nil
}

// Readable is ErrOutdated or ErrMalformed if a command's form is not known here.
func Readable(cmd []byte) error {
	_, err := open(cmd)
	return err
}

// Apply applies the command at an index of the Raft log. Each index is applied
// once, in order; gaps are for entries that are not commands. A refused command
// is applied, too: it has been decided that it does nothing. After ErrOutdated
// nothing more must be applied: other nodes read what this one cannot.
func (s *State) Apply(index uint64, cmd []byte) (Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index <= s.applied {
		return Outcome{}, refuse(ErrReplayed, "index %d, and the state is at %d", index, s.applied)
	}
	e, err := open(cmd)
	if errors.Is(err, ErrOutdated) {
		return Outcome{}, err
	}
	s.applied = index
	if err != nil {
		return Outcome{}, err
	}
	c := newCommand(e.Kind)
	if e.Level > s.level || c == nil {
		s.remember(e, index)
		return Outcome{}, refuse(ErrTooNew, "command %.64q of level %d, and the region is at level %d: raise it when every node knows the command", e.Kind, e.Level, s.level)
	}
	if err := unmarshal(e.Body, c); err != nil {
		return Outcome{}, refuse(ErrMalformed, "body of %s: %v", e.Kind, err)
	}
	if now := time.Unix(0, e.Now).UTC(); now.After(s.clock) {
		s.clock = now
	}
	return c.apply(s, index)
}

// open takes a command out of its envelope.
func open(cmd []byte) (envelope, error) {
	var e envelope
	if len(cmd) < 1 || len(cmd) > MaxCommand {
		return e, refuse(ErrMalformed, "a command of %d bytes: 1 to %d are right", len(cmd), MaxCommand)
	}
	if cmd[0] > commandVersion {
		return e, refuse(ErrOutdated, "a command in version %d of the format: this node knows %d", cmd[0], commandVersion)
	}
	if cmd[0] == 0 {
		return e, refuse(ErrMalformed, "a command without a version")
	}
	if err := unmarshal(cmd[1:], &e); err != nil {
		return e, refuse(ErrMalformed, "command: %v", err)
	}
	if e.Now < 0 || len(e.Kind) > 64 {
		return e, refuse(ErrMalformed, "command %.64q at %d: names have at most 64 bytes, and times are after 1970", e.Kind, e.Now)
	}
	return e, nil
}

// Refused is what is remembered of commands that were too new.
type Refused struct {
	Kind  string `json:"kind"`
	Level uint32 `json:"level"` // of the last
	First uint64 `json:"first"` // index of the first
	Last  uint64 `json:"last"`
	Count uint64 `json:"count"`
}

// remember notes a command that was too new; of too many kinds, the one that
// was seen last the longest ago is forgotten.
func (s *State) remember(e envelope, index uint64) {
	r, ok := s.refused[e.Kind]
	if !ok && len(s.refused) >= maxRefused {
		oldest := slices.MinFunc(slices.Collect(maps.Values(s.refused)), func(a, b Refused) int {
			return cmp.Compare(a.Last, b.Last)
		})
		delete(s.refused, oldest.Kind)
	}
	if !ok {
		r = Refused{Kind: e.Kind, First: index}
	}
	r.Level, r.Last, r.Count = e.Level, index, r.Count+1
	s.refused[e.Kind] = r
}

// Refused lists the commands that were too new, by kind.
func (s *State) Refused() []Refused {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.refused, func(a, b Refused) int { return strings.Compare(a.Kind, b.Kind) })
}

// RaiseLevel lets commands of a higher level be used, once each node that is
// not gone has registered with a program that knows them.
type RaiseLevel struct {
	Level uint32 `json:"level"`
}

func (*RaiseLevel) kind() string { return "level.raise" }

func (c *RaiseLevel) apply(s *State, _ uint64) (Outcome, error) {
	if c.Level <= s.level {
		return Outcome{Result: s.level}, nil
	}
	for _, n := range sorted(s.nodes, byNode) {
		if n.State != Gone && n.Level < c.Level {
			return Outcome{}, refuse(ErrRefused, "level %d: node %s (%s) knows level %d; upgrade it first", c.Level, n.ID.Short(), n.Name, n.Level)
		}
	}
	if len(s.nodes) == 0 {
		return Outcome{}, refuse(ErrRefused, "level %d: no node is registered that knows it", c.Level)
	}
	s.level = c.Level
	return Outcome{s.level, Levels}, nil
}

// marshal is JSON as this package writes it: bytes that are JSON already stay
// as they are, but for spaces.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// unmarshal reads one JSON value with no fields but v's, and nothing after it.
func unmarshal(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return refuse(ErrMalformed, "something follows the value")
	}
	return nil
}
