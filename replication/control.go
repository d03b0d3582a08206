package replication

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/transport/peer"
)

// steer is the node's one steering goroutine: it opens and closes replicas as the
// metadata says, and does what falls to whoever leads the metadata, or a
// partition. Whatever it could not do, it does the next time.
func (r *Member) steer() {
	t := time.NewTicker(controlEvery)
	defer t.Stop()
	var tended time.Time
	for r.Fenced() == nil {
		if r.registered.Load() {
			r.reconcile()
		}
		r.renewMetadata()
		if r.meta.group().IsLeader() {
			r.control()
		}
		r.stepAside()
		r.change()
		if now := time.Now(); now.Sub(tended) >= tendEvery {
			tended = now
			if r.meta.group().IsLeader() {
				r.purge()
			}
			r.tend()
			r.forget()
			if r.registered.Load() {
				r.leftovers()
			}
		}
		select {
		case <-t.C:
		case <-r.wake:
		case <-r.ctx.Done():
			return
		}
	}
}

// forget drops what is remembered of nodes and partitions that the region does not have
// any more, so that none of it grows with all that ever were.
func (r *Member) forget() {
	if !r.registered.Load() {
		return // it is not known yet which there are
	}
	nodes := map[peer.ID]bool{}
	for _, n := range r.meta.state().Nodes() {
		nodes[n.ID] = n.State != meta.Gone
	}
	for _, id := range r.cfg.Net.Linked() {
		nodes[id] = true
	}
	partitions := map[uint32]bool{}
	for _, p := range r.meta.state().Partitions() {
		partitions[p.Number] = p.Retired.IsZero()
	}
	stranger := func(id peer.ID) bool { return !nodes[id] }
	r.reach.forget(stranger)
	r.leads.forget(stranger)
	r.turns.forget(func(a asker) bool { return !nodes[a.node] || !partitions[a.partition] })
	r.mu.Lock()
	maps.DeleteFunc(r.older, func(id peer.ID, _ bool) bool { return !nodes[id] })
	maps.DeleteFunc(r.slots, func(id peer.ID, in chan struct{}) bool { return !nodes[id] && len(in) == 0 })
	maps.DeleteFunc(r.leaders, func(number uint32, _ peer.ID) bool { return !partitions[number] })
	idle := maps.Clone(r.couriers)
	r.mu.Unlock()
	maps.DeleteFunc(idle, func(number uint32, c *courier) bool { return partitions[number] || c.busy() })
	r.mu.Lock()
	defer r.mu.Unlock()
	for number := range idle { // should one have begun since, it ends alone
		delete(r.couriers, number)
	}
}

// silentFor is how long a node follows the metadata no more before its leader
// counts it as down.
const silentFor = 10 * time.Second

// seen is what this node sees of the region's others.
func (r *Member) seen() meta.Seen {
	now := time.Now()
	heard := map[peer.ID]time.Time{}
	if r.meta.group().IsLeader() {
		for _, f := range r.meta.group().Stats().Follower {
			heard[f.Node] = f.Heard
		}
	}
	return meta.Seen{
		Node: func(id peer.ID) (bool, time.Duration) {
			if id == r.cfg.Self.ID {
				return true, 0
			}
			alive, down := r.reach.of(id, now)
			// A node whose disk has failed can be reached and follows nothing.
			if at := heard[id]; alive && !at.IsZero() && now.Sub(at) > silentFor {
				return false, now.Sub(at)
			}
			return alive, down
		},
		Leader: func(id meta.ID) peer.ID {
			p, _ := r.meta.state().Partition(id)
			return r.leaderOf(p.Number)
		},
		Leads: func(id peer.ID) int { return r.leads.of(id, now) },
	}
}

// control does what falls to the leader of the metadata.
func (r *Member) control() {
	r.voters()
	r.assign()
	r.adopt()
	view := r.meta.state().View(r.seen())
	for _, step := range placement.Next(view) {
		c, err := r.meta.state().Command(step)
		if err == nil {
			err = r.command(c)
		}
		if err != nil {
			r.log.Debug("a change of replicas was not begun", "partition", step.Partition, "why", step.Why, "err", err)
			return
		}
		r.log.Info("a partition's replicas change", "partition", meta.ID(step.Partition), "why", step.Why)
	}
}

// command proposes on the leader of the metadata, in steer.
func (r *Member) command(c meta.Command) error {
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	return r.Propose(ctx, c)
}

// voters sees to it that the metadata has the voters it should.
func (r *Member) voters() {
	stats := r.meta.group().Stats()
	ready := map[multiraft.Replica]bool{r.meta.group().Self(): true}
	for _, f := range stats.Follower {
		ready[f.Replica] = f.Matched+readyLag >= stats.Commit && time.Since(f.Heard) < readyWithin
	}
	var members []placement.Member
	epochs := map[peer.ID]uint64{}
	for _, m := range r.meta.group().Members() {
		if _, registered := r.meta.state().Node(m.Node); !registered {
			continue // it was let in a moment ago
		}
		epochs[m.Node] = m.Epoch
		members = append(members, placement.Member{ID: m.Node, Voter: m.Voter, Ready: ready[m.Replica]})
	}
	step, due := placement.Voters(r.meta.state().View(r.seen()).Nodes, members)
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	replica := multiraft.Replica{Node: step.Node, Epoch: epochs[step.Node]}
	var err error
	switch {
	case step.Act != placement.Promote && step.Node == r.cfg.Self.ID:
		err = r.handOver(ctx, r.meta.group()) // the next leader does it
	case step.Act == placement.Promote:
		err = r.meta.group().AddVoter(ctx, replica)
	case step.Act == placement.Drop:
		err = r.meta.group().RemoveServer(ctx, replica)
	case step.Act == placement.Demote:
		if err = r.meta.group().RemoveServer(ctx, replica); err == nil {
			err = r.meta.group().AddNonvoter(ctx, replica)
		}
	}
	if err != nil {
		r.log.Debug("the metadata's voters did not change", "act", step.Act, "node", step.Node, "err", err)
		return
	}
	r.log.Info("the region's metadata has other voters", "act", step.Act, "node", step.Node, "why", step.Why)
}

const (
	readyLag    = 64              // entries that a follower may be behind and be ready to vote
	readyWithin = 2 * time.Second // since it was last heard of
)

// assign gives the region's streams their partitions, making some when there are
// too few: a region without streams has none, and costs nothing.
func (r *Member) assign() {
	due := r.meta.state().Unassigned()
	if len(due) == 0 && len(r.shared()) == 0 {
		return
	}
	if !r.enough() {
		return
	}
	if err := r.assignAll(due); err != nil {
		r.log.Debug("not all streams were assigned", "due", len(due), "err", err)
	}
}

// atOnce is how many streams are assigned at once: what waits for the same quorum
// costs one sync.
const atOnce = 64

// assignAll assigns streams, several at once, until one cannot be.
func (r *Member) assignAll(due []meta.Stream) error {
	var errs error
	for batch := range slices.Chunk(due, atOnce) {
		var wg sync.WaitGroup
		failed := make([]error, len(batch))
		for i := range batch {
			if s := &batch[i]; s.Dedicated { // it makes partitions, which are placed one after the other
				failed[i] = r.assignStream(s, nil)
			} else {
				wg.Go(func() { failed[i] = r.assignStream(s, nil) })
			}
		}
		wg.Wait()
		if errs = errors.Join(failed...); errs != nil {
			break
		}
	}
	return errs
}

// shared are the numbers of the region's shared partitions.
func (r *Member) shared() (numbers []uint32) {
	for _, p := range r.meta.state().Partitions() {
		if p.Stream.IsZero() && p.Retired.IsZero() {
			numbers = append(numbers, p.Number)
		}
	}
	return numbers
}

// enough makes shared partitions until there are as many as there should be; it
// reports whether there are.
func (r *Member) enough() bool {
	nodes := 0
	for _, n := range r.meta.state().Nodes() {
		if n.State == meta.Active {
			nodes++
		}
	}
	have := len(r.shared())
	return r.create(max(placement.Shared(have, nodes), r.cfg.Partitions)-have, meta.ID{}, r.cfg.Replicas)
}

// create makes partitions, for all streams or one.
func (r *Member) create(count int, stream meta.ID, replicas int) bool {
	if count <= 0 {
		return true
	}
	ids := make([][16]byte, count)
	for i := range ids {
		ids[i] = newID()
	}
	for i, nodes := range placement.Initial(r.meta.state().View(r.seen()), ids, replicas) {
		if len(nodes) == 0 {
			return false
		}
		err := r.command(&meta.CreatePartition{ID: ids[i], Stream: stream, Want: replicas, Nodes: nodes})
		if err != nil {
			r.log.Debug("a partition was not made", "err", err)
			return false
		}
	}
	return true
}

// assignStream chooses a stream's partitions. foreign is the definition of one
// that another region owns.
func (r *Member) assignStream(s *meta.Stream, foreign *meta.Stream) error {
	if !s.Dedicated {
		return r.command(&meta.AssignStream{
			Stream: s.UUID, Partitions: placement.Spread(s.UUID, r.shared(), s.Partitions), Foreign: foreign,
		})
	}
	own := r.dedicated(s.UUID)
	if missing := s.Partitions - len(own); missing > 0 {
		if !r.create(missing, s.UUID, s.Replicas) {
			return ErrNoLeader
		}
		own = r.dedicated(s.UUID)
	}
	return r.command(&meta.AssignStream{Stream: s.UUID, Partitions: own, Foreign: foreign})
}

func (r *Member) dedicated(stream meta.ID) (numbers []uint32) {
	for _, p := range r.meta.state().Partitions() {
		if p.Stream == stream && p.Retired.IsZero() {
			numbers = append(numbers, p.Number)
		}
	}
	return numbers
}

// purge ends streams whose grace is over.
func (r *Member) purge() {
	now := time.Now()
	for _, s := range r.meta.state().Deleted() {
		if now.Sub(s.Tombstone.At) > meta.Grace {
			if err := r.command(&meta.PurgeStream{UUID: s.UUID}); err != nil {
				r.log.Debug("a stream was not purged", "stream", s.Name, "err", err)
				return
			}
		}
	}
	for _, p := range r.meta.state().Partitions() {
		if _, dead := r.meta.state().Grave(p.Stream); dead && p.Retired.IsZero() {
			if err := r.command(&meta.RetirePartition{Partition: p.ID}); err != nil {
				r.log.Debug("a partition was not retired", "partition", p.Number, "err", err)
				return
			}
		}
	}
}
