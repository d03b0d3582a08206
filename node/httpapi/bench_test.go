package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// sink takes events and counts them: what is measured is the HTTP face.
type sink struct {
	recorder
	count atomic.Uint64
}

func (s *sink) PublishWith(_ context.Context, _ string, evs []event.Event, _ node.PublishOptions) ([]node.Position, error) {
	s.count.Add(uint64(len(evs)))
	return nil, nil
}

// benchRequest is a binary event of 256 bytes of data and six attributes.
var benchRequest = []byte("POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 256\r\n" +
	"Ce-Specversion: 1.0\r\nCe-Id: 7b1c9fae-03f1-4e0c-93a8-1d2f3b4c5d6e\r\nCe-Source: /sensors/halle-3\r\nCe-Type: org.example.reading.v1\r\n" +
	"Ce-Time: 2026-07-23T10:11:12.345678Z\r\nCe-Subject: boiler\r\n\r\n" + `"` + strings.Repeat("x", 254) + `"`)

const benchConns = 64

// BenchmarkBare is what BenchmarkIngest is measured against: the same requests
// over 64 connections to a bare net/http server that answers 202.
func BenchmarkBare(b *testing.B) { benchmark(b, benchConns, bare) }

// BenchmarkIngest is the same against the API.
func BenchmarkIngest(b *testing.B) { benchmark(b, benchConns, ingest) }

// BenchmarkIngestRatio runs both in turn and reports the ratio of their rates;
// 0.7 is wanted.
func BenchmarkIngestRatio(b *testing.B) {
	const rounds = 6
	var base, ours time.Duration
	n := max(b.N/rounds, benchConns)
	stopBare, bareAddr := bare(b)
	defer stopBare()
	stopOurs, oursAddr := ingest(b)
	defer stopOurs()
	b.ResetTimer()
	for range rounds {
		base += load(b, bareAddr, benchConns, n)
		ours += load(b, oursAddr, benchConns, n)
	}
	b.ReportMetric(float64(base)/float64(ours), "ratio")
	b.ReportMetric(float64(n*rounds)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(n*rounds)/base.Seconds(), "bare/s")
}

// BenchmarkHandler is the handler alone, without net/http around it.
func BenchmarkHandler(b *testing.B) {
	s := &sink{}
	api := New(Config{Broker: s, Inspector: s})
	defer api.Close()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(benchRequest)))
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.Fatal(err)
	}
	in := bytes.NewReader(body)
	r.Body = io.NopCloser(in)
	w := &discard{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(body)
		api.ServeHTTP(w, r)
	}
	if w.status != http.StatusAccepted {
		b.Fatalf("answered %d", w.status)
	}
}

type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

func bare(b *testing.B) (stop func(), addr string) {
	l := listen(b)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(l) }) //nolint:errcheck // closed below
	return func() { srv.Close(); wg.Wait() }, l.Addr().String()
}

func ingest(b *testing.B) (stop func(), addr string) {
	l := listen(b)
	s := &sink{}
	srv := OpenServer(ServerConfig{API: New(Config{Broker: s, Inspector: s}), Listeners: []net.Listener{l}})
	return func() { srv.Close() }, l.Addr().String()
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func benchmark(b *testing.B, conns int, open func(*testing.B) (func(), string)) {
	stop, addr := open(b)
	defer stop()
	b.ReportAllocs()
	b.ResetTimer()
	took := load(b, addr, conns, b.N)
	b.ReportMetric(float64(b.N)/took.Seconds(), "events/s")
}

// load sends n requests over conns connections, each one request at a time,
// with as little work of its own as can be, and returns how long that took.
func load(b *testing.B, addr string, conns, n int) time.Duration {
	b.Helper()
	var (
		wg   sync.WaitGroup
		left atomic.Int64
	)
	left.Store(int64(n))
	open := make([]net.Conn, conns)
	for i := range open {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		open[i] = c
	}
	start := time.Now()
	for _, c := range open {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for left.Add(-1) >= 0 {
				if err := exchange(c, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func exchange(c net.Conn, buf []byte) error {
	if _, err := c.Write(benchRequest); err != nil {
		return err
	}
	got := 0
	for {
		n, err := c.Read(buf[got:])
		if err != nil {
			return err
		}
		if got += n; bytes.HasSuffix(buf[:got], []byte("\r\n\r\n")) {
			if !bytes.HasPrefix(buf[:got], []byte("HTTP/1.1 202 ")) {
				return fmt.Errorf("answered %q", buf[:got])
			}
			return nil
		}
	}
}
