package multiraft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Config is one node's part in its groups.
type Config struct {
	// Node is this node. Required.
	Node peer.ID
	// Dial opens a stream to a peer for one snapshot; the peer's node hands its
	// end to Host.ServeBulk. It is used and closed by the host.
	Dial func(ctx context.Context, to peer.ID) (net.Conn, error)
	// Health says why this node's replicas should not lead or vote now, or nil.
	// It is asked with each batch of heartbeats and must not block.
	Health func() error
	// StallAfter is how long a replica's log or state machine may be busy with
	// one call before the replica counts as unwell. Default 3 s.
	StallAfter time.Duration
	// HeartbeatTimeout is how long a follower waits for its leader, and a
	// candidate for votes; up to twice as long, at random. A leader sends
	// heartbeats ten times as often. Default 3 s, and 10 round trips at least.
	HeartbeatTimeout time.Duration
	// FastTimeout takes the place of HeartbeatTimeout while a group looks for a
	// leader. Default 1 s; not shorter than LeaderLeaseTimeout.
	FastTimeout time.Duration
	// LeaderLeaseTimeout is how long a leader leads without hearing of a quorum.
	// Default 1 s.
	LeaderLeaseTimeout time.Duration
	// CommitTimeout is after which time without entries Raft passes on a leader's
	// commit index, up to twice as long, and tries again what has failed. The index is
	// passed on before that; what has failed is not. Default 100 ms.
	CommitTimeout time.Duration
	// Log is where the host and Raft say what happens. Default: nowhere.
	Log *slog.Logger
}

func (c *Config) fill() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Health == nil {
		c.Health = func() error { return nil }
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&c.StallAfter, 3 * time.Second}, {&c.HeartbeatTimeout, 3 * time.Second}, {&c.FastTimeout, time.Second},
		{&c.LeaderLeaseTimeout, time.Second}, {&c.CommitTimeout, 100 * time.Millisecond},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	switch {
	case c.Node == "":
		return errors.New("multiraft: Config.Node is required")
	case c.FastTimeout < c.LeaderLeaseTimeout || c.HeartbeatTimeout < c.FastTimeout:
		return fmt.Errorf("multiraft: the lease (%v) must not exceed the fast timeout (%v), nor that the heartbeat timeout (%v)",
			c.LeaderLeaseTimeout, c.FastTimeout, c.HeartbeatTimeout)
	}
	return nil
}

// Host is one node's part in all its groups. Its methods may be called
// concurrently.
type Host struct {
	cfg   Config
	log   *slog.Logger
	raft  *logBridge
	stats counters

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.RWMutex // guards the fields below
	closed bool
	groups map[GroupID]*Group
	links  map[peer.ID]*link
	starts uint64 // groups started

	callbacks chan struct{} // that told is not empty
	toldMu    sync.Mutex    // guards told
	told      map[*Group]struct{}

	unwellMu sync.Mutex // guards unwell
	unwell   bool       // told the peers so
}

// Open makes a host without peers and groups.
func Open(cfg Config) (*Host, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	h := &Host{
		cfg: cfg, log: cfg.Log, raft: newLogBridge(cfg.Log),
		groups: map[GroupID]*Group{}, links: map[peer.ID]*link{},
		callbacks: make(chan struct{}, 1), told: map[*Group]struct{}{},
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.wg.Go(h.callBack)
	return h, nil
}

// Close closes all groups, each as Group.Close does, then the connections, and
// returns when nothing of the host runs.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	groups := make([]*Group, 0, len(h.groups))
	for _, g := range h.groups {
		groups = append(groups, g)
	}
	h.mu.Unlock()
	var wg sync.WaitGroup
	for _, g := range groups {
		wg.Go(func() { g.Close() })
	}
	wg.Wait()
	h.cancel()
	h.mu.RLock()
	links := slices.Collect(maps.Values(h.links))
	h.mu.RUnlock()
	for _, p := range links { // without the lock: stop may find the node unwell and tell
		p.stop()
	}
	h.wg.Wait()
	return nil
}

// Attach makes conn the connection to a peer, in place of the one before, which
// is closed. The host owns conn. The channel is closed when the host uses it no
// more: it failed, was replaced, or the host was closed.
func (h *Host) Attach(id peer.ID, conn net.Conn) <-chan struct{} {
	p := h.link(id)
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		conn.Close()
		over := make(chan struct{})
		close(over)
		return over
	}
	s := p.attach(conn)
	h.wg.Go(s.write)
	h.wg.Go(func() {
		s.read(h.receive)
		p.detach(s)
		h.log.Debug("multiraft: detached", "peer", id, "reason", s.err)
	})
	return s.over
}

// link is a peer's link, made when it is first asked for.
func (h *Host) link(id peer.ID) *link {
	h.mu.RLock()
	p := h.links[id]
	h.mu.RUnlock()
	if p != nil {
		return p
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p = h.links[id]; p == nil {
		p = newLink(h, id)
		h.links[id] = p
	}
	return p
}

// Group is a group that runs here, or nil.
func (h *Host) Group(id GroupID) *Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[id]
}

// Groups are all groups that run here.
func (h *Host) Groups() []*Group {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := make([]*Group, 0, len(h.groups))
	for _, g := range h.groups {
		list = append(list, g)
	}
	return list
}

// receive handles a peer's message other than an answer, on the reader of its
// connection. Heartbeats are answered at once.
func (h *Host) receive(s *session, m *message) (answer message, ok bool) {
	switch m.kind {
	case kindUnwell:
		if m.flags&flagYes != 0 {
			h.lookElsewhere(s.peer.id, m.group, h.cfg.FastTimeout)
		}
		return message{}, false
	case kindInstall: // belongs on a stream of its own
		s.end(errMessage)
		return message{}, false
	}
	answer = message{kind: kindAnswer, call: m.call}
	g := h.Group(m.group)
	switch {
	case g == nil:
		h.stats.refusedGroup.Add(1)
		answer.status = statusNoGroup
	case !g.meant(s.peer.id, m.from, m.to):
		answer.status = statusEpoch
	case m.kind == kindStanding:
		g.standing(Replica{s.peer.id, m.from}, m)
	default:
		answer, ok = g.receive(s, m)
		return answer, ok
	}
	return answer, m.kind != kindStanding
}

// healthy asks the health gate. When it shuts, the peers are told, so that they
// need not wait for heartbeats that will not come.
func (h *Host) healthy() error {
	err := h.cfg.Health()
	h.unwellMu.Lock()
	changed := h.unwell != (err != nil)
	h.unwell = err != nil
	h.unwellMu.Unlock()
	if !changed {
		return err
	}
	if err == nil {
		h.log.Info("multiraft: the node is well again")
		return nil
	}
	h.log.Error("multiraft: the node is unwell: its groups go elsewhere", "reason", err)
	h.tellUnwell(GroupID{})
	return err
}

// tellUnwell tells all peers that a group, or each, should look for another
// leader if it is led from here.
func (h *Host) tellUnwell(id GroupID) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, p := range h.links {
		if s := p.now(); s != nil {
			s.tell(message{kind: kindUnwell, flags: flagYes, group: id})
		}
	}
}

// leaderChanged has a group's OnLeader called. It does not block.
func (h *Host) leaderChanged(g *Group) {
	h.toldMu.Lock()
	h.told[g] = struct{}{}
	h.toldMu.Unlock()
	select {
	case h.callbacks <- struct{}{}:
	default:
	}
}

// callBack calls OnLeader of the groups whose leader changed.
func (h *Host) callBack() {
	for {
		select {
		case <-h.callbacks:
		case <-h.ctx.Done():
			return
		}
		h.toldMu.Lock()
		told := h.told
		h.told = map[*Group]struct{}{}
		h.toldMu.Unlock()
		for g := range told {
			g.tellLeader()
		}
	}
}
