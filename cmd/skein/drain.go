package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
)

const (
	drainEvery = 500 * time.Millisecond // how often the node is asked how far it is
	draining   = "draining"             // a state of node.DrainView
)

func drainCommand(a *app) *cobra.Command {
	var undo bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Empty a node, so that it can be stopped for good",
		Long: `Have other nodes of its region take over what the node that --server names keeps of
streams, and wait until nothing is left on it: then it can be stopped for good. It
serves what it still has until then, and gets nothing new, not even when it is
started again. Nobody needs this to restart a node.

The exit code is 1 if something is left when --wait is over; the node is drained on
all the same, and the command may be given again. --undo takes it back.`,
		Example: `  skein drain --server http://10.0.0.5:8420
  skein drain --server http://10.0.0.5:8420 --undo`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := a.server.ask()
			if err != nil {
				return err
			}
			if undo {
				view, err := q.drain(cmd.Context(), http.MethodDelete)
				return a.tellDrained(view, err, "node "+printable(view.Node)+" keeps and leads its share again")
			}
			view, err := q.drain(cmd.Context(), http.MethodPost)
			if err == nil {
				view, err = a.awaitDrained(cmd.Context(), q, view, wait)
			}
			return a.tellDrained(view, err, "nothing is left on node "+printable(view.Node)+": it can be stopped for good")
		},
	}
	f := cmd.Flags()
	f.BoolVar(&undo, "undo", false, "take it back: the node keeps and leads its share again")
	f.DurationVar(&wait, "wait", 10*time.Minute, "`time` to wait until nothing is left")
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}

// drain asks a node to be drained (POST), not to be (DELETE), or how far it is (GET).
func (q *asker) drain(ctx context.Context, method string) (view node.DrainView, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	_, err = q.do(ctx, request{method: method, path: "/mesh/drain"}, &view)
	return view, err
}

// awaitDrained asks a node until nothing is left on it, for as long as wait says.
func (a *app) awaitDrained(ctx context.Context, q *asker, view node.DrainView, wait time.Duration) (node.DrainView, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	look := time.NewTicker(drainEvery)
	defer look.Stop()
	if a.err.terminal() {
		defer a.err.printf("\r\x1b[K")
	}
	for leftOn(view) != "" && view.State == draining && ctx.Err() == nil {
		if a.err.terminal() {
			a.err.printf("\r%s\x1b[K", leftOn(view))
		}
		select {
		case <-look.C:
		case <-ctx.Done(): // it is asked once more
		}
		next, err := q.drain(context.WithoutCancel(ctx), http.MethodGet)
		if err != nil {
			return view, err
		}
		view = next
	}
	left := leftOn(view)
	switch {
	case view.State != draining:
		return view, fmt.Errorf("node %s is not drained any more: somebody has taken it back", printable(view.Node))
	case left != "":
		return view, fmt.Errorf("node %s cannot be stopped for good yet: %s; it is drained on", printable(view.Node), left)
	}
	return view, nil
}

// leftOn is what a node still keeps that others need, in words; empty for nothing.
func leftOn(v node.DrainView) string {
	var left []string
	if v.Replicas > 0 {
		left = append(left, plural(v.Replicas, "replica"))
	}
	if v.Waiting > 0 {
		left = append(left, plural(int(v.Waiting), "event")+" for other regions")
	}
	text := strings.Join(left, " and ")
	switch {
	case text == "":
		return ""
	case v.Replicas > 0 && v.Others == 0:
		return text + " left: there is no other node to take them"
	}
	return text + " left"
}

// tellDrained says what has become of a node, or why it has not.
func (a *app) tellDrained(v node.DrainView, err error, done string) error {
	if a.json && v.State != "" {
		if out := a.out.json(v); out != nil {
			return out
		}
	} else if err == nil {
		a.out.printf("%s\n", done)
	}
	return err
}
