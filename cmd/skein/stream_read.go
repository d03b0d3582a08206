package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// streamReading is what is read of a stream, and for how long.
type streamReading struct {
	selection
	name, from string
	order      string
	hold       time.Duration
	count      int
	follow     bool
	partial    bool
	timeout    time.Duration
	records    bool // with --json, print positions too
}

func streamReadCommand(a *app) *cobra.Command {
	s := &streamReading{}
	cmd := &cobra.Command{
		Use:   "read NAME",
		Short: "Print what a stream keeps",
		Long: `Print the events of a stream, merged over its regions and partitions in the order
of time, up to what had been acknowledged when it began: on a terminal a readable
line each, piped one CloudEvent in JSON a line. With --json each line also has the
event's position, its time and the cursor that --from takes to go on after it.

While a region that keeps the stream is out of reach it fails, unless --partial has it
print what can be read. With --follow it prints that anyway, and goes on with the
region when it is back. Which regions are missing is said on stderr, and the cursor
keeps their place.`,
		Example: `  skein stream read orders
  skein stream read orders --from 2026-05-04T12:00:00Z --count 10
  skein stream read orders --from eu/3:17,us/1:4 --follow
  skein stream read orders | skein pub --ndjson - --server http://other:8420`,
		Args: streamArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.check(); err != nil {
				return err
			}
			s.name, s.records = args[0], true
			return a.readStream(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.from, "from", "earliest", "`where` to begin: earliest, latest, an offset, a time or a cursor")
	f.IntVarP(&s.count, "count", "c", 0, "end after this many events")
	f.BoolVar(&s.follow, "follow", false, "go on with what comes")
	f.DurationVar(&s.timeout, "timeout", 0, "end after this `time`; a failure if --count events have not come by then")
	f.BoolVar(&s.partial, "partial", false, "print what can be read while a region is out of reach")
	s.addOrder(cmd)
	f.StringVarP(&s.pattern, "type", "t", "", "`pattern` of the type: * is one token, a last > the rest")
	f.StringVarP(&s.source, "source", "s", "", "exactly this `source`")
	f.StringVar(&s.subject, "subject", "", "exactly this `subject`")
	f.StringVar(&s.cesql, "filter", "", "a CESQL `expression` that must be true")
	return a.addAdmin(cmd)
}

// addOrder gives a command the flags that say in what order events come.
func (s *streamReading) addOrder(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.order, "order", "", "`order` of events of different regions and partitions: arrival (the default of what follows) or time")
	f.DurationVar(&s.hold, "hold", 0, "`time` that --order time holds an event back for an earlier one, in what follows (default 1s)")
}

// check refuses flags that make no sense.
func (s *streamReading) check() error {
	if s.count < 0 {
		return usagef("--count %d: want 0 or more", s.count)
	}
	if _, err := node.ParseOrder(s.order); err != nil {
		return usagef("--order %s: want %s or %s", printable(s.order), node.ByArrival, node.ByTime)
	}
	if s.hold < 0 || s.hold > node.MaxHold {
		return usagef("--hold %v: want up to %v", s.hold, node.MaxHold)
	}
	return nil
}

// query is the reading as a node takes it.
func (s *streamReading) query() url.Values {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("from", s.from)
	set("type", s.pattern)
	set("source", s.source)
	set("subject", s.subject)
	set("filter", s.cesql)
	if s.count > 0 {
		q.Set("count", strconv.Itoa(s.count))
	}
	if s.follow {
		q.Set("follow", "true")
	}
	if s.partial {
		q.Set("partial", "true")
	}
	set("order", s.order)
	if s.hold > 0 {
		q.Set("hold", s.hold.String())
	}
	return q
}

// readLine is a line of a node's answer: an event, how far the node is without one,
// what has been trimmed, which regions are out of reach, or why the answer ends.
type readLine struct {
	Cursor  string             `json:"cursor"`
	Event   json.RawMessage    `json:"event"`
	Trimmed *node.TrimmedError `json:"trimmed"`
	Missing *[]string          `json:"missing"`
	Problem json.RawMessage    `json:"problem"`
}

// readStream prints events of a stream.
func (a *app) readStream(ctx context.Context, s *streamReading) error {
	q, err := a.server.ask()
	if err != nil {
		return err
	}
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	res, err := q.send(ctx, request{method: http.MethodGet, path: a.server.stream(s.name, "/events"), query: s.query()})
	if err == nil {
		defer res.Body.Close()
		if s.follow {
			a.err.printf("%s\n", a.err.paint(dim, fmt.Sprintf("subscribed at %s to stream %s", a.server.url, printable(s.name))))
		}
		p := &eventPrinter{app: a, done: make(chan error, 1)}
		if err = a.copyStream(p, s, res.Body); err == nil {
			return nil
		}
		if ctx.Err() != nil && s.count > 0 {
			return fmt.Errorf("%d of %s came within %v", p.n.Load(), plural(s.count, "event"), s.timeout)
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) || ctx.Err() != nil && s.count == 0 {
		return nil // as asked
	}
	return fmt.Errorf("read stream %s: %w", printable(s.name), err)
}

// copyStream prints what a node answers. The error says how to go on.
func (a *app) copyStream(p *eventPrinter, s *streamReading, body io.Reader) error {
	in := bufio.NewReaderSize(body, 64<<10)
	cursor := ""
	for {
		text, err := in.ReadBytes('\n')
		if text = bytes.TrimSpace(text); len(text) > 0 && err == nil {
			err = a.printLine(p, s, text, &cursor)
		}
		switch {
		case err == io.EOF && (!s.follow || s.count > 0 && int(p.n.Load()) >= s.count):
			return nil
		case err == io.EOF:
			err = errors.New("the node ended the answer")
			fallthrough
		case err != nil && cursor != "":
			return fmt.Errorf("%w; --from %s goes on", err, printable(cursor))
		case err != nil:
			return err
		}
	}
}

// printLine prints a line of a node's answer and notes the cursor after it.
func (a *app) printLine(p *eventPrinter, s *streamReading, text []byte, cursor *string) error {
	var line readLine
	if err := json.Unmarshal(text, &line); err != nil {
		return fmt.Errorf("the answer is not what a Skein node says: %w", err)
	}
	switch {
	case line.Problem != nil:
		return errors.New(problem("a problem", line.Problem))
	case line.Trimmed != nil:
		a.err.printf("%s\n", a.err.paint(yellow, "gap: "+printable(line.Trimmed.Error())))
		return nil
	}
	if line.Missing != nil {
		told := node.MissingError{Stream: s.name, Regions: *line.Missing}
		a.err.printf("%s\n", a.err.paint(yellow, printable(told.Error())))
		return nil
	}
	*cursor = line.Cursor
	if line.Event == nil {
		return nil
	}
	if a.json && s.records {
		p.n.Add(1)
		_, err := a.out.Write(append(text, '\n'))
		return err
	}
	envelope, err := event.Decoder{MaxEvent: event.MaxEnvelope}.AppendFromJSON(nil, line.Event)
	if err != nil {
		return fmt.Errorf("the answer holds no event: %w", err)
	}
	var ev event.Event
	if err := ev.Scan(envelope); err != nil {
		return fmt.Errorf("the answer holds no event: %w", err)
	}
	p.event(ev)
	select {
	case err := <-p.done:
		return err
	default:
		return nil
	}
}
