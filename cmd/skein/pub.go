package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
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
those keep them: then it says where, as STREAM@REGION/PARTITION/OFFSET. What waits on
the node's disk, since its region cannot be reached, has no offset yet. --durability
routed does not wait for streams: what is on its way to them then may be lost.

A line that is no valid event ends the run with the line's number; the lines before it
are published. In the end it is said how many events each stream keeps; --positions
prints for each line, as JSON, where its event is kept.`,
		Example: `  skein pub --type order.created --source /shop --data '{"total": 42}'
  date | skein pub --type clock.tick --ext region=eu -
  skein pub --type photo.taken --file cat.jpg --content-type image/jpeg
  skein pub --ndjson events.ndjson
  skein pub --ndjson events.ndjson --positions | jq -r '.kept[]'
  some-program | skein pub --ndjson - --server http://10.0.0.5:8420`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.hasData = cmd.Flags().Changed("data")
			if err := p.check(args); err != nil {
				return err
			}
			if p.ndjson != "" {
				return a.pubLines(cmd.Context(), p)
			}
			return a.pubOne(cmd.Context(), p)
		},
	}
	p.attributes.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&p.data, "data", "d", "", "the event's data, as `text`")
	f.StringVarP(&p.file, "file", "f", "", "`file` with the event's data")
	f.StringVar(&p.ndjson, "ndjson", "", "`file` (or -) with one CloudEvent in JSON a line")
	f.BoolVar(&p.positions, "positions", false, "with --ndjson: print where each event is kept, one JSON a line")
	f.StringVar(&p.durability, "durability", "quorum", "how safe events are that streams want, when it returns: `level` routed, leader or quorum")
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
	positions          bool
	durability         string
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
	if _, err := node.ParseDurability(p.durability); err != nil || p.durability == "" {
		return usagef("--durability %.40q: want routed, leader or quorum", p.durability)
	}
	switch {
	case p.positions && p.ndjson == "":
		return usagef("--positions is for --ndjson: for one event its position is told anyway")
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
		header: http.Header{"Content-Type": {"application/cloudevents+protobuf"}, "Skein-Overflow": {"block"}, "Skein-Durability": {p.durability}},
	}, nil)
	if err != nil {
		return fmt.Errorf("publish: %w; sent again with --id %s it is kept once", err, printable(ev.ID()))
	}
	return a.tellPublished(&ev, header["Skein-Position"], header.Get("Skein-Durability"))
}

// pubTimeout is more than a node takes to find that it cannot keep an event.
const pubTimeout = 30 * time.Second

// tellPublished says that an event is published, where streams keep it, and how safe
// it is.
func (a *app) tellPublished(ev *event.Event, kept []string, level string) error {
	if a.json {
		return a.out.json(struct {
			ID         string   `json:"id"`
			Source     string   `json:"source"`
			Type       string   `json:"type"`
			Kept       []string `json:"kept,omitempty"`
			Durability string   `json:"durability,omitempty"`
		}{ev.ID(), ev.Source(), ev.Type(), kept, level})
	}
	a.out.printf("published %s\n", printable(title(ev)))
	for _, at := range kept {
		where, state, _ := strings.Cut(at, ";")
		switch where = printable(where); state {
		case "duplicate":
			a.out.printf("%s\n", a.out.paint(yellow, "a duplicate: kept before at "+where))
		case "waiting":
			_, region, _ := strings.Cut(where, "@")
			a.out.printf("%s\n", a.out.paint(yellow, "waits on the node's disk: region "+region+" cannot be reached now"))
		case "routed":
			a.out.printf("%s\n", a.out.paint(yellow, "on its way to "+where+": it may be lost"))
		default:
			a.out.printf("kept at %s\n", where)
		}
	}
	return nil
}
