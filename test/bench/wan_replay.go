package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// farKeeper is a system of which the first region keeps what is read in another.
type farKeeper interface {
	system
	create(ctx context.Context, topic string, partitions int) error
	acked(ctx context.Context) (acked, error)
	// replayAt is replay at any seat.
	replayAt(ctx context.Context, at int, topic string, n int, got func(data []byte)) error
}

var wanReplays = []wanRow{
	wanReplay("wan-replay-0", 0, map[string][]string{"CUBIC": {""}, "CUBIC, 64 MiB buffers": {""}}),
	wanReplay("wan-replay-0.1", 0.001, map[string][]string{"CUBIC": {""}, "BBR": {""}}),
	wanReplay("wan-replay-1", 0.01, map[string][]string{"CUBIC": {""}, "BBR": {""}}),
}

// wanReplay stores events in one region, and counts those that are read in the other in
// the time after a start that fills the link.
func wanReplay(name string, loss float64, against map[string][]string) wanRow {
	const (
		events = 250_000
		far    = 3 // the seat
		warm   = 2 * time.Second
		length = 4 * time.Second
	)
	measure := func(ctx context.Context, _ *link, s system, scale float64) (result, error) {
		k, able := s.(farKeeper)
		if !able {
			return result{}, fmt.Errorf("%T keeps nothing", s)
		}
		topic := freshTopic(name)
		if err := k.create(ctx, topic, 1); err != nil {
			return result{}, err
		}
		p, err := k.acked(ctx)
		if err != nil {
			return result{}, err
		}
		defer p.close()
		n := int(scale * events)
		if _, err := keep(ctx, p, []string{topic}, noise(wanSize), n); err != nil {
			return result{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, warm+time.Duration(scale*float64(length)))
		defer cancel()
		began := time.Now()
		var first, last time.Time // of what is counted
		counted := 0
		err = k.replayAt(ctx, far, topic, n, func([]byte) {
			now := time.Now()
			switch {
			case now.Sub(began) < warm:
			case first.IsZero():
				first = now
			default:
				last = now
				counted++
			}
		})
		if err != nil && ctx.Err() == nil {
			return result{}, err
		}
		if counted == 0 {
			return result{}, errors.New("nothing was read, or all before it was counted")
		}
		return result{values: []float64{float64(counted) / last.Sub(first).Seconds() / 1000}}, nil
	}
	return wanRow{name: name, loss: loss, remote: 1, keeps: true, measure: measure, against: against,
		lines: []line{{fmt.Sprintf("replay in another region, %g %% lost", 100*loss), "k/s", ""}}}
}
