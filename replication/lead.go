package replication

import (
	"context"
	"sync"

	"github.com/skeinmesh/skein/transport/peer"
)

// asking are the questions that wait for the answer of a partition's leader: who
// leads no more may never answer, and it may take long until it is known that it is
// gone.
type asking struct {
	mu   sync.Mutex // guards the map
	open map[uint32]map[*leaderAsked]struct{}
}

// leaderAsked is one of them.
type leaderAsked struct {
	leader peer.ID
	end    context.CancelFunc
}

// askLeader is askWhole of a partition's leader, until another one is known.
func (r *Member) askLeader(ctx context.Context, number uint32, leader peer.ID, question []byte) ([]byte, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	q := &leaderAsked{leader, end}
	r.asking.add(number, q)
	defer r.asking.remove(number, q)
	if now := r.leaderOf(number); now != "" && now != leader && now != r.cfg.Self.ID {
		end() // it became known before the question was there to be ended
	}
	return r.askWhole(ctx, leader, question)
}

func (a *asking) add(number uint32, q *leaderAsked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = map[uint32]map[*leaderAsked]struct{}{}
	}
	if a.open[number] == nil {
		a.open[number] = map[*leaderAsked]struct{}{}
	}
	a.open[number][q] = struct{}{}
}

func (a *asking) remove(number uint32, q *leaderAsked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if delete(a.open[number], q); len(a.open[number]) == 0 {
		delete(a.open, number)
	}
}

// led ends the questions to others than a partition's leader.
func (a *asking) led(number uint32, leader peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for q := range a.open[number] {
		if leader != "" && q.leader != leader {
			q.end()
		}
	}
}
