package node

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// Topics of the facts that nodes tell about themselves. The values are part of
// the protocol.
const (
	topicInterest fact.Topic = 1 // to the region: what this node wants
	topicSummary  fact.Topic = 2 // to the mesh: what this region wants, as this gateway knows it
	topicReach    fact.Topic = 3 // to the mesh: the regions this node has links into, and what they cost
	topicCost     fact.Topic = 4 // to the region: what the region's summary brings here that nobody wants
	topicStreams  fact.Topic = 5 // to the mesh: the streams that this region owns, as this gateway knows them
)

// spread runs the fact machine: it takes what peers, links and gossip say,
// applies what changed to the routing table, tells the machine what this node
// has to say now, and only then lets messages out. An acknowledgement thus
// never leaves before the table knows what it acknowledges.
type spread struct {
	n *Node

	mu      sync.Mutex // guards the fields below, and keeps messages in order
	machine *fact.Machine
	abroad  bool             // this node has had a link to another region
	all     time.Time        // when it had said all it had to; zero before
	summed  bool             // the summary is complete
	strange map[peer.ID]bool // linked nodes of the region, of which it is not known yet what they want
	moved   chan struct{}    // closed and replaced when something may have been acknowledged
}

func newSpread(n *Node) *spread {
	// The same for all nodes and for ever: the sums find defects, versions and
	// mTLS keep out who does not belong.
	sumKey := sha256.Sum256([]byte("skein: sums of facts"))
	n.table.UseKeys(fingerprintKeys(n.identity)...)
	return &spread{
		n: n,
		machine: fact.New(fact.Config{
			Self: n.self.ID, Region: n.self.Region, Incarnation: n.self.Boot,
			Key: sumKey[:16],
			Topics: map[fact.Topic]fact.Scope{
				topicInterest: fact.Region, topicSummary: fact.Mesh, topicReach: fact.Mesh,
				topicCost: fact.Region, topicStreams: fact.Mesh,
			},
			Seed: n.self.Boot, Compare: compareEvery, Forget: n.cfg.TTL + forgetSlack, Bridge: n.graph.Apart,
		}),
		strange: map[peer.ID]bool{},
		moved:   make(chan struct{}),
	}
}

// fingerprintKeys are the secrets of the fingerprints in summaries, one for each
// key of the mesh: while keys are rotated, all nodes read what any of them says.
func fingerprintKeys(id *transport.Identity) (secrets [][]byte) {
	for _, k := range id.GossipKeys() {
		secrets = append(secrets, append([]byte("skein: fingerprints in summaries "), k...))
	}
	return secrets
}

// do feeds the machine and acts on what came of it.
func (s *spread) do(input func(m *fact.Machine, now time.Time)) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	input(s.machine, now)
	s.settle(now)
	close(s.moved)
	s.moved = make(chan struct{})
}

// settle applies what changed, says what is new, and sends what is to be sent.
func (s *spread) settle(now time.Time) {
	for {
		changes := s.machine.Changes()
		for _, c := range changes {
			if c.Topic == topicSummary && c.Forgotten && s.lost(&c) {
				s.n.flows.lose(c.Region)
			}
			s.n.flows.learn(&c, s.apply)
		}
		if !s.speak(now) && len(changes) == 0 {
			break
		}
	}
	s.n.flows.settleDoubts(s.told, func(id peer.ID) bool { return s.machine.Holds(id, topicInterest, 0, 0) })
	for id := range s.strange {
		if s.machine.Synced(id) {
			delete(s.strange, id)
			s.n.flows.linkUp(id)
		}
	}
	for _, m := range s.machine.Out() {
		// A message that finds no room or no link is made up for by digests.
		if err := s.n.net.Send(m.To, kindFact, m.Body); err != nil {
			s.n.log.Debug("a fact was not sent", "peer", m.To, "err", err)
		}
	}
	if g := s.n.gossip.Load(); g != nil {
		for _, r := range s.machine.Rumors() {
			if err := g.Rumor(r.Name, r.Body); err != nil {
				s.n.log.Debug("a rumor was not spread", "err", err)
			}
		}
	}
}

// apply hands a peer's facts to whom they concern.
func (s *spread) apply(c *fact.Change) {
	n := s.n
	switch c.Topic {
	case topicInterest:
		if c.Forgotten {
			n.table.DropNode(c.Owner)
		} else if err := n.table.SetNode(c.Owner, c.Adds, c.Removes, c.Full); err != nil {
			n.log.Error("a node's interest cannot be read", "peer", c.Owner, "err", err)
		}
	case topicSummary:
		switch {
		case c.Region == n.self.Region: // we have our own, but heed a fellow gateway's
			n.table.SetFellow(c.Owner, c.Adds, c.Removes, c.Full || c.Forgotten)
		case c.Forgotten:
			n.table.DropGateway(c.Region, c.Owner)
		default:
			if err := n.table.SetRegion(c.Region, c.Owner, c.Adds, c.Removes, c.Full); err != nil {
				n.log.Error("a region's summary cannot be read", "peer", c.Owner, "region", c.Region, "err", err)
			}
		}
	case topicCost:
		if err := n.table.SetFeedback(c.Owner, c.Adds, c.Removes, c.Full || c.Forgotten); err != nil {
			n.log.Error("what a node says of the summary cannot be read", "peer", c.Owner, "err", err)
		}
	case topicStreams:
		if c.Region != n.self.Region {
			n.streams.hear(c.Owner, c.Adds, c.Removes, c.Full || c.Forgotten)
		}
	case topicReach:
		n.graph.SetReach(c.Owner, s.machine.Entries(c.Owner, topicReach))
	}
}

// speak tells the machine what this node has to say now; it reports whether
// that was anything new. Its region's summary is for gateways to tell: for who has
// a link to another region, and whoever had one, since nobody can know what the
// others have heard of his successors.
func (s *spread) speak(now time.Time) bool {
	n := s.n
	before := s.versions()
	adds, removes := n.table.InterestChanges(now)
	s.say(topicInterest, adds, removes)
	adds, removes = n.table.FeedbackChanges(now)
	s.say(topicCost, adds, removes)
	reach, spoken := n.graph.Reach(), false
	adds, removes = difference(reach, s.machine.Entries(n.self.ID, topicReach))
	s.say(topicReach, adds, removes)
	if s.abroad = s.abroad || len(reach) > 0; s.abroad {
		adds, removes = n.table.SummaryChanges(now)
		s.say(topicSummary, adds, removes)
		if adds, removes, spoken = n.streams.news(); !s.say(topicStreams, adds, removes) {
			n.streams.unsaid(adds, removes)
		}
	}
	if !s.summed && !s.all.IsZero() && (s.abroad || now.Sub(s.all) > silentFor) {
		s.machine.Complete(topicSummary)
		s.summed = true
	}
	// Others wait for that before they are ready, so it does not wait for them.
	silent := !s.abroad && !s.all.IsZero() && now.Sub(s.all) > silentFor
	if spoken || silent && n.streams.spoken() {
		s.machine.Complete(topicStreams)
	}
	return before != s.versions()
}

// versions grows with whatever this node says.
func (s *spread) versions() uint64 {
	return s.machine.Version(topicInterest) + s.machine.Version(topicSummary) +
		s.machine.Version(topicReach) + s.machine.Version(topicCost) + s.machine.Version(topicStreams)
}

// say tells the machine what is new; it reports whether that has room.
func (s *spread) say(t fact.Topic, adds, removes []string) bool {
	err := s.machine.Set(t, adds, removes)
	if err != nil {
		s.n.log.Error("this node cannot say all that it should; events may be missed", "topic", t, "err", err)
	}
	return err == nil
}

// difference is what must be added to and removed from old to get want; both
// are sorted.
func difference(want, old []string) (adds, removes []string) {
	for len(want) > 0 || len(old) > 0 {
		switch {
		case len(old) == 0 || len(want) > 0 && want[0] < old[0]:
			adds, want = append(adds, want[0]), want[1:]
		case len(want) == 0 || old[0] < want[0]:
			removes, old = append(removes, old[0]), old[1:]
		default:
			want, old = want[1:], old[1:]
		}
	}
	return adds, removes
}

// silentFor is how long a node without a link to another region leaves standing
// what its earlier start said there: it may be its region's only gateway, and
// about to link.
const silentFor = time.Minute

// complete says that this node has said all there is: until then its peers
// keep what its earlier start said, too.
func (s *spread) complete() {
	s.do(func(m *fact.Machine, now time.Time) {
		s.all = now
		m.Complete(topicInterest)
		m.Complete(topicReach)
		m.Complete(topicCost)
	})
}

// poke says what is new without an input from outside.
func (s *spread) poke() { s.do(func(*fact.Machine, time.Time) {}) }

func (s *spread) linkUp(p peer.Peer) {
	s.do(func(m *fact.Machine, now time.Time) {
		if p.Region == s.n.self.Region {
			s.strange[p.ID] = true
		}
		m.LinkUp(now, fact.Link{ID: p.ID, Region: p.Region})
	})
}

func (s *spread) linkDown(id peer.ID) {
	s.do(func(m *fact.Machine, now time.Time) {
		delete(s.strange, id)
		m.LinkDown(now, id)
	})
}

func (s *spread) receive(from peer.ID, body []byte) {
	var err error
	s.do(func(m *fact.Machine, now time.Time) { err = m.Receive(now, from, body) })
	if err != nil {
		s.n.log.Error("a peer's facts are malformed", "peer", from, "err", err)
		s.n.net.Reject(from, "malformed facts: "+err.Error())
	}
}

func (s *spread) rumor(body []byte) {
	s.do(func(m *fact.Machine, now time.Time) {
		if err := m.Rumor(now, body); err != nil {
			s.n.log.Debug("a rumor is malformed", "err", err)
		}
	})
}

// tick drives what time drives: digests, removals that lingered, forgetting.
func (n *Node) tick() {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			n.spread.do(func(m *fact.Machine, now time.Time) { m.Tick(now) })
		case <-n.ctx.Done():
			return
		}
	}
}

// version is what this node's facts on a topic are at now.
func (s *spread) version(t fact.Topic) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.Version(t)
}

// knows reports whether a gateway of a region has told all that the region wants,
// or somebody else for it.
func (s *spread) knows(region string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told(region)
}

// told is knows with the lock held. Who reaches no other region says nothing for
// its own, which is complete, too.
func (s *spread) told(region string) bool {
	return slices.ContainsFunc(s.machine.Told(region, topicSummary), func(id peer.ID) bool {
		return len(s.machine.Entries(id, topicSummary)) > 0 || len(s.machine.Entries(id, topicReach)) > 0
	})
}

// tellsStreams reports whether a gateway of another region has told all streams that
// the region owns.
func (s *spread) tellsStreams(region string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.machine.Told(region, topicStreams), func(id peer.ID) bool {
		return len(s.machine.Entries(id, topicReach)) > 0 || len(s.machine.Entries(id, topicStreams)) > 0
	})
}

// lost reports whether nobody tells any more what another region wants, now that a
// node of it is forgotten that did not leave.
func (s *spread) lost(c *fact.Change) bool {
	_, stays := s.n.book.Peer(c.Owner)
	return c.Region != s.n.self.Region && stays && !s.told(c.Region)
}

// holds waits until a version of a node's facts is here; it reports false when
// ctx ends first.
func (s *spread) holds(ctx context.Context, owner peer.ID, t fact.Topic, incarnation, version uint64) bool {
	for {
		s.mu.Lock()
		here := s.machine.Holds(owner, t, incarnation, version)
		moved := s.moved
		s.mu.Unlock()
		if here {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// synced reports whether this node and a linked peer have exchanged what they
// know since the link came up.
func (s *spread) synced(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.Synced(id)
}

// acked waits until every linked peer in scope has applied a version of this
// node's facts; when ctx ends first it returns those that have not.
func (s *spread) acked(ctx context.Context, t fact.Topic, version uint64) []peer.ID {
	for {
		s.mu.Lock()
		waiting := s.machine.Acked(t, version)
		moved := s.moved
		s.mu.Unlock()
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return waiting
		}
	}
}
