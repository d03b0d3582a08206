package transport

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// sink is a Handler that counts records as a receiver would: by reading them.
type sink struct {
	up    chan struct{}
	room  chan struct{}
	count atomic.Int64
}

func (s *sink) LinkUp(peer.Peer)                         { s.up <- struct{}{} }
func (s *sink) LinkDown(peer.ID, string)                 {}
func (s *sink) HandleControl(peer.ID, wire.Kind, []byte) {}
func (s *sink) HandleCall(_ context.Context, _ peer.Peer, _ wire.Kind, b []byte) ([]byte, error) {
	return b, nil
}

func (s *sink) HandleBatch(_ peer.ID, records []byte) {
	n := int64(0)
	for len(records) > 0 {
		_, size, err := wire.ReadRecord(records)
		if err != nil {
			panic(err)
		}
		records = records[size:]
		n++
	}
	s.count.Add(n)
}

func (s *sink) HandleRoom(peer.ID) {
	select {
	case s.room <- struct{}{}:
	default:
	}
}

func benchPair(b *testing.B) (*Endpoint, *sink, *sink) {
	b.Helper()
	identity := mustIdentity(b, testKey)
	var ends []*Endpoint
	var sinks []*sink
	for _, id := range []peer.ID{"a", "b"} {
		conn := loopback(b)
		s := &sink{up: make(chan struct{}, 1), room: make(chan struct{}, 1)}
		e, err := Open(Config{Conn: conn, Self: peer.Peer{ID: id, Region: "eu", Addr: addrPort(conn.LocalAddr())}, MeshID: "m", Identity: identity, Handler: s})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { e.Close() })
		ends, sinks = append(ends, e), append(sinks, s)
	}
	ends[0].Connect(ends[1].self)
	<-sinks[0].up
	<-sinks[1].up
	return ends[0], sinks[0], sinks[1]
}

// BenchmarkLane is the way of a record from Offer to the read
// record at the other end, over QUIC on loopback, both ends in this process.
func BenchmarkLane(b *testing.B) {
	for _, size := range []int{128, 160, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			from, here, to := benchPair(b)
			rec := &wire.Record{How: wire.Deliver, Body: make([]byte, size)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			start := time.Now()
			for b.Loop() {
				err := from.Offer("b", 0, rec, 1)
				for ; err == ErrLinkFull; err = from.Offer("b", 0, rec, 1) {
					<-here.room
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			for to.count.Load() < int64(b.N) {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "records/s")
		})
	}
}

func BenchmarkCall(b *testing.B) {
	from, _, _ := benchPair(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := from.Call(b.Context(), "b", wire.FirstControl, make([]byte, 100)); err != nil {
			b.Fatal(err)
		}
	}
}

// echo is a Handler that sends batches back.
type echo struct {
	sink
	back func(records []byte)
}

func (h *echo) HandleBatch(_ peer.ID, records []byte) { h.back(records) }

// BenchmarkLaneRoundTrip is one event there and one back, nothing else going on.
func BenchmarkLaneRoundTrip(b *testing.B) {
	identity := mustIdentity(b, testKey)
	var ends [2]*Endpoint
	home := make(chan struct{})
	handlers := [2]*echo{{back: func([]byte) { home <- struct{}{} }}, {}}
	rec := &wire.Record{How: wire.Deliver, Body: make([]byte, 256)}
	handlers[1].back = func([]byte) {
		if err := ends[1].Forward("a", 0, rec, 1); err != nil {
			b.Error(err)
		}
	}
	for i, id := range []peer.ID{"a", "b"} {
		conn := loopback(b)
		handlers[i].sink.up = make(chan struct{}, 1)
		e, err := Open(Config{Conn: conn, Self: peer.Peer{ID: id, Region: "eu", Addr: addrPort(conn.LocalAddr())}, MeshID: "m", Identity: identity, Handler: handlers[i]})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { e.Close() })
		ends[i] = e
	}
	ends[0].Connect(ends[1].self)
	<-handlers[0].sink.up
	<-handlers[1].sink.up
	b.ReportAllocs()
	for b.Loop() {
		if err := ends[0].Forward("b", 0, rec, 1); err != nil {
			b.Fatal(err)
		}
		<-home
	}
}
