package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/test/wan/tun"
)

// wanRow is a row that is measured over an emulated link.
type wanRow struct {
	name    string
	loss    float64 // share of the link's packets
	remote  int     // nodes of the far region; the near one has one
	keeps   bool    // it needs a farKeeper, and the near region has three nodes
	lines   []line
	against map[string][]string // what is wanted of the lines' ratios, by the stack of the peer
	measure func(ctx context.Context, l *link, s system, scale float64) (result, error)
}

// runWAN measures the rows over emulated links: the peer with each stack of TCP
// that it is to be measured with, and Skein, which brings its own congestion
// control.
func runWAN(ctx context.Context, p plan, nats, skein rival, alone func() error) error {
	all := slices.Concat(wanRows, wanReplays)
	if !p.has(reroute) && !slices.ContainsFunc(all, func(r wanRow) bool { return p.has(r.name) }) {
		return nil
	}
	probe, err := openLink(1, 0, tcp{})
	if errors.Is(err, tun.ErrUnsupported) {
		fmt.Printf("rows over an emulated link: SKIPPED, they need root on Linux: %v\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	have := known(probe.sites[near])
	if err := probe.close(); err != nil {
		return err
	}
	fmt.Printf("\nEmulated link: %v round trip, %.0f Gbit/s with a queue of %d MiB, packets lost independently.\n"+
		"Messages of 1 KiB of %d sources. The host's own TCP congestion control is %s.\n",
		2*linkDelay, linkBandwidth*8/1e9, linkQueue>>20, wanSources, hostControl())
	fmt.Printf(format, "", "NATS", "Skein", "ratio", "wanted")
	for _, r := range all {
		if p.has(r.name) {
			if err := r.run(ctx, p, nats, skein, have); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	if p.has(reroute) && p.system != nats.name {
		return alone()
	}
	return nil
}

// run measures a row in rounds, all rivals in turn, and prints it.
func (r *wanRow) run(ctx context.Context, p plan, nats, skein rival, have []tcp) error {
	var ours []result
	theirs := map[string][]result{}
	for round := range p.wanRounds {
		for _, stack := range have {
			if _, asked := r.against[stack.name]; !asked || p.system == skein.name {
				continue
			}
			got, err := r.round(ctx, uint64(round), stack, nats, p.scale())
			if err != nil {
				return fmt.Errorf("nats on %s: %w", stack.name, err)
			}
			theirs[stack.name] = append(theirs[stack.name], got)
		}
		if p.system == nats.name {
			continue
		}
		got, err := r.round(ctx, uint64(round), tcp{}, skein, p.scale())
		if err != nil {
			return fmt.Errorf("skein: %w", err)
		}
		ours = append(ours, got)
	}
	printed := false
	for _, stack := range have {
		if wanted, asked := r.against[stack.name]; asked {
			printed = true
			lines := slices.Clone(r.lines)
			for i := range lines {
				lines[i].what += "; NATS on " + stack.name
				lines[i].wanted = wanted[i]
			}
			printLines(lines, theirs[stack.name], ours)
		}
	}
	if !printed {
		printLines(r.lines, nil, ours)
	}
	return nil
}

// round measures a row once, with a link and a system of its own.
func (r *wanRow) round(ctx context.Context, seed uint64, stack tcp, of rival, scale float64) (got result, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l, err := openLink(seed, r.loss, stack)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	start, local := of.start, 1
	if r.keeps {
		start, local = of.keep, 3
	}
	s, err := start(ctx, l.seats(local, r.remote))
	if err != nil {
		return result{}, err
	}
	defer s.close()
	return r.measure(ctx, l, s, scale)
}

// known are the stacks that this kernel has; it says which it has not.
func known(at *tun.Site) (have []tcp) {
	for _, stack := range stacks {
		if strings.EqualFold(stack.control, hostControl()) {
			stack.control = "" // which sites have without being told
		}
		if err := stack.apply(at); err != nil {
			fmt.Printf("NATS on %s: SKIPPED, not available here: %v\n", stack.name, err)
			continue
		}
		have = append(have, stack)
	}
	return have
}

// hostControl is what the host's TCP uses.
func hostControl() string {
	control, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		return "unknown: " + err.Error()
	}
	return strings.ToUpper(strings.TrimSpace(string(control)))
}
