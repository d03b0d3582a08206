package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
)

func streamCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Keep events, and read them again",
		Long: `A stream keeps every event that its filter wants, wherever it is published, on
the disks of a majority of its replicas before the publisher hears that it is
published. Any node reads it, from any position.`,
		Example: `  skein stream create orders --type 'order.>'
  skein stream read orders`,
		RunE: group,
	}
	cmd.AddCommand(streamCreateCommand(a), streamListCommand(a), streamInfoCommand(a), streamReadCommand(a),
		streamTrimCommand(a), streamRemoveCommand(a), streamUndeleteCommand(a))
	return cmd
}

// adminTimeout is more than a region takes to find that it cannot decide.
const adminTimeout = 30 * time.Second

// in is a path in the namespace that the flags name.
func (s *serverFlags) in(path string) string {
	if s.namespace == "" {
		return path
	}
	return "/namespaces/" + url.PathEscape(s.namespace) + path
}

// stream is the path of a stream in the flags' namespace, or of something below it.
func (s *serverFlags) stream(name, below string) string {
	return s.in("/streams/" + url.PathEscape(name) + below)
}

// administer sends a request about streams.
func (a *app) administer(ctx context.Context, r request, into any) error {
	q, err := a.server.ask()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	_, err = q.do(ctx, r, into)
	return err
}

// addAdmin gives a command about streams the flags that all of them have.
func (a *app) addAdmin(cmd *cobra.Command) *cobra.Command {
	a.addNamespace(cmd)
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}

// streamArg is the only argument of a command about one stream.
func streamArg(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usagef("want the stream's name, as in %q", cmd.CommandPath()+" orders")
	}
	return nil
}

// tellMissing says who does not know a stream yet that is made.
func (a *app) tellMissing(missing []string) {
	for _, who := range missing {
		text := "region " + printable(who) + " does not keep it yet"
		if strings.Contains(who, "/") {
			text = "node " + printable(who) + " does not know it yet"
		}
		a.err.printf("%s\n", a.err.paint(yellow, text+": what is published there until it does is not kept"))
	}
}

func streamCreateCommand(a *app) *cobra.Command {
	var d node.StreamDefinition
	var s selection
	var maxAge, dedup time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a stream",
		Long: `Make a stream: from then on, events that fit --type and --filter are kept, where
they are published (--placement local), in some regions only (local:eu,us), or in
one (home:eu). The region of the node that is asked owns it: there it is deleted.
The command returns once every node that can be reached knows the stream, or after
ten seconds; nodes and regions that do not know it then are named.

Without limits a stream keeps everything. --max-age, --max-bytes and --max-events
are of each of its logs, of which there is one for each partition and region: events
beyond them cannot be read any more after some seconds. The disk gets room back by
whole files, of 64 MiB, so a log may have up to that much more there than it keeps.`,
		Example: `  skein stream create orders --type 'order.>'
  skein stream create audit --placement home:eu --max-age 720h
  skein stream create readings --filter "reading > 8" --partitions 4 --max-bytes 10000000000`,
		Args: streamArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			d.Name, d.MaxAge, d.DedupWindow = args[0], node.Duration(maxAge), node.Duration(dedup)
			filter, err := s.dialect()
			if err != nil {
				return err
			}
			d.Filter = filter
			body, err := json.Marshal(d)
			if err != nil {
				return fmt.Errorf("encode the stream: %w", err)
			}
			var view node.StreamView
			err = a.administer(cmd.Context(), request{method: http.MethodPost, path: a.server.in("/streams"), body: body}, &view)
			if err != nil {
				return err
			}
			a.tellMissing(view.Missing)
			if a.json {
				return a.out.json(view)
			}
			a.out.printf("stream %s keeps %s\n", a.out.paint(bold, printable(view.Name)), printable(filterText(&view.StreamDefinition)))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&s.pattern, "type", "t", "", "`pattern` of the type: * is one token, a last > the rest")
	f.StringVar(&s.cesql, "filter", "", "a CESQL `expression` that must be true")
	f.IntVar(&d.Partitions, "partitions", 1, "`number` of partitions in each region; events of a key stay in order in one")
	f.IntVar(&d.Replicas, "replicas", 3, "`number` of replicas of dedicated partitions, nodes permitting")
	f.BoolVar(&d.Dedicated, "dedicated", false, "share partitions with no other stream")
	f.StringVar(&d.Placement, "placement", "local", "`where` it is kept: local, local:REGION,REGION or home:REGION")
	f.DurationVar(&maxAge, "max-age", 0, "`time` that events are kept; 0 is for ever")
	f.Int64Var(&d.MaxBytes, "max-bytes", 0, "`bytes` that a log keeps; 0 is no limit")
	f.Int64Var(&d.MaxEvents, "max-events", 0, "`number` of events that a log keeps; 0 is no limit")
	f.DurationVar(&dedup, "dedup-window", 10*time.Minute, "`time` in which a second event of the same source and id is a duplicate")
	return a.addAdmin(cmd)
}

// dialect is the selection as a filter of the Subscriptions API; nil wants all.
func (s *selection) dialect() (json.RawMessage, error) {
	var all []any
	if s.pattern != "" {
		all = append(all, map[string]any{"pattern": map[string]string{"type": s.pattern}})
	}
	if s.cesql != "" {
		all = append(all, map[string]string{"sql": s.cesql})
	}
	switch len(all) {
	case 0:
		return nil, nil
	case 1:
		return json.Marshal(all[0])
	}
	return json.Marshal(map[string]any{"all": all})
}

// filterText is a stream's filter for a person.
func filterText(d *node.StreamDefinition) string {
	if len(d.Filter) == 0 {
		return "everything"
	}
	var f struct {
		Pattern struct{ Type string }
		SQL     string
	}
	if json.Unmarshal(d.Filter, &f) == nil {
		switch {
		case f.Pattern.Type != "":
			return "type " + f.Pattern.Type
		case f.SQL != "":
			return f.SQL
		}
	}
	return string(d.Filter)
}

// limits is what a stream keeps at most, for a person.
func limits(d *node.StreamDefinition) string {
	var list []string
	if d.MaxAge > 0 {
		list = append(list, time.Duration(d.MaxAge).String())
	}
	if d.MaxBytes > 0 {
		list = append(list, size(uint64(d.MaxBytes)))
	}
	if d.MaxEvents > 0 {
		list = append(list, plural(int(d.MaxEvents), "event"))
	}
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}

func streamListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List streams",
		Long:  "List the streams of a namespace, those included that were deleted and can be had back.",
		Example: `  skein stream ls
  skein stream ls --json | jq -r '.[].name'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var views []node.StreamView
			if err := a.administer(cmd.Context(), request{method: http.MethodGet, path: a.server.in("/streams")}, &views); err != nil {
				return err
			}
			if a.json {
				return a.out.json(views)
			}
			now := time.Now()
			var rows [][]cell
			for i := range views {
				v := &views[i]
				state := cell{}
				if v.Deleted != nil {
					state = cell{"deleted " + age(now, *v.Deleted) + " ago", yellow}
				}
				rows = append(rows, []cell{
					{printable(v.Name), bold}, {printable(v.Owner), plain}, {printable(v.Placement), plain},
					{fmt.Sprint(v.Partitions), plain}, {limits(&v.StreamDefinition), plain},
					{printable(filterText(&v.StreamDefinition)), plain}, {age(now, v.Created), plain}, state,
				})
			}
			a.out.table([]string{"NAME", "OWNER", "PLACEMENT", ">PARTITIONS", "LIMITS", "KEEPS", ">AGE", ""}, rows)
			return nil
		},
	}
	return a.addAdmin(cmd)
}

func streamInfoCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info NAME",
		Short: "Show where a stream's events are",
		Long: `Show what a stream is, and its logs: for each partition of each region the node
that leads it, the replicas and how many entries they are behind, the offsets and
the bytes.`,
		Example: `  skein stream info orders
  skein stream info orders --json | jq '[.logs[] | .next - .start] | add'`,
		Args: streamArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			var v node.StreamView
			if err := a.administer(cmd.Context(), request{method: http.MethodGet, path: a.server.stream(args[0], "")}, &v); err != nil {
				return err
			}
			if a.json {
				return a.out.json(v)
			}
			a.out.printf("stream %s, owned by %s, placement %s, keeps %s", a.out.paint(bold, printable(v.Name)), printable(v.Owner),
				printable(v.Placement), printable(filterText(&v.StreamDefinition)))
			if l := limits(&v.StreamDefinition); l != "-" {
				a.out.printf(" up to %s", l)
			}
			a.out.printf("\n")
			a.out.table([]string{"LOG", "LEADER", "REPLICAS", ">FIRST", ">NEXT", ">EVENTS", ">BYTES", ""}, logRows(v.Logs))
			for _, region := range v.Missing {
				a.err.printf("%s\n", a.err.paint(yellow, "region "+printable(region)+" does not answer, or does not keep it yet"))
			}
			return nil
		},
	}
	return a.addAdmin(cmd)
}

func logRows(logs []node.StreamLog) [][]cell {
	var rows [][]cell
	for _, l := range logs {
		leader := cell{printable(l.Leader), green}
		if l.Leader == "" {
			leader = cell{"none", red}
		}
		var replicas []string
		for _, r := range l.Replicas {
			text := printable(r.Node)
			switch {
			case r.Lost:
				text += " (lost)"
			case r.Role != "voter":
				text += " (" + printable(r.Role) + ")"
			}
			if r.Behind > 0 {
				text += " -" + count(r.Behind)
			}
			replicas = append(replicas, text)
		}
		rows = append(rows, []cell{
			{fmt.Sprintf("%s/%d", printable(l.Region), l.Partition), bold}, leader, {strings.Join(replicas, ", "), plain},
			{count(l.Start), plain}, {count(l.Next), plain}, {count(l.Next - l.Start), plain}, {size(uint64(l.Bytes)), plain},
			{printable(l.Error), red},
		})
	}
	return rows
}
