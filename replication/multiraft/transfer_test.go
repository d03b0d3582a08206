package multiraft

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestLeadershipIsHandedOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		old := leaderOf(t, group)
		next := m.nodes()[0]
		if next == old {
			next = m.nodes()[1]
		}
		began := time.Now()
		if err := group[old].TransferLeadership(t.Context(), Replica{next, 1}); err != nil {
			t.Fatal(err)
		}
		if got := leaderOf(t, group); got != next {
			t.Fatalf("%s leads, not %s", got, next)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// What is proposed in the meantime is in the next leader's log, or waits for it:
// else the voter would stand with too short a log, and nobody would lead.
func TestLeadershipIsHandedOverUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		at := leaderOf(t, group)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		for range 4 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					for _, r := range group {
						r.Propose(ctx, fmt.Append(nil, n))
					}
					time.Sleep(500 * time.Microsecond) // else virtual time would stand still
				}
			})
		}
		for i := range 300 {
			to := m.nodes()[i%3]
			if to == at {
				continue
			}
			began := time.Now()
			if err := group[at].TransferLeadership(t.Context(), Replica{to, 1}); err != nil {
				t.Fatalf("transfer %d: %v", i, err)
			}
			until(t, time.Second, "led by the voter", func() bool { return group[to].IsLeader() })
			if took := time.Since(began); took > 200*time.Millisecond {
				t.Fatalf("transfer %d to %s took %v", i, to, took)
			}
			at = to
		}
	})
}

// A voter that was cut off a moment ago answers no more.
func TestAHandoverInVainTakesNoLongerThanItMay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		old := leaderOf(t, group)
		if _, _, err := group[old].Apply(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		next := slices.DeleteFunc(m.nodes(), func(id peer.ID) bool { return id == old })[0]
		time.Sleep(100 * time.Millisecond) // it has all
		m.isolate(next)
		began := time.Now()
		handed := make(chan error, 1)
		go func() { handed <- group[old].TransferLeadership(t.Context(), Replica{next, 1}) }()
		time.Sleep(10 * time.Millisecond)
		if _, _, err := group[old].Apply(t.Context(), []byte("y")); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > transferWithin+100*time.Millisecond {
			t.Errorf("nobody could propose for %v", took)
		}
		if err := <-handed; err == nil {
			t.Error("it was handed to a voter that is cut off")
		}
	})
}
