package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
)

func routeCommand(a *app) *cobra.Command {
	var typ, source, subject, at string
	var ext []string
	cmd := &cobra.Command{
		Use:   "route",
		Short: "Say where an event would go now",
		Long: `Say where an event with these attributes would go, were it published now at the
node that is asked, or at the one that --at names: the subscriptions and nodes
of its region, and for each other region that wants it the way there.`,
		Example: `  skein route --type order.created --source /shop
  skein route --type order.created --source /shop --at eu-1 --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if typ == "" {
				return usagef("--type is needed: the route depends on it")
			}
			query := url.Values{"type": {typ}, "source": {source}, "namespace": {a.server.namespace}}
			if subject != "" {
				query.Set("subject", subject)
			}
			if at != "" {
				query.Set("at", at)
			}
			for _, e := range ext {
				if _, _, err := extension(e); err != nil {
					return err
				}
				query.Add("ext", e)
			}
			q, err := a.server.ask()
			if err != nil {
				return err
			}
			var r node.RouteReport
			if err := q.get(cmd.Context(), "/mesh/route", query, &r); err != nil {
				return err
			}
			if a.json {
				return a.out.json(r)
			}
			drawRoute(a.out, r)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&typ, "type", "t", "", "the event's `type`")
	f.StringVarP(&source, "source", "s", defaultSource, "the event's `source`")
	f.StringVar(&subject, "subject", "", "the event's `subject`")
	f.StringArrayVar(&ext, "ext", nil, "an extension as `name=value`; may be given again")
	f.StringVar(&at, "at", "", "`name` or id of the node where the event is published")
	a.addNamespace(cmd)
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}

func drawRoute(s *screen, r node.RouteReport) {
	s.printf("published at %s in region %s, lane %d\n", s.paint(bold, nodeName(r.AtName, r.At)), s.paint(bold, r.Region), r.Lane)
	if r.Local == 0 && len(r.Nodes) == 0 && len(r.Targets) == 0 {
		s.printf("nobody wants it\n")
		return
	}
	if r.Local > 0 {
		s.printf("here      %s\n", plural(r.Local, "subscription"))
	}
	for _, n := range r.Nodes {
		s.printf("region    %s delivers\n", nodeName(n.Name, n.ID))
	}
	for _, t := range r.Targets {
		way := wayText(&t)
		if t.Problem != "" {
			way = s.paint(red, "cannot go now: "+printable(t.Problem))
		}
		s.printf("%s %s\n", s.paint(bold, padded(t.Region, 9)), way)
	}
}

// wayText is the way to a region in words.
func wayText(t *node.RouteHop) string {
	next, text := nodeName(t.NextName, t.Next), ""
	if t.Relay {
		text, next = "by gateway "+next+", ", ""
	}
	for i, region := range t.Path {
		switch last := i == len(t.Path)-1; {
		case i > 0 && last:
			text += ", then there"
		case i > 0:
			text += ", then " + printable(region)
		case last && next != "":
			text += "straight to " + next
		case last:
			text += "straight there"
		default:
			text += "through " + printable(region)
			if next != "" {
				text += " (" + next + ")"
			}
		}
	}
	return text + fmt.Sprintf(", cost %d", t.Cost)
}
