package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// keeper is a system that keeps events: three processes of one region, three
// replicas of everything, on disk.
type keeper interface {
	// create makes a stream of a topic's events.
	create(ctx context.Context, topic string, partitions int) error
	// createMany makes streams of topics' events, as cheaply as the system can.
	createMany(ctx context.Context, topics []string) error
	// acked makes a connection to the first seat that publishes.
	acked(ctx context.Context) (acked, error)
	// replay reads a topic's stream from its beginning until got has been called n
	// times.
	replay(ctx context.Context, topic string, n int, got func(data []byte)) error
	// leader is the seat whose process leads the topic's stream.
	leader(ctx context.Context, topic string) (int, error)
	pids() []int
	kill(at int) error
	revive(ctx context.Context, at int) error
	close()
}

// acked publishes and hears what became of it.
type acked interface {
	// publish begins to publish; wait returns when all replicas that must have the
	// event have it, or fails.
	publish(topic string, data []byte) (wait func(context.Context) error, err error)
	close()
}

// durable is a row that needs what is kept.
type durable struct {
	name    string
	lines   []line
	measure func(ctx context.Context, k keeper, scale float64) (result, error)
	alone   bool // it is measured of fresh processes
	own     bool // it is of Skein only
}

const inFlight = 1000

// perEvent says what the three processes do for an event: on a machine that has
// other work, too, that is steadier than a rate.
var perEvent = line{"CPU of the three processes for an event", "µs", ""}

var durables = []durable{
	{name: "acked", lines: []line{{"acked, 256 B, 1 000 in flight, 1 partition", "k/s", "≥ 1.0, 250 k/s"}, perEvent}, measure: ackedRow(1, 1)},
	{name: "acked-64", lines: []line{{"acked, 64 synchronous publishers", "k/s", "≥ 2"}, {"p50", "ms", "≤ 0.5"}}, measure: synchronous(64, 20_000)},
	{name: "acked-1", lines: []line{{"acked, one synchronous publisher: p50", "ms", "≤ 1.0"}, {"p99", "ms", ""}, {"rate", "k/s", ""}}, measure: synchronousOne},
	{name: "acked-16p", lines: []line{{"acked, 1 000 in flight, 16 partitions of its own", "k/s", "≥ 0.8 of 1"}, perEvent}, measure: ackedRow(16, 1), own: true},
	{name: "acked-1000s", lines: []line{{"acked, 1 000 in flight, 1 000 streams on shared ones", "k/s", "≥ 0.8 of 1"}, perEvent}, measure: ackedRow(1, 1000), own: true},
	{name: "replay-128", lines: []line{{"replay, 128 B", "k/s", "≥ 2"}}, measure: replay(128, 200_000)},
	{name: "replay-1k", lines: []line{{"replay, 1 KiB", "k/s", "≥ 2"}}, measure: replay(1024, 60_000)},
	{name: "idle-streams", lines: []line{{"idle, 1 000 streams on 3 nodes: CPU", "%", "≤ 0.05"}, {"memory", "MB", "≤ 0.3"}}, measure: idleStreams, alone: true},
	{name: "streams", lines: []line{
		{"10 000 streams: made", "/s", ""}, {"all listed", "s", ""}, {"written to in turn, 1 000 in flight", "k/s", ""},
		{"each read from its beginning", "/s", ""}, {"p50", "ms", ""}, {"p99", "ms", ""}, {"memory of the three processes then", "MB", ""}, {"idle CPU of them", "%", ""},
	}, measure: manyStreams, alone: true, own: true},
	{name: "failover", lines: []line{{"leader killed until publishes are acked: median", "s", ""}, {"slowest", "s", "< 2 s"}}, measure: failover, alone: true},
}

// keeperRival is a keeper that is measured.
type keeperRival struct {
	name  string
	start func(ctx context.Context) (keeper, error)
}

// region is three seats of one region.
func oneRegion() (seats []seat) {
	for i := range 3 {
		seats = append(seats, seat{name: fmt.Sprint("n", i), region: "r0", ip: "127.0.0.1"})
	}
	return seats
}

// durableFormat is of a line: what, JetStream as it comes and with fsync, Skein,
// its ratios to both, load average, wanted.
const durableFormat = "%-52s %13s %13s %13s %7s %7s %6s  %s\n"

// runDurable measures the rows of what is kept.
func runDurable(ctx context.Context, p plan, dir, binary string) error {
	if !slices.ContainsFunc(durables, func(r durable) bool { return p.has(r.name) }) {
		return nil
	}
	rivals := []keeperRival{
		{"nats", func(ctx context.Context) (keeper, error) { return startJetStream(ctx, dir, "2m") }},
		{"nats-always", func(ctx context.Context) (keeper, error) { return startJetStream(ctx, dir, "always") }},
		{"skein", func(ctx context.Context) (keeper, error) { return startKeeping(ctx, binary, dir) }},
	}
	fmt.Printf(durableFormat, "", "JetStream", "fsync always", "Skein", "ratio", "fsync", "load", "wanted")
	for _, r := range durables {
		if !p.has(r.name) {
			continue
		}
		results := make([][]result, len(rivals))
		rounds := p.rounds
		if r.alone {
			rounds = 1
		}
		for i, rival := range rivals {
			if p.system != "" && p.system != rival.name || r.own && rival.name != "skein" {
				continue
			}
			got, err := measureDurable(ctx, r, rival, rounds, p.scale())
			if err != nil {
				return fmt.Errorf("%s with %s: %w", r.name, rival.name, err)
			}
			results[i] = got
		}
		for i, l := range r.lines {
			a, b, c := median(results[0], i), median(results[1], i), median(results[2], i)
			fmt.Printf(durableFormat, l.what, cell(a, l.unit), cell(b, l.unit), cell(c, l.unit), cell(c/a, ""), cell(c/b, ""), load(), l.wanted)
		}
	}
	return nil
}

// measureDurable runs the rounds of a row with processes that nothing else uses:
// the disk is shared, so only one system is up at a time.
func measureDurable(ctx context.Context, r durable, rival keeperRival, rounds int, scale float64) (results []result, err error) {
	k, err := rival.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	defer k.close()
	for range rounds {
		one, cancel := context.WithTimeout(ctx, 3*time.Minute)
		got, err := r.measure(one, k, scale)
		cancel()
		if err != nil {
			return nil, err
		}
		results = append(results, got)
	}
	return results, nil
}

// load is the machine's load average of the last minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return strings.Fields(string(b))[0]
}

func freshTopic(name string) string { return fmt.Sprintf("bench.%s.%d", name, time.Now().UnixNano()) }

// ackedRow publishes with so many events in flight, over so many streams in turn.
func ackedRow(partitions, streams int) func(ctx context.Context, k keeper, scale float64) (result, error) {
	var topics []string // made once for all rounds if there are many
	return func(ctx context.Context, k keeper, scale float64) (result, error) {
		if streams == 1 {
			topics = []string{freshTopic("acked")}
			if err := k.create(ctx, topics[0], partitions); err != nil {
				return result{}, err
			}
		} else if topics == nil {
			for i := range streams {
				topics = append(topics, fmt.Sprintf("%s.%d", freshTopic("many"), i))
			}
			if err := k.createMany(ctx, topics); err != nil {
				return result{}, err
			}
		}
		p, err := k.acked(ctx)
		if err != nil {
			return result{}, err
		}
		defer p.close()
		if _, err := keep(ctx, p, topics, noise(256), 5_000); err != nil { // everybody is warm
			return result{}, err
		}
		n := int(300_000 * scale)
		before, _, err := usage(k.pids())
		if err != nil {
			return result{}, err
		}
		took, err := keep(ctx, p, topics, noise(256), n)
		if err != nil {
			return result{}, err
		}
		after, _, err := usage(k.pids())
		return result{values: []float64{float64(n) / took.Seconds() / 1000, float64((after - before).Microseconds()) / float64(n)}}, err
	}
}

// keep publishes n events with inFlight on their way at once.
func keep(ctx context.Context, p acked, topics []string, data []byte, n int) (time.Duration, error) {
	return keepWithin(ctx, p, topics, data, n, inFlight)
}

// keepWithin is keep with so many on their way at once.
func keepWithin(ctx context.Context, p acked, topics []string, data []byte, n, inFlight int) (time.Duration, error) {
	waits := make([]func(context.Context) error, inFlight)
	began := time.Now()
	for i := range n + inFlight {
		at := i % inFlight
		if i >= inFlight && i-inFlight < n {
			if err := waits[at](ctx); err != nil {
				return 0, fmt.Errorf("event %d: %w", i-inFlight, err)
			}
		}
		if i < n {
			var err error
			if waits[at], err = p.publish(topics[i%len(topics)], data); err != nil {
				return 0, fmt.Errorf("event %d: %w", i, err)
			}
		}
	}
	return time.Since(began), nil
}

// synchronous has publishers, each with a connection, that wait for each event.
func synchronous(publishers, events int) func(ctx context.Context, k keeper, scale float64) (result, error) {
	return func(ctx context.Context, k keeper, scale float64) (result, error) {
		took, times, err := oneByOne(ctx, k, publishers, int(float64(events)*scale))
		if err != nil {
			return result{}, err
		}
		return result{values: []float64{float64(len(times)) / took.Seconds() / 1000, times[len(times)/2]}}, nil
	}
}

func synchronousOne(ctx context.Context, k keeper, scale float64) (result, error) {
	took, times, err := oneByOne(ctx, k, 1, int(2000*scale))
	if err != nil {
		return result{}, err
	}
	return result{values: []float64{times[len(times)/2], times[len(times)*99/100], float64(len(times)) / took.Seconds() / 1000}}, nil
}

// oneByOne tells how long each event took, in ms, sorted, and all of them.
func oneByOne(ctx context.Context, k keeper, publishers, events int) (took time.Duration, times []float64, err error) {
	topic := freshTopic("sync")
	if err := k.create(ctx, topic, 1); err != nil {
		return 0, nil, err
	}
	var list []acked
	for range publishers {
		p, err := k.acked(ctx)
		if err != nil {
			return 0, nil, err
		}
		defer p.close()
		list = append(list, p)
	}
	if _, err := keep(ctx, list[0], []string{topic}, noise(256), 2000); err != nil {
		return 0, nil, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(events))
	data := noise(256)
	began := time.Now()
	for _, p := range list {
		wg.Go(func() {
			var own []float64
			var wrong error
			for left.Add(-1) >= 0 && wrong == nil {
				at := time.Now()
				wait, err := p.publish(topic, data)
				if err == nil {
					err = wait(ctx)
				}
				own, wrong = append(own, time.Since(at).Seconds()*1000), err
			}
			mu.Lock()
			defer mu.Unlock()
			times, err = append(times, own...), errors.Join(err, wrong)
		})
	}
	wg.Wait()
	took = time.Since(began)
	slices.Sort(times)
	return took, times, err
}

// replay stores events once, and reads them from the beginning in each round.
func replay(size, events int) func(ctx context.Context, k keeper, scale float64) (result, error) {
	return func(ctx context.Context, k keeper, scale float64) (result, error) {
		n := int(float64(events) * scale)
		topic := freshTopic("replay")
		if err := k.create(ctx, topic, 1); err != nil {
			return result{}, err
		}
		p, err := k.acked(ctx)
		if err != nil {
			return result{}, err
		}
		defer p.close()
		if _, err := keep(ctx, p, []string{topic}, noise(size), n); err != nil {
			return result{}, err
		}
		bytes := 0
		began := time.Now()
		if err := k.replay(ctx, topic, n, func(data []byte) { bytes += len(data) }); err != nil {
			return result{}, err
		}
		took := time.Since(began)
		if bytes != n*size {
			return result{}, fmt.Errorf("%d bytes were read, want %d", bytes, n*size)
		}
		return result{values: []float64{float64(n) / took.Seconds() / 1000}}, nil
	}
}
