package multiraft

import (
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// Entry is a committed entry.
type Entry struct {
	Index, Term uint64
	Data        []byte    // must not be changed; kept by the log for a while
	AppendedAt  time.Time // by the clock of the leader that took it
}

// FSM is a group's state machine. Its methods are called one at a time.
type FSM interface {
	// Apply applies committed entries, in their order, and returns as many
	// results, which the proposers get. The same entries have the same effect on
	// all replicas. Indexes have gaps where entries are Raft's own. After a start,
	// entries may come again that were applied before. The slice is used again.
	Apply(batch []Entry) []any
	// Snapshot captures the state after what was applied. It must be quick: the
	// work is the Snapshot's, which runs beside Apply.
	Snapshot() (Snapshot, error)
	// Restore replaces the state by that of a snapshot. When it fails the
	// replica's state is the one before, or it refuses to go on.
	Restore(r io.Reader) error
}

// Snapshot is a state of an FSM, to be kept.
type Snapshot interface {
	WriteTo(w io.Writer) (n int64, err error)
	// Release is called once, whether WriteTo was or not.
	Release()
}

// machine is an FSM as Raft's.
type machine struct {
	group *Group
	fsm   FSM
	busy  busy
	batch []Entry
}

var _ raft.BatchingFSM = (*machine)(nil)

func newMachine(g *Group, f FSM) *machine {
	return &machine{group: g, fsm: f, busy: busy{what: "state machine"}}
}

func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	m.group.passOnSoon()
	m.busy.begin()
	defer m.busy.end()
	m.batch = m.batch[:0]
	for _, l := range logs {
		switch l.Type {
		case raft.LogCommand:
			m.batch = append(m.batch, Entry{l.Index, l.Term, l.Data, l.AppendedAt})
		case raft.LogConfiguration:
			m.group.noteMembers(members(raft.DecodeConfiguration(l.Data)))
		}
	}
	if len(m.batch) == 0 || m.group.logs.gap.Load() {
		return make([]any, len(logs))
	}
	results := m.fsm.Apply(m.batch)
	clear(m.batch) // the log alone decides how long data is kept
	if len(m.batch) == len(logs) {
		return results
	}
	all := make([]any, len(logs))
	next := 0
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			all[i] = results[next]
			next++
		}
	}
	return all
}

// Apply is called by Raft in no case: it prefers ApplyBatch.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.group.logs.gap.Load() {
		return nil, m.group.failure() // Raft takes what was skipped for applied
	}
	m.busy.begin()
	defer m.busy.end()
	s, err := m.fsm.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshot{s}, nil
}

// Restore may take long: it is no sign of ill health. When it fails the replica ends,
// since the snapshot is kept already, and Raft would go on without it.
func (m *machine) Restore(r io.ReadCloser) error {
	err := m.fsm.Restore(r)
	if err != nil && m.group.logs.running.Load() {
		m.group.fail(fmt.Errorf("restore a snapshot: %w", err))
	}
	return err
}

type snapshot struct{ Snapshot }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.WriteTo(sink); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}
