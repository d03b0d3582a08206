package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/transport/event"
)

func demoCommand(a *app) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run three regions on this machine and show what they do",
		Long: `Start three regions of two nodes each as processes on this machine, publish in one
region what this binary was built from, show it arriving in the others, draw the
topology, cut a region off, and heal it.

With --once it ends there, and exits 0 only if all of that happened. Without, the
mesh stays up with steady traffic until ctrl-c, and commands to try in another
terminal are printed.`,
		Example: `  skein demo
  skein demo --once`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end when everything has been shown")
	a.addJSON(cmd)
	return cmd
}

// demoLimit bounds the whole of `skein demo --once`.
const demoLimit = time.Minute

func (a *app) demo(ctx context.Context, once bool) (err error) {
	s := &story{a: a, began: time.Now()}
	shown, cancel := context.WithTimeoutCause(ctx, demoLimit, errors.New("the demo took longer than a minute"))
	defer cancel()
	defer func() {
		if stopped := s.stop(); stopped != nil {
			err = errors.Join(err, stopped)
		} else if err == nil && once {
			s.say("end", "all of that happened, and every node has left the mesh", nil)
		}
	}()
	if err := s.tell(shown); err != nil {
		if ctx.Err() != nil {
			return nil // ctrl-c
		}
		if cause := context.Cause(shown); cause != nil {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		return fmt.Errorf("demo: %w", err)
	}
	if once {
		return nil
	}
	return s.stay(ctx)
}

// stay keeps traffic flowing in all regions until ctx ends.
func (s *story) stay(ctx context.Context) error {
	first, other := s.mesh.in(demoPlan[0], 1), s.mesh.in(demoPlan[1], 1)
	s.a.out.printf(`
The mesh stays up, with an event a second in each region. In another terminal:

  skein topology --watch --server %[1]s
  skein sub --server %[2]s
  skein sub --server %[2]s --type 'demo.>' --filter "region = 'ap'"
  skein pub --server %[1]s --type demo.hello --data 'hello from here'
  skein route --server %[1]s --type demo.hello
  curl %[1]s/events -H 'Content-Type: application/cloudevents+json' \
    -d '{"specversion":"1.0","id":"1","source":"/curl","type":"demo.hello","data":"hello"}'
  curl -N %[2]s/events -H 'Accept: text/event-stream'

ctrl-c ends it.
`, first.server(), other.server())
	clock := time.NewTicker(time.Second)
	defer clock.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			s.a.out.printf("\n")
			return nil
		case <-clock.C:
		}
		for _, region := range demoPlan {
			ev, err := measurement(region, n)
			if err != nil {
				return err
			}
			if err := s.publish(ctx, region, ev); err != nil && ctx.Err() == nil {
				return fmt.Errorf("demo: publish in %s: %w", region, err)
			}
		}
		if n%10 == 0 {
			s.say("traffic", s.arrivals(), nil)
		}
	}
}

// measurement is an event that says how this process is doing.
func measurement(region string, n int) (event.Event, error) {
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(samples)
	data, err := json.Marshal(map[string]uint64{
		"goroutines": samples[0].Value.Uint64(), "memoryBytes": samples[1].Value.Uint64(),
	})
	if err != nil {
		return event.Event{}, err
	}
	return demoEvent("demo.process.measured", region, fmt.Sprintf("measure-%s-%d", region, n), data)
}

// builtFrom is the demo's input: an event for each module that this binary was
// built from, as the binary itself says.
func builtFrom(region string) ([]event.Event, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("this binary does not say what it was built from")
	}
	modules := append([]*debug.Module{&info.Main, {Path: "go", Version: info.GoVersion}}, info.Deps...)
	var events []event.Event
	for i, m := range modules {
		data, err := json.Marshal(map[string]string{"path": m.Path, "version": m.Version, "sum": m.Sum})
		if err != nil {
			return nil, err
		}
		ev, err := demoEvent("demo.module.linked", region, fmt.Sprintf("module-%d", i+1), data)
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	return events, nil
}

func demoEvent(typ, region, id string, data []byte) (event.Event, error) {
	at := attributes{typ: typ, source: "/skein/demo/" + region, id: id, ext: []string{"region=" + region}}
	return at.event(data, time.Now())
}
