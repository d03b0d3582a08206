package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	wanSize    = 1024            // bytes of a message
	wanSources = 64              // that take turns
	wanDrain   = 3 * time.Second // for what is under way when a round is over
)

var wanRows = []wanRow{
	wanThroughput("wan-0", 0, map[string][]string{"CUBIC": {"≥ 2"}, "CUBIC, 64 MiB buffers": {""}}),
	wanThroughput("wan-0.1", 0.001, map[string][]string{"CUBIC": {"≥ 8"}, "BBR": {"≥ 1"}, "BBR, 64 MiB buffers": {""}}),
	wanThroughput("wan-1", 0.01, map[string][]string{"CUBIC": {"≥ 8"}, "BBR": {"≥ 1"}}),
	{name: "wan-p99", loss: 0.001, remote: 1, measure: wanPaced,
		lines:   []line{{"1 k/s, 0.1 % lost: p50", "ms", ""}, {"p99", "ms", ""}, {"there within 1 s", "%", ""}},
		against: map[string][]string{"CUBIC": {"", "≤ 0.1", ""}, "BBR": {"", "≤ 1", ""}}},
	{name: "wan-bytes", remote: 3, measure: wanBytes,
		lines:   []line{{"link bytes an order, to 3 nodes, at 2 k/s", "B", ""}, {"at 10 k/s", "B", ""}},
		against: map[string][]string{"CUBIC": {"≤ 0.5", "≤ 0.5"}}},
}

// wanThroughput publishes for a time as fast as the system takes it, within a
// window of what has arrived, and counts what arrives after a start that fills
// the link.
func wanThroughput(name string, loss float64, against map[string][]string) wanRow {
	const (
		window = 20_000
		warm   = 2 * time.Second
		length = 3 * time.Second
	)
	measure := func(ctx context.Context, _ *link, s system, scale float64) (result, error) {
		var arrived atomic.Int64
		topic := fmt.Sprintf("bench.%s.%d", name, time.Now().UnixNano())
		stop, err := s.subscriber(ctx, 1, topic, func([]byte) { arrived.Add(1) })
		if err != nil {
			return result{}, err
		}
		defer stop()
		p, err := s.publisher(ctx, topic, wanSources)
		if err != nil {
			return result{}, err
		}
		defer p.close()
		var (
			wg   sync.WaitGroup
			over atomic.Bool
			rate float64
		)
		defer wg.Wait()
		wg.Go(func() {
			defer over.Store(true)
			time.Sleep(warm)
			began, before := time.Now(), arrived.Load()
			time.Sleep(time.Duration(scale * float64(length)))
			rate = float64(arrived.Load()-before) / time.Since(began).Seconds()
		})
		const many = 8192 // so that no batch holds one twice, which compression would find
		data, sent := noise(wanSize*many), 0
		for ; !over.Load() && ctx.Err() == nil; sent++ {
			for sent-int(arrived.Load()) > window && !over.Load() {
				time.Sleep(time.Millisecond)
			}
			if err := p.publish(data[sent%many*wanSize:][:wanSize]); err != nil {
				return result{}, err
			}
		}
		wg.Wait()
		got := result{values: []float64{rate / 1000}}
		got.await(ctx, wanDrain, sent, func() int { return int(arrived.Load()) })
		return got, nil
	}
	return wanRow{name: name, loss: loss, remote: 1, measure: measure, against: against,
		lines: []line{{fmt.Sprintf("%g %% lost", 100*loss), "k/s", ""}}}
}

// await waits for what was sent, but not longer than a limit, and notes what
// does not come: it is lost if nothing comes any more. There is no need to flush
// publishers, and one of a system that is behind would take longer than that.
func (r *result) await(ctx context.Context, limit time.Duration, sent int, arrived func() int) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	settle(ctx, func() bool { return arrived() >= sent }, arrived)
	if missing := sent - arrived(); ctx.Err() != nil {
		r.late = missing
	} else {
		r.lost = missing
	}
}

// wanPaced publishes at a steady pace, in bursts of a millisecond. What is sent
// first, while a new connection still speeds up, is not counted. Messages that
// have not come when the round ends count as if they came then.
func wanPaced(ctx context.Context, _ *link, s system, scale float64) (result, error) {
	const (
		rate   = 1000
		warm   = 5 * time.Second
		length = 6 * time.Second
		inTime = time.Second
	)
	skip := int(rate * warm.Seconds() * scale)
	n := skip + int(rate*length.Seconds()*scale)
	topic := fmt.Sprintf("bench.wan-p99.%d", time.Now().UnixNano())
	began := time.Now()
	sent, there := make([]time.Duration, n), make([]atomic.Int64, n) // when each was due and when it came, since began; 0: it did not
	var arrived atomic.Int64
	stop, err := s.subscriber(ctx, 1, topic, func(data []byte) {
		there[binary.BigEndian.Uint64(data)].Store(int64(time.Since(began)))
		arrived.Add(1)
	})
	if err != nil {
		return result{}, err
	}
	defer stop()
	p, err := s.publisher(ctx, topic, wanSources)
	if err != nil {
		return result{}, err
	}
	defer p.close()
	if err := pace(rate, n, func(i int, due time.Time) error {
		data := noise(wanSize)
		binary.BigEndian.PutUint64(data, uint64(i))
		sent[i] = due.Sub(began) // so that a system which holds up the publisher does not gain by it
		return p.publish(data)
	}); err != nil {
		return result{}, err
	}
	var got result
	got.await(ctx, wanDrain, n, func() int { return int(arrived.Load()) })
	end := time.Since(began)
	var took []time.Duration
	punctual := 0
	for i := skip; i < n; i++ {
		at := time.Duration(there[i].Load())
		if at == 0 {
			at = end
		}
		took = append(took, at-sent[i])
		if at-sent[i] <= inTime {
			punctual++
		}
	}
	slices.Sort(took)
	ms := func(share float64) float64 { return took[int(share*float64(len(took)))].Seconds() * 1000 }
	got.values = []float64{ms(0.5), ms(0.99), 100 * float64(punctual) / float64(len(took))}
	return got, nil
}

// pace calls f n times at a rate a second, in bursts of a millisecond, and tells
// it when each call was due.
func pace(rate, n int, f func(i int, due time.Time) error) error {
	began := time.Now()
	for i := 0; i < n; time.Sleep(time.Millisecond) {
		for due := int(time.Since(began).Seconds() * float64(rate)); i < min(due, n); i++ {
			if err := f(i, began.Add(time.Duration(i)*time.Second/time.Duration(rate))); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanBytes sends orders to subscribers at three nodes of a region and counts
// what crosses the link for each, everything included.
func wanBytes(ctx context.Context, l *link, s system, scale float64) (got result, err error) {
	topic := fmt.Sprintf("bench.wan-bytes.%d", time.Now().UnixNano())
	const remote = 3
	var arrived atomic.Int64
	for i := range remote {
		stop, err := s.subscriber(ctx, 1+i, topic, func([]byte) { arrived.Add(1) })
		if err != nil {
			return result{}, err
		}
		defer stop()
	}
	p, err := s.publisher(ctx, topic, wanSources)
	if err != nil {
		return result{}, err
	}
	defer p.close()
	sent, from := 0, newOrders(1)
	for _, load := range []struct{ rate, orders int }{{2_000, 6_000}, {10_000, 20_000}} {
		bodies := make([][]byte, int(float64(load.orders)*scale))
		for i := range bodies {
			bodies[i] = from.next(wanSize)
		}
		before := l.bytes()
		if err := pace(load.rate, len(bodies), func(i int, _ time.Time) error { return p.publish(bodies[i]) }); err != nil {
			return result{}, err
		}
		sent += len(bodies)
		if got.await(ctx, 5*wanDrain, remote*sent, func() int { return int(arrived.Load()) }); arrived.Load() == 0 {
			return result{}, errors.New("nothing arrived")
		}
		got.values = append(got.values, float64(l.bytes()-before)/float64(len(bodies)))
	}
	return got, nil
}
