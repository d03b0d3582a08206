package multiraft

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// follower is what this replica, while it leads, knows of another: what that
// one has acknowledged, and since when nothing speaks against it.
type follower struct {
	pipe atomic.Pointer[pipeline] // through which Raft appends to it; nil while it does not

	mu          sync.Mutex    // guards the fields below
	known       state         // acknowledged; the zero state if that may be gone
	matched     uint64        // the last entry acknowledged
	matchedTerm uint64        // to the leader of this term
	heard       time.Time     // when the last request was sent that was answered with success
	pause       time.Duration // after the last snapshot that it had already; 0 after entries it had not
	most        uint64        // the highest entry that it has acknowledged
}

// Between snapshots that a follower has already: it has refused the entries behind them,
// and Raft, which takes a snapshot for progress, would send them again at once.
const leastPause, mostPause = 20 * time.Millisecond, 2 * time.Second

// had notes that the follower has been sent a snapshot that it had, and returns how long
// it is to be left in peace.
func (f *follower) had() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pause = min(max(leastPause, 2*f.pause), mostPause)
	return f.pause
}

// state is what an acknowledged append leaves at a follower: of this term it
// has all up to prev and knows that all up to commit is committed. It holds
// for one connection and one start of the replica.
type state struct {
	session            *session
	start              uint64
	term               uint64
	prev, prevTerm     uint64
	commit             uint64
	appendAcknowledged bool
}

// after is the state that an append leaves when it succeeds.
func after(s *session, start uint64, a *raft.AppendEntriesRequest) state {
	st := state{s, start, a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex, true}
	if n := len(a.Entries); n > 0 {
		st.prev, st.prevTerm = a.Entries[n-1].Index, a.Entries[n-1].Term
	}
	return st
}

// appended notes the answer to an append that was sent at a time.
func (f *follower) appended(s *session, a *raft.AppendEntriesRequest, sent time.Time, answer *message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if answer == nil || answer.flags&flagYes == 0 || answer.term != a.Term {
		f.known = state{}
		return
	}
	was := f.known
	f.known = after(s, answer.start, a)
	if f.known.prev > f.most {
		f.most, f.pause = f.known.prev, 0
	}
	if f.known.start != was.start || f.matchedTerm != a.Term || f.known.prev > f.matched {
		f.matched, f.matchedTerm = f.known.prev, a.Term
	}
	f.heard = sent
}

// reached is what the follower is known to have by a connection, acknowledged to the
// leader of a term; 0 if that may be gone.
func (f *follower) reached(s *session) (term, last, lastTerm uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known.session != s {
		return 0, 0, 0
	}
	return f.known.term, f.known.prev, f.known.prevTerm
}

// beaten notes the answer to a heartbeat, or that there was none.
func (f *follower) beaten(s *session, term uint64, sent time.Time, answer *message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if answer == nil || answer.flags&flagYes == 0 || answer.term != term ||
		f.known.session != s || f.known.start != answer.start {
		f.known = state{}
	}
	if answer != nil && answer.flags&flagYes != 0 && sent.After(f.heard) {
		f.heard = sent
	}
}

// knows reports whether an empty append would change nothing at the follower:
// it has acknowledged the same, and within the time of a lease a request was
// sent that it answered.
func (f *follower) knows(s *session, a *raft.AppendEntriesRequest, lease time.Duration) bool {
	if len(a.Entries) > 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known == after(s, f.known.start, a) && time.Since(f.heard) < lease
}

// follower is what is known of a replica.
func (g *Group) follower(r Replica) *follower {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.followers[r]
	if f == nil {
		f = &follower{}
		g.followers[r] = f
	}
	return f
}

// followed lists the followers among the members.
func (g *Group) followed(list []Member, term uint64) []Follower {
	var out []Follower
	for _, m := range list {
		if m.Replica == g.self {
			continue
		}
		f := g.follower(m.Replica)
		f.mu.Lock()
		fw := Follower{Replica: m.Replica, Heard: f.heard}
		if f.matchedTerm == term {
			fw.Matched = f.matched
		}
		f.mu.Unlock()
		out = append(out, fw)
	}
	return out
}
