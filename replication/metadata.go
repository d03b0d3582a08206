package replication

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
)

// metadata is what this node knows of its region's metadata, by its replica of their
// group. Every node of the region has one; three or five of them vote.
type metadata struct {
	// shown is the state of the replica or, while that has not caught up, of the one
	// before it.
	shown   atomic.Pointer[meta.State]
	replica atomic.Pointer[metaReplica]
	// changed is called after each change.
	changed func()
	// outdated is called once, when others have decided what this program cannot
	// read. It must not block.
	outdated func(error)

	mu    sync.Mutex // guards moved
	moved chan struct{}
}

// metaReplica is one replica, as its group's state machine.
type metaReplica struct {
	of      *metadata
	state   *meta.State
	group   *multiraft.Group
	log     store.Log
	stopped error                 // why nothing more is applied; the state machine's
	failed  atomic.Pointer[error] // why it is silent, if it is
}

func (m *metadata) state() *meta.State      { return m.shown.Load() }
func (m *metadata) group() *multiraft.Group { return m.replica.Load().group }
func (m *metadata) log() store.Log          { return m.replica.Load().log }

// show has a replica's state be what is known, unless one before it knew more, and
// wakes whoever waits for a command to be applied. It reports whether it was another's.
func (m *metadata) show(s *meta.State) (news bool) {
	if was := m.shown.Load(); was != s && s.Applied() >= was.Applied() {
		s.Succeed(was)
		m.shown.Store(s)
		news = true
	}
	m.stir()
	return news
}

// metaGroup is the ID of a region's metadata group.
func metaGroup(mesh, region string) (id multiraft.GroupID) {
	sum := sha256.Sum256([]byte("skein: metadata of region " + region + " of mesh " + mesh))
	copy(id[:], sum[:])
	return id
}

func newID() (id meta.ID) {
	rand.Read(id[:])
	return id
}

// openMetadata opens the replica that this node has, or begins one. The founder
// begins the group with itself alone; all others wait to be let in. A replica
// that has lost something never votes again: this start begins another, under
// its own number as the epoch, and what is left of the old one stays until the
// region has let the new one in.
func openMetadata(r *Member) (*metadata, error) {
	if err := r.cfg.FS.MkdirAll(r.metaDir()); err != nil {
		return nil, err
	}
	epochs, err := r.metaEpochs()
	if err != nil {
		return nil, err
	}
	m := r.newMetadata()
	var rep *metaReplica
	if n := len(epochs); n > 0 {
		rep, err = r.resumeMetadata(m, epochs[n-1], nil)
	} else {
		epoch := r.cfg.Self.Boot
		var first []multiraft.Replica
		if r.cfg.Found {
			first = []multiraft.Replica{{Node: r.cfg.Self.ID, Epoch: epoch}}
		}
		rep, err = startMetadata(r, m, epoch, first)
	}
	if err != nil {
		return nil, err
	}
	m.replica.Store(rep)
	m.show(rep.state)
	return m, nil
}

// resumeMetadata starts the replica that began under an epoch, or another one if it
// is damaged, which damage may be known already.
func (r *Member) resumeMetadata(m *metadata, epoch uint64, damage error) (*metaReplica, error) {
	if damage == nil {
		rep, err := startMetadata(r, m, epoch, nil)
		if err == nil || !errors.Is(err, store.ErrCorrupt) {
			return rep, err
		}
		damage = err
	}
	r.log.Error("what this node knew of its region's metadata is damaged or gone: it begins anew", "epoch", epoch, "err", damage)
	return startMetadata(r, m, max(r.cfg.Self.Boot, epoch+1), nil)
}

// renewMetadata starts the replica again that has failed while this node runs: under
// another epoch if it is damaged, which the region lets in as it does at a start. What
// it knew is known here until the new one knows as much. The region's only voter stays
// as it is until the node starts again: nobody could tell another replica anything.
func (r *Member) renewMetadata() {
	old := r.meta.replica.Load()
	cause := old.failed.Load()
	if cause == nil || r.broken() != nil {
		return
	}
	others := func(m multiraft.Member) bool { return m.Voter && m.Node != r.cfg.Self.ID }
	if !slices.ContainsFunc(old.group.Members(), others) {
		return
	}
	if err := old.group.Close(); err != nil {
		r.log.Warn("the metadata's replica was closed with an error", "err", err)
	}
	var damage error
	if errors.Is(*cause, store.ErrCorrupt) {
		damage = *cause
	}
	rep, err := r.resumeMetadata(r.meta, old.group.Self().Epoch, damage)
	if err != nil {
		r.log.Warn("the region's metadata cannot be kept here yet", "err", err)
		return
	}
	r.meta.replica.Store(rep)
	if r.Fenced() != nil { // meanwhile: it has closed the one before
		if err := rep.group.Close(); err != nil {
			r.log.Warn("the metadata's replica was closed with an error", "err", err)
		}
	}
}

// newMetadata is what is known before there is a replica: nothing.
func (r *Member) newMetadata() *metadata {
	m := &metadata{moved: make(chan struct{})}
	m.shown.Store(meta.New(r.cfg.Self.Region))
	m.changed = func() {
		r.poke()
		r.cfg.Changed()
	}
	m.outdated = func(err error) {
		r.begin(func() {
			select {
			case <-r.opened:
				r.fence(err)
			case <-r.ctx.Done():
			}
		})
	}
	return m
}

func (r *Member) metaDir() string { return filepath.Join(r.cfg.Dir, "meta") }

// metaEpochs are those under which this node has begun replicas of the metadata.
func (r *Member) metaEpochs() (epochs []uint64, err error) {
	names, err := r.cfg.FS.List(r.metaDir())
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 64); err == nil {
			epochs = append(epochs, n)
		}
	}
	slices.Sort(epochs)
	return epochs, err
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

// stir wakes whoever waits for a command to be applied.
func (m *metadata) stir() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}

// applied waits until a command is applied here.
func (m *metadata) applied(ctx context.Context, index uint64) error {
	for {
		m.mu.Lock()
		moved := m.moved
		m.mu.Unlock()
		if m.state().Applied() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ErrNoLeader: nobody leads what was asked for, as far as is known: there is no
// quorum, or no leader yet.
var ErrNoLeader = errors.New("no leader")

const (
	proposeWait  = 10 * time.Second
	retryPause   = 50 * time.Millisecond
	retryPauseTo = 500 * time.Millisecond
)

// Propose has the region decide on a command and waits until it is applied here.
// The error is one of package meta's if it was refused; ErrNoLeader if nobody could
// be asked before ctx ended, or ten seconds; with multiraft.ErrUnknown nobody
// knows whether it was applied: commands may be proposed again.
func (r *Member) Propose(ctx context.Context, c meta.Command) error {
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	cmd, err := meta.Encode(time.Now(), c)
	if err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	var last error
	for pause := retryPause; ; pause = min(2*pause, retryPauseTo) {
		index, err := r.proposeOnce(ctx, cmd)
		if err == nil {
			return r.meta.applied(ctx, index)
		}
		if meta.Code(err) != "" {
			if index > 0 {
				r.meta.applied(ctx, index) // so that the refusal's reason can be seen here
			}
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if !r.sleep(ctx, pause) {
			return fmt.Errorf("replication: metadata of region %s: %w: %w", r.cfg.Self.Region, ErrNoLeader, last)
		}
	}
}

// sleep pauses; it reports false when there is no use in going on.
func (r *Member) sleep(ctx context.Context, pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	return false
}

// proposeOnce proposes to whoever leads the metadata.
func (r *Member) proposeOnce(ctx context.Context, cmd []byte) (index uint64, err error) {
	if r.meta.group().IsLeader() {
		return r.decide(ctx, cmd)
	}
	leader, _, known := r.meta.group().Leader()
	if !known {
		return 0, ErrNoLeader
	}
	return r.askPropose(ctx, leader.Node, cmd)
}

// decide applies a command on the leader.
func (r *Member) decide(ctx context.Context, cmd []byte) (index uint64, err error) {
	index, result, err := r.meta.group().Apply(ctx, cmd)
	if refused, is := result.(error); is && err == nil {
		err = refused
	}
	return index, err
}
