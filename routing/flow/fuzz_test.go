package flow

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	steps   = 400
	maxRun  = 4 * steps // events that a run can publish
	perRule = 20_000    // runs
)

// The rule sets of the study, and those of what it does not name.
var ruleSets = map[string]rules{
	"everything": {steps: steps, buffer: 1000, reroute: 0.02, crash: 0.01, flap: 0.03, freeze: 0.02, cut: 0.01,
		interest: 0.02, refuse: 0.01, disorder: 0.1, restart: 0.003, leave: 0.003, pause: 0.01},
	"reroutes and crashes": {steps: steps, buffer: 1 << 20, reroute: 0.03, crash: 0.02, disorder: 0.05, lossless: true},
	"an origin that is taken for gone": {steps: steps, buffer: 1 << 20, reroute: 0.02, disorder: 0.05, restart: 0.002, interest: 0.02,
		mistake: 0.005, ttl: time.Minute, forget: 80 * time.Second},
	"reroutes, crashes and overflow": {steps: steps, buffer: 400, reroute: 0.03, crash: 0.02, onlyOrigin: true},
}

// runWorld is one run; what is wrong with it, if anything.
func runWorld(seed uint64, r rules, m mutant, s *stock) *world {
	w := newWorld(seed, r, m)
	for range r.steps {
		if w.step(s); w.fault != "" {
			return w
		}
	}
	w.settle()
	if w.fault == "" {
		w.check()
	}
	return w
}

// check finds what was lost in silence, and state that should be gone.
func (w *world) check() {
	for k := range w.events {
		p := &w.events[k]
		for i, n := range w.nodes {
			if p.wanted[i] && !p.done[i] && !n.reported(p) {
				w.fail("node %d: event %d of boot %d was lost in silence", i, p.number, p.boot)
				return
			}
		}
	}
	if w.origin.cfg.Budget.Used() != 0 || len(w.origin.Pending()) > 0 {
		w.fail("all is healed, but %d bytes are not acknowledged", w.origin.cfg.Budget.Used())
	}
	for i, n := range w.nodes {
		if len(n.receiver.due) > 0 || len(n.entry.dirty) > 0 {
			w.fail("node %d: something is left to do", i)
		}
		if len(n.receiver.flows) > int(w.boot) || len(n.entry.flows) > int(w.boot) {
			w.fail("node %d: more flows than there are", i)
		}
	}
}

// reported says whether a gap of the node covers an event.
func (n *member) reported(p *published) bool {
	for _, g := range n.gaps {
		switch {
		case g.Cause == OriginLost && g.Flow.Boot >= p.boot:
			return true
		case g.Flow.Boot != p.boot || p.number < g.From || p.number > g.To:
		case g.Labels.Any:
			return true
		default:
			for _, l := range g.Labels.List {
				if kindOf(l.Type) == p.kind {
					return true
				}
			}
		}
	}
	return false
}

// soak is by how much more is run than in CI.
func soak() int {
	n, _ := strconv.Atoi(os.Getenv("SKEIN_SOAK"))
	return max(n, 1)
}

func TestFlowFuzz(t *testing.T) {
	runs := perRule * soak()
	if testing.Short() {
		runs /= 20
	}
	s := newStock(maxRun)
	for name, r := range ruleSets {
		t.Run(name, func(t *testing.T) {
			var next, events, gaps, spared atomic.Uint64
			var wg sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				wg.Go(func() {
					for seed := next.Add(1); seed <= uint64(runs) && !t.Failed(); seed = next.Add(1) {
						w := runWorld(seed, r, mutant{}, s)
						if w.fault != "" {
							t.Errorf("seed %d: %s", seed, w.fault)
						}
						events.Add(uint64(len(w.events)))
						gaps.Add(uint64(w.gapped))
						spared.Add(uint64(w.spared))
					}
				})
			}
			wg.Wait()
			t.Logf("%d runs, %d events, %d gaps, %d that were none", runs, events.Load(), gaps.Load(), spared.Load())
			if !r.lossless && gaps.Load() == 0 {
				t.Error("the rules never made a gap: they are too mild")
			}
		})
	}
}

// A mutant is a defect that the checker must find, or else it checks nothing.
func TestFlowFuzzCatchesMutants(t *testing.T) {
	mutants := map[string]struct {
		rules string
		mutant
	}{
		"the entry node acknowledges what it has, not what was received": {"reroutes and crashes", mutant{
			onEntry: func(w *world, i int, f *Frame) { w.origin.Reply(w.now, &Reply{Flow: f.Flow, Upto: f.Upto}) },
		}},
		"the receiver ignores prev": {"everything", mutant{
			frameToReceiver: func(w *world, f *Frame) { shiftPrev(f) },
		}},
		"the receiver forgets what may come again": {"an origin that is taken for gone", mutant{forgetful: true}},
		"the receiver does not drop duplicates":    {"everything", mutant{noMemory: true}},
		"the origin does not send again":           {"reroutes and crashes", mutant{noResend: true}},
		"the entry node accepts what comes next":   {"reroutes and crashes", mutant{frameToEntry: func(_ *world, f *Frame) { f.Base = f.Prev + 1 }}},
		"a gap of the origin does not say of what kind it is": {"reroutes, crashes and overflow", mutant{
			frameToReceiver: func(_ *world, f *Frame) {
				if f.Kind == Lost {
					f.Labels = Labels{}
				}
			},
		}},
		"what is acknowledged is taken for older than it is": {"everything", mutant{
			frameToReceiver: func(_ *world, f *Frame) { f.Age += 1000 },
		}},
		"marks are not heard": {"everything", mutant{
			frameToReceiver: func(_ *world, f *Frame) {
				if f.Kind == Mark {
					f.Prev, f.Upto = 0, 0
				}
			},
		}},
	}
	const within = 1000
	s := newStock(maxRun)
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(within) {
				if w := runWorld(seed, ruleSets[m.rules], m.mutant, s); w.fault != "" {
					t.Logf("found in run %d: %s", seed+1, w.fault)
					return
				}
			}
			t.Errorf("%d runs did not find it", within)
		})
	}
}

// shiftPrev makes a claim reach back to the beginning, with its events in place.
func shiftPrev(f *Frame) {
	if f.Kind == Events {
		f.Runs[0].Skip += f.Prev
	}
	if f.Kind != Lost {
		f.Prev = 0
	}
}
