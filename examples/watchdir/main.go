// Command watchdir keeps a listing of a directory in another region, from
// events alone.
//
//	watchdir publish --server URL DIR    watch DIR and publish its changes
//	watchdir mirror --server URL         print the listing as it is there now
//
// A change carries the entry's new state, not what was done to it, so one that
// is lost or comes twice does no lasting harm. Events are ephemeral: a mirror
// that starts late, or is told of a gap, asks for the whole listing, and every
// publisher answers with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "watchdir:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: watchdir publish [--server URL] DIR | watchdir mirror [--server URL]")

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("watchdir "+args[0], flag.ContinueOnError)
	server := flags.String("server", "http://127.0.0.1:8420", "URL of the node next to you")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch {
	case args[0] == "publish" && flags.NArg() == 1:
		return publish(ctx, *server, flags.Arg(0))
	case args[0] == "mirror" && flags.NArg() == 0:
		return mirror(ctx, *server, func(l listing) { l.print(out) })
	}
	return errUsage
}
