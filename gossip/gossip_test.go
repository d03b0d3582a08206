package gossip

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/skeinmesh/skein/transport/peer"
)

func allSee(all []*member, n int) func() bool {
	return func() bool {
		for _, m := range all {
			if len(m.Peers()) != n {
				return false
			}
		}
		return true
	}
}

func TestFiftyNodesFindEachOtherAgainAfterTenMinutesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50
		net := newMemory()
		var all []*member
		for i := range n {
			all = append(all, start(t, net, i, nil))
		}
		formed := within(t, 30*time.Second, "all see all", allSee(all, n))
		for i, m := range all {
			net.setSide(m.addr, i%2)
		}
		parted := within(t, 2*time.Minute, "each half sees itself", allSee(all, n/2))
		time.Sleep(10*time.Minute - parted)
		if !allSee(all, n/2)() {
			t.Fatal("the halves see each other through the cut")
		}
		for _, m := range all {
			net.setSide(m.addr, 0)
		}
		healed := within(t, time.Minute, "all see all again", allSee(all, n))
		t.Logf("formed in %v, halves seen after %v, healed in %v", formed, parted, healed)
		closeAll(t, all)
	})
}

func TestACrashIsToldFromADeparture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		net := newMemory()
		var all []*member
		for i := range n {
			all = append(all, start(t, net, i, nil))
		}
		within(t, 30*time.Second, "all see all", allSee(all, n))
		told := func(id peer.ID, left bool) func() bool {
			return func() bool {
				for _, m := range all[:n-2] {
					m.watch.mu.Lock()
					l, gone := m.watch.left[id]
					m.watch.mu.Unlock()
					if !gone || l != left {
						return false
					}
				}
				return true
			}
		}
		if err := all[n-1].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone := within(t, 5*time.Second, "all know that it left", told(all[n-1].self.ID, true))
		all[n-1].Close()
		all[n-2].Close()
		dead := within(t, 40*time.Second, "all know that it died", told(all[n-2].self.ID, false))
		t.Logf("departure known in %v, death in %v", gone, dead)
		closeAll(t, all)
	})
}

func TestANodeComesBackAtOnceUnderAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory()
		all := []*member{start(t, net, 0, nil), start(t, net, 1, nil), start(t, net, 2, nil)}
		within(t, 10*time.Second, "all see all", allSee(all, 3))
		all[2].Close() // nobody is told
		again := start(t, net, 2, func(c *Config) { c.Self.Boot, c.Self.Addr = 2, testAddr(200) })
		within(t, 5*time.Second, "the new address is known", func() bool {
			for _, m := range all[:2] {
				m.watch.mu.Lock()
				p := m.watch.alive["n002"]
				m.watch.mu.Unlock()
				if p.Boot != 2 || p.Addr != testAddr(200) {
					return false
				}
			}
			return true
		})
		time.Sleep(2 * time.Minute) // the former self is found dead meanwhile
		for _, m := range all[:2] {
			if len(m.Peers()) != 3 {
				t.Errorf("%s sees %v", m.self.ID, m.Peers())
			}
		}
		closeAll(t, append(all, again))
	})
}

func TestAChangedDescriptionReachesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory()
		all := []*member{start(t, net, 0, nil), start(t, net, 1, nil)}
		within(t, 10*time.Second, "all see all", allSee(all, 2))
		self := all[1].self
		self.HTTP = "192.0.2.1:80"
		if err := all[1].SetSelf(self); err != nil {
			t.Fatal(err)
		}
		within(t, 5*time.Second, "the change is known", func() bool {
			all[0].watch.mu.Lock()
			defer all[0].watch.mu.Unlock()
			return all[0].watch.alive["n001"] == self
		})
		closeAll(t, all)
	})
}

func TestARumorReachesNearlyAllAndTheNewestOfANameWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 30
		net := newMemory()
		var all []*member
		for i := range n {
			all = append(all, start(t, net, i, nil))
		}
		within(t, 30*time.Second, "all see all", allSee(all, n))
		for _, body := range []string{"one", "two", strings.Repeat("x", MaxRumor)} {
			if err := all[3].Gossip.Rumor("r", []byte(body)); err != nil {
				t.Fatal(err)
			}
			// An epidemic may pass somebody by: what must arrive goes another way.
			took := within(t, 5*time.Second, "nearly all heard", func() bool {
				heard := 0
				for _, m := range all {
					m.watch.mu.Lock()
					if m.watch.rumors["n003"] == body {
						heard++
					}
					m.watch.mu.Unlock()
				}
				return heard >= (n-1)*9/10
			})
			t.Logf("%d bytes to nearly all of %d in %v", len(body), n, took)
		}
		if err := all[0].Gossip.Rumor("r", make([]byte, MaxRumor+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a rumor that is too large: %v", err)
		}
		closeAll(t, all)
	})
}

func TestAnotherKeyOrMeshIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"key":  func(c *Config) { c.Keys = [][]byte{testKey(9)} },
		"mesh": func(c *Config) { c.MeshID = "mesh-b" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newMemory()
				all := []*member{start(t, net, 0, nil), start(t, net, 1, nil), start(t, net, 2, change)}
				within(t, 10*time.Second, "the two see each other", allSee(all[:2], 2))
				time.Sleep(time.Minute)
				if !allSee(all[:2], 2)() || !allSee(all[2:], 1)() {
					t.Errorf("%v and %v", all[0].Peers(), all[2].Peers())
				}
				closeAll(t, all)
			})
		})
	}
}

func TestAKeyIsRotatedWithoutAnybodyMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 6
		net := newMemory()
		var all []*member
		for i := range n {
			all = append(all, start(t, net, i, nil))
		}
		within(t, 20*time.Second, "all see all", allSee(all, n))
		old, fresh := testKey(1), testKey(2)
		for _, keys := range [][][]byte{{old, fresh}, {fresh, old}, {fresh}} {
			for _, m := range all { // one after the other, as operators do
				if err := m.SetKeys(keys); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				if !allSee(all, n)() {
					t.Fatal("somebody went missing")
				}
			}
		}
		late := start(t, net, n, func(c *Config) { c.Keys = [][]byte{fresh} })
		all = append(all, late)
		within(t, 10*time.Second, "a node with the new key alone joins", allSee(all, n+1))
		for _, m := range all {
			m.watch.mu.Lock()
			if len(m.watch.gone) > 0 {
				t.Errorf("%s missed %v", m.self.ID, m.watch.gone)
			}
			m.watch.mu.Unlock()
		}
		closeAll(t, all)
	})
}

func TestAMeshIsFoundAgainThroughKnownPeersWhenTheSeedIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemory()
		all := []*member{start(t, net, 1, func(c *Config) { c.Seeds = nil })}
		known := all[0].Peers()
		all = append(all, start(t, net, 2, func(c *Config) { c.Known = known }))
		within(t, 5*time.Second, "both see both", allSee(all, 2))
		closeAll(t, all)
	})
}

func TestLeaveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, newMemory(), 0, nil)
		ctx, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		if err := m.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("leave: %v", err)
		}
		closeAll(t, []*member{m})
	})
}

func FuzzReadRumor(f *testing.F) {
	f.Add(appendRumor(nil, &rumor{kind: kindRumor, origin: "a", boot: 1, seq: 2, name: "n", body: []byte("b")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRumor(b)
		if err != nil {
			return
		}
		again, err := readRumor(appendRumor(nil, &r))
		if err != nil || again.origin != r.origin || again.name != r.name || string(again.body) != string(r.body) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzReadMember(f *testing.F) {
	f.Add("a#1", appendMeta(nil, "m", peer.Peer{Name: "n", Region: "eu"}))
	f.Fuzz(func(t *testing.T, name string, meta []byte) {
		n := &memberlist.Node{Name: name, Meta: meta, Addr: []byte{10, 0, 0, 1}, Port: 1}
		p, mesh, err := readMember(n)
		if err != nil {
			return
		}
		n.Name, n.Meta = memberName(p), appendMeta(nil, mesh, p)
		if q, m, err := readMember(n); err != nil || q != p || m != mesh {
			t.Errorf("%+v became %+v, %v", p, q, err)
		}
	})
}
