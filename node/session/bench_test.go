package session_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/node/session"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// endless is a broker that takes everything and, to each subscriber, gives the
// same event for ever.
type endless struct {
	event event.Event
	count atomic.Int64
}

func (e *endless) Publish(_ context.Context, _ string, evs []event.Event, _ node.Overflow) error {
	e.count.Add(int64(len(evs)))
	return nil
}

func (e *endless) Subscribe(context.Context, node.SubscribeRequest) (session.Subscription, error) {
	return e, nil
}
func (e *endless) Missing() []string { return nil }
func (e *endless) Close()            {}
func (e *endless) Next(ctx context.Context, buf []queue.Item) (int, error) {
	for i := range buf {
		buf[i].Event = e.event
	}
	return len(buf), ctx.Err()
}

// event128 is an event with 128 bytes of data.
func event128(b *testing.B) event.Event {
	b.Helper()
	ev, err := new(event.Builder).SetString("id", "0123456789").SetString("source", "/bench/a").SetString("type", "bench.event").
		SetData(event.BinaryData, bytes.Repeat([]byte("x"), 128)).Event()
	if err != nil {
		b.Fatal(err)
	}
	return ev
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPublish is one client's pipelined publishing of 128 B events over
// loopback TCP, acknowledged: cpu-ns/op is that of client and session together.
func BenchmarkPublish(b *testing.B) {
	h := &endless{}
	p := serveBroker(b, h)
	c := dial(b, p)
	ev := event128(b)
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		if _, err := c.PublishEnvelope(b.Context(), ev.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
	if n := h.count.Load(); n != int64(b.N) {
		b.Errorf("%d events came, want %d", n, b.N)
	}
}

// BenchmarkPublishSDK is BenchmarkPublish with the SDK's events.
func BenchmarkPublishSDK(b *testing.B) {
	p := serveBroker(b, &endless{})
	c := dial(b, p)
	raw := event128(b)
	e := client.FromEnvelope(&raw)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.PublishAsync(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPublishOne is one synchronous publish after another.
func BenchmarkPublishOne(b *testing.B) {
	p := serveBroker(b, &endless{})
	c := dial(b, p)
	ev := event128(b)
	b.ReportAllocs()
	for b.Loop() {
		ack, err := c.PublishEnvelope(b.Context(), ev.Bytes())
		if err != nil {
			b.Fatal(err)
		}
		if err := ack.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDeliver is the way of 128 B events from a session to a client's
// handler over loopback TCP.
func BenchmarkDeliver(b *testing.B) {
	h := &endless{event: event128(b)}
	c := dial(b, serveBroker(b, h))
	var n atomic.Int64
	done := make(chan struct{})
	b.ReportAllocs()
	start := cpu()
	b.ResetTimer()
	want := int64(b.N)
	if _, err := c.SubscribeRaw(b.Context(), client.Everything(), func(event.Event) {
		if n.Add(1) == want {
			close(done)
		}
	}); err != nil {
		b.Fatal(err)
	}
	<-done
	b.StopTimer()
	b.ReportMetric(float64(cpu()-start)/float64(n.Load()), "cpu-ns/op")
}
