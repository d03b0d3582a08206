package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// reroute is the row that is Skein's alone: how long traffic stands still when
// the link that carries it is cut, and when the gateway that takes it is killed.
const reroute = "reroute"

// outage is a round of it.
type outage struct {
	took        time.Duration // from the fault until messages of every source that were sent after it came to every subscriber
	first, last int64         // messages of the round
	but         int           // the ear that is not judged, for its node is gone; -1 if there is none
}

// runReroute does both in rounds and prints how long it took.
func runReroute(ctx context.Context, p plan, dir, binary string) (err error) {
	d, err := openDetour(ctx, dir, binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	cuts, kills := 6, 4
	if p.quick {
		cuts, kills = 2, 1
	}
	if err := d.rounds(ctx, "link cut", cuts, d.cut); err != nil {
		return err
	}
	if err := d.rounds(ctx, "gateway killed", kills, d.kill); err != nil {
		return err
	}
	var twice, disorder int64
	for i := range d.ears {
		twice, disorder = twice+d.ears[i].twice.Load(), disorder+d.ears[i].disorder.Load()
	}
	fmt.Printf("  reported as gaps: %d, and %d gaps of unknown size; came twice: %d; out of their source's order: %d\n",
		d.gaps.Load(), d.blind.Load(), twice, disorder)
	return nil
}

// rounds makes a fault so many times and prints what came of it.
func (d *detour) rounds(ctx context.Context, what string, n int, fault func(context.Context) (outage, error)) error {
	var took []time.Duration
	messages, lost := 0, 0
	for range n {
		one, err := fault(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		took = append(took, one.took)
		settle(ctx, func() bool { return d.missing(one) == 0 }, func() int { return d.missing(one) })
		messages, lost = messages+d.expected(one), lost+d.missing(one)
	}
	slices.Sort(took)
	fmt.Printf(format, fmt.Sprintf("reroute, %s: median of %d", what, n), "", cell(took[n/2].Seconds(), "s"), "", "")
	fmt.Printf(format, "slowest", "", cell(took[n-1].Seconds(), "s"), "", fmt.Sprintf("< 2.5 s  (lost %d of %d)", lost, messages))
	return nil
}

// cut cuts the way between the two gateways that carry most, and heals it.
func (d *detour) cut(ctx context.Context) (outage, error) {
	from, to, err := d.carriers(ctx)
	if err != nil {
		return outage{}, err
	}
	a, b := d.mesh.seats[from], d.mesh.seats[to]
	whole := conditions(a, b)
	severed := whole
	severed.Cut = true
	one, err := d.fault(ctx, -1, func() error { d.emulator.SetBoth(a.name, b.name, severed); return nil })
	d.emulator.SetBoth(a.name, b.name, whole)
	return one, errors.Join(err, d.linked(ctx))
}

// kill kills the far gateway that takes most, and starts it again.
func (d *detour) kill(ctx context.Context) (outage, error) {
	_, to, err := d.carriers(ctx)
	if err != nil {
		return outage{}, err
	}
	at := to - gateways
	one, err := d.fault(ctx, at, func() error { return d.mesh.kill(to) })
	if err != nil {
		return one, err
	}
	d.ears[at].stop()
	if err := d.mesh.launch(ctx, to); err != nil {
		return one, err
	}
	if err := d.listen(ctx, at); err != nil {
		return one, err
	}
	return one, d.linked(ctx)
}

// carriers are the seats of the near and of the far gateway between which most
// passes.
func (d *detour) carriers(ctx context.Context) (from, to int, err error) {
	const look = 500 * time.Millisecond
	var before [gateways][gateways]uint64
	each := func(f func(i, j int, bytes uint64)) {
		for i := range gateways {
			for j := range gateways {
				f(i, j, d.emulator.Stats(d.mesh.seats[i].name, d.mesh.seats[gateways+j].name).Bytes)
			}
		}
	}
	each(func(i, j int, bytes uint64) { before[i][j] = bytes })
	select {
	case <-time.After(look):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	var most uint64
	each(func(i, j int, bytes uint64) {
		if passed := bytes - before[i][j]; passed > most {
			most, from, to = passed, i, gateways+j
		}
	})
	if most < wanSize*detourRate/10 {
		return 0, 0, fmt.Errorf("only %d bytes pass in %v between any two gateways", most, look)
	}
	return from, to, nil
}

// fault does what breaks the way and waits until all flows again.
func (d *detour) fault(ctx context.Context, but int, breaks func() error) (one outage, err error) {
	const ahead = detourRate / 4 // messages before the fault that may still be on their way
	one.first, one.but = max(1, d.sent.Load()-ahead), but
	since := time.Since(d.began)
	if err := breaks(); err != nil {
		return one, err
	}
	err = d.wait(ctx, "traffic of every source", func() bool {
		var through bool
		one.took, through = d.flows(one.first, since, but)
		return through
	})
	one.last = d.sent.Load()
	return one, err
}

// expected is how many messages of a round should come to all ears together.
func (d *detour) expected(one outage) int {
	ears := len(d.ears)
	if one.but >= 0 {
		ears--
	}
	return ears * int(one.last-one.first+1)
}

// missing is how many of these have not come.
func (d *detour) missing(one outage) int {
	there := 0
	for e := range d.ears {
		for i := one.first; e != one.but && i <= one.last; i++ {
			if d.ears[e].there[i].Load() != 0 {
				there++
			}
		}
	}
	return d.expected(one) - there
}

// flows reports whether a message of every source that was sent after a time has
// come to every subscriber, but for one, and how long after it the last did.
func (d *detour) flows(first int64, since time.Duration, but int) (took time.Duration, all bool) {
	last := d.sent.Load()
	for e := range d.ears {
		if e == but {
			continue
		}
		var came [wanSources]time.Duration
		for n := first; n <= last; n++ {
			at := time.Duration(d.ears[e].there[n].Load())
			if source := &came[n%wanSources]; at != 0 && time.Duration(d.when[n].Load()) >= since && (*source == 0 || at < *source) {
				*source = at
			}
		}
		for _, at := range came {
			if at == 0 {
				return 0, false
			}
			took = max(took, at-since)
		}
	}
	return took, true
}
