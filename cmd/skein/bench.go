package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// load is what the benchmarks were told.
type load struct {
	typ      string
	size     int
	rate     int // events per second; 0 is as fast as it goes
	duration time.Duration
	count    int // ends the load before the duration does; 0 never
	writers  int
	to       string
	name     string // of a publisher in a run: part of its events' ids
}

// loaded is what a benchmark measured; what it did not is left out.
type loaded struct {
	Events  int     `json:"events"`
	Lost    int     `json:"lost,omitempty"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"eventsPerSecond"`
	Bytes   float64 `json:"bytesPerSecond,omitempty"`
	P50     float64 `json:"p50Ms,omitempty"`
	P99     float64 `json:"p99Ms,omitempty"`
	P999    float64 `json:"p999Ms,omitempty"`
	Max     float64 `json:"maxMs,omitempty"`
}

// minLoad is room for the time and the number that a measured event carries.
const minLoad = 16

func benchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put load on a mesh from the command line",
		Example: `  skein bench pub --duration 10s
  skein bench rtt --server http://127.0.0.1:8420 --to http://127.0.0.1:8421`,
		RunE: group,
	}
	cmd.AddCommand(benchPubCommand(a), benchSubCommand(a), benchRTTCommand(a))
	return cmd
}

// command is a benchmark with the flags that all have.
func (l *load) command(a *app, use, short, long, example string, do func(context.Context) (loaded, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Example: example}
	f := cmd.Flags()
	f.StringVarP(&l.typ, "type", "t", "skein.bench", "the events' `type`")
	f.DurationVar(&l.duration, "duration", 10*time.Second, "`time` the load lasts")
	f.IntVarP(&l.count, "count", "c", 0, "end after this many events")
	a.addNamespace(cmd)
	a.addServer(cmd)
	a.addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case l.duration <= 0:
			return usagef("--duration %v: want more than 0", l.duration)
		case l.count < 0 || l.rate < 0 || l.writers < 0:
			return usagef("--count, --rate and --publishers: want no less than 0")
		case l.size < 0 || l.size > event.MaxEnvelope:
			return usagef("--size %d: want 0 to %d bytes", l.size, event.MaxEnvelope)
		}
		m, err := do(cmd.Context())
		if err != nil {
			return err
		}
		if a.json {
			return a.out.json(m)
		}
		a.out.printf("%s", m)
		return nil
	}
	return cmd
}

func benchPubCommand(a *app) *cobra.Command {
	l := &load{}
	cmd := l.command(a, "pub", "Publish as fast as the node takes it, or at a rate",
		"Publish events of random bytes and measure how many the node routes in a second,\nand how long each waits for its acknowledgement.",
		"  skein bench pub --size 1024 --publishers 4\n  skein bench pub --rate 10000 --duration 1m --json",
		func(ctx context.Context) (loaded, error) { return l.publish(ctx, a) })
	f := cmd.Flags()
	f.IntVar(&l.size, "size", 256, "data of an event, in `bytes`")
	f.IntVar(&l.rate, "rate", 0, "`events` per second (default: as fast as it goes)")
	f.IntVar(&l.writers, "publishers", 1, "`number` of connections that publish at once")
	return cmd
}

func (l *load) publish(ctx context.Context, a *app) (loaded, error) {
	ctx, stop := context.WithTimeoutCause(ctx, l.duration, errTimeUp)
	defer stop()
	var wg sync.WaitGroup
	writers := max(1, l.writers)
	results, errs := make([]loaded, writers), make([]error, writers)
	samples := make([][]time.Duration, writers)
	began := time.Now()
	for i := range writers {
		wg.Go(func() {
			share := *l
			share.rate, share.count = split(l.rate, writers, i), split(l.count, writers, i)
			results[i].Events, samples[i], errs[i] = share.publishOne(ctx, a)
		})
	}
	wg.Wait()
	m := loaded{Seconds: time.Since(began).Seconds()}
	for _, r := range results {
		m.Events += r.Events
	}
	m.finish(l.size, slices.Concat(samples...))
	return m, errors.Join(errs...)
}

var errTimeUp = errors.New("the time is up")

// split is the i-th of n nearly equal parts of a number; 0 stays 0.
func split(number, n, i int) int {
	if number == 0 {
		return 0
	}
	return max(1, number*(i+1)/n-number*i/n)
}

// publishOne is one connection's load: a goroutine publishes while another
// takes the acknowledgements' times.
func (l *load) publishOne(ctx context.Context, a *app) (n int, samples []time.Duration, err error) {
	l.name = rand.Text()
	c, err := a.dial(ctx, a.server, "skein bench pub")
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	type sent struct {
		ack client.Ack
		at  time.Time
	}
	onWay := make(chan sent, client.DefaultWindowEvents)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		for s := range onWay {
			if err := s.ack.Wait(context.WithoutCancel(ctx)); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			samples = append(samples, time.Since(s.at))
		}
	})
	err = l.pace(ctx, func(i int) error {
		at := time.Now()
		ack, err := c.PublishEnvelope(ctx, l.envelope(i, at))
		if err == nil {
			onWay <- sent{ack, at}
		}
		return err
	})
	close(onWay)
	wg.Wait()
	if err == nil {
		err = failed
	}
	return len(samples), samples, err
}

// pace calls do as often and as fast as the load says, until ctx ends.
func (l *load) pace(ctx context.Context, do func(i int) error) error {
	began := time.Now()
	for i := 0; l.count == 0 || i < l.count; i++ {
		if l.rate > 0 {
			due := began.Add(time.Duration(float64(i) / float64(l.rate) * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := do(i); err != nil && ctx.Err() == nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

// envelope is the i-th event of a load: its data begins with the time and the
// number. Streams know events by source and id, so that no two may share them, of
// whatever publisher or run.
func (l *load) envelope(i int, at time.Time) []byte {
	var b event.Builder
	data := make([]byte, l.size)
	if len(data) >= minLoad {
		binary.BigEndian.PutUint64(data, uint64(at.UnixNano()))
		binary.BigEndian.PutUint64(data[8:], uint64(i))
	}
	b.SetString("id", l.name+"-"+strconv.Itoa(i)).SetString("source", "/skein/bench").SetString("type", l.typ)
	return b.SetData(event.BinaryData, data).Append(nil)
}

func benchSubCommand(a *app) *cobra.Command {
	l := &load{}
	return l.command(a, "sub", "Count what arrives",
		"Subscribe to the benchmark's events, or those of --type, and count what arrives.",
		"  skein bench sub --server http://127.0.0.1:8421 --duration 10s",
		func(ctx context.Context) (loaded, error) { return l.receive(ctx, a) })
}

func (l *load) receive(ctx context.Context, a *app) (loaded, error) {
	c, err := a.dial(ctx, a.server, "skein bench sub")
	if err != nil {
		return loaded{}, err
	}
	defer c.Close()
	var n, bytes, lost atomic.Int64
	var first, last atomic.Int64
	enough := make(chan struct{})
	_, err = c.SubscribeRaw(ctx, client.ByType(l.typ), func(e event.Event) {
		now := time.Now().UnixNano()
		first.CompareAndSwap(0, now)
		last.Store(now)
		data, _ := e.Data()
		bytes.Add(int64(len(data)))
		if n.Add(1) == int64(l.count) {
			close(enough)
		}
	}, client.OnGap(func(g client.Gap) { lost.Add(int64(g.Count)) }))
	if err != nil {
		return loaded{}, fmt.Errorf("subscribe: %w", err)
	}
	select {
	case <-enough:
	case <-ctx.Done():
	case <-time.After(l.duration):
	}
	m := loaded{Events: int(n.Load()), Lost: int(lost.Load())}
	if m.Events > 0 { // from the first event to the last: waiting for the load is not the load
		m.Seconds = time.Duration(last.Load() - first.Load()).Seconds()
		m.finish(int(bytes.Load())/m.Events, nil)
	}
	return m, nil
}

func benchRTTCommand(a *app) *cobra.Command {
	l := &load{}
	cmd := l.command(a, "rtt", "Measure the time from publisher to subscriber",
		"Publish at --server, subscribe at --to, and measure how long events take from one\nto the other.",
		"  skein bench rtt --server http://127.0.0.1:8420 --to http://127.0.0.1:8421 --rate 1000",
		func(ctx context.Context) (loaded, error) { return l.roundTrips(ctx, a) })
	f := cmd.Flags()
	f.IntVar(&l.size, "size", 256, "data of an event, in `bytes`")
	f.IntVar(&l.rate, "rate", 1000, "`events` per second")
	f.StringVar(&l.to, "to", "", "`URL` of the node where the subscriber is (default: that of --server)")
	return cmd
}

const lastArrival = 2 * time.Second // how long events may still come when the load has ended

func (l *load) roundTrips(ctx context.Context, a *app) (loaded, error) {
	l.size, l.name = max(l.size, minLoad), rand.Text()
	there := a.server
	if l.to != "" {
		there.url = l.to
	}
	sub, err := a.dial(ctx, there, "skein bench rtt")
	if err != nil {
		return loaded{}, err
	}
	defer sub.Close()
	pub, err := a.dial(ctx, a.server, "skein bench rtt")
	if err != nil {
		return loaded{}, err
	}
	defer pub.Close()
	var mu sync.Mutex // guards the field below
	var samples []time.Duration
	// A type of its own keeps other runs' events out.
	l.typ += "." + strconv.FormatInt(time.Now().UnixNano(), 36)
	_, err = sub.SubscribeRaw(ctx, client.ByType(l.typ), func(e event.Event) {
		now := time.Now()
		if data, _ := e.Data(); len(data) >= minLoad {
			at := time.Unix(0, int64(binary.BigEndian.Uint64(data)))
			mu.Lock()
			samples = append(samples, now.Sub(at))
			mu.Unlock()
		}
	})
	if err != nil {
		return loaded{}, fmt.Errorf("subscribe: %w", err)
	}
	began, sent := time.Now(), 0
	timed, stop := context.WithTimeoutCause(ctx, l.duration, errTimeUp)
	defer stop()
	err = l.pace(timed, func(i int) error {
		_, err := pub.PublishEnvelope(timed, l.envelope(i, time.Now()))
		if err == nil {
			sent++
		}
		return err
	})
	if err != nil {
		return loaded{}, err
	}
	took := time.Since(began)
	arrived := func() int { mu.Lock(); defer mu.Unlock(); return len(samples) }
	for end := time.Now().Add(lastArrival); arrived() < sent && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	m := loaded{Events: len(samples), Lost: sent - len(samples), Seconds: took.Seconds()}
	m.finish(l.size, samples)
	return m, nil
}

// finish works out rates and percentiles.
func (m *loaded) finish(size int, samples []time.Duration) {
	if m.Seconds > 0 {
		m.Rate = float64(m.Events) / m.Seconds
		m.Bytes = m.Rate * float64(size)
	}
	if len(samples) == 0 {
		return
	}
	slices.Sort(samples)
	at := func(part float64) float64 {
		i := min(len(samples)-1, int(part*float64(len(samples))))
		return float64(samples[i]) / float64(time.Millisecond)
	}
	m.P50, m.P99, m.P999, m.Max = at(0.5), at(0.99), at(0.999), at(1)
}

// String is the result for a person.
func (m loaded) String() string {
	text := fmt.Sprintf("%s in %.1f s: %s/s, %s/s\n", plural(m.Events, "event"), m.Seconds, count(int(m.Rate)), size(uint64(m.Bytes)))
	if m.Max > 0 {
		text += fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, max %s\n", millis(m.P50), millis(m.P99), millis(m.P999), millis(m.Max))
	}
	if m.Lost > 0 {
		text += plural(m.Lost, "event") + " lost\n"
	}
	return text
}
