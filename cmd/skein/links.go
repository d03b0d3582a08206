package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
)

func linksCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "links",
		Short: "List the links of a node, or of the whole mesh",
		Long: `List the links of the node that is asked: state, round-trip time, loss (the share of
packets that the network lost of late, repaired or not), lanes and what went over
them. With --all, the links of every node, as those report them.`,
		Example: `  skein links
  skein links --all --json | jq '.[] | {fromName, toName, rttMs}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := a.server.ask()
			if err != nil {
				return err
			}
			var links []node.LinkView
			if all {
				var t node.Topology
				err = q.get(cmd.Context(), "/mesh/topology", nil, &t)
				links = t.Links
			} else {
				err = q.get(cmd.Context(), "/mesh/links", nil, &links)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.out.json(links)
			}
			a.out.table([]string{"FROM", "TO", "STATE", ">SINCE", ">RTT", ">LOSS", ">LANES", ">IN", ">OUT", ">IN/S", ">OUT/S", ">SAVED",
				">EVENTS IN", ">EVENTS OUT", ">QUEUED", ">DROPPED", ""}, linkRows(links, time.Now()))
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "the links of every node")
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}

func linkRows(links []node.LinkView, now time.Time) [][]cell {
	var rows [][]cell
	for _, l := range links {
		reason := printable(l.Reason)
		if l.State == "up" && reason != "" {
			reason = "was down: " + reason
		}
		if l.LanesWhy != "" {
			reason = strings.TrimPrefix(reason+"; lanes: "+printable(l.LanesWhy), "; ")
		}
		dropped := cell{count(l.Dropped), plain}
		if l.Dropped > 0 {
			dropped.style = yellow
		}
		rows = append(rows, []cell{
			{nodeName(l.FromName, l.From) + " (" + l.FromRegion + ")", bold},
			{nodeName(l.ToName, l.To) + " (" + l.ToRegion + ")", bold},
			{l.State, stateStyle(l.State)}, {age(now, l.Since), plain}, {millis(l.RTTMs), plain},
			{percent(l.Loss), plain}, {fmt.Sprint(l.Lanes), plain}, {size(l.BytesIn), plain}, {size(l.BytesOut), plain}, {size(l.RateIn), plain}, {size(l.RateOut), plain}, {size(l.SavedBytes), plain},
			{count(l.EventsIn), plain}, {count(l.EventsOut), plain}, {size(uint64(l.QueuedBytes)), plain},
			dropped, {reason, dim},
		})
	}
	return rows
}

// age is how long ago something happened, in its largest unit.
func age(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	d := max(0, now.Sub(then))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
