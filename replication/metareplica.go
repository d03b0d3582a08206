package replication

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
)

// metaReplica is one replica, as its group's state machine.
type metaReplica struct {
	of      *metadata
	state   *meta.State
	group   *multiraft.Group
	log     store.Log
	stopped error                 // why nothing more is applied; the state machine's
	failed  atomic.Pointer[error] // why it is silent, if it is
}

// startMetadata starts a replica under an epoch. The error is store.ErrCorrupt if
// it had begun and has lost something since.
func startMetadata(r *Member, m *metadata, epoch uint64, first []multiraft.Replica) (rep *metaReplica, err error) {
	id := metaGroup(r.cfg.Mesh, r.cfg.Self.Region)
	group := r.logs.Replica(journalID(id, epoch))
	dir := filepath.Join(r.metaDir(), strconv.FormatUint(epoch, 10))
	if err := beginMetadata(r.cfg.FS, dir, group); err != nil {
		return nil, fmt.Errorf("metadata of region %s: %w", r.cfg.Self.Region, err)
	}
	rep = &metaReplica{of: m, state: meta.New(r.cfg.Self.Region), log: group}
	snaps, err := multiraft.OpenSnapshots(r.cfg.FS, dir)
	if err != nil {
		return nil, err
	}
	if _, data := snaps.Latest(); data != nil {
		if err := meta.Check(data); errors.Is(err, meta.ErrTooNew) { // Raft would not say why
			return nil, fmt.Errorf("%s: %w: %w", dir, store.ErrNewer, err)
		}
	}
	rep.group, err = r.host.Start(multiraft.GroupConfig{
		ID: id, Epoch: epoch, Store: group, Snapshots: snaps, FSM: rep, Bootstrap: first,
		SnapshotThreshold: 4096, TrailingLogs: 1024,
		OnLeader: func(multiraft.Replica, uint64) { r.poke() },
		OnFailure: func(err error) {
			if errors.Is(err, store.ErrFailed) {
				r.breaks(err)
			}
			r.log.Error("the replica of the region's metadata has failed", "epoch", epoch, "err", err)
			rep.failed.Store(&err)
			r.poke()
		},
	})
	if err != nil {
		return nil, fmt.Errorf("metadata of region %s: %w", r.cfg.Self.Region, err)
	}
	return rep, nil
}

// beginMetadata notes in the journal, and then by a directory, that a replica has
// begun: one that the directory tells of and the journal does not know has lost
// its memory.
func beginMetadata(fs store.FS, dir string, group replicaLog) error {
	names, err := fs.List(filepath.Dir(dir))
	if err != nil {
		return err
	}
	there := slices.Contains(names, filepath.Base(dir))
	if err := group.Err(); err != nil {
		if there {
			return err
		}
		if err := group.Forget(); err != nil { // it is new: the journal cannot know
			return err
		}
	}
	_, err = group.Value(begun)
	switch {
	case errors.Is(err, store.ErrNotFound) && there:
		return fmt.Errorf("the journal does not know the replica of %s: %w", dir, store.ErrCorrupt)
	case errors.Is(err, store.ErrNotFound):
		err = group.SetValues(store.Value{Key: begun, Data: []byte{1}})
	}
	if err != nil {
		return err
	}
	return fs.MkdirAll(dir)
}

var _ multiraft.FSM = (*metaReplica)(nil)

// Apply implements multiraft.FSM.
func (m *metaReplica) Apply(entries []multiraft.Entry) []any {
	results := make([]any, len(entries))
	changed := false
	for i, e := range entries {
		if m.stopped != nil {
			results[i] = m.stopped
			continue
		}
		outcome, err := m.state.Apply(e.Index, e.Data)
		m.know(err)
		if err != nil {
			results[i] = err
			continue
		}
		results[i] = outcome
		changed = changed || outcome.Changed != 0
	}
	if news := m.of.show(m.state); changed || news {
		m.of.changed()
	}
	return results
}

// know stops the state machine if what came is beyond this program: applying what
// comes next would make the state another than the others have.
func (m *metaReplica) know(err error) {
	if errors.Is(err, meta.ErrOutdated) {
		m.stopped = err
	} else if level := m.state.AgreedLevel(); level > meta.Level {
		m.stopped = fmt.Errorf("the region is at level %d, and this program knows %d: upgrade it (%w)", level, meta.Level, meta.ErrOutdated)
	}
	if m.stopped != nil {
		m.of.outdated(m.stopped)
	}
}

// Snapshot implements multiraft.FSM.
func (m *metaReplica) Snapshot() (multiraft.Snapshot, error) {
	if m.stopped != nil {
		return nil, m.stopped
	}
	return blob(m.state.Snapshot()), nil
}

// Restore implements multiraft.FSM.
func (m *metaReplica) Restore(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, multiraft.MaxSnapshot))
	if err == nil {
		err = m.state.Restore(b)
	}
	if errors.Is(err, meta.ErrTooNew) {
		m.stopped = err
		m.of.outdated(err)
	}
	if err == nil {
		m.of.show(m.state)
		m.of.changed()
	}
	return err
}

// blob is a snapshot that is there already.
type blob []byte

func (b blob) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}

func (blob) Release() {}
