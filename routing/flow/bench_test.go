package flow

import (
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// sample is an event with size bytes of data.
func sample(tb testing.TB, size int) event.Event {
	b := &event.Builder{}
	b.SetString("id", "0123456789").SetString("source", "/bench").SetString("type", "a.b.c")
	b.SetData(event.TextData, []byte(strings.Repeat("x", size)))
	ev, err := b.Event()
	if err != nil {
		tb.Fatal(err)
	}
	return ev
}

// counter is a sink and an exchange that only counts; frames are kept as bytes,
// as a lane would.
type counter struct {
	nodes  []peer.ID
	lanes  [][]byte // by node
	sent   []Reply
	events int
	gaps   int
}

func (c *counter) Deliver(*ID, string, []byte) { c.events++ }
func (c *counter) Gap(*Gap)                    { c.gaps++ }

func (c *counter) Route(_ *ID, _ string, _ []byte, _ bool, dst []peer.ID) []peer.ID {
	return append(dst, c.nodes...)
}

func (c *counter) Send(to peer.ID, f *Frame) bool {
	for i, id := range c.nodes {
		if id == to {
			c.lanes[i] = AppendFrame(c.lanes[i][:0], f)
		}
	}
	return true
}

func (c *counter) Reply(_ peer.ID, p *Reply) { c.sent = append(c.sent, *p) }

// BenchmarkFlow is what the whole machinery costs per event, with the copies and
// the bytes of the lanes: published at an origin, examined at the entry node,
// received at each of its interested nodes, and acknowledged all the way back.
func BenchmarkFlow(b *testing.B) {
	for _, bm := range []struct {
		name        string
		nodes, size int
		batch       int
	}{
		{"nodes=1/size=256/batch=64", 1, 256, 64},
		{"nodes=3/size=256/batch=64", 3, 256, 64},
		{"nodes=1/size=256/batch=1", 1, 256, 1},
		{"nodes=1/size=1024/batch=32", 1, 1024, 32},
	} {
		b.Run(bm.name, func(b *testing.B) {
			ev, now := sample(b, bm.size), time.Unix(1, 0)
			x := &counter{nodes: []peer.ID{"n0", "n1", "n2"}[:bm.nodes], lanes: make([][]byte, bm.nodes)}
			origin := NewOrigin(OriginConfig{Self: "o", Boot: 1, Budget: NewBudget(0, 0, 1)})
			origin.SetPath("r", 3, Path{Next: "e", Link: 1})
			entry := NewEntry(x, NewReceiver(x, 0), 0)
			var receivers []*Receiver
			for _, id := range x.nodes {
				entry.LinkUp(id)
				receivers = append(receivers, NewReceiver(x, 0))
			}
			var wan []byte
			var in Frame
			send := func(_ peer.ID, f *Frame) bool {
				wan = AppendFrame(wan[:0], f)
				if err := ReadFrame(wan, &in); err != nil {
					b.Fatal(err)
				}
				entry.Receive(now, "o", &in)
				return true
			}
			answer := func(_ peer.ID, p *Reply) { x.sent = append(x.sent, *p) }
			b.ReportAllocs()
			for done := 0; done < b.N; done += bm.batch {
				for range bm.batch {
					if err := origin.Publish(now, "r", 3, "default", &ev, DropOldest); err != nil {
						b.Fatal(err)
					}
				}
				origin.Drain(now, send)
				entry.Drain()
				for i, r := range receivers {
					if err := ReadFrame(x.lanes[i], &in); err != nil {
						b.Fatal(err)
					}
					r.Receive("e", &in)
					r.Acknowledge(answer)
					for k := range x.sent {
						entry.Received(x.nodes[i], &x.sent[k])
					}
					x.sent = x.sent[:0]
				}
				entry.Acknowledge()
				for k := range x.sent {
					origin.Reply(now, &x.sent[k])
				}
				x.sent = x.sent[:0]
			}
			if x.gaps > 0 || len(origin.Pending()) > 0 || x.events < b.N*bm.nodes {
				b.Fatalf("%d events, %d gaps, pending: %q", x.events, x.gaps, origin.Pending())
			}
		})
	}
}
