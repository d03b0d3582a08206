package transport

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

func newTestKeys(t *testing.T, n int) []Key {
	var lines []string
	for range n {
		lines = append(lines, NewKey())
	}
	return mustKeys(lines...)
}

// TestARefusalNamesItsCauseOnBothSides lets a dial b, by Connect and by Probe,
// and looks at what a is told and at what both log.
func TestARefusalNamesItsCauseOnBothSides(t *testing.T) {
	keys := newTestKeys(t, 3)
	old := func(id *Identity) *Identity { // issues certificates that are over
		stale := *id
		stale.clock = func() time.Time { return time.Now().Add(-48 * time.Hour) }
		return &stale
	}
	early := func(id *Identity) *Identity { // issues certificates of tomorrow
		fast := *id
		fast.clock = func() time.Time { return time.Now().Add(48 * time.Hour) }
		return &fast
	}
	id := mustIdentity(t, keys[:1])
	for _, test := range []struct {
		name string
		a, b func(*Config)
		want error
		told []string // in the error of a
		logA []string // in the log of a
		logB []string
	}{
		{
			name: "wrong key",
			a:    func(c *Config) { c.Identity = mustIdentity(t, keys[1:2]) },
			b:    func(c *Config) { c.Identity = mustIdentity(t, keys[:1]) },
			want: ErrWrongKey,
			told: []string{"wrong mesh key", keys[0].Fingerprint(), keys[1].Fingerprint()},
			logA: []string{"wrong mesh key", keys[0].Fingerprint(), keys[1].Fingerprint()},
			logB: []string{"wrong mesh key", keys[0].Fingerprint(), keys[1].Fingerprint()},
		},
		{
			name: "rotation half way: b does not know the key a issues with",
			a:    func(c *Config) { c.Identity = mustIdentity(t, []Key{keys[1], keys[0]}) },
			b:    func(c *Config) { c.Identity = mustIdentity(t, keys[:1]) },
			want: ErrWrongKey,
			told: []string{"wrong mesh key", "refused this node's", keys[0].Fingerprint(), keys[1].Fingerprint()},
			logA: []string{keys[0].Fingerprint(), keys[1].Fingerprint()},
			logB: []string{keys[0].Fingerprint(), keys[1].Fingerprint()},
		},
		{
			name: "wrong mesh",
			a:    func(c *Config) { c.MeshID = "m2" },
			want: ErrWrongMesh,
			told: []string{"mesh m1", "mesh m2"},
			logA: []string{"mesh m1", "mesh m2"},
			logB: []string{"mesh m1", "mesh m2"},
		},
		{
			name: "wrong version",
			a:    func(c *Config) { c.protocol = "skein/7" },
			want: ErrWrongVersion,
			told: []string{"skein/1", "skein/7"},
			logA: []string{"skein/1", "skein/7"},
			logB: []string{"skein/1", "skein/7"},
		},
		{
			name: "expired certificate of the dialer",
			a:    func(c *Config) { c.Identity = old(id) },
			b:    func(c *Config) { c.Identity = id },
			want: ErrExpired,
			told: []string{"expired or not yet valid"},
			logA: []string{"expired or not yet valid", "clocks"},
			logB: []string{"certificate is good from", "clocks"},
		},
		{
			name: "certificate of tomorrow of the node called",
			a:    func(c *Config) { c.Identity = id },
			b:    func(c *Config) { c.Identity = early(id) },
			want: ErrExpired,
			told: []string{"certificate is good from"},
			logA: []string{"certificate is good from", "clocks"},
			logB: []string{"expired or not yet valid", "clocks"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, conns := newNetwork(t, latency, 2)
				if test.b == nil {
					test.b = func(*Config) {}
				}
				a, b := open(t, conns[0], "a", test.a), open(t, conns[1], "b", test.b)
				_, err := a.Probe(t.Context(), b.peer.Addr)
				if !errors.Is(err, test.want) {
					t.Fatalf("Probe: %v, want %v", err, test.want)
				}
				contains(t, "the error", err.Error(), test.told)
				time.Sleep(time.Second)
				contains(t, "the log of a", a.logs.String(), test.logA)
				contains(t, "the log of b", b.logs.String(), test.logB)

				a.Connect(b.peer)
				time.Sleep(time.Minute)
				if a.Linked("b") || b.Linked("a") {
					t.Error("linked")
				}
				contains(t, "the link's reason", a.Links()[0].Reason, test.told)
				for _, n := range []*node{a, b} {
					if lines := strings.Count(n.logs.String(), "\n"); lines > 4 {
						t.Errorf("%s logged %d lines in a minute:\n%s", n.peer.ID, lines, n.logs)
					}
				}
			})
		})
	}
}

func contains(t *testing.T, what, text string, parts []string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q: %s", what, part, text)
		}
	}
}

func TestAKeyIsRotatedWithoutLosingALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := newTestKeys(t, 2)
		oldOnly, both, swapped, newOnly := keys[:1], keys, []Key{keys[1], keys[0]}, keys[1:]
		// Each step restarts the nodes one after the other: neighbours in this
		// list must understand each other.
		steps := [][]Key{oldOnly, both, swapped, newOnly}
		for i := range steps[1:] {
			_, conns := newNetwork(t, latency, 2)
			a := open(t, conns[0], "a", func(c *Config) { c.Identity = mustIdentity(t, steps[i]) })
			b := open(t, conns[1], "b", func(c *Config) { c.Identity = mustIdentity(t, steps[i+1]) })
			linkUp(a, b)
		}
	})
}

func TestCertificatesAreRenewedBeforeTheyExpire(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		for range 10 {
			if _, err := a.Probe(t.Context(), b.peer.Addr); err != nil {
				t.Fatal(err)
			}
			time.Sleep(leafLife * 2 / 3)
		}
	})
}

func TestAJoiningNodeAdoptsTheMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conns := newNetwork(t, latency, 2)
		a, b := open(t, conns[0], "a", func(c *Config) { c.MeshID = "" }), open(t, conns[1], "b")
		a.Connect(b.peer)
		time.Sleep(10 * time.Second)
		if a.Linked("b") {
			t.Error("linked before it belongs to the mesh")
		}
		h, err := a.Probe(t.Context(), b.peer.Addr)
		if err != nil {
			t.Fatal(err)
		}
		a.SetMesh(h.Mesh)
		a.waitUp("b")
		b.waitUp("a")
	})
}

func TestAStrangersHandshakesAreBounded(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		// Nothing that b answers arrives: each attempt stays a handshake of b's.
		w.setDrop(func(p simnet.Packet) bool { return p.From.String() == b.peer.Addr.String() })
		done := make(chan struct{})
		const attempts = 2 * maxKnocksPerAddr
		for range attempts {
			go func() {
				a.Probe(t.Context(), b.peer.Addr)
				done <- struct{}{}
			}()
		}
		time.Sleep(time.Second)
		if st := b.Stats(); st.Handshakes != maxKnocksPerAddr {
			t.Errorf("%d handshakes under way, want %d", st.Handshakes, maxKnocksPerAddr)
		}
		for range attempts {
			<-done
		}
		time.Sleep(20 * time.Second)
		if st := b.Stats(); st.Handshakes != 0 || st.Connections != 0 {
			t.Errorf("%+v left", st)
		}
		if n := len(b.knocks.perAddr); n != 0 {
			t.Errorf("%d addresses remembered", n)
		}
	})
}

func TestComplaintsAreFewAndBounded(t *testing.T) {
	c := complaints{}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 * maxComplaints {
		about := complaint{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), ErrWrongKey}
		if !c.due(about, now) || c.due(about, now.Add(complainEvery-1)) || !c.due(about, now.Add(complainEvery)) {
			t.Fatal("not once a minute")
		}
	}
	if len(c.last) > maxComplaints {
		t.Errorf("%d remembered", len(c.last))
	}
}
