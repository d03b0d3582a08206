// Command bench measures Skein beside NATS: the same load from the same
// process, on the same machine, in one run, in turns. It prints the figures,
// the ratio, and what the ratio should be.
//
// Both run as processes of their own: NATS as servers that gateways with TLS
// join to a supercluster, Skein as nodes of a mesh, one a region unless a row
// says otherwise. The peer is built from the Go module proxy with this module,
// Skein from the tree it lies in. A figure is the median of the rounds; rounds
// that lose messages are marked.
//
// The rows named wan are measured over an emulated link between two regions
// (package tun), the same for both, which start afresh for each round; so is
// reroute, of Skein alone. They need Linux and root, and are skipped elsewhere.
//
// The durable rows compare with JetStream, as it comes and with an fsync for each
// message, which is what Skein does: three processes a side, of one region, each
// with a disk of its own on the machine's.
//
// takeover, of Skein alone, is what publishers feel of a node that comes to a region
// and takes over replicas, and how fast it does; takeover-dead that of one that
// replaces a dead node, which takes five minutes to begin and is measured only if
// it is named.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// system is a mesh under load, with the verbs that both can do.
type system interface {
	// subscriber calls got for every message of a topic that reaches a seat; it
	// returns once the mesh knows of it.
	subscriber(ctx context.Context, at int, topic string, got func(data []byte)) (stop func(), err error)
	// publisher sends messages into the first seat, of so many sources in turn
	// if the system knows of such: it may keep messages in order by source only.
	publisher(ctx context.Context, topic string, sources int) (publisher, error)
	// ingest is where HTTP takes events: for the peer, which has no such face, a
	// bare net/http server.
	ingest(ctx context.Context) (addr string, stop func(), err error)
	close()
}

// publisher sends without waiting for each message.
type publisher interface {
	publish(data []byte) error
	flush() error
	close()
}

const regions = 3

func main() {
	if len(os.Args) > 1 {
		if serve := map[string]func([]string) error{serverVerb: serveNATS, bareVerb: serveBare}[os.Args[1]]; serve != nil {
			if err := serve(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	quick := flag.Bool("quick", false, "one short round of each row")
	only := flag.String("rows", "", "comma-separated `names` of rows; empty is all")
	just := flag.String("system", "", "measure `nats` or `skein` alone, for a profile")
	rounds := flag.Int("rounds", 5, "how often each row is measured; the median is printed")
	built := flag.String("binary", "", "measure this skein `binary`; empty is one built from the tree")
	wanRounds := flag.Int("wan-rounds", 2, "the same, for the rows over an emulated link")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, plan{quick: *quick, rows: *only, system: *just, rounds: *rounds, wanRounds: *wanRounds, binary: *built}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// plan says what of the table is measured.
type plan struct {
	quick     bool
	rows      string // names, comma-separated; empty is all
	system    string // empty is both
	binary    string // of Skein; empty is built
	rounds    int
	wanRounds int
}

func (p plan) has(row string) bool {
	return p.rows == "" || slices.Contains(strings.Split(p.rows, ","), row)
}

// scale is how much of a row's load a round has.
func (p plan) scale() float64 {
	if p.quick {
		return 0.2
	}
	return 1
}

// rival is one that is measured.
type rival struct {
	name  string // nats or skein
	start func(ctx context.Context, seats []seat) (system, error)
	keep  func(ctx context.Context, seats []seat) (system, error) // one that keeps, a farKeeper
}

func run(ctx context.Context, p plan) error {
	dir, err := os.MkdirTemp("", "skein-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := p.binary
	if binary == "" {
		if binary, err = buildSkein(ctx, dir); err != nil {
			return err
		}
	}
	nats := rival{"nats",
		func(ctx context.Context, seats []seat) (system, error) { return startNATS(ctx, dir, seats) },
		func(ctx context.Context, seats []seat) (system, error) { return startFarJetStream(ctx, dir, seats) }}
	skein := rival{"skein",
		func(ctx context.Context, seats []seat) (system, error) { return startSkein(ctx, binary, dir, seats) },
		func(ctx context.Context, seats []seat) (system, error) {
			s, err := startSkein(ctx, binary, dir, seats)
			return &keeping{s}, err
		}}
	if p.quick {
		p.rounds, p.wanRounds = 1, 1
	}
	if err := runLoopback(ctx, p, []rival{nats, skein}); err != nil {
		return err
	}
	if err := runDurable(ctx, p, dir, binary); err != nil {
		return err
	}
	if err := runTakeover(ctx, p, dir, binary); err != nil {
		return err
	}
	return runWAN(ctx, p, nats, skein, func() error { return runReroute(ctx, p, dir, binary) })
}

// format is of a line of the table: what, NATS, Skein, ratio, remarks.
const format = "%-58s %14s %14s %8s  %s\n"

// runLoopback measures the rows that need no network, with both systems up.
func runLoopback(ctx context.Context, p plan, rivals []rival) error {
	if !slices.ContainsFunc(rows, func(r row) bool { return p.has(r.name) }) {
		return nil
	}
	systems := make([]system, len(rivals))
	for i, r := range rivals {
		if p.system != "" && p.system != r.name {
			continue
		}
		sys, err := r.start(ctx, loopback())
		if err != nil {
			return fmt.Errorf("start %s: %w", r.name, err)
		}
		defer sys.close()
		systems[i] = sys
	}
	fmt.Printf(format, "", "NATS", "Skein", "ratio", "wanted")
	for _, r := range rows {
		if !p.has(r.name) {
			continue
		}
		results := make([][]result, len(systems))
		for range p.rounds {
			for i, sys := range systems {
				if sys == nil {
					continue
				}
				one, cancel := context.WithTimeout(ctx, time.Minute)
				got, err := r.measure(one, sys, p.scale())
				cancel()
				if err != nil {
					return fmt.Errorf("%s with %s: %w", r.name, rivals[i].name, err)
				}
				results[i] = append(results[i], got)
			}
		}
		printLines(r.lines, results[0], results[1])
	}
	return nil
}
