package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/test/wan"
	"github.com/skeinmesh/skein/test/wan/tun"
)

const (
	gateways    = 3                      // nodes of each of the two regions
	lanDelay    = 250 * time.Microsecond // one way, between nodes of a region
	detourRate  = 1000                   // messages a second
	detourMost  = 600 * detourRate       // messages that are remembered
	detourLimit = 20 * time.Second       // for traffic to flow again, and for a node to be back
)

// detour is a mesh of two regions of three gateways each, every one at a site of
// its own, with steady traffic from the first node to a subscriber at each node
// of the far region.
//
// Goroutines: one, which publishes. close waits for it.
type detour struct {
	emulator *wan.Emulator
	sites    map[string]*tun.Site
	mesh     *skein
	topic    string
	began    time.Time
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	failed   error // what ended the publisher; to be read after wg.Wait

	sent  atomic.Int64   // messages
	when  []atomic.Int64 // each was sent, in nanoseconds since began
	ears  []ear          // at the far nodes
	gaps  atomic.Int64   // messages that ears were told of as lost
	blind atomic.Int64   // gaps that did not say of how many
}

// ear is a subscriber.
type ear struct {
	there    []atomic.Int64 // when each message came, in nanoseconds since began; 0: not
	twice    atomic.Int64   // messages that came again
	disorder atomic.Int64   // messages that came after a later one of their source
	stop     func()
}

func openDetour(ctx context.Context, dir, binary string) (d *detour, err error) {
	d = &detour{emulator: wan.New(1), topic: "bench.reroute", when: make([]atomic.Int64, detourMost), ears: make([]ear, gateways)}
	ctx, d.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	var names []string
	var seats []seat
	for _, region := range []string{near, far} {
		for i := range gateways {
			name := fmt.Sprintf("%s-%d", region, i)
			names, seats = append(names, name), append(seats, seat{name: name, region: region})
		}
	}
	if d.sites, err = tun.Open(d.emulator, names...); err != nil {
		return d, err
	}
	for i, a := range seats {
		seats[i].site, seats[i].ip = d.sites[a.name], d.sites[a.name].Addr().String()
		for _, b := range seats[i+1:] {
			d.emulator.SetBoth(a.name, b.name, conditions(a, b))
		}
	}
	if d.mesh, err = startSkein(ctx, binary, dir, seats); err != nil {
		return d, err
	}
	// A client that is cut off from a killed node is no news here.
	d.mesh.clients = []client.Option{client.WithLogger(slog.New(slog.DiscardHandler))}
	for i := range d.ears {
		d.ears[i].there = make([]atomic.Int64, detourMost)
		if err := d.listen(ctx, i); err != nil {
			return d, err
		}
	}
	p, err := d.mesh.publisher(ctx, d.topic, wanSources)
	if err != nil {
		return d, err
	}
	d.began = time.Now()
	d.wg.Go(func() { d.failed = d.publish(ctx, p) })
	return d, d.linked(ctx)
}

// conditions of the way between two nodes.
func conditions(a, b seat) wan.Conditions {
	if a.region == b.region {
		return wan.Conditions{Delay: lanDelay}
	}
	return wan.Conditions{Delay: linkDelay, Bandwidth: linkBandwidth, Queue: linkQueue}
}

// listen subscribes at a far node. Calls for one node come one after the other.
func (d *detour) listen(ctx context.Context, at int) (err error) {
	e := &d.ears[at]
	var last [wanSources]uint64
	e.stop, err = d.mesh.listen(ctx, gateways+at, d.topic, func(data []byte) {
		n := binary.BigEndian.Uint64(data)
		if e.there[n].Swap(int64(time.Since(d.began))) != 0 {
			e.twice.Add(1)
		}
		if n < last[n%wanSources] {
			e.disorder.Add(1)
		}
		last[n%wanSources] = n
	}, client.OnGap(func(g client.Gap) {
		if d.gaps.Add(int64(g.Count)); g.Count == 0 {
			d.blind.Add(1)
		}
	}))
	return err
}

// publish sends messages, numbered from 1, until ctx ends.
func (d *detour) publish(ctx context.Context, p publisher) error {
	defer p.close()
	err := pace(detourRate, detourMost-1, func(i int, _ time.Time) error {
		n := i + 1
		data := noise(wanSize)
		binary.BigEndian.PutUint64(data, uint64(n))
		d.when[n].Store(int64(time.Since(d.began)))
		if err := p.publish(data); err != nil {
			return err
		}
		d.sent.Store(int64(n))
		return ctx.Err()
	})
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(err, errors.New("the publisher has ended"))
}

// linked waits until every near node has links to all far ones.
func (d *detour) linked(ctx context.Context) error {
	return d.wait(ctx, "links between all gateways", func() bool {
		for near := range gateways {
			up := 0
			for _, l := range d.links(near) {
				if l.ToRegion == far && l.State == "up" {
					up++
				}
			}
			if up < gateways {
				return false
			}
		}
		return true
	})
}

// linkView is what of a link is looked at here.
type linkView struct {
	ToRegion string `json:"toRegion"`
	State    string `json:"state"`
}

// links are a node's; none if it does not answer.
func (d *detour) links(at int) (links []linkView) {
	resp, err := d.mesh.seats[at].http().Get(d.mesh.http[at] + "/mesh/links")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(&links) != nil {
		return nil
	}
	return links
}

// wait waits until done.
func (d *detour) wait(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, detourLimit, fmt.Errorf("no %s after %v", what, detourLimit))
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// close ends the traffic, the mesh and its network.
func (d *detour) close() error {
	d.cancel()
	d.wg.Wait()
	for i := range d.ears {
		if stop := d.ears[i].stop; stop != nil {
			stop()
		}
	}
	if d.mesh != nil {
		d.mesh.close()
	}
	errs := []error{d.failed}
	for _, s := range d.sites {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, d.emulator.Close())...)
}
