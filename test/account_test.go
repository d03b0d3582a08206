package test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/test/simmesh"
)

// account is the checker of the promise: every event that a node has taken is
// delivered to every subscriber that was there before it, once and in the order
// of its key, or lies inside a gap that was reported in its place.
type account struct {
	mu        sync.Mutex // guards the fields below
	taken     map[stream]int
	listeners []*listener
}

// stream is the events of one start of a node with one key.
type stream struct {
	node, boot, key string
}

// listener is a subscriber and all that it got, in order.
type listener struct {
	at     int // node
	sub    *node.Subscription
	got    []heard
	gone   bool // with its node: what is missing at the end is nobody's fault
	events int
}

// heard is an event's stream and number or, with a cause, a gap.
type heard struct {
	stream
	number int
	cause  string
}

// listen subscribes at a node for all events and hears until the node ends.
func (a *account) listen(t *testing.T, m *simmesh.Mesh, at int) {
	s, err := m.Nodes[at].Subscribe(t.Context(), node.SubscribeRequest{Filter: filter.Everything()})
	if err != nil {
		t.Fatal(err)
	}
	if missing := s.Missing(); len(missing) > 0 {
		t.Fatalf("the barrier of a mesh without faults misses %v", missing)
	}
	l := &listener{at: at, sub: s}
	a.listeners = append(a.listeners, l)
	go func() { // ends with the node
		buf := make([]queue.Item, 64)
		for {
			n, err := s.Next(context.Background(), buf)
			if err != nil {
				return
			}
			a.mu.Lock()
			for i := range buf[:n] {
				l.hear(&buf[i])
			}
			a.mu.Unlock()
		}
	}()
}

func (l *listener) hear(it *queue.Item) {
	if g := it.Gap; g != nil {
		l.got = append(l.got, heard{stream: stream{node: g.Origin}, cause: string(g.Cause)})
		return
	}
	part := strings.Split(strings.Clone(it.Event.ID()), "/")
	number, _ := strconv.Atoi(part[3])
	l.got = append(l.got, heard{stream: stream{part[0], part[1], part[2]}, number: number})
	l.events++
}

// close ends the listeners at a node that is about to crash or leave.
func (a *account) close(at int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.listeners {
		if l.at == at && !l.gone {
			l.gone = true
			l.sub.Close()
		}
	}
}

// publish gives a node the next event of a key; one that is refused is none.
func (a *account) publish(t *testing.T, n *node.Node, key string) {
	self := n.Self()
	s := stream{self.Name, fmt.Sprint(self.Boot), key}
	a.mu.Lock()
	number := a.taken[s]
	a.mu.Unlock()
	ev := newEvent(t, "said."+key, fmt.Sprintf("%s/%s/%s/%d", s.node, s.boot, s.key, number), []byte("data"))
	if n.Publish(t.Context(), "", eventsOf(ev, key), "") != nil {
		return // it leaves, or has not entered yet
	}
	a.mu.Lock()
	a.taken[s]++
	a.mu.Unlock()
}

// complete reports whether every listener has got the last event of each stream
// that a running node goes on with.
func (a *account) complete(m *simmesh.Mesh) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.listeners {
		if l.gone {
			continue
		}
		last := map[stream]int{}
		for _, h := range l.got {
			if h.cause == "" {
				last[h.stream] = h.number
			}
		}
		for s, n := range a.taken {
			running := slices.ContainsFunc(m.Nodes, func(n *node.Node) bool {
				return n != nil && n.Self().Name == s.node && fmt.Sprint(n.Self().Boot) == s.boot
			})
			if running && last[s] != n-1 {
				return false
			}
		}
	}
	return true
}

// wrong says what breaks the promise.
func (a *account) wrong() (wrong []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, l := range a.listeners {
		name := fmt.Sprintf("listener %d at n%d", i, l.at)
		next := map[stream]int{}     // the number that is to come
		excused := map[stream]bool{} // a gap came since the last event
		boots := map[string][]stream{}
		for s := range a.taken {
			boots[s.node] = append(boots[s.node], s)
		}
		for _, h := range l.got {
			if h.cause != "" {
				for _, s := range boots[h.node] {
					excused[s] = true
				}
				continue
			}
			switch want := next[h.stream]; {
			case h.number < want:
				wrong = append(wrong, fmt.Sprintf("%s: %v number %d after %d", name, h.stream, h.number, want-1))
			case h.number > want && !excused[h.stream]:
				wrong = append(wrong, fmt.Sprintf("%s: %v numbers %d to %d are missing without a gap", name, h.stream, want, h.number-1))
			}
			next[h.stream], excused[h.stream] = h.number+1, false
		}
		for s, n := range a.taken {
			if !l.gone && next[s] < n && !excused[s] {
				wrong = append(wrong, fmt.Sprintf("%s: %v numbers %d to %d are missing at the end without a gap", name, s, next[s], n-1))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// counts are how many events were taken, delivered, and reported as gaps.
func (a *account) counts() (taken, delivered, gaps int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.taken {
		taken += n
	}
	for _, l := range a.listeners {
		delivered += l.events
		gaps += len(l.got) - l.events
	}
	return taken, delivered, gaps
}
