package fact

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// faulty is a mesh of three regions of four nodes, two of each gateways, on
// links that lose, repeat and hold back messages.
func faulty(t testing.TB, seed uint64) *world {
	w := newWorld(t, seed)
	w.loss, w.dup, w.stale, w.rumors = 0.02, 0.02, 0.5, 0.7
	w.latency = func(a, b *simNode) time.Duration {
		if a.region == b.region {
			return time.Duration(200+w.rng.IntN(600)) * time.Microsecond
		}
		return time.Duration(20+w.rng.IntN(20)) * time.Millisecond
	}
	for r := range 3 {
		for i := range 4 {
			n := w.add(fmt.Sprintf("r%d-%d", r, i), fmt.Sprintf("r%d", r))
			n.gateway = i < 2
			w.completes(n)
		}
	}
	w.mesh()
	return w
}

// completes has a node say a while after its start that its facts are all there.
func (w *world) completes(n *simNode) {
	inc := n.inc
	w.after(time.Duration(w.rng.IntN(3000))*time.Millisecond, func() {
		if n.up && n.inc == inc {
			n.Complete(near)
			n.Complete(wide)
			n.settle()
		}
	})
}

// trouble does one random thing to a mesh.
func (w *world) trouble() {
	a, b := w.nodes[w.rng.IntN(len(w.nodes))], w.nodes[w.rng.IntN(len(w.nodes))]
	topic := near
	if w.rng.IntN(2) == 0 {
		topic = wide
	}
	switch x := w.rng.IntN(100); {
	case x < 70:
		if a.up {
			var adds, removes []string
			for range 1 + w.rng.IntN(4) {
				e := fmt.Sprintf("%s/%d", a.id, w.rng.IntN(30))
				if w.rng.IntN(3) == 0 {
					removes = append(removes, e)
				} else if !slices.Contains(removes, e) {
					adds = append(adds, e)
				}
			}
			removes = slices.DeleteFunc(removes, func(e string) bool { return slices.Contains(adds, e) })
			a.set(topic, adds, removes)
		}
	case x < 80:
		w.disconnect(a, b)
	case x < 82:
		if a.up {
			a.crash()
		}
		w.after(time.Duration(w.rng.IntN(4000))*time.Millisecond, func() {
			if !a.up {
				a.boot()
				w.completes(a)
			}
		})
	case x < 84: // cut a region off
		for _, n := range w.nodes {
			for _, o := range w.nodes {
				if n.region == a.region && o.region != a.region {
					w.disconnect(n, o)
				}
			}
		}
	default:
		w.mesh()
	}
}

func TestFactsConvergeWhateverLinksAndNodesDo(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 20
	}
	passed, sent := 0, 0
	for seed := range seeds {
		w := faulty(t, uint64(seed))
		for range 250 {
			w.run(time.Duration(w.rng.IntN(200)) * time.Millisecond)
			w.trouble()
		}
		w.run(5 * time.Second) // the last restarts
		w.mesh()
		w.run(25 * time.Second)
		if d := w.differs(); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		for _, n := range w.nodes {
			if s := n.Stats(); s.Conflicts > 0 || s.Impostors > 0 || s.Malformed > 0 {
				t.Fatalf("seed %d: %s has %+v", seed, n.id, s)
			}
			for _, b := range n.barriers {
				if b.inc == n.inc {
					t.Fatalf("seed %d: %s still waits for %v", seed, n.id, n.Acked(b.topic, b.ver))
				}
			}
		}
		passed, sent = passed+w.passed, sent+w.sent
	}
	t.Logf("%d seeds: %d barriers, %d messages", seeds, passed, sent)
}

// pair is two linked nodes of one region.
func pair(t *testing.T) (w *world, a, b *simNode) {
	w = newWorld(t, 1)
	a, b = w.add("a", "eu"), w.add("b", "eu")
	w.connect(a, b)
	w.run(3 * time.Second)
	return w, a, b
}

func TestALargeFactTravelsInParts(t *testing.T) {
	w, a, b := pair(t)
	w.disconnect(a, b)
	var all []string
	for i := range 60_000 {
		all = append(all, fmt.Sprintf("%s/%d", strings.Repeat("e", i%50), i*7919))
	}
	a.set(near, all, nil)
	w.connect(a, b)
	w.run(3 * time.Second)
	if got := len(b.view[key{"a", near}]); got != len(a.truth[near]) {
		t.Errorf("%d of %d entries arrived", got, len(a.truth[near]))
	}
	if b.Stats().Fulls == 0 {
		t.Error("it did not travel whole")
	}
}

func TestWhatIsTooLargeIsRefusedWhole(t *testing.T) {
	_, a, _ := pair(t)
	if err := a.Set(near, []string{"small", strings.Repeat("x", MaxEntry+1)}, nil); err == nil {
		t.Error("an entry beyond the bound was taken")
	}
	if got := a.Entries("a", near); len(got) != 0 {
		t.Errorf("%d entries were taken from a refused change", len(got))
	}
}

func TestARestartHidesNothingUntilItIsComplete(t *testing.T) {
	w, a, b := pair(t)
	a.set(near, []string{"old", "both"}, nil)
	a.Complete(near)
	a.settle()
	w.run(time.Second)
	a.crash()
	a.boot()
	w.connect(a, b)
	a.set(near, []string{"both", "new"}, nil)
	w.run(3 * time.Second)
	if got := b.Entries("a", near); !slices.Equal(got, []string{"both", "new", "old"}) {
		t.Errorf("before it is complete: %v", got)
	}
	a.Complete(near)
	a.settle()
	w.run(time.Second)
	if got := b.Entries("a", near); !slices.Equal(got, []string{"both", "new"}) {
		t.Errorf("once it is complete: %v", got)
	}
	if d := w.differs(); d != "" {
		t.Error(d)
	}
}

func TestAGoneOwnerIsForgottenAndNotBroughtBackByACopy(t *testing.T) {
	w, a, b := pair(t)
	c := w.add("c", "eu")
	a.set(near, []string{"x"}, nil)
	w.run(time.Second)
	a.crash()
	w.run(9 * time.Minute)
	if len(b.view[key{"a", near}]) != 1 {
		t.Fatal("forgotten too early")
	}
	w.connect(b, c)
	w.run(30 * time.Second)
	if len(c.view[key{"a", near}]) != 1 {
		t.Fatal("a newcomer does not hear of it")
	}
	w.run(3 * time.Minute)
	for _, n := range []*simNode{b, c} {
		if _, has := n.view[key{"a", near}]; has {
			t.Errorf("%s remembers it for ever", n.id)
		}
	}
	// Somebody who was away holds a copy that is as old.
	late := New(Config{Self: "late", Region: "eu", Incarnation: 1, Topics: simTopics, Key: []byte("0123456789abcdef")})
	lateFact := late.add(key{"a", near}, "eu")
	lateFact.version = version{1, 1}
	lateFact.set["x"] = struct{}{}
	lateFact.sum = late.key.hash("x")
	b.LinkUp(w.now, Link{ID: "late", Region: "eu"})
	late.LinkUp(w.now, Link{ID: "b", Region: "eu"})
	for range 5 {
		for _, m := range late.Out() {
			if err := b.Receive(w.now, "late", m.Body); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range b.Out() {
			if m.To == "late" {
				late.Receive(w.now, "b", m.Body)
			}
		}
	}
	if len(b.Entries("a", near)) != 0 {
		t.Error("a copy brought it back")
	}
	// The owner itself is believed.
	a.boot()
	a.set(near, []string{"y"}, nil)
	w.connect(a, b)
	w.run(3 * time.Second)
	if got := b.Entries("a", near); !slices.Equal(got, []string{"y"}) {
		t.Errorf("after its return: %v", got)
	}
}

func TestOneThatLeftIsForgottenAtOnce(t *testing.T) {
	w, a, b := pair(t)
	a.set(wide, []string{"x"}, nil)
	w.run(time.Second)
	a.crash()
	b.Gone(w.now, "a", true)
	b.settle()
	if _, has := b.view[key{"a", wide}]; has {
		t.Error("it is still there")
	}
}

func TestOneIdentityUsedTwiceIsCountedAndTheOwnerWins(t *testing.T) {
	w, a, b := pair(t)
	a.set(near, []string{"x"}, nil)
	w.run(time.Second)
	f := b.facts[key{"a", near}]
	f.set["forged"] = struct{}{}
	f.sum += b.key.hash("forged")
	w.run(10 * time.Second)
	if got := b.Entries("a", near); !slices.Equal(got, []string{"x"}) {
		t.Errorf("%v", got)
	}
	if a.Stats().Conflicts+b.Stats().Conflicts == 0 {
		t.Error("nobody counted the conflict")
	}
}

func TestSumIsSipHash(t *testing.T) {
	var secret [16]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	k := newHashKey(secret[:])
	for in, want := range map[string]sum{ // from the reference implementation
		"": 0x726fdb47dd0e0e31, "\x00": 0x74f839c593dc67fd,
		"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e": 0xa129ca6149be45e5,
	} {
		if got := k.hash(in); got != want {
			t.Errorf("hash of %d bytes is %x, want %x", len(in), got, want)
		}
	}
}

// FuzzReceive feeds garbage to a machine that has a little of everything.
func FuzzReceive(f *testing.F) {
	w := newWorld(f, 1)
	a, b := w.add("a", "eu"), w.add("b", "us")
	a.set(wide, []string{"one", "only", "two"}, []string{"x"})
	h := a.head(a.facts[key{"a", wide}])
	head := appendHead(nil, &h)
	body := a.begin()
	f.Add(appendRecord(body, kindDigest, append([]byte{flagAnswer}, head...)))
	f.Add(appendRecord(body, kindDelta, appendDelta(nil, &delta{head: h, adds: []string{"one", "only", "two"}})))
	f.Add(appendRecord(body, kindFull, appendFull(nil, &full{head: h, parts: 1, entries: []string{"one", "only", "two"}})))
	f.Add(appendRecord(body, kindPull, appendPull(nil, h.key, version{1, 0})))
	f.Add(appendRecord(body, kindAck, appendAck(nil, &ack{key: h.key, inc: 1, ver: 1, spread: 1})))
	_ = b
	f.Add(appendRecord(body, kindStamp, make([]byte, 8)))
	f.Fuzz(func(t *testing.T, body []byte) {
		m := New(Config{Self: "b", Region: "us", Incarnation: 1, Topics: simTopics, Key: []byte("0123456789abcdef")})
		if err := m.Set(wide, []string{"mine"}, nil); err != nil {
			t.Fatal(err)
		}
		m.LinkUp(w.now, Link{ID: "a", Region: "eu"})
		m.LinkUp(w.now, Link{ID: "c", Region: "us"})
		err := m.Receive(w.now, "a", body)
		rerr := m.Rumor(w.now, body)
		m.Tick(w.now.Add(time.Minute))
		for _, o := range m.Out() {
			if len(o.Body) > MaxBody+MaxBody/8 {
				t.Errorf("a message of %d bytes", len(o.Body))
			}
			if o.To == "a" {
				if err := a.Receive(w.now, "b", bytes.Clone(o.Body)); err != nil {
					t.Errorf("it says what cannot be read: %v", err)
				}
			}
		}
		if got := m.Entries("b", wide); !slices.Equal(got, []string{"mine"}) {
			t.Errorf("its own facts became %v (%v, %v)", got, err, rerr)
		}
	})
}

// A message of another format changes nothing, and the error names both.
func TestAMessageOfAnotherFormatIsRefused(t *testing.T) {
	now := time.Unix(1, 0)
	a := New(Config{Self: "a", Region: "eu", Incarnation: 1, Topics: simTopics, Key: []byte("0123456789abcdef")})
	b := New(Config{Self: "b", Region: "eu", Incarnation: 1, Topics: simTopics, Key: []byte("0123456789abcdef")})
	if err := a.Set(near, []string{"x"}, nil); err != nil {
		t.Fatal(err)
	}
	a.Complete(near)
	a.LinkUp(now, Link{ID: "b", Region: "eu"})
	b.LinkUp(now, Link{ID: "a", Region: "eu"})
	for _, m := range a.Out() {
		m.Body[0]++
		if err := b.Receive(now, "a", m.Body); err == nil || !strings.Contains(err.Error(), "format 2, where this node speaks 1") {
			t.Errorf("%v", err)
		}
	}
	if b.Entries("a", near) != nil {
		t.Error("it was taken")
	}
}
