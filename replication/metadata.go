package replication

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/transport/peer"
)

// metaEpoch is that of all replicas of metadata groups: a node whose disk is lost
// is another node.
const metaEpoch = 1

// metadata is this node's replica of the region's metadata group. Every node of
// the region has one; three or five of them vote.
type metadata struct {
	state *meta.State
	group *multiraft.Group
	// changed is called after each change.
	changed func()

	mu    sync.Mutex // guards moved
	moved chan struct{}
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

// openMetadata opens the replica. The founder begins the group with itself alone;
// all others wait to be let in.
func openMetadata(r *Member) (m *metadata, err error) {
	dir := filepath.Join(r.cfg.Dir, "meta")
	if err := r.cfg.FS.MkdirAll(dir); err != nil {
		return nil, err
	}
	m = &metadata{state: meta.New(r.cfg.Self.Region), moved: make(chan struct{})}
	m.changed = func() {
		r.poke()
		r.cfg.Changed()
	}
	snaps, err := multiraft.OpenSnapshots(r.cfg.FS, dir)
	if err != nil {
		return nil, err
	}
	var first []multiraft.Replica
	if r.cfg.Found {
		first = []multiraft.Replica{{Node: r.cfg.Self.ID, Epoch: metaEpoch}}
	}
	m.group, err = r.host.Start(multiraft.GroupConfig{
		ID: metaGroup(r.cfg.Mesh, r.cfg.Self.Region), Epoch: metaEpoch,
		Store: r.journal.Group(journal.ID(metaGroup(r.cfg.Mesh, r.cfg.Self.Region))), Snapshots: snaps, FSM: (*metaMachine)(m), Bootstrap: first,
		SnapshotThreshold: 4096, TrailingLogs: 1024,
		OnLeader:  func(multiraft.Replica, uint64) { r.poke() },
		OnFailure: func(err error) { r.log.Error("the region's metadata cannot be kept here any more", "err", err) },
	})
	if err != nil {
		return nil, fmt.Errorf("metadata of region %s: %w", r.cfg.Self.Region, err)
	}
	return m, nil
}

// metaMachine is the metadata as its group sees it.
type metaMachine metadata

var _ multiraft.FSM = (*metaMachine)(nil)

// Apply implements multiraft.FSM.
func (m *metaMachine) Apply(entries []multiraft.Entry) []any {
	results := make([]any, len(entries))
	changed := false
	for i, e := range entries {
		outcome, err := m.state.Apply(e.Index, e.Data)
		if err != nil {
			results[i] = err
			continue
		}
		results[i] = outcome
		changed = changed || outcome.Changed != 0
	}
	(*metadata)(m).stir()
	if changed {
		m.changed()
	}
	return results
}

// Snapshot implements multiraft.FSM.
func (m *metaMachine) Snapshot() (multiraft.Snapshot, error) { return blob(m.state.Snapshot()), nil }

// Restore implements multiraft.FSM.
func (m *metaMachine) Restore(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, multiraft.MaxSnapshot))
	if err == nil {
		err = m.state.Restore(b)
	}
	if err == nil {
		(*metadata)(m).stir()
		m.changed()
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
		if m.state.Applied() >= index {
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
	if r.meta.group.IsLeader() {
		return r.decide(ctx, cmd)
	}
	leader, _, known := r.meta.group.Leader()
	if !known {
		return 0, ErrNoLeader
	}
	return r.askPropose(ctx, leader.Node, cmd)
}

// decide applies a command on the leader.
func (r *Member) decide(ctx context.Context, cmd []byte) (index uint64, err error) {
	index, result, err := r.meta.group.Apply(ctx, cmd)
	if refused, is := result.(error); is && err == nil {
		err = refused
	}
	return index, err
}

// register makes this node one of the region: it tells of its start, and has itself
// let into the metadata group. It does so again when nobody has led that for long,
// as seen from here: the region may have taken this node for gone.
func (r *Member) register() {
	registered, led := false, time.Now()
	for pause := retryPause; ; pause = min(2*pause, 4*retryPauseTo) {
		now := time.Now()
		if _, _, known := r.meta.group.Leader(); known && registered {
			led = now
		}
		if !registered || now.Sub(led) > forsaken {
			switch err := r.tryRegister(); {
			case err == nil:
				registered, led = true, now
			case errors.Is(err, meta.ErrClone):
				r.log.Error("this node's disk is an old image or a copy of another's: it takes part in nothing", "err", err)
				return
			default:
				r.log.Debug("not yet of the region", "err", err)
			}
		}
		if !r.sleep(r.ctx, pause) {
			return
		}
	}
}

// forsaken is for how long a node must not have heard of a leader of the metadata
// before it asks to be let in again.
const forsaken = 10 * time.Second

func (r *Member) tryRegister() error {
	ctx, cancel := context.WithTimeout(r.ctx, proposeWait)
	defer cancel()
	cmd, err := meta.Encode(time.Now(), &meta.RegisterNode{
		ID: r.cfg.Self.ID, Name: r.cfg.Self.Name, Boot: r.cfg.Self.Boot, Instance: r.instance, Level: meta.Level,
	})
	if err != nil {
		return err
	}
	if r.meta.group.IsLeader() {
		_, err = r.decide(ctx, cmd)
		return err
	}
	return r.askAdmit(ctx, cmd)
}

// admit registers a node's start and lets it into the metadata group, in that
// order: members that are not registered are taken for gone. Only the group's
// leader can.
func (r *Member) admit(ctx context.Context, id peer.ID, registration []byte) error {
	if _, err := r.decide(ctx, registration); err != nil {
		return err
	}
	if _, registered := r.meta.state.Node(id); !registered {
		return fmt.Errorf("replication: node %s has registered another", id.Short())
	}
	for _, m := range r.meta.group.Members() {
		if m.Node == id {
			return nil
		}
	}
	return r.meta.group.AddNonvoter(ctx, multiraft.Replica{Node: id, Epoch: metaEpoch})
}
