package replication

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/transport/peer"
)

// refusal is an error on its way to another node.
type refusal struct {
	Code   string  `json:"code,omitempty"`
	Text   string  `json:"text"`
	Leader peer.ID `json:"leader,omitempty"` // who leads instead
	Index  uint64  `json:"index,omitempty"`  // of the command that was refused
	Start  int64   `json:"start,omitempty"`  // of the log, if what was asked for is trimmed
}

// asked is an error that came from another node.
type asked struct {
	refusal
	is error // what it is here, too; may be nil
}

func (e *asked) Error() string { return e.Text }
func (e *asked) Unwrap() error { return e.is }

// TrimmedError says that retention has passed what was asked for.
type TrimmedError struct {
	Start int64 // the first offset that is still there
}

func (e *TrimmedError) Error() string { return "it has been trimmed" }

// Unwrap makes every TrimmedError a segment.ErrTrimmed.
func (e *TrimmedError) Unwrap() error { return segment.ErrTrimmed }

// kind is an error that is the same on both sides.
type kind struct {
	code string
	is   error
}

// kinds are in the order in which they count: what may be kept and may be not is
// unknown, whatever else it is.
func kinds() []kind {
	return []kind{
		{"unknown", multiraft.ErrUnknown},
		{"not leader", multiraft.ErrNotLeader},
		{"full", store.ErrFull},
		{"unwell", multiraft.ErrUnwell},
		{"busy", partition.ErrBusy},
		{"closed", partition.ErrClosed},
		{"gone", partition.ErrGone},
		{"no leader", ErrNoLeader},
		{"ahead", segment.ErrAhead},
		{"no file", segment.ErrNoFile},
		{"elsewhere", ErrElsewhere},
		{"turn", errTurn},
		{"corrupt", store.ErrCorrupt},
		{"unreadable", errAt},
		{"store closed", store.ErrClosed},
	}
}

// encode makes a refusal of an error.
func encode(err error) []byte {
	r := refusal{Text: err.Error()}
	var trimmed *TrimmedError
	var from *asked
	if errors.As(err, &from) {
		r = from.refusal
	}
	if errors.As(err, &trimmed) {
		r.Code, r.Start = "trimmed", trimmed.Start
	}
	var led *ledElsewhere
	if errors.As(err, &led) {
		r.Leader = led.leader
	}
	var at *decidedAt
	if errors.As(err, &at) {
		r.Index = at.index
	}
	if code := meta.Code(err); code != "" && r.Code == "" {
		r.Code = "meta " + code
	}
	for _, k := range kinds() {
		if r.Code == "" && errors.Is(err, k.is) {
			r.Code = k.code
		}
	}
	b, _ := json.Marshal(r)
	return append([]byte{refused}, b...)
}

// decode is the error that a refusal was made of.
func decode(b []byte) error {
	e := &asked{}
	if err := json.Unmarshal(b, &e.refusal); err != nil {
		return err
	}
	switch code, isMeta := strings.CutPrefix(e.Code, "meta "); {
	case isMeta:
		e.is = meta.FromCode(code, e.Text)
	case e.Code == "trimmed":
		e.is = &TrimmedError{Start: e.Start}
	default:
		for _, k := range kinds() {
			if k.code == e.Code {
				e.is = k.is
			}
		}
	}
	return e
}

// ledElsewhere says who leads a partition.
type ledElsewhere struct{ leader peer.ID }

func (e *ledElsewhere) Error() string { return multiraft.ErrNotLeader.Error() }
func (e *ledElsewhere) Unwrap() error { return multiraft.ErrNotLeader }

// decidedAt says where in the log a command stands that was refused.
type decidedAt struct {
	index uint64
	err   error
}

func (e *decidedAt) Error() string { return e.err.Error() }
func (e *decidedAt) Unwrap() error { return e.err }
