package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// ear is the demo's subscriber at one node: it remembers what it heard.
type ear struct {
	node   *demoNode
	client *client.Client

	mu    sync.Mutex // guards the fields below
	ids   []string   // in the order of arrival
	gaps  int
	heard chan struct{} // closed and replaced at each arrival
}

func (s *story) openEar(ctx context.Context, at *demoNode) (*ear, error) {
	c, err := s.a.dial(ctx, serverFlags{url: at.server()}, "skein demo")
	if err != nil {
		return nil, err
	}
	e := &ear{node: at, client: c, heard: make(chan struct{})}
	sub, err := c.SubscribeRaw(ctx, client.ByType("demo.>"), e.event, client.OnGap(e.gap),
		client.WithBarrierWait(demoConfirm))
	if err == nil && len(sub.Missing()) > 0 {
		err = fmt.Errorf("%s have not confirmed the interest", strings.Join(sub.Missing(), ", "))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe at %s: %w", at.name, err), c.Close())
	}
	return e, nil
}

// demoConfirm is how long the regions may take to confirm an interest, on a
// machine that does much else.
const demoConfirm = 10 * time.Second

func (e *ear) event(ev event.Event) {
	id := strings.Clone(ev.ID()) // the event is gone after the call
	e.note(func() { e.ids = append(e.ids, id) })
}

func (e *ear) gap(g client.Gap) { e.note(func() { e.gaps += int(g.Count) }) }

func (e *ear) note(what func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	what()
	close(e.heard)
	e.heard = make(chan struct{})
}

// count is how many of these events were heard.
func (e *ear) count(events []event.Event) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.among(events))
}

// among lists those ids of the events that were heard, in the order of
// arrival. e.mu is held.
func (e *ear) among(events []event.Event) []string {
	wanted := map[string]bool{}
	for _, ev := range events {
		wanted[ev.ID()] = true
	}
	var ids []string
	for _, id := range e.ids {
		if wanted[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// await waits until all of the events were heard, and checks that each was
// heard once and in order.
func (e *ear) await(ctx context.Context, events []event.Event) error {
	want := make([]string, len(events))
	for i, ev := range events {
		want[i] = ev.ID()
	}
	for {
		e.mu.Lock()
		got, heard := e.among(events), e.heard
		e.mu.Unlock()
		if len(got) >= len(want) {
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s heard %v, want %v", e.node.name, got, want)
			}
			return nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return fmt.Errorf("%s heard %d of %s", e.node.name, len(got), plural(len(want), "event"))
		}
	}
}

const (
	hearWithin = 10 * time.Second
	lookEvery  = 100 * time.Millisecond
)

// heard waits until the ears of the regions have heard the events.
func (s *story) heard(ctx context.Context, events []event.Event, regions ...string) error {
	ctx, cancel := context.WithTimeout(ctx, hearWithin)
	defer cancel()
	for _, region := range regions {
		if err := s.ears[region].await(ctx, events); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes at a region's first node and returns once it has routed
// the events.
func (s *story) publish(ctx context.Context, region string, events ...event.Event) error {
	var acks []client.Ack
	for i := range events {
		ack, err := s.pubs[region].PublishEnvelope(ctx, events[i].Bytes())
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		if err := ack.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ticks are events whose only content is that they arrive.
func (s *story) ticks(when, region string) ([]event.Event, error) {
	var events []event.Event
	for i := range demoBatch {
		ev, err := demoEvent("demo.tick", region, fmt.Sprintf("%s-%s-%d", when, region, i+1), nil)
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	return events, nil
}

// topology asks a node until ready has nothing to object to its answer.
func (s *story) topology(ctx context.Context, at *demoNode, ready func(node.Topology) string) (t node.Topology, err error) {
	server := serverFlags{url: at.server()}
	q, err := server.ask()
	if err != nil {
		return t, err
	}
	objection := "no answer"
	for {
		t = node.Topology{}
		if err := q.get(ctx, "/mesh/topology", nil, &t); err == nil {
			if objection = ready(t); objection == "" {
				return t, nil
			}
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return t, fmt.Errorf("%s, says %s", objection, at.name)
		}
	}
}

// problem is what a node says is in the way of events for a region.
func (s *story) problem(ctx context.Context, from, to string) (string, error) {
	server := serverFlags{url: s.mesh.in(from, 1).server()}
	q, err := server.ask()
	if err != nil {
		return "", err
	}
	var r node.RouteReport
	query := url.Values{"type": {"demo.tick"}, "source": {"/skein/demo/" + from}}
	if err := q.get(ctx, "/mesh/route", query, &r); err != nil {
		return "", err
	}
	for _, hop := range r.Targets {
		if hop.Region == to && hop.Problem != "" {
			return hop.Problem, nil
		}
	}
	return "", fmt.Errorf("%s says of no problem on the way to %s, although it is cut off", s.mesh.in(from, 1).name, to)
}

// linked objects when between two regions, other than the one that is gone, a
// link from node to node is missing, or its round trip is not measured yet.
func linked(t node.Topology, gone string) string {
	up := map[[2]string]int{}
	for _, l := range t.Links {
		if l.State == "up" && l.RTTMs > 0 {
			up[way(l.FromRegion, l.ToRegion)]++
		}
	}
	const all = demoNodesPerRegion * demoNodesPerRegion
	for i, a := range demoPlan {
		for _, b := range demoPlan[i+1:] {
			if n := up[way(a, b)]; a != gone && b != gone && n < all {
				return fmt.Sprintf("%d of %d links between %s and %s are up", n, all, a, b)
			}
		}
	}
	return ""
}

// earNames are the nodes where the regions' ears are.
func (s *story) earNames(regions ...string) string {
	var names []string
	for _, r := range regions {
		names = append(names, s.ears[r].node.name)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return names[0]
}

// arrivals says how many events each ear has heard.
func (s *story) arrivals() string {
	var parts []string
	for _, region := range demoPlan {
		e := s.ears[region]
		e.mu.Lock()
		parts = append(parts, fmt.Sprintf("%s heard %s", e.node.name, plural(len(e.ids), "event")))
		e.mu.Unlock()
	}
	return strings.Join(parts, ", ")
}

// stop closes what is open and stops the mesh.
func (s *story) stop() error {
	var errs []error
	for _, e := range s.ears {
		if e != nil {
			errs = append(errs, e.client.Close())
		}
	}
	for _, c := range s.pubs {
		errs = append(errs, c.Close())
	}
	if s.mesh != nil {
		errs = append(errs, s.mesh.stop())
	}
	return errors.Join(errs...)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
