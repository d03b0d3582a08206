package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// story is the demo as it is told: each part happens for real, and is said
// once it has been seen to.
type story struct {
	a     *app
	began time.Time
	mesh  *demoMesh
	pubs  map[string]*client.Client // by region, at its first node
	ears  map[string]*ear           // by region, at its second node

	here, there []event.Event // published during the cut, on its two sides
}

// demoBatch is how many events are published to see whether a way is open.
const demoBatch = 10

// tell goes through all parts; the first that does not happen ends it.
func (s *story) tell(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		s.start, s.see, s.listen, s.spread, s.cut, s.goOn, s.heal,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// say tells what has happened, with its facts for programs.
func (s *story) say(part, text string, facts map[string]any) {
	at := time.Since(s.began)
	if s.a.json {
		line := map[string]any{"part": part, "seconds": at.Seconds(), "text": text}
		for k, v := range facts {
			line[k] = v
		}
		_ = s.a.out.json(line) // what cannot be printed has no reader
		return
	}
	s.a.out.printf("%s  %s\n", s.a.out.paint(dim, fmt.Sprintf("%5.1f s", at.Seconds())), text)
}

func (s *story) start(ctx context.Context) (err error) {
	s.say("start", fmt.Sprintf("starting %d regions of %d nodes, each a process of its own, joined by a relay that can be cut",
		len(demoPlan), demoNodesPerRegion), nil)
	if s.mesh, err = startDemoMesh(ctx); err != nil {
		return err
	}
	s.say("ready", fmt.Sprintf("all %d nodes are ready; the first founded the mesh, the others had its address and the key",
		len(s.mesh.nodes)), map[string]any{"nodes": len(s.mesh.nodes)})
	return nil
}

// see waits for the whole mesh and draws it.
func (s *story) see(ctx context.Context) error {
	t, err := s.topology(ctx, s.mesh.nodes[0], func(t node.Topology) string {
		if len(t.Regions) != len(demoPlan) {
			return fmt.Sprintf("%s known", plural(len(t.Regions), "region"))
		}
		for _, r := range t.Regions {
			if len(r.Nodes) != demoNodesPerRegion {
				return fmt.Sprintf("%s has %s", r.Name, plural(len(r.Nodes), "node"))
			}
		}
		return linked(t, "")
	})
	if err != nil {
		return fmt.Errorf("the mesh did not become whole: %w", err)
	}
	s.say("whole", "every region is linked to every other:", map[string]any{"links": len(t.Links)})
	if !s.a.json {
		s.a.out.printf("\n")
		drawTopology(s.a.out, t)
		s.a.out.printf("\n")
	}
	return nil
}

// listen opens a publisher at each region's first node and an ear at its second.
func (s *story) listen(ctx context.Context) error {
	s.pubs, s.ears = map[string]*client.Client{}, map[string]*ear{}
	for _, region := range demoPlan {
		c, err := s.a.dial(ctx, serverFlags{url: s.mesh.in(region, 1).server()}, "skein demo")
		if err != nil {
			return err
		}
		s.pubs[region] = c
		if s.ears[region], err = s.openEar(ctx, s.mesh.in(region, 2)); err != nil {
			return err
		}
	}
	s.say("listen", "a subscriber for demo.> listens at "+s.earNames(demoPlan...), nil)
	return nil
}

// spread publishes the input in one region and waits for it in all.
func (s *story) spread(ctx context.Context) error {
	from := demoPlan[0]
	events, err := builtFrom(from)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.publish(ctx, from, events...); err != nil {
		return err
	}
	if err := s.heard(ctx, events, demoPlan...); err != nil {
		return err
	}
	took := time.Since(began)
	s.say("spread", fmt.Sprintf("%s published at %s, the modules this binary is built from, arrived everywhere in order within %s:",
		plural(len(events), "event"), s.mesh.in(from, 1).name, millis(ms(took))), map[string]any{"events": len(events), "ms": ms(took)})
	if !s.a.json {
		for _, region := range demoPlan[1:] {
			last := events[len(events)-1]
			data, _ := last.Data()
			s.a.out.printf("         %s got  %s  %s\n", s.ears[region].node.name, last.Type(), printable(string(data)))
		}
	}
	return nil
}

// cut takes the last region off the network and waits until the others know.
func (s *story) cut(ctx context.Context) error {
	gone := demoPlan[len(demoPlan)-1]
	began := time.Now()
	s.mesh.relay.isolate(gone)
	s.say("cut", fmt.Sprintf("the network of region %s is cut: the relay drops what goes in or out", gone), nil)
	_, err := s.topology(ctx, s.mesh.nodes[0], func(t node.Topology) string {
		for _, p := range pairRegions(t) {
			if (p.a == gone || p.b == gone) && p.up > 0 {
				return fmt.Sprintf("%s and %s are still linked", p.a, p.b)
			}
		}
		return linked(t, gone)
	})
	if err != nil {
		return fmt.Errorf("the cut went unnoticed: %w", err)
	}
	s.say("noticed", fmt.Sprintf("%s noticed after %.1f s", s.mesh.nodes[0].name, time.Since(began).Seconds()),
		map[string]any{"ms": ms(time.Since(began))})
	return nil
}

// goOn publishes on both sides of the cut: each side goes on by itself, and it
// is said what the other side misses.
func (s *story) goOn(ctx context.Context) error {
	gone := demoPlan[len(demoPlan)-1]
	rest := demoPlan[:len(demoPlan)-1]
	here, err := s.ticks("cut", rest[0])
	if err != nil {
		return err
	}
	there, err := s.ticks("cut", gone)
	if err != nil {
		return err
	}
	if err := errors.Join(s.publish(ctx, rest[0], here...), s.publish(ctx, gone, there...)); err != nil {
		return fmt.Errorf("publishing during the cut: %w", err)
	}
	if err := errors.Join(s.heard(ctx, here, rest...), s.heard(ctx, there, gone)); err != nil {
		return fmt.Errorf("during the cut: %w", err)
	}
	if n := s.ears[gone].count(here) + s.ears[rest[0]].count(there); n > 0 {
		return fmt.Errorf("%s went through the cut", plural(n, "event"))
	}
	s.here, s.there = here, there
	s.say("alone", fmt.Sprintf("meanwhile %s published at %s reached %s, and as many published at %s reached %s",
		plural(len(here), "event"), s.mesh.in(rest[0], 1).name, s.earNames(rest...), s.mesh.in(gone, 1).name, s.earNames(gone)), nil)
	why, err := s.problem(ctx, rest[0], gone)
	if err != nil {
		return err
	}
	s.say("gap", fmt.Sprintf("what %s would say of an event for %s now: %s", s.mesh.in(rest[0], 1).name, gone, why), map[string]any{"problem": why})
	return nil
}

// heal opens the network again and waits until events pass both ways.
func (s *story) heal(ctx context.Context) error {
	gone := demoPlan[len(demoPlan)-1]
	began := time.Now()
	s.mesh.relay.heal(gone)
	s.say("heal", fmt.Sprintf("the network of %s is whole again, after %s packets were dropped", gone, count(s.mesh.relay.swallowed())), nil)
	if _, err := s.topology(ctx, s.mesh.nodes[0], func(t node.Topology) string { return linked(t, "") }); err != nil {
		return fmt.Errorf("the links did not come back: %w", err)
	}
	var all []event.Event
	for _, region := range demoPlan {
		events, err := s.ticks("healed", region)
		if err != nil {
			return err
		}
		if err := s.publish(ctx, region, events...); err != nil {
			return fmt.Errorf("publishing after the cut: %w", err)
		}
		if err := s.heard(ctx, events, demoPlan...); err != nil {
			return fmt.Errorf("after the cut: %w", err)
		}
		all = append(all, events...)
	}
	s.say("healed", fmt.Sprintf("%.1f s later events pass in all directions: %s from every region arrived in every region",
		time.Since(began).Seconds(), plural(len(all)/len(demoPlan), "event")), map[string]any{"ms": ms(time.Since(began))})
	if err := errors.Join(s.heard(ctx, s.here, gone), s.heard(ctx, s.there, demoPlan[:len(demoPlan)-1]...)); err != nil {
		return fmt.Errorf("what was published during the cut, after it: %w", err)
	}
	s.say("kept", fmt.Sprintf("what was published during the cut has waited where it was published, and came, too: %s at %s, and %d of its own at the others",
		plural(len(s.here), "event"), gone, len(s.there)), map[string]any{"waited": len(s.here) + len(s.there)})
	return nil
}
