package test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/test/realmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// conversation is what is said and heard in a mesh of processes. Everything
// said is about something: the part of the story that it belongs to. An event's
// source is "/node/about/key", its id a number that counts from 0.
type conversation struct {
	t       *testing.T
	m       *realmesh.Mesh
	clients map[string]*client.Client // by URL
	said    map[string]int            // events by source
	killed  map[string]bool           // nodes, by name, whose loss is to be told
	doubted bool                      // gaps may be told of what was said before, since nodes have been replaced
}

// ear is a subscriber for everything, at a node.
type ear struct {
	at *realmesh.Node

	mu    sync.Mutex          // guards the fields below
	heard map[string][]string // ids by source
	gaps  []client.Gap
}

func converse(t *testing.T, m *realmesh.Mesh) *conversation {
	return &conversation{t: t, m: m, clients: map[string]*client.Client{}, said: map[string]int{}, killed: map[string]bool{}}
}

// client is a connection to a node as it runs now.
func (c *conversation) client(n *realmesh.Node) *client.Client {
	c.t.Helper()
	if known := c.clients[n.HTTP]; known != nil {
		return known
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), realmesh.Patience)
	defer cancel()
	cl, err := client.Dial(ctx, n.HTTP, client.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		c.t.Fatalf("dial %s: %v", n.Name, err)
	}
	c.t.Cleanup(func() { cl.Close() }) // its node may have gone before
	c.clients[n.HTTP] = cl
	return cl
}

// listen opens an ear at each of the nodes, and returns once everybody up to
// the barrier knows of them.
func (c *conversation) listen(b client.Barrier, at ...*realmesh.Node) (ears []*ear) {
	c.t.Helper()
	for _, n := range at {
		e := &ear{at: n, heard: map[string][]string{}}
		s, err := c.client(n).SubscribeRaw(c.t.Context(), client.ByType("said"), e.hear, client.OnGap(e.miss),
			client.WithBarrier(b), client.WithBarrierWait(realmesh.Patience/2))
		if err != nil {
			c.t.Fatalf("subscribe at %s: %v", n.Name, err)
		}
		if missing := s.Missing(); len(missing) > 0 {
			c.t.Fatalf("subscribe at %s: not confirmed by %v", n.Name, missing)
		}
		ears = append(ears, e)
	}
	return ears
}

func (e *ear) hear(ev event.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	source := strings.Clone(ev.Source())
	e.heard[source] = append(e.heard[source], strings.Clone(ev.ID()))
}

func (e *ear) miss(g client.Gap) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gaps = append(e.gaps, g)
}

// speak publishes events at a node about something, some of each of some keys,
// and returns once all are acknowledged.
func (c *conversation) speak(n *realmesh.Node, about string, keys, each int) {
	c.t.Helper()
	cl := c.client(n)
	for range each {
		for key := range keys {
			source := fmt.Sprintf("/%s/%s/%d", n.Name, about, key)
			var b event.Builder
			b.SetString("id", strconv.Itoa(c.said[source])).SetString("source", source).SetString("type", "said")
			b.SetData(event.TextData, []byte("a word or two"))
			c.said[source]++
			if _, err := cl.PublishEnvelope(c.t.Context(), b.Append(nil)); err != nil {
				c.t.Fatalf("publish at %s: %v", n.Name, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), realmesh.Patience)
	defer cancel()
	if err := cl.Flush(ctx); err != nil {
		c.t.Fatalf("publish at %s: %v", n.Name, err)
	}
}

// exchange is exchangeBy with a few events of a few keys from each node.
func (c *conversation) exchange(about string, from []*realmesh.Node, ears []*ear) {
	c.t.Helper()
	c.exchangeBy(about, from, ears, func(about string) {
		for _, n := range from {
			c.speak(n, about, 3, 20)
		}
	})
}

// exchangeBy lets some nodes say something and checks that each of the ears hears
// all of it, each event once, in the order of its key, with no gap.
//
// That is promised as long as no link breaks. On a machine that is so busy that
// heartbeats come late, one may; then what was said proves nothing, and it is
// said again. A network on which links break every time fails the test.
func (c *conversation) exchangeBy(about string, from []*realmesh.Node, ears []*ear, say func(about string)) {
	c.t.Helper()
	const tries = 3
	for try := range tries {
		attempt, began := fmt.Sprint(about, try), time.Now()
		say(attempt)
		wrong, broken := c.heard(ears, from, attempt, began)
		if len(wrong) == 0 {
			return
		}
		if broken == "" || try == tries-1 {
			c.t.Fatalf("%s\nbroken link: %q", strings.Join(wrong, "\n"), broken)
		}
		c.t.Logf("once more, for the link %s broke", broken)
		c.m.AwaitLinked(from...)
	}
}

// heard waits until all ears have heard all, and says what is wrong, and which
// link broke meanwhile.
func (c *conversation) heard(ears []*ear, from []*realmesh.Node, about string, began time.Time) (wrong []string, broken string) {
	involved := map[string]*realmesh.Node{}
	for _, e := range ears {
		involved[e.at.Name] = e.at
	}
	for _, n := range from {
		if n.Running() {
			involved[n.Name] = n
		}
	}
	look := time.Now() // for broken links, now and then
	for deadline := time.Now().Add(realmesh.Patience); broken == "" && time.Now().Before(deadline); {
		if !slices.ContainsFunc(ears, func(e *ear) bool { return !e.complete(c, from, about) }) {
			break
		}
		if time.Since(look) > time.Second {
			broken, look = brokenLink(involved, began), time.Now()
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, e := range ears {
		wrong = append(wrong, e.wrong(c, from, about)...)
	}
	if len(wrong) > 0 && broken == "" {
		broken = brokenLink(involved, began)
	}
	return wrong, broken
}

// brokenLink names a link between some nodes that was not up all the time
// since.
func brokenLink(among map[string]*realmesh.Node, since time.Time) string {
	for _, n := range among {
		for _, l := range n.Links() {
			if among[l.To] != nil && (l.State != "up" || l.Since.After(since)) {
				return n.Name + " to " + l.To
			}
		}
	}
	return ""
}

// each calls do for each key of what nodes said about something, with how many
// events there are of it and what was heard. It holds the ear's lock.
func (e *ear) each(c *conversation, from []*realmesh.Node, about string, do func(source string, said int, heard []string)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range from {
		prefix := "/" + n.Name + "/" + about
		for source, said := range c.said {
			if strings.HasPrefix(source, prefix) {
				do(source, said, e.heard[source])
			}
		}
	}
}

func (e *ear) complete(c *conversation, from []*realmesh.Node, about string) bool {
	all := true
	e.each(c, from, about, func(_ string, said int, heard []string) { all = all && len(heard) >= said })
	return all
}

// wrong says what an ear did not hear as it was said, and forgets its gaps.
func (e *ear) wrong(c *conversation, from []*realmesh.Node, about string) (wrong []string) {
	e.each(c, from, about, func(source string, said int, heard []string) {
		if slices.Equal(heard, numbers("", said)) {
			return
		}
		first := 0
		for first < min(said, len(heard)) && heard[first] == strconv.Itoa(first) {
			first++
		}
		wrong = append(wrong, fmt.Sprintf("%s heard %d of %d of %s, rightly up to number %d, then %v",
			e.at.Name, len(heard), said, source, first, heard[first:min(first+10, len(heard))]))
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range e.gaps {
		if g.Cause == "origin_lost" && c.killed[g.Origin] {
			continue
		}
		if c.doubted {
			c.t.Logf("%s was told of a gap: %+v", e.at.Name, g)
			continue
		}
		wrong = append(wrong, fmt.Sprintf("%s was told of a gap: %+v", e.at.Name, g))
	}
	e.gaps = nil
	return wrong
}

// hears reports whether an ear heard anything that a node said about something.
func (e *ear) hears(c *conversation, n *realmesh.Node, about string) bool {
	any := false
	e.each(c, []*realmesh.Node{n}, about, func(_ string, _ int, heard []string) { any = any || len(heard) > 0 })
	return any
}
