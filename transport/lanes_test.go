package transport

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// sessionTo is a node's session to a peer.
func (n *node) sessionTo(id peer.ID) *session {
	n.t.Helper()
	s, err := n.Endpoint.session(id)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// needs makes a node need so many lanes to a peer, as if it had measured that.
func (n *node) needs(id peer.ID, lanes int) {
	n.t.Helper()
	s := n.sessionTo(id)
	s.demand.mu.Lock()
	s.demand.need, s.demand.felt = lanes, time.Now()
	s.demand.mu.Unlock()
	s.stir()
}

// waitLanes waits until the slices of a node are spread over so many lanes to its
// only peer, and there are no other connections than those and one for control.
func (n *node) waitLanes(id peer.ID, lanes int) {
	n.t.Helper()
	s := n.sessionTo(id)
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		open, st := s.openLanes(), n.Stats()
		if open == lanes && st.Links[0].Lanes == lanes && st.Connections == lanes+1 {
			return
		}
		if time.Since(start) > time.Minute { // of virtual time
			n.t.Fatalf("%s has its slices on %d lanes of %d, and %d connections, want %d lanes", n.peer.ID, open, st.Links[0].Lanes, st.Connections, lanes)
		}
	}
}

// sender sends numbered records on all slices to a peer, until it is told to stop.
type sender struct {
	from   *node
	to     peer.ID
	random *rand.Rand
	sent   [wire.MaxLanes]int
}

func (s *sender) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(s.random.IntN(3)) * time.Millisecond):
		}
		for range s.random.IntN(20) {
			slice := s.random.IntN(wire.MaxLanes)
			size := s.random.IntN(3000)
			if s.random.IntN(100) == 0 {
				size = 100_000
			}
			body := fmt.Appendf(nil, "%d %d ", slice, s.sent[slice])
			rec := &wire.Record{How: wire.Deliver, Body: append(body, make([]byte, size)...)}
			if s.from.Forward(s.to, uint8(slice), rec, 1) == nil {
				s.sent[slice]++
			}
		}
	}
}

// check checks that all of it has come, and each slice in order.
func (s *sender) check(t *testing.T, at *node) {
	t.Helper()
	total := 0
	for _, n := range s.sent {
		total += n
	}
	at.wait("all records", func() bool { return len(at.records) >= total })
	var came [wire.MaxLanes]int
	for _, rec := range at.records {
		var from string
		var slice, n int
		if _, err := fmt.Sscan(rec, &from, &slice, &n); err != nil {
			t.Fatalf("%q: %v", rec, err)
		}
		if n != came[slice] {
			t.Fatalf("at %s: of slice %d came %d when %d was due", at.peer.ID, slice, n, came[slice])
		}
		came[slice]++
	}
	if came != s.sent {
		t.Errorf("%v came, %v were sent", came, s.sent)
	}
}

// wander moves a slice to another of the lanes that are open.
func (s *session) wander(random *rand.Rand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.move(uint8(random.IntN(wire.MaxLanes)), s.lanes[random.IntN(s.open)])
	}
}

func TestASliceKeepsItsOrderWhileLanesComeAndGo(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, conns := newNetwork(t, 5*time.Millisecond, 2)
				a, b := open(t, conns[0], "a"), open(t, conns[1], "b")
				linkUp(a, b)
				w.lose(0.01)
				random := rand.New(rand.NewPCG(seed, 1))
				there := &sender{from: a, to: "b", random: rand.New(rand.NewPCG(seed, 2))}
				back := &sender{from: b, to: "a", random: rand.New(rand.NewPCG(seed, 3))}
				stop := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() { there.run(stop) })
				wg.Go(func() { back.run(stop) })
				most := 0
				for range 150 {
					time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
					switch random.IntN(10) {
					case 0:
						a.needs("b", 1<<random.IntN(5))
					case 1:
						b.needs("a", 1<<random.IntN(5))
					default:
						for range random.IntN(5) {
							a.sessionTo("b").wander(random)
							b.sessionTo("a").wander(random)
						}
					}
					most = max(most, a.Links()[0].Lanes)
				}
				close(stop)
				wg.Wait()
				there.check(t, b)
				back.check(t, a)
				if most < 4 {
					t.Errorf("there were at most %d lanes", most)
				}
				for _, n := range []*node{a, b} {
					if log := n.history(); len(log) != 1 {
						t.Errorf("history of %s: %q", n.peer.ID, log)
					}
					n.needs(n.Links()[0].Peer.ID, 1)
				}
				a.waitLanes("b", 1)
				b.waitLanes("a", 1)
			})
		})
	}
}

func TestLanesComeWithLossAndGoWithTheLoad(t *testing.T) {
	for _, dialer := range []peer.ID{"a", "z"} { // b dials z, as the lower of the two, and is dialled by a
		t.Run(string(dialer), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, conns := newNetwork(t, 40*time.Millisecond, 2)
				a, b := open(t, conns[0], dialer, unrepaired), open(t, conns[1], "b")
				linkUp(a, b)
				w.lose(0.01)
				flood(t, a, b, 5*time.Second)
				a.waitLanes("b", wire.MaxLanes)
				b.waitLanes(dialer, wire.MaxLanes)
				if st := a.Links()[0]; st.LanesWhy != "load" && st.LanesWhy != "loss" && st.LanesWhy != "the peer uses them" {
					t.Errorf("%d lanes because of %q", st.Lanes, st.LanesWhy)
				}
				time.Sleep(unneeded)
				a.waitLanes("b", 1)
				b.waitLanes(dialer, 1)
				if log := a.history(); len(log) != 1 {
					t.Errorf("history: %q", log)
				}
				flood(t, a, b, 5*time.Second)
				a.waitLanes("b", wire.MaxLanes) // again
			})
		})
	}
}

func TestALinkThatNeedsNoMoreLanesHasOne(t *testing.T) {
	one := func(c *Config) { c.MaxLanes = 1 }
	steady := func(t *testing.T, a, b *node) {
		for i := range 300 {
			if err := a.Forward("b", uint8(i), deliver(reading(i)), 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	full := func(t *testing.T, a, b *node) { flood(t, a, b, 3*time.Second) }
	for _, test := range []struct {
		name    string
		latency time.Duration
		loss    float64
		b       func(*Config)
		load    func(t *testing.T, a, b *node)
	}{
		{"a steady trickle without loss", 40 * time.Millisecond, 0, func(*Config) {}, steady},
		{"a peer that takes no more", 40 * time.Millisecond, 0.01, one, full},
		{"a peer that is near", 500 * time.Microsecond, 0.05, func(*Config) {}, full},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, conns := newNetwork(t, test.latency, 2)
				a, b := open(t, conns[0], "a", unrepaired), open(t, conns[1], "b", test.b)
				linkUp(a, b)
				w.lose(test.loss)
				test.load(t, a, b)
				if st := a.Links()[0]; st.Lanes != 1 || st.State != Up || a.Stats().Connections != 2 {
					t.Errorf("link: %+v", st)
				}
			})
		})
	}
}

func TestASlowReceiverGetsNoMoreLanes(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		b.hold = make(chan struct{})
		linkUp(a, b)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { // a batch every 20 ms
			for tick := time.NewTicker(20 * time.Millisecond); ; {
				select {
				case <-tick.C:
				case <-stop:
					close(b.hold)
					return
				}
				select {
				case b.hold <- struct{}{}:
				default:
				}
			}
		})
		flood(t, a, b, 20*time.Second)
		if st := a.Links()[0]; st.Lanes != 1 || st.Queued == 0 {
			t.Errorf("%d lanes, when the receiver is slower than the first; %d bytes wait", st.Lanes, st.Queued)
		}
		close(stop)
		wg.Wait()
	})
}

func TestALaneThatDiesEndsTheLinkAndWhatWaitedIsDropped(t *testing.T) {
	for _, dies := range []int{0, 3} {
		for _, killer := range []peer.ID{"a", "b"} {
			t.Run(fmt.Sprintf("lane %d at %s", dies, killer), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, conns := newNetwork(t, latency, 2)
					a, b := open(t, conns[0], "a"), open(t, conns[1], "b")
					b.hold = make(chan struct{})
					linkUp(a, b)
					a.needs("b", 4)
					a.waitLanes("b", 4)
					b.waitLanes("a", 4)
					random := rand.New(rand.NewPCG(1, 1))
					body := make([]byte, 100_000)
					for i := range 400 { // more than what QUIC's windows take of one lane
						for j := range body {
							body[j] = byte(random.Uint32())
						}
						if err := a.Forward("b", uint8(i), &wire.Record{How: wire.Deliver, Body: body}, 1); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(10 * time.Second)
					queued := a.Links()[0].Queued
					at, other := a, b
					if killer == "b" {
						at, other = b, a
					}
					at.sessionTo(other.peer.ID).lane(dies).conn.CloseWithError(codeDone, "dies")
					close(b.hold)
					a.waitDown("b")
					b.waitDown("a")
					// Each lane may have sent one more meanwhile.
					if st := a.Links()[0]; queued == 0 || int(st.Dropped)+4 < queued/len(body) {
						t.Errorf("%d dropped of %d bytes that waited", st.Dropped, queued)
					}
					a.waitUp("b")
					b.waitUp("a")
					a.waitLanes("b", 1)
				})
			})
		}
	}
}

func TestLanesThatCannotBeDialledAreTriedAgain(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		s := a.sessionTo("b")
		ours := a.laneHello(s.id, 2)
		ours.Session = "another"
		if _, err := s.link.greet(t.Context(), b.peer, ours, nil); err == nil || !strings.Contains(err.Error(), "a lane of a link that there is not") {
			t.Errorf("a lane of no session: %v", err)
		}
		// A lane that the dialer gives up before it has used it.
		d, err := s.link.greet(t.Context(), b.peer, a.laneHello(s.id, 2), nil)
		if err != nil {
			t.Fatal(err)
		}
		a.shut(d.conn, codeDone, "not this one")
		time.Sleep(time.Second)
		a.needs("b", 4)
		a.waitLanes("b", 4)
		b.waitLanes("a", 4)
		if log := slices.Concat(a.history(), b.history()); len(log) != 2 {
			t.Errorf("the link did not last: %q", log)
		}
	})
}
