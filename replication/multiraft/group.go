package multiraft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

const (
	// maxAppendEntries bounds an append to a follower in entries; an entry is a
	// batch of what is published.
	maxAppendEntries = 64
	// maxPending bounds the proposals without an outcome, so that Raft's queue for
	// them, which is as long, never makes a proposer wait.
	maxPending = maxAppendEntries
)

// GroupConfig is one replica of a group.
type GroupConfig struct {
	ID GroupID
	// Epoch is that of the replica on this node.
	Epoch uint64
	// Store keeps the replica's log, its term and its vote. Required. It belongs
	// to the group until Close returns, and is not closed by it.
	Store store.Replica
	// Snapshots keeps the snapshots. Required; package raft has some.
	Snapshots raft.SnapshotStore
	// FSM is what entries are applied to. Required.
	FSM FSM
	// FSMKeeps says that the FSM has on its own disk what the last snapshot
	// contains, so that it is not restored at the start. Entries after the snapshot
	// are applied again in any case.
	FSMKeeps bool
	// Prepare is called with a leader's snapshot before it is restored, and may
	// take long: what it fetches is there by then. An error refuses the snapshot,
	// and the leader sends it again later. It must heed ctx, and must not use the
	// FSM's state: entries may still be applied meanwhile. It is called for one
	// snapshot at a time; one that comes ends the one before. Nil if there is nothing
	// to prepare.
	Prepare func(ctx context.Context, from Replica, snapshot []byte) error
	// Bootstrap is the group's first configuration, all of them voters and this
	// replica among them. It is written once, to a store without any state; the
	// same on all replicas. Empty for a replica that joins.
	Bootstrap []Replica
	// SnapshotThreshold is how many entries after the last snapshot make a new one
	// due, and TrailingLogs how many of those it contains stay in the log for
	// followers that are behind. Defaults 8192 and 10240.
	SnapshotThreshold, TrailingLogs uint64
	// OnLeader is called when another replica leads, or none, with the last state
	// of things: what came and went meanwhile is left out. Calls for all groups of
	// a host come one after the other; it must not block for long, nor close the
	// group.
	OnLeader func(leader Replica, term uint64)
	// OnFailure is called once if the replica's store has failed. The replica is
	// silent from then on; its owner closes it, from another goroutine.
	OnFailure func(err error)
}

// Group is this node's replica of a group. Its methods may be called
// concurrently.
type Group struct {
	id   GroupID
	self Replica
	host *Host
	cfg  GroupConfig
	raft *raft.Raft

	start     uint64 // among the groups this host has started
	requests  chan raft.RPC
	heartbeat func(raft.RPC)
	logs      *logStore
	fsm       *machine

	ctx     context.Context // ends when no peer shall be waited for any more
	cancel  context.CancelFunc
	closing <-chan struct{} // ctx.Done
	wg      sync.WaitGroup
	slots   chan struct{} // one for each proposal without an outcome
	stalled atomic.Bool   // the others were told
	passing *time.Timer   // calls passOn
	// passSince is for how long the group was open when passing was begun, in
	// nanoseconds; 0 while it is not.
	passSince atomic.Int64
	opened    time.Time

	taking chan struct{} // holds a token while Raft handles a peer's request, or gets its snapshot

	proposing sync.Mutex // held while a proposal takes its place

	mu        sync.Mutex    // guards the fields below
	handing   chan struct{} // closed when leadership is handed over; nil while it is not
	closed    bool
	failed    error
	inbox     []inbound
	serving   bool
	epochs    map[peer.ID]uint64 // of members as last committed
	followers map[Replica]*follower
	told      Replica // what OnLeader was told last
	pending   int     // proposals and changes without an outcome
	proposals int     // of them
	settled   chan struct{}
	// installing is the last snapshot that a leader has sent, perhaps over.
	installing *install
	queue      []*Proposal
	awaiting   bool
	failover
}

// Start opens a replica and lets it take part in its group. A replica whose
// log does not fit its snapshots is refused.
func (h *Host) Start(cfg GroupConfig) (*Group, error) {
	g, err := h.newGroup(cfg)
	if err != nil {
		return nil, fmt.Errorf("multiraft: start group %s: %w", cfg.ID, err)
	}
	conf := g.raftConfig()
	if err := g.bootstrap(conf); err != nil {
		return nil, fmt.Errorf("multiraft: bootstrap group %s: %w", cfg.ID, err)
	}
	if err := g.startRaft(conf); err != nil {
		g.cancel()
		return nil, fmt.Errorf("multiraft: start group %s: %w", cfg.ID, err)
	}
	g.raft.RegisterObserver(raft.NewObserver(nil, false, g.observe))
	g.learnMembers()
	h.mu.Lock()
	_, exists := h.groups[cfg.ID]
	if closed := h.closed; closed || exists {
		h.mu.Unlock()
		g.Close()
		if closed {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("%w: %s", ErrExists, cfg.ID)
	}
	g.logs.running.Store(true)
	h.groups[cfg.ID] = g
	h.mu.Unlock()
	g.hurryAlone()
	return g, nil
}

func (h *Host) newGroup(cfg GroupConfig) (*Group, error) {
	if cfg.Store == nil || cfg.Snapshots == nil || cfg.FSM == nil {
		return nil, errors.New("store, snapshots and state machine are required")
	}
	g := &Group{
		id: cfg.ID, self: Replica{h.cfg.Node, cfg.Epoch}, host: h, cfg: cfg,
		requests: make(chan raft.RPC), taking: make(chan struct{}, 1), slots: make(chan struct{}, maxPending),
		epochs: map[peer.ID]uint64{}, followers: map[Replica]*follower{},
	}
	g.logs = newLogStore(g, cfg.Store)
	g.fsm = newMachine(g, cfg.FSM)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.closing = g.ctx.Done()
	g.opened = time.Now()
	g.passing = time.AfterFunc(forEver, g.passOn)
	g.passing.Stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starts++
	g.start = h.starts
	return g, nil
}

func (g *Group) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = g.self.id()
	// A group starts in a hurry: it has no leader yet.
	conf.HeartbeatTimeout, conf.ElectionTimeout = g.host.cfg.FastTimeout, g.host.cfg.FastTimeout
	conf.LeaderLeaseTimeout = g.host.cfg.LeaderLeaseTimeout
	conf.CommitTimeout = g.host.cfg.CommitTimeout
	conf.MaxAppendEntries = maxAppendEntries
	conf.BatchApplyCh = true
	conf.NoSnapshotRestoreOnStart = g.cfg.FSMKeeps
	conf.NoLegacyTelemetry = true
	conf.ShutdownOnRemove = false // its owner closes it
	conf.Logger = g.host.raft.named(g.id.String())
	if g.cfg.SnapshotThreshold > 0 {
		conf.SnapshotThreshold = g.cfg.SnapshotThreshold
	}
	if g.cfg.TrailingLogs > 0 {
		conf.TrailingLogs = g.cfg.TrailingLogs
	}
	return conf
}

// bootstrap writes the first configuration to a store that has no state.
func (g *Group) bootstrap(conf *raft.Config) error {
	if len(g.cfg.Bootstrap) == 0 {
		return nil
	}
	var c raft.Configuration
	for _, r := range g.cfg.Bootstrap {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: r.id(), Address: r.addr()})
	}
	err := raft.BootstrapCluster(conf, g.logs, g.logs, g.cfg.Snapshots, transport{g}, c)
	if errors.Is(err, raft.ErrCantBootstrap) { // it has state: it was bootstrapped before
		return g.bootstrapOn(c)
	}
	return err
}

// bootstrapOn goes on with a bootstrap that a crash has ended halfway: after its term, and
// before its entry.
func (g *Group) bootstrapOn(c raft.Configuration) error {
	fresh, err := IsFresh(g.cfg.Store)
	if err != nil || !fresh {
		return err
	}
	if _, took := g.logs.snapshot(); took {
		return nil
	}
	return g.logs.StoreLog(&raft.Log{Index: 1, Term: bootstrapTerm, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)})
}

// startRaft starts Raft. What makes Raft panic at its start is an error here.
func (g *Group) startRaft(conf *raft.Config) (err error) {
	list, err := g.cfg.Snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	first, err := g.logs.FirstIndex()
	if err != nil {
		return err
	}
	var snapshot uint64
	if len(list) > 0 {
		snapshot = list[0].Index
		if err := g.logs.clearOvertaken(list[0]); err != nil {
			return err
		}
		if first, err = g.logs.FirstIndex(); err != nil {
			return err
		}
	}
	if first > snapshot+1 {
		return fmt.Errorf("%w: the log begins at entry %d, but the last snapshot ends at %d", store.ErrCorrupt, first, snapshot)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("raft: %v", p)
		}
	}()
	g.raft, err = raft.NewRaft(conf, g.fsm, g.logs, g.logs, g.cfg.Snapshots, transport{g})
	return err
}

// ID is the group's.
func (g *Group) ID() GroupID { return g.id }

// Self is this replica.
func (g *Group) Self() Replica { return g.self }

// Leader is the replica that leads, as far as is known here, and the term.
func (g *Group) Leader() (leader Replica, term uint64, known bool) {
	leader = g.leader()
	return leader, g.raft.CurrentTerm(), leader.Node != ""
}

func (g *Group) leader() Replica {
	_, id := g.raft.LeaderWithID()
	r, _ := parseReplica(string(id))
	return r
}

// IsLeader reports whether this replica leads. It may be deposed without
// knowing for as long as a lease: only what is committed proves more.
func (g *Group) IsLeader() bool { return g.raft.State() == raft.Leader }

// Leads is the term in which this replica leads, if it does.
func (g *Group) Leads() (term uint64, leads bool) {
	term = g.raft.CurrentTerm()
	return term, g.IsLeader() && g.raft.CurrentTerm() == term
}

// Members is the group's latest configuration, which may not be committed yet.
func (g *Group) Members() []Member {
	f := g.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return members(f.Configuration())
}

// learnMembers notes the epochs of the members. Lower ones are dead.
func (g *Group) learnMembers() { g.noteMembers(g.Members()) }

func (g *Group) noteMembers(list []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range list {
		g.epochs[m.Node] = max(g.epochs[m.Node], m.Epoch)
	}
}

// observe is called by Raft for everything it observes, from its own
// goroutines. It must not block.
func (g *Group) observe(o *raft.Observation) bool {
	if seen, ok := o.Data.(raft.LeaderObservation); ok {
		if seen.LeaderID != "" {
			g.found()
		} else {
			g.missed()
		}
		g.host.leaderChanged(g)
	}
	return false
}

// tellLeader calls OnLeader if there is news.
func (g *Group) tellLeader() {
	leader, term, _ := g.Leader()
	g.mu.Lock()
	news := g.told != leader && !g.closed
	g.told = leader
	g.mu.Unlock()
	if news && g.cfg.OnLeader != nil {
		g.cfg.OnLeader(leader, term)
	}
}

// well says why this replica should neither lead nor vote, or nil.
func (g *Group) well() error {
	if err := g.host.healthy(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnwell, err)
	}
	if err := g.failure(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnwell, err)
	}
	var err error
	for _, b := range []*busy{&g.logs.busy, &g.fsm.busy} {
		if d := b.since(); d > g.host.cfg.StallAfter {
			err = fmt.Errorf("%w: its %s has not returned for %v", ErrUnwell, b.what, d.Round(time.Millisecond))
		}
	}
	if g.stalled.Swap(err != nil) != (err != nil) && err != nil && g.IsLeader() {
		g.host.log.Error("multiraft: a replica is stuck: another shall lead", "group", g.id, "reason", err)
		g.host.tellUnwell(g.id)
	}
	return err
}

func (g *Group) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// fail notes that the store has failed. The first failure is told.
func (g *Group) fail(err error) {
	g.mu.Lock()
	first := g.failed == nil
	if first {
		g.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		err = g.failed
	}
	g.mu.Unlock()
	if !first {
		return
	}
	g.host.log.Error("multiraft: a replica has failed", "group", g.id, "reason", err)
	if g.cfg.OnFailure != nil {
		g.cfg.OnFailure(err)
	}
}
