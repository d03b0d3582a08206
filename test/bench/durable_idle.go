package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// idleStreams makes a thousand streams and takes what the processes use when
// nothing is published, from when they have settled.
func idleStreams(ctx context.Context, k keeper, scale float64) (result, error) {
	var topics []string
	for i := range 1000 {
		topics = append(topics, fmt.Sprintf("%s.%d", freshTopic("idle"), i))
	}
	if err := k.createMany(ctx, topics); err != nil {
		return result{}, err
	}
	const calm, watched = 10 * time.Second, 20 * time.Second
	if err := sleep(ctx, calm); err != nil {
		return result{}, err
	}
	before, _, err := usage(k.pids())
	if err != nil {
		return result{}, err
	}
	if err := sleep(ctx, watched); err != nil {
		return result{}, err
	}
	after, resident, err := usage(k.pids())
	return result{values: []float64{100 * (after - before).Seconds() / watched.Seconds(), float64(resident) / 1e6}}, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// usage is the CPU time that processes have had, and the bytes that they have in
// memory.
func usage(pids []int) (cpu time.Duration, resident int64, err error) {
	const tick = 10 * time.Millisecond // of the kernel's accounts
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, 0, err
		}
		_, rest, _ := strings.Cut(string(b), ") ") // the name may hold anything
		f := strings.Fields(rest)
		const user, system, pages = 11, 12, 21
		if len(f) <= pages {
			return 0, 0, fmt.Errorf("process %d: cannot read its accounts", pid)
		}
		for _, field := range []int{user, system} {
			n, err := strconv.ParseInt(f[field], 10, 64)
			if err != nil {
				return 0, 0, err
			}
			cpu += time.Duration(n) * tick
		}
		n, err := strconv.ParseInt(f[pages], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		resident += n * int64(os.Getpagesize())
	}
	return cpu, resident, nil
}

// failover kills the process that leads a stream, again and again, and takes the
// time until an event that was published after it is acknowledged. The publisher's
// own process, the first, is spared.
func failover(ctx context.Context, k keeper, scale float64) (result, error) {
	kills := max(int(7*scale), 1)
	var times []float64
	for tries := 0; len(times) < kills; tries++ {
		if tries > 20*kills {
			return result{}, fmt.Errorf("the first process leads all streams")
		}
		topic := freshTopic("failover")
		if err := k.create(ctx, topic, 1); err != nil {
			return result{}, err
		}
		at, err := k.leader(ctx, topic)
		if err != nil {
			return result{}, err
		}
		if at == 0 {
			continue
		}
		p, err := k.acked(ctx)
		if err != nil {
			return result{}, err
		}
		took, err := outageOf(ctx, p, topic, func() error { return k.kill(at) })
		p.close()
		if err != nil {
			return result{}, err
		}
		times = append(times, took.Seconds())
		if err := k.revive(ctx, at); err != nil {
			return result{}, err
		}
	}
	slices.Sort(times)
	return result{values: []float64{times[len(times)/2], times[len(times)-1]}}, nil
}

// outageOf is how long it takes from a fault until an event is acknowledged.
func outageOf(ctx context.Context, p acked, topic string, fault func() error) (time.Duration, error) {
	if _, err := keep(ctx, p, []string{topic}, noise(256), 500); err != nil {
		return 0, err
	}
	if err := fault(); err != nil {
		return 0, err
	}
	began := time.Now()
	for ctx.Err() == nil {
		wait, err := p.publish(topic, noise(256))
		if err == nil {
			if err = wait(ctx); err == nil {
				return time.Since(began), nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, ctx.Err()
}
