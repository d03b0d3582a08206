package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// cadence is a load that stays the same whatever becomes of it: synchronous publishers,
// each with a connection and an event due at equal intervals.
type cadence struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	done   []paced
	failed []error
}

// paced is an event that was acknowledged. It counts from when it was due: one that
// waits for the one before it, which took long, has taken as long for its user.
type paced struct {
	due  time.Time
	took time.Duration
}

// startCadence has publishers publish so many events a second together, until stop.
func startCadence(ctx context.Context, list []acked, topic string, size, perSecond int) *cadence {
	ctx, cancel := context.WithCancel(ctx)
	p := &cadence{cancel: cancel}
	interval := time.Duration(len(list)) * time.Second / time.Duration(perSecond)
	began := time.Now()
	for i, one := range list {
		data := noise(size)
		p.wg.Go(func() {
			due := began.Add(interval * time.Duration(i) / time.Duration(len(list)))
			for ; ctx.Err() == nil; due = due.Add(interval) {
				time.Sleep(time.Until(due))
				wait, err := one.publish(topic, data)
				if err == nil {
					err = wait(ctx)
				}
				if ctx.Err() == nil {
					p.note(paced{due, time.Since(due)}, err)
				}
			}
		})
	}
	return p
}

func (p *cadence) note(one paced, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed = append(p.failed, err)
		return
	}
	p.done = append(p.done, one)
}

// stop ends the publishers and waits for them.
func (p *cadence) stop() {
	p.cancel()
	p.wg.Wait()
}

// between is how long the events took, sorted and in ms, that were due in a time.
func (p *cadence) between(from, to time.Time) (times []float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.done {
		if !one.due.Before(from) && one.due.Before(to) {
			times = append(times, one.took.Seconds()*1000)
		}
	}
	slices.Sort(times)
	return times
}

// failures is how many events were not acknowledged, and why the first were not.
func (p *cadence) failures() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.failed), errors.Join(p.failed[:min(3, len(p.failed))]...)
}

// quantile of sorted times; 0 if there are none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(float64(len(sorted))*q), len(sorted)-1)]
}
