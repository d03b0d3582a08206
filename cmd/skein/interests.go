package main

import (
	"cmp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
)

func interestsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "interests",
		Short: "List who wants which events",
		Long: `List what the node that is asked knows of who wants what: the subscriptions that
hang on it, the interest of each node of its region, and the summary of every
other region. A summary may be wider than the truth, never narrower: where it
has fingerprints in place of values, or says one interest in place of many, the
last column says so. Of the node's own region, those are listed with how many
events came because of them that nobody wanted.`,
		Example: `  skein interests
  skein interests --json | jq '.[] | select(.scope == "region")'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := a.server.ask()
			if err != nil {
				return err
			}
			var interests []node.InterestView
			if err := q.get(cmd.Context(), "/mesh/interests", nil, &interests); err != nil {
				return err
			}
			if a.json {
				return a.out.json(interests)
			}
			var rows [][]cell
			for _, i := range interests {
				who := ""
				if i.Node != "" {
					who = nodeName(i.NodeName, i.Node)
				}
				rows = append(rows, []cell{
					{i.Scope, plain}, {i.Namespace, plain}, {i.Region, plain}, {who, plain},
					{printable(i.Filter), bold}, {strconv.Itoa(cmp.Or(i.Count, 1)), plain}, {printable(i.Label), dim},
				})
			}
			a.out.table([]string{"SCOPE", "NAMESPACE", "REGION", "NODE", "FILTER", ">COUNT", ""}, rows)
			return nil
		},
	}
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}
