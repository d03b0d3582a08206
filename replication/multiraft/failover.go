package multiraft

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/transport/peer"
)

const (
	// standAfter is how long one replica after the other waits beyond the one that
	// shall win, which waits for those that shall vote for it to forget the leader.
	standAfter = 200 * time.Millisecond
	// standingWithin is how long a replica waits to hear how long the others' logs
	// are, before it goes by their names.
	standingWithin = 500 * time.Millisecond
	// calmAfter is how long a leader must be known before timeouts are long again.
	calmAfter = 3 * time.Second
)

// failover is a group's search for another leader. The group's mu guards it.
type failover struct {
	fast     bool
	weighed  bool                  // whose turn it is has been decided
	lost     Replica               // the leader that is gone, while a search is on
	lostTerm uint64                // and its term
	from     time.Time             // when it was silent for long enough to be forgotten here
	stood    map[Replica]logLength // how long the other replicas' logs are, of those that look, too
	forgot   map[Replica]time.Time // when they asked for votes that have forgotten it, or knew none
	needs    int                   // of them, before this one stands; 0 if that is not for it to wait for
	timer    *time.Timer           // ends the wait for standings, then makes it stand
	calm     *time.Timer           // makes timeouts long again
}

// logLength tells whose log is more up to date, as votes do.
type logLength struct{ term, index uint64 }

func (a logLength) less(b logLength) bool {
	return a.term < b.term || a.term == b.term && a.index < b.index
}

// PeerDown says that a peer is not reachable from here. Groups whose leader sat
// there look for another one at once. It does not block. A false verdict is
// harmless: who hears of its leader, or has heard a moment ago, keeps it.
func (h *Host) PeerDown(id peer.ID) { h.lookElsewhere(id, GroupID{}, 0) }

// lookElsewhere has a group, or with a zero ID each, search for another leader
// if it is led by a peer that was heard of at most so long before the search
// may begin: Raft clings to a leader that it has heard of a moment ago.
func (h *Host) lookElsewhere(id peer.ID, only GroupID, after time.Duration) {
	for _, g := range h.Groups() {
		if leader := g.leader(); leader.Node == id && (only == GroupID{} || only == g.id) {
			g.search(leader, after)
		}
	}
}

// search begins the search for another leader.
func (g *Group) search(lost Replica, after time.Duration) {
	list, term := g.Members(), g.raft.CurrentTerm()
	silent := g.raft.LastContact().Add(g.host.cfg.FastTimeout + time.Millisecond)
	mine := g.length()
	votes := slices.ContainsFunc(list, func(m Member) bool { return m.Voter && m.Replica == g.self })
	g.mu.Lock()
	if !votes || g.closed || g.lost == lost && g.lostTerm == term {
		g.mu.Unlock()
		return
	}
	g.look(term)
	g.forgotten() // what was long ago is gone
	g.lost, g.weighed, g.needs = lost, false, 0
	g.from = time.Now().Add(after)
	if silent.After(g.from) { // Raft would look, find that it is not, and look again far too late
		g.from = silent
	}
	g.setTimer(time.Until(g.from)+standingWithin, g.stand)
	g.mu.Unlock()
	g.host.stats.failovers.Add(1)
	for _, m := range list {
		if m.Voter && m.Replica != g.self && m.Replica != lost {
			if s := g.host.link(m.Node).now(); s != nil {
				note := transport{g}.request(kindStanding, m.Replica)
				note.term, note.last, note.lastTerm = term, mine.index, mine.term
				s.tell(note)
			}
		}
	}
	g.weigh()
}

func (g *Group) length() logLength {
	// Raft tells the index; the term of the last entry is the log's to say.
	index := g.raft.LastIndex()
	return logLength{g.logs.termOf(index), index}
}

// standing notes how long another replica's log is, one that has lost its
// leader of this term.
func (g *Group) standing(from Replica, m *message) {
	g.mu.Lock()
	term := g.raft.CurrentTerm()
	if m.term > term {
		g.mu.Unlock()
		return
	}
	g.look(term)
	g.stood[from] = logLength{m.lastTerm, m.last}
	searching := g.lost != (Replica{})
	g.mu.Unlock()
	if searching {
		g.weigh()
	}
}

// look begins to note what others say who have lost the leader of a term, perhaps
// before this replica does. The caller holds mu.
func (g *Group) look(term uint64) {
	if g.lostTerm != term || g.stood == nil {
		g.lost, g.lostTerm = Replica{}, term
		g.stood, g.forgot = map[Replica]logLength{}, map[Replica]time.Time{}
	}
}

// asked notes that another replica has asked for votes and did not get this one's: it
// knows no leader, and how long its log is. If it was the last for which this one
// waits, this one stands, whose votes it no longer splits.
func (g *Group) asked(from Replica, m *message) {
	term := g.raft.CurrentTerm()
	if m.term > term+1 {
		return
	}
	g.mu.Lock()
	g.look(term)
	g.forgot[from] = time.Now()
	g.stood[from] = logLength{m.lastTerm, m.last}
	searching := g.lost != (Replica{})
	ready := g.needs > 0 && g.forgotten() >= g.needs
	g.mu.Unlock()
	switch {
	case ready:
		g.hurry()
	case searching:
		g.weigh()
	}
}

// forgotten is how many others have asked for votes and may not have found a leader
// since: they ask again in less than that. The caller holds mu.
func (g *Group) forgotten() (n int) {
	for r, at := range g.forgot {
		if time.Since(at) <= 3*g.host.cfg.FastTimeout {
			n++
		} else {
			delete(g.forgot, r)
			delete(g.stood, r)
		}
	}
	return n
}

// weigh looks whether all others that may vote have told how they stand.
func (g *Group) weigh() {
	others := 0
	for _, m := range g.Members() {
		if m.Voter && m.Replica != g.self {
			others++
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := len(g.stood) >= others-1 // without the leader that is gone
	if all && !g.weighed && !g.closed && g.lost != (Replica{}) {
		g.weighed = true
		g.setTimer(time.Until(g.from), g.stand)
	}
}

// stand shortens this replica's timeouts, when its turn has come. With a quorum
// of q, the first q-1 to stand cannot win: each has only the votes of those who
// stand, too, and no longer cling to the leader. They go at once; the q-th, with
// the longest log, goes when they have forgotten the leader, which their asking for
// votes says, and wins; the rest follow, should it not. Nobody heard of the leader
// later than when it was lost here, so that all have forgotten it FastTimeout after.
func (g *Group) stand() {
	quorum, place := g.place()
	switch {
	case place < quorum-1:
		g.hurry()
	case place == quorum-1:
		g.mu.Lock()
		g.needs = quorum - 1
		ready := g.forgotten() >= g.needs
		g.mu.Unlock()
		if ready {
			g.hurry()
		} else {
			g.later(g.host.cfg.FastTimeout)
		}
	default:
		g.later(g.host.cfg.FastTimeout + time.Duration(place)*standAfter)
	}
}

func (g *Group) later(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.setTimer(d, g.hurry)
	}
}

// place is this replica's turn among the voters that are left: the one with the
// longest log has turn quorum-1, the others by their names.
func (g *Group) place() (quorum, place int) {
	list, mine := g.Members(), g.length()
	g.mu.Lock()
	defer g.mu.Unlock()
	voters := 0
	best, bestLength := g.self, mine
	var order []Replica
	for _, m := range list {
		if !m.Voter {
			continue
		}
		voters++
		if m.Replica == g.lost {
			continue
		}
		order = append(order, m.Replica)
		if l, ok := g.stood[m.Replica]; ok && m.Replica != g.self &&
			(bestLength.less(l) || bestLength == l && m.Replica.String() < best.String()) {
			best, bestLength = m.Replica, l
		}
	}
	quorum = voters/2 + 1
	if g.self == best {
		return quorum, quorum - 1
	}
	for _, r := range order {
		if r == best {
			continue
		}
		if r == g.self {
			break
		}
		place++
	}
	if place >= quorum-1 {
		place++ // behind the best
	}
	return quorum, place
}

// hurry makes timeouts short, until a leader has been found.
func (g *Group) hurry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.needs = 0
	g.fast = true
	g.shorten()
	g.rest(2*g.host.cfg.HeartbeatTimeout + calmAfter) // even if none is found
}

// missed is called when no leader is known any more: timeouts are short until one
// is, or for a while. A candidate that has lost might else wait for long, with
// those who could win waiting longer.
func (g *Group) missed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	if !g.fast {
		g.fast = true
		g.reload(g.host.cfg.FastTimeout)
	}
	g.rest(2*g.host.cfg.HeartbeatTimeout + calmAfter)
}

// shorten makes timeouts short, and Raft look at once whether one has passed: it
// does when a timeout becomes shorter than it was. The caller holds mu.
func (g *Group) shorten() {
	g.reload(g.host.cfg.FastTimeout + time.Millisecond)
	g.reload(g.host.cfg.FastTimeout)
}

// hurryAlone makes a group's only voter stand at once: there is nobody whose
// vote it could split.
func (g *Group) hurryAlone() {
	list := g.Members()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.fast = true
	if len(list) == 1 && list[0].Replica == g.self {
		g.shorten()
	}
	if _, id := g.raft.LeaderWithID(); id != "" {
		g.rest(calmAfter)
	}
}

// found is called when a leader is known: who looked for one looks no more, and
// timeouts become long again in a while.
func (g *Group) found() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
	g.lost, g.stood, g.needs = Replica{}, nil, 0
	if g.fast && !g.closed {
		g.rest(calmAfter)
	}
}

// rest has timeouts made long after a while. The caller holds mu.
func (g *Group) rest(after time.Duration) {
	if g.calm != nil {
		g.calm.Stop()
	}
	g.calm = time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			return
		}
		g.fast, g.lost, g.stood, g.needs = false, Replica{}, nil, 0
		g.reload(g.host.cfg.HeartbeatTimeout)
	})
}

// reload sets Raft's timeouts. The caller holds mu.
func (g *Group) reload(timeout time.Duration) {
	rc := raft.ReloadableConfig{HeartbeatTimeout: timeout, ElectionTimeout: timeout}
	was := g.raft.ReloadableConfig()
	rc.TrailingLogs, rc.SnapshotInterval, rc.SnapshotThreshold = was.TrailingLogs, was.SnapshotInterval, was.SnapshotThreshold
	if err := g.raft.ReloadConfig(rc); err != nil {
		g.host.log.Error("multiraft: reload timeouts", "group", g.id, "error", err)
	}
}

// setTimer has the search go on after a while. The caller holds mu.
func (g *Group) setTimer(d time.Duration, f func()) {
	if g.timer != nil {
		g.timer.Stop()
	}
	g.timer = time.AfterFunc(d, f)
}

// stopTimers is called with mu held, when the group is closed. What has fired
// finds it closed.
func (g *Group) stopTimers() {
	for _, t := range []*time.Timer{g.timer, g.calm} {
		if t != nil {
			t.Stop()
		}
	}
}
