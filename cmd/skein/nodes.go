package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
)

func nodesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes of the mesh",
		Example: `  skein nodes
  skein nodes --json | jq -r '.[] | select(.region == "eu") | .addr'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := a.server.ask()
			if err != nil {
				return err
			}
			var nodes []node.NodeView
			if err := q.get(cmd.Context(), "/mesh/nodes", nil, &nodes); err != nil {
				return err
			}
			if a.json {
				return a.out.json(nodes)
			}
			var rows [][]cell
			for _, n := range nodes {
				var roles []string
				if n.Gateway {
					roles = append(roles, "gateway")
				}
				if n.Draining {
					roles = append(roles, draining)
				}
				rows = append(rows, []cell{
					{n.Region, plain}, {nodeName(n.Name, n.ID), bold}, {n.State, stateStyle(n.State)}, {strings.Join(roles, ", "), plain},
					{n.Addr, plain}, {printable(n.HTTP), plain}, {strconv.FormatUint(n.Boot, 10), plain}, {string(n.ID), dim},
				})
			}
			a.out.table([]string{"REGION", "NODE", "STATE", "ROLE", "MESH PORT", "HTTP", ">BOOT", "ID"}, rows)
			return nil
		},
	}
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}
