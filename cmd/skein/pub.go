package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

func pubCommand(a *app) *cobra.Command {
	p := &pubFlags{}
	cmd := &cobra.Command{
		Use:   "pub [-]",
		Short: "Publish events",
		Long: `Publish one event made from the flags, with data from --data, from a file, or
from standard input ("-"); or, with --ndjson, many: one CloudEvent in JSON a line.

It returns once the node has routed the events and, where streams want them, once
those keep them: then it says where, as STREAM@REGION/PARTITION/OFFSET. A line that is no valid event
ends the run with the line's number; the lines before it are published.`,
		Example: `  skein pub --type order.created --source /shop --data '{"total": 42}'
  date | skein pub --type clock.tick --ext region=eu -
  skein pub --type photo.taken --file cat.jpg --content-type image/jpeg
  skein pub --ndjson events.ndjson
  some-program | skein pub --ndjson - --server http://10.0.0.5:8420`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.hasData = cmd.Flags().Changed("data")
			if err := p.check(args); err != nil {
				return err
			}
			if p.ndjson != "" {
				return a.pubLines(cmd.Context(), p.ndjson)
			}
			return a.pubOne(cmd.Context(), p)
		},
	}
	p.attributes.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&p.data, "data", "d", "", "the event's data, as `text`")
	f.StringVarP(&p.file, "file", "f", "", "`file` with the event's data")
	f.StringVar(&p.ndjson, "ndjson", "", "`file` (or -) with one CloudEvent in JSON a line")
	a.addNamespace(cmd)
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}

// pubFlags is what `skein pub` was told.
type pubFlags struct {
	attributes
	data, file, ndjson string
	hasData, stdin     bool
}

// check refuses what contradicts itself.
func (p *pubFlags) check(args []string) error {
	if len(args) == 1 {
		if args[0] != "-" {
			return usagef("argument %q: want - for data from standard input, or --data, or --file", args[0])
		}
		p.stdin = true
	}
	sources := 0
	for _, given := range []bool{p.stdin, p.hasData, p.file != "", p.ndjson != ""} {
		if given {
			sources++
		}
	}
	switch {
	case sources > 1:
		return usagef("data comes from one of --data, --file, --ndjson and standard input, not from several")
	case p.ndjson != "" && p.typ != "":
		return usagef("with --ndjson the events have their own types: --type says nothing")
	case p.ndjson == "" && p.typ == "":
		return usagef("--type is needed: it is what most subscribers go by")
	}
	return nil
}

// content is the event's data; nil is none.
func (p *pubFlags) content(stdin io.Reader) (data []byte, err error) {
	switch {
	case p.stdin:
		data, err = io.ReadAll(io.LimitReader(stdin, event.MaxEnvelope))
	case p.file != "":
		data, err = os.ReadFile(p.file)
	case p.hasData:
		return []byte(p.data), nil
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the data: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

func (a *app) pubOne(ctx context.Context, p *pubFlags) error {
	data, err := p.content(a.stdin)
	if err != nil {
		return err
	}
	ev, err := p.event(data, time.Now())
	if err != nil {
		return err
	}
	q, err := a.server.ask()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pubTimeout)
	defer cancel()
	header, err := q.do(ctx, request{
		method: http.MethodPost, path: a.server.in("/events"), body: ev.AppendProto(nil),
		header: http.Header{"Content-Type": {"application/cloudevents+protobuf"}, "Skein-Overflow": {"block"}},
	}, nil)
	if err != nil {
		return fmt.Errorf("publish: %w; sent again with --id %s it is kept once", err, printable(ev.ID()))
	}
	return a.tellPublished(&ev, header["Skein-Position"])
}

// pubTimeout is more than a node takes to find that it cannot keep an event.
const pubTimeout = 30 * time.Second

// tellPublished says that an event is published, and where streams keep it.
func (a *app) tellPublished(ev *event.Event, kept []string) error {
	if a.json {
		return a.out.json(struct {
			ID     string   `json:"id"`
			Source string   `json:"source"`
			Type   string   `json:"type"`
			Kept   []string `json:"kept,omitempty"`
		}{ev.ID(), ev.Source(), ev.Type(), kept})
	}
	a.out.printf("published %s\n", printable(title(ev)))
	for _, at := range kept {
		if at, duplicate := strings.CutSuffix(at, ";duplicate"); duplicate {
			a.out.printf("%s\n", a.out.paint(yellow, "a duplicate: kept before at "+printable(at)))
		} else {
			a.out.printf("kept at %s\n", printable(at))
		}
	}
	return nil
}

// published is what came of many events.
type published struct {
	Published int     `json:"published"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
}

// pubLines publishes the events of a file, or of standard input, in order.
func (a *app) pubLines(ctx context.Context, file string) error {
	in, total := a.stdin, int64(0)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			total = info.Size()
		}
		in = f
	}
	c, err := a.dial(ctx, a.server, "skein pub --ndjson")
	if err != nil {
		return err
	}
	defer c.Close()
	began := time.Now()
	lines := newLineReader(in)
	sent, err := sendLines(ctx, c, lines, newProgress(a.err, total))
	p := published{Published: sent, Bytes: lines.offset, Seconds: time.Since(began).Seconds()}
	if err != nil {
		return fmt.Errorf("%w; %s before it published", err, plural(sent, "event"))
	}
	if a.json {
		return a.out.json(p)
	}
	a.out.printf("published %s in %.1f s, %s/s\n", plural(sent, "event"), p.Seconds, count(int(float64(sent)/max(p.Seconds, 1e-3))))
	return nil
}

// pending is an event on its way, and the line it came from.
type pending struct {
	line int
	ack  client.Ack
}

// sendLines publishes line after line without waiting for each answer, as far
// as the client's window reaches. It returns how many events the node has
// routed and the first error, when nothing is on its way any more.
func sendLines(ctx context.Context, c *client.Client, lines *lineReader, bar *progress) (sent int, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer bar.done()
	onWay := make(chan pending, client.DefaultWindowEvents)
	var wg sync.WaitGroup
	wg.Go(func() { // answers come in order
		for p := range onWay {
			if err := p.ack.Wait(ctx); err != nil {
				stop(fmt.Errorf("line %d: %w", p.line, err))
				continue // the rest is not wanted any more, but counted out
			}
			sent++
		}
	})
	read, err := 0, error(nil)
	for err == nil {
		var ev event.Event
		if ev, err = lines.next(); err != nil {
			break
		}
		var ack client.Ack
		if ack, err = c.PublishEnvelope(ctx, ev.Bytes()); err != nil {
			err = fmt.Errorf("line %d: %w", lines.line, err)
			break
		}
		onWay <- pending{lines.line, ack}
		read++
		bar.at(time.Now(), read, lines.offset)
	}
	close(onWay)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return sent, cause // of the earliest line
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return sent, err
}
