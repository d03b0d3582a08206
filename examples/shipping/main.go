// Command shipping is three services of a shipping line, each in the region
// where its people are, that know nothing of each other but events:
//
//	shipping orders   (eu)  takes orders, follows them to the port of arrival
//	shipping fleet    (ap)  loads them into containers, sails, sends telemetry
//	shipping control  (us)  watches temperatures, raises alerts
//
// Each talks to the node next to it. Every event of a container has the
// container's number as its key, so each subscriber sees the container's story
// in order; of the telemetry only readings that are too warm leave the region,
// because that is all that control's filter wants.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/skeinmesh/skein/node/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, os.Args[1:], os.Stdin, log); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "shipping:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: shipping orders|fleet|control [--server URL] [--reading-every D]; orders reads JSON lines from standard input")

// run runs one service until ctx ends.
func run(ctx context.Context, args []string, stdin io.Reader, log *slog.Logger) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("shipping "+args[0], flag.ContinueOnError)
	server := flags.String("server", "http://127.0.0.1:8420", "URL of the node next to the service")
	every := flags.Duration("reading-every", time.Second, "time between two readings of a container (fleet)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 || *every <= 0 {
		return errUsage
	}
	name := args[0]
	log = log.With("service", name)
	// A publish whose connection broke is sent again: consumers of these
	// events look at the state they carry, and bear one that comes twice.
	c, err := client.Dial(ctx, *server, client.WithAgent("shipping "+name), client.WithAtLeastOnce(), client.WithLogger(log))
	if err != nil {
		return err
	}
	defer c.Close()
	switch name {
	case "orders":
		return newOrders(c, log).run(ctx, stdin)
	case "fleet":
		return newFleet(c, log, *every).run(ctx)
	case "control":
		return newControl(c, log).run(ctx)
	}
	return errUsage
}
