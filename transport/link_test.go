package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const latency = 20 * time.Millisecond // one way

// pair runs a test in a bubble with two nodes, of which a has the lower ID.
func pair(t *testing.T, test func(t *testing.T, w *network, a, b *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, conns := newNetwork(t, latency, 2)
		test(t, w, open(t, conns[0], "a"), open(t, conns[1], "b"))
	})
}

func linkUp(a, b *node) {
	a.Connect(b.peer)
	b.Connect(a.peer)
	a.waitUp(b.peer.ID)
	b.waitUp(a.peer.ID)
}

func TestALinkIsUpAfterTwoRoundTrips(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		start := time.Now()
		linkUp(a, b)
		if took := time.Since(start); took != 4*latency {
			t.Errorf("took %v, want two round trips of %v", took, 2*latency)
		}
		time.Sleep(time.Second)
		for _, n := range []*node{a, b} {
			if st := n.Links(); len(st) != 1 || st[0].State != Up || st[0].RTT != 2*latency {
				t.Errorf("links of %s: %+v, want one with an RTT of %v", n.peer.ID, st, 2*latency)
			}
		}
	})
}

func TestTheNodeWithTheHigherIDDialsAfterTwoSeconds(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		start := time.Now()
		b.Connect(a.peer) // a does not know of b
		a.waitUp("b")
		if took := time.Since(start); took != yield+3*latency {
			t.Errorf("took %v, want %v and three latencies", took, yield)
		}
	})
}

func TestOneWhoCanReachTheOtherIsEnough(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		// Like an address translator before b: packets from a pass only as
		// answers, here: after b has sent one.
		opened := false
		w.setDrop(func(p simnet.Packet) bool {
			if p.From.String() == b.peer.Addr.String() {
				opened = true
			}
			return !opened
		})
		start := time.Now()
		a.Connect(b.peer)
		b.Connect(a.peer)
		a.waitUp("b")
		b.waitUp("a")
		if took := time.Since(start); took > yield+10*latency {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Minute)
		if log := a.history(); len(log) != 1 {
			t.Errorf("the link did not last: %q", log)
		}
	})
}

func TestALinkEndsAfterThreeMissedHeartbeats(t *testing.T) {
	for missed := 1; missed <= 4; missed++ {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			pair(t, func(t *testing.T, w *network, a, b *node) {
				linkUp(a, b)
				time.Sleep(10*time.Second + beatEvery/4) // between two heartbeats
				start := time.Now()
				w.setBoth(a.peer.Addr, b.peer.Addr, true)
				time.AfterFunc(time.Duration(missed)*beatEvery, func() { w.setBoth(a.peer.Addr, b.peer.Addr, false) })
				if missed < missedBeats {
					time.Sleep(20 * time.Second)
					if log := a.history(); len(log) != 1 {
						t.Errorf("the link ended: %q", log)
					}
					return
				}
				a.waitDown("b")
				if took := time.Since(start); took > silence+latency {
					t.Errorf("took %v to notice, want at most %v", took, silence)
				}
				if log := a.history(); !strings.Contains(log[1], "no heartbeat for 1.4s") {
					t.Errorf("history: %q", log)
				}
			})
		})
	}
}

func TestALinkComesBackAfterACut(t *testing.T) {
	for _, cut := range []time.Duration{3 * time.Second, 30 * time.Second, 10 * time.Minute} {
		t.Run(cut.String(), func(t *testing.T) {
			pair(t, func(t *testing.T, w *network, a, b *node) {
				linkUp(a, b)
				w.setBoth(a.peer.Addr, b.peer.Addr, true)
				a.waitDown("b")
				b.waitDown("a")
				if err := a.Send("b", wire.FirstControl, nil); err != ErrLinkDown {
					t.Errorf("Send while down: %v", err)
				}
				if err := put(t, a, "b", &wire.Record{How: wire.Deliver}); err != ErrLinkDown {
					t.Errorf("Forward while down: %v", err)
				}
				time.Sleep(cut)
				if st := a.Links()[0]; st.State != Down || st.Reason == "" {
					t.Errorf("link: %+v", st)
				}
				w.setBoth(a.peer.Addr, b.peer.Addr, false)
				healed := time.Now()
				a.waitUp("b")
				b.waitUp("a")
				if took := time.Since(healed); took > maxBackoff+4*time.Second {
					t.Errorf("took %v", took)
				} else {
					t.Logf("up %v after the heal", took)
				}
			})
		})
	}
}

func TestACutOfOneDirectionEndsTheLinkAtBothEnds(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		w.setCut(a.peer.Addr, b.peer.Addr, true)
		b.waitDown("a")
		a.waitDown("b")
		if log := a.history(); log[1] != "down b: closed by the peer: no heartbeat for 1.4s" {
			t.Errorf("history of a: %q", log)
		}
		w.setCut(a.peer.Addr, b.peer.Addr, false)
		a.waitUp("b")
		b.waitUp("a")
	})
}

func TestCrossingAttemptsEndInOneLink(t *testing.T) {
	for shift := -5 * latency; shift <= 5*latency; shift += latency / 4 {
		pair(t, func(t *testing.T, w *network, a, b *node) {
			b.Connect(a.peer) // will dial after 2 s
			time.Sleep(yield + shift)
			a.Connect(b.peer)
			a.waitUp("b")
			b.waitUp("a")
			time.Sleep(time.Minute)
			for _, n := range []*node{a, b} {
				if log := n.history(); len(log) != 1 {
					t.Errorf("shift %v: history of %s: %q", shift, n.peer.ID, log)
				}
				if st := n.Stats(); st.Connections != 2 {
					t.Errorf("shift %v: %d connections at %s, want 2", shift, st.Connections, n.peer.ID)
				}
			}
		})
	}
}

func TestARestartedPeerReplacesItsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, restarted := range []peer.ID{"a", "c"} { // once the lower, once the higher of the two
			w, conns := newNetwork(t, latency, 2)
			x, b := open(t, conns[0], restarted), open(t, conns[1], "b")
			linkUp(x, b)
			time.Sleep(10 * time.Second)
			// It dies without a word, and is back at once.
			w.setBoth(x.peer.Addr, b.peer.Addr, true)
			x.Close()
			w.setBoth(x.peer.Addr, b.peer.Addr, false)
			again := open(t, w.attach(x.peer.Addr), restarted, func(c *Config) { c.Self.Boot = 2 })
			start := time.Now()
			again.Connect(b.peer)
			again.waitUp("b")
			b.wait("the new boot's link", func() bool { return len(b.story) == 3 && b.up[restarted] })
			t.Logf("%s: %v: %q", restarted, time.Since(start), b.history())
		}
	})
}

func TestAnIdleLinkKeepsQuiet(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		time.Sleep(time.Hour)
		if log := a.history(); len(log) != 1 {
			t.Errorf("history: %q", log)
		}
	})
}

func TestALinkFollowsThePeerToItsNewAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conns := newNetwork(t, latency, 3)
		a, b := open(t, conns[0], "a"), open(t, conns[1], "b")
		linkUp(a, b)
		b.Close()
		a.waitDown("b")
		moved := open(t, conns[2], "b", func(c *Config) { c.Self.Boot = 2 })
		start := time.Now()
		a.Connect(moved.peer)
		a.waitUp("b")
		moved.waitUp("a")
		if took := time.Since(start); took != 4*latency {
			t.Errorf("took %v, want two round trips", took)
		}
		a.Connect(b.peer) // the old boot's address comes late, and is no news
		time.Sleep(time.Minute)
		if !a.Linked("b") || a.Links()[0].Peer.Addr != moved.peer.Addr {
			t.Errorf("links: %+v", a.Links())
		}
	})
}

func TestAnotherNodeAtAPeersAddressIsNotTakenForIt(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		a.Connect(peer.Peer{ID: "c", Addr: b.peer.Addr, Region: "eu"})
		time.Sleep(10 * time.Second)
		if log := slices.Concat(a.history(), b.history()); len(log) != 0 {
			t.Errorf("linked with the wrong node: %q", log)
		}
		if reason := a.Links()[0].Reason; !strings.Contains(reason, "node b, not c") {
			t.Errorf("reason: %q", reason)
		}
	})
}

func TestDisconnectEndsTheLinkForGood(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		a.Connect(b.peer)
		b.waitUp("a")
		a.Disconnect("b")
		a.waitDown("b")
		b.waitDown("a")
		time.Sleep(time.Minute)
		if len(a.Links()) != 0 || len(b.Links()) != 0 {
			t.Errorf("links left: %+v %+v", a.Links(), b.Links())
		}
		if st := a.Stats(); st.Connections != 0 {
			t.Errorf("%d connections left", st.Connections)
		}
		linkUp(a, b) // and can be had again
	})
}

func TestControlFramesArriveInOrder(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		var want []string
		for i := range 1000 {
			body := strings.Repeat("x", i) + fmt.Sprint(i)
			want = append(want, "a 0x21 "+body)
			if err := a.Send("b", 0x21, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		b.wait("frames", func() bool { return len(b.frames) == 1000 })
		if !slices.Equal(b.frames, want) {
			t.Error("frames differ")
		}
		if err := a.Send("b", 0x10, nil); !errors.Is(err, ErrProtocol) {
			t.Errorf("Send of a kind of our own: %v", err)
		}
		if err := a.Send("b", 0x20, make([]byte, wire.MaxFrame+1)); err != ErrTooLarge {
			t.Errorf("Send of too much: %v", err)
		}
		var full error
		for range 100 {
			full = errors.Join(full, a.Send("b", 0x20, make([]byte, wire.MaxFrame)))
		}
		if !errors.Is(full, ErrLinkFull) {
			t.Errorf("Send without end: %v", full)
		}
	})
}

func TestConnectToNobodySaysWhyThereIsNoLink(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		a.Connect(peer.Peer{ID: "z", Region: "eu", Addr: netip.MustParseAddrPort("10.9.9.9:1")})
		time.Sleep(10 * time.Second)
		if st := a.Links()[0]; st.State != Down || !strings.Contains(st.Reason, "no answer") {
			t.Errorf("link: %+v", st)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Probe(ctx, netip.MustParseAddrPort("10.9.9.9:1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Probe: %v", err)
		}
		if _, err := a.Probe(t.Context(), netip.MustParseAddrPort("10.9.9.9:1")); !errors.Is(err, ErrUnreachable) {
			t.Errorf("Probe: %v", err)
		}
	})
}

func TestSelfIsReachedByProbeButNotLinked(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		h, err := a.Probe(t.Context(), a.peer.Addr)
		if err != nil || h.Peer.ID != "a" {
			t.Errorf("Probe of oneself: %+v, %v", h, err)
		}
		a.Connect(a.peer)
		time.Sleep(5 * time.Second)
		if a.Linked("a") {
			t.Error("linked to itself")
		}
	})
}
