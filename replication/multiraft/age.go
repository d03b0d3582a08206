package multiraft

import (
	"sync"
	"time"
)

const (
	// settleFor is how old entries are that hardly anybody sends again: to a follower
	// that is further behind its leader has the snapshot to send, which costs more.
	settleFor = 5 * time.Second
	ageStep   = settleFor / 5
)

// age knows which entries of a log are old. Those that were there when it was opened
// are.
type age struct {
	mu    sync.Mutex // guards the fields below
	young bool       // something was stored
	old   uint64     // up to here, while young
	marks []ageMark  // behind it, oldest first
}

// ageMark is what was stored within ageStep, up to an index.
type ageMark struct {
	began time.Time
	index uint64
}

// note hears that entries are stored now.
func (a *age) note(now time.Time, first, last uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.young {
		a.young, a.old = true, first-1
	}
	a.old = min(a.old, first-1) // what was there is replaced
	for i := range a.marks {
		a.marks[i].index = min(a.marks[i].index, first-1)
	}
	a.pass(now)
	if n := len(a.marks); n > 0 && now.Sub(a.marks[n-1].began) < ageStep {
		a.marks[n-1].index = last
		return
	}
	a.marks = append(a.marks, ageMark{now, last})
}

// settled is the index up to which entries are old.
func (a *age) settled(now time.Time) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.young {
		return 1<<64 - 1
	}
	a.pass(now)
	return a.old
}

// pass takes in the marks that are old. mu is held.
func (a *age) pass(now time.Time) {
	n := 0
	for ; n < len(a.marks) && now.Sub(a.marks[n].began) >= settleFor+ageStep; n++ {
		a.old = a.marks[n].index
	}
	a.marks = a.marks[n:]
}
