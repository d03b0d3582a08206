package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// result is one round of a row.
type result struct {
	values []float64 // one a line of the row
	lost   int       // messages that never came
	late   int       // messages that still came when the round was over
}

// row is a row of the table of numbers to reach.
type row struct {
	name    string
	lines   []line
	measure func(ctx context.Context, s system, scale float64) (result, error)
}

// line is what one value of a row is.
type line struct {
	what, unit string
	wanted     string // of the ratio Skein / NATS
}

var rows = []row{
	throughput("region-128", 128, 400_000, []int{1}, "≥ 1.3"),
	throughput("regions2-128", 128, 300_000, []int{1, 2}, "≥ 1.3"),
	throughput("region-1k", 1024, 150_000, []int{1}, "≥ 1.1"),
	throughput("regions2-1k", 1024, 100_000, []int{1, 2}, "≥ 1.1"),
	{name: "latency", lines: []line{{"10 k/s, 256 B, one region: p50", "ms", "≤ 1.0"}, {"p99", "ms", "≤ 1.0"}}, measure: latency},
	throughput("fanout-128", 128, 150_000, []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "≥ 1.0"),
	{name: "ingest", lines: []line{{"HTTP, 256 B; left: bare net/http", "k/s", "≥ 0.7"}}, measure: ingest},
}

// throughput publishes as fast as the system takes it and counts what arrives
// at one subscriber in each of the given regions, until nothing more comes. The
// publisher stays within a window of what has arrived, as anything that must
// not overrun its readers does; it is the same for both systems.
func throughput(name string, size, messages int, at []int, wanted string) row {
	what := fmt.Sprintf("%d B to %d other regions", size, len(at))
	if at[0] == 0 {
		what = fmt.Sprintf("%d B to %d local subscribers", size, len(at))
	}
	return row{name: name, lines: []line{{what, "k/s", wanted}},
		measure: func(ctx context.Context, s system, scale float64) (result, error) {
			n := int(float64(messages) * scale)
			const window = 50_000
			topic := fmt.Sprintf("bench.%s.%d", name, time.Now().UnixNano())
			counts := make([]atomic.Int64, len(at))
			for i, seat := range at {
				stop, err := s.subscriber(ctx, seat, topic, func([]byte) { counts[i].Add(1) })
				if err != nil {
					return result{}, err
				}
				defer stop()
			}
			least := func() int {
				m := counts[0].Load()
				for i := range counts {
					m = min(m, counts[i].Load())
				}
				return int(m)
			}
			p, err := s.publisher(ctx, topic, 1)
			if err != nil {
				return result{}, err
			}
			defer p.close()
			data := noise(size)
			began := time.Now()
			for i := range n {
				if i%1000 == 0 && i-least() > window {
					if err := p.flush(); err != nil {
						return result{}, err
					}
					settle(ctx, func() bool { return i-least() <= window }, least)
				}
				if err := p.publish(data); err != nil {
					return result{}, err
				}
			}
			if err := p.flush(); err != nil {
				return result{}, err
			}
			settle(ctx, func() bool { return least() >= n }, least)
			took := time.Since(began).Seconds()
			arrived := 0
			for i := range counts {
				arrived += int(counts[i].Load())
			}
			rate := float64(least()) / took
			if at[0] == 0 {
				rate = float64(arrived) / took
			}
			return result{values: []float64{rate / 1000}, lost: n*len(at) - arrived}, nil
		}}
}

// noise is data that no compression makes smaller.
func noise(size int) []byte {
	data := make([]byte, size)
	rand.Read(data)
	return data
}

// settle waits until done, or until progress has stood still for two seconds.
func settle(ctx context.Context, done func() bool, progress func() int) {
	last, since := progress(), time.Now()
	for !done() && ctx.Err() == nil {
		time.Sleep(200 * time.Microsecond)
		if p := progress(); p != last {
			last, since = p, time.Now()
		} else if time.Since(since) > 2*time.Second {
			return
		}
	}
}

// latency publishes at a steady pace, in bursts of a millisecond, and takes the
// time from publisher to subscriber in another region.
func latency(ctx context.Context, s system, scale float64) (result, error) {
	const rate, size = 10_000, 256
	n := int(5 * rate * scale)
	topic := fmt.Sprintf("bench.latency.%d", time.Now().UnixNano())
	var mu sync.Mutex
	times := make([]float64, 0, n)
	stop, err := s.subscriber(ctx, 1, topic, func(data []byte) {
		sent := int64(binary.BigEndian.Uint64(data))
		took := float64(time.Now().UnixNano()-sent) / 1e6
		mu.Lock()
		times = append(times, took)
		mu.Unlock()
	})
	if err != nil {
		return result{}, err
	}
	defer stop()
	p, err := s.publisher(ctx, topic, 1)
	if err != nil {
		return result{}, err
	}
	defer p.close()
	data := noise(size)
	began := time.Now()
	for i := 0; i < n; {
		due := int(time.Since(began).Seconds() * rate)
		for ; i < min(due, n); i++ {
			binary.BigEndian.PutUint64(data, uint64(time.Now().UnixNano()))
			if err := p.publish(data); err != nil {
				return result{}, err
			}
		}
		time.Sleep(time.Millisecond)
	}
	if err := p.flush(); err != nil {
		return result{}, err
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(times) }
	settle(ctx, func() bool { return count() >= n }, count)
	mu.Lock()
	defer mu.Unlock()
	if len(times) == 0 {
		return result{}, fmt.Errorf("nothing arrived")
	}
	slices.Sort(times)
	return result{values: []float64{times[len(times)/2], times[len(times)*99/100]}, lost: n - len(times)}, nil
}

// printLines prints the medians of the rounds of both.
func printLines(lines []line, nats, skein []result) {
	note := ""
	for _, of := range []struct {
		name   string
		rounds []result
	}{{"NATS", nats}, {"Skein", skein}} {
		lost, late := 0, 0
		for _, one := range of.rounds {
			lost, late = max(lost, one.lost), max(late, one.late)
		}
		if lost != 0 {
			note += fmt.Sprintf("  (%s lost %d in a round)", of.name, lost)
		}
		if late != 0 {
			note += fmt.Sprintf("  (%s owed %d at the end of a round)", of.name, late)
		}
	}
	for i, l := range lines {
		a, b := median(nats, i), median(skein, i)
		fmt.Printf(format, l.what, cell(a, l.unit), cell(b, l.unit), cell(b/a, ""), l.wanted+note)
		note = "" // once a row
	}
}

// cell is empty for what was not measured.
func cell(v float64, unit string) string {
	if math.IsNaN(v) {
		return ""
	}
	if unit == "" {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2f %-3s", v, unit)
}

// median is NaN without rounds.
func median(rounds []result, value int) float64 {
	if len(rounds) == 0 {
		return math.NaN()
	}
	var all []float64
	for _, r := range rounds {
		all = append(all, r.values[value])
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
