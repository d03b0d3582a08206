package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// subFlags is what `skein sub` was told.
type subFlags struct {
	selection
	reading streamReading // what is said of a stream
	stream  string
	from    string
	count   int
	timeout time.Duration
	barrier string
	wait    time.Duration
}

func subCommand(a *app) *cobra.Command {
	s := &subFlags{}
	cmd := &cobra.Command{
		Use:   "sub",
		Short: "Print events as they come",
		Long: `Subscribe, and print events as they come: on a terminal a readable line each,
piped (or with --json) one CloudEvent in JSON a line. What was lost is said on
stderr, with the count and the cause. Flags that choose events add up: all of
them must fit.

With --stream it prints what the stream keeps, from --from on, and goes on with
what comes, without a seam; while a region is out of reach, with what can be read: which
are missing is said on stderr.

Else it starts printing once the interest has spread as far as --barrier says, so
nothing is missed that is published from then on.`,
		Example: `  skein sub
  skein sub --type 'order.>'
  skein sub --type telemetry.container --filter "reading > 8 AND subject LIKE 'MSKU%'"
  skein sub --type order.created --count 1 --timeout 30s --json | jq .data
  skein sub --stream orders --from latest`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.count < 0 {
				return usagef("--count %d: want 0 or more", s.count)
			}
			for _, name := range []string{"from", "order", "hold"} {
				if s.stream == "" && cmd.Flags().Changed(name) {
					return usagef("--%s goes with --stream: only a stream keeps what was", name)
				}
			}
			if s.stream != "" {
				r := &s.reading
				r.selection, r.name, r.from, r.count, r.follow, r.timeout = s.selection, s.stream, s.from, s.count, true, s.timeout
				if err := r.check(); err != nil {
					return err
				}
				return a.readStream(cmd.Context(), r)
			}
			return a.sub(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&s.pattern, "type", "t", "", "`pattern` of the type: * is one token, a last > the rest")
	f.StringVarP(&s.source, "source", "s", "", "exactly this `source`")
	f.StringVar(&s.subject, "subject", "", "exactly this `subject`")
	f.StringVar(&s.cesql, "filter", "", "a CESQL `expression` that must be true")
	f.IntVarP(&s.count, "count", "c", 0, "end after this many events")
	f.DurationVar(&s.timeout, "timeout", 0, "end after this `time`; a failure if --count events have not come by then")
	f.StringVar(&s.stream, "stream", "", "`name` of a stream to read and follow")
	f.StringVar(&s.from, "from", "", "`where` to begin in it: earliest (the default), latest, an offset, a time or a cursor")
	s.reading.addOrder(cmd)
	f.StringVar(&s.barrier, "barrier", "mesh", "`how` far the interest must have spread before it starts: none, region or mesh")
	f.DurationVar(&s.wait, "wait", 2*time.Second, "`time` to wait for that")
	a.addNamespace(cmd)
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}

func (a *app) sub(ctx context.Context, s *subFlags) error {
	c, err := a.dial(ctx, a.server, "skein sub")
	if err != nil {
		return err
	}
	defer c.Close()
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	p := &eventPrinter{app: a, limit: s.count, done: make(chan error, 1)}
	sub, err := c.SubscribeRaw(ctx, s.filter(), p.event,
		client.OnGap(p.gap), client.WithBarrier(client.Barrier(s.barrier)), client.WithBarrierWait(s.wait))
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	a.err.printf("%s\n", a.err.paint(dim, fmt.Sprintf("subscribed at %s to %s", a.server.url, s)))
	for _, region := range sub.Missing() {
		a.err.printf("%s\n", a.err.paint(yellow, "region "+printable(region)+" has not confirmed yet: events published there may be missed until it has"))
	}
	select {
	case err := <-p.done:
		return err
	case <-sub.Done():
		return fmt.Errorf("subscription ended: %w", sub.Err())
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && s.count > 0 {
		return fmt.Errorf("%d of %s came within %v", p.n.Load(), plural(s.count, "event"), s.timeout)
	}
	return nil
}

// eventPrinter prints events in order, one call at a time.
type eventPrinter struct {
	app   *app
	limit int        // events to print; 0 is all
	done  chan error // gets nil when limit is reached, or why printing failed
	n     atomic.Int64
	buf   []byte
}

func (p *eventPrinter) event(ev event.Event) {
	n := int(p.n.Load())
	if p.limit > 0 && n >= p.limit {
		return
	}
	p.buf = p.line(p.buf[:0], &ev)
	_, err := p.app.out.Write(p.buf)
	p.n.Add(1)
	if err != nil || n+1 == p.limit {
		select {
		case p.done <- err:
		default: // it has ended already
		}
	}
}

// line is the event as JSON for programs, or as a readable line for people.
func (p *eventPrinter) line(dst []byte, ev *event.Event) []byte {
	s := p.app.out
	if p.app.json || !s.terminal() {
		return append(ev.AppendJSONLine(dst), '\n')
	}
	return append(s.describe(dst, ev, time.Now()), '\n')
}

// describe draws an event in one line: when it happened (or came), type,
// source, subject, id and data.
func (s *screen) describe(dst []byte, ev *event.Event, now time.Time) []byte {
	at := now
	if v, ok := ev.Attr("time"); ok {
		if t, err := time.Parse(time.RFC3339Nano, v.String()); err == nil {
			at = t
		}
	}
	dst = fmt.Appendf(dst, "%s  %s  %s", s.paint(dim, at.Local().Format("15:04:05.000")),
		s.paint(bold, printable(ev.Type())), s.paint(cyan, printable(ev.Source())))
	if v, ok := ev.Attr("subject"); ok {
		dst = fmt.Appendf(dst, "  %s", printable(v.String()))
	}
	dst = fmt.Appendf(dst, "  %s", s.paint(dim, printable(ev.ID())))
	switch data, form := ev.Data(); {
	case form == event.NoData:
	case form != event.TextData && !utf8.Valid(data):
		dst = fmt.Appendf(dst, "  %s of data", size(uint64(len(data))))
	default:
		dst = fmt.Appendf(dst, "  %s", printable(string(data)))
	}
	return dst
}

// gap says on stderr what was lost.
func (p *eventPrinter) gap(g client.Gap) {
	p.app.err.printf("%s\n", p.app.err.paint(yellow, gapText(g)))
}

func gapText(g client.Gap) string {
	what := "events were lost, nobody knows how many"
	if g.Count > 0 {
		what = plural(int(g.Count), "event") + " lost"
	}
	if g.Origin != "" && g.Count > 0 {
		what = "up to " + what
	}
	text := fmt.Sprintf("gap: %s (%s)", what, printable(g.Cause))
	if g.Origin != "" {
		text += " on the way from " + printable(g.Origin)
	}
	if !g.From.IsZero() {
		text += fmt.Sprintf(" between %s and %s", g.From.Local().Format("15:04:05.000"), g.To.Local().Format("15:04:05.000"))
	}
	return text
}
