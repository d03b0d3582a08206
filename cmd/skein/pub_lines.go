package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// published is what came of many events.
type published struct {
	Published int                      `json:"published"`
	Bytes     int64                    `json:"bytes"`
	Seconds   float64                  `json:"seconds"`
	Streams   map[string]*streamCounts `json:"streams,omitempty"` // by NAME@REGION
}

// streamCounts is how many events a stream keeps in one region, and of what else.
type streamCounts struct {
	Kept       int `json:"kept"`                 // duplicates not among them
	Duplicates int `json:"duplicates,omitempty"` // had been kept before
	Waiting    int `json:"waiting,omitempty"`    // on the node's disk
	Routed     int `json:"routed,omitempty"`     // on their way
}

// String is the counts for a person.
func (s *streamCounts) String() string {
	var parts []string
	for _, c := range []struct {
		n    int
		text string
	}{{s.Kept, "%s kept"}, {s.Duplicates, "%s kept before (duplicates)"}, {s.Waiting, "%s waiting on the node's disk"}, {s.Routed, "%s on their way, which may be lost"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf(c.text, count(c.n)))
		}
	}
	return strings.Join(parts, ", ")
}

// keptLine is what --positions prints of an event.
type keptLine struct {
	Line   int      `json:"line"`
	ID     string   `json:"id"`
	Source string   `json:"source"`
	Type   string   `json:"type"`
	Kept   []string `json:"kept"`
}

// pubLines publishes the events of a file, or of standard input, in order.
func (a *app) pubLines(ctx context.Context, f *pubFlags) error {
	in, total := a.stdin, int64(0)
	if f.ndjson != "-" {
		file, err := os.Open(f.ndjson)
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			total = info.Size()
		}
		in = file
	}
	c, err := a.dial(ctx, a.server, "skein pub --ndjson", client.WithPositions(), client.WithDurability(client.Durability(f.durability)))
	if err != nil {
		return err
	}
	defer c.Close()
	began := time.Now()
	lines := newLineReader(in)
	p := published{Streams: map[string]*streamCounts{}}
	err = sendLines(ctx, c, lines, newProgress(a.err, total), func(sent *pending) error {
		p.Published++
		return a.noteKept(&p, sent, f.positions)
	})
	p.Bytes, p.Seconds = lines.offset, time.Since(began).Seconds()
	if err != nil {
		return fmt.Errorf("%w; %s before it published", err, plural(p.Published, "event"))
	}
	if a.json && !f.positions {
		return a.out.json(p)
	}
	out := a.out
	if f.positions {
		out = a.err // the other has JSON of each event
	}
	out.printf("published %s in %.1f s, %s/s\n", plural(p.Published, "event"), p.Seconds, count(int(float64(p.Published)/max(p.Seconds, 1e-3))))
	for _, name := range slices.Sorted(maps.Keys(p.Streams)) {
		out.printf("%s: %s\n", printable(name), p.Streams[name])
	}
	return nil
}

// noteKept counts where an event is kept, and prints it if that is wanted.
func (a *app) noteKept(p *published, sent *pending, print bool) error {
	positions := sent.ack.Positions()
	kept := make([]string, len(positions))
	for i, at := range positions {
		name := at.Stream + "@" + at.Region
		s := p.Streams[name]
		if s == nil {
			s = &streamCounts{}
			p.Streams[name] = s
		}
		kept[i] = at.String()
		switch {
		case at.Waiting:
			s.Waiting++
		case at.Routed:
			s.Routed++
		case at.Duplicate:
			s.Duplicates++
			kept[i] += ";duplicate"
		default:
			s.Kept++
		}
	}
	if !print {
		return nil
	}
	return a.out.json(keptLine{sent.line, sent.id, sent.source, sent.typ, kept})
}

// pending is an event on its way, and the line it came from.
type pending struct {
	line            int
	id, source, typ string
	ack             client.Ack
}

// sendLines publishes line after line without waiting for each answer, as far
// as the client's window reaches, and calls published for each event that the node
// has routed, in order. It returns the first error when nothing is on its way any
// more.
func sendLines(ctx context.Context, c *client.Client, lines *lineReader, bar *progress, published func(*pending) error) (err error) {
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
			if err := published(&p); err != nil {
				stop(err)
			}
		}
	})
	read, err := 0, error(nil)
	for err == nil {
		var ev event.Event
		if ev, err = lines.next(); err != nil {
			break
		}
		p := pending{line: lines.line, id: strings.Clone(ev.ID()), source: strings.Clone(ev.Source()), typ: strings.Clone(ev.Type())}
		if p.ack, err = c.PublishEnvelope(ctx, ev.Bytes()); err != nil {
			err = fmt.Errorf("line %d: %w", lines.line, err)
			break
		}
		onWay <- p
		read++
		bar.at(time.Now(), read, lines.offset)
	}
	close(onWay)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause // of the earliest line
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}
