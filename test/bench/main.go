// Command bench measures Skein beside NATS: the same load from the same
// process, on the same machine, in one run, in turns. It prints the figures,
// the ratio, and what the ratio should be.
//
// Both run as processes of their own: NATS as one server a region, joined by
// gateways with TLS; Skein as one node a region. The peer is built from the Go
// module proxy with this module, Skein from the tree it lies in. A figure is
// the median of the rounds; rounds that lose messages are marked.
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
	// subscriber calls got for every message of a topic that reaches a region;
	// it returns once the mesh knows of it.
	subscriber(ctx context.Context, region int, topic string, got func(data []byte)) (stop func(), err error)
	// publisher sends messages into region 0.
	publisher(ctx context.Context, topic string) (publisher, error)
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
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, plan{quick: *quick, rows: *only, system: *just, rounds: *rounds}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// plan says what of the table is measured.
type plan struct {
	quick  bool
	rows   string // names, comma-separated; empty is all
	system string // empty is both
	rounds int
}

func run(ctx context.Context, p plan) error {
	dir, err := os.MkdirTemp("", "skein-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	starts := []struct {
		name  string
		start func(ctx context.Context, dir string) (system, error)
	}{{"nats", startNATS}, {"skein", startSkein}}
	systems := make([]system, len(starts))
	for i, s := range starts {
		if p.system != "" && p.system != s.name {
			continue
		}
		sys, err := s.start(ctx, dir)
		if err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		defer sys.close()
		systems[i] = sys
	}
	scale := 1.0
	if p.quick {
		p.rounds, scale = 1, 0.2
	}
	fmt.Printf("%-34s %14s %14s %8s  %s\n", "", "NATS", "Skein", "ratio", "wanted")
	for _, r := range rows {
		if p.rows != "" && !slices.Contains(strings.Split(p.rows, ","), r.name) {
			continue
		}
		results := make([][]result, len(systems))
		for range p.rounds {
			for i, sys := range systems {
				if sys == nil {
					continue
				}
				one, cancel := context.WithTimeout(ctx, time.Minute)
				got, err := r.measure(one, sys, scale)
				cancel()
				if err != nil {
					return fmt.Errorf("%s with %s: %w", r.name, starts[i].name, err)
				}
				results[i] = append(results[i], got)
			}
		}
		r.print(results[0], results[1])
	}
	return nil
}
