package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
)

func streamTrimCommand(a *app) *cobra.Command {
	var t node.StreamTrim
	var partition int64
	cmd := &cobra.Command{
		Use:   "trim NAME",
		Short: "Drop the oldest events of a log",
		Long: `Drop the events of one log of a stream that have an offset below --before, on all
replicas, for good. 'skein stream info' lists the logs. The region may be left out
where only one keeps the stream; else it is that of the node that is asked.`,
		Example: "  skein stream trim orders --region eu --partition 3 --before 1000",
		Args:    streamArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if partition < 0 || partition > 1<<32-1 || t.Before < 0 || !cmd.Flags().Changed("partition") || !cmd.Flags().Changed("before") {
				return usagef("--partition and --before are needed: which log, and the first offset to keep")
			}
			t.Partition = uint32(partition)
			body, err := json.Marshal(t)
			if err != nil {
				return fmt.Errorf("encode the trim: %w", err)
			}
			err = a.administer(cmd.Context(), request{method: http.MethodPost, path: a.server.stream(args[0], "/trim"), body: body}, nil)
			if err != nil {
				return err
			}
			if a.json {
				return a.out.json(t)
			}
			a.out.printf("trimmed %s: partition %d begins at offset %d at the earliest\n", printable(args[0]), t.Partition, t.Before)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.Region, "region", "", "`region` of the log")
	f.Int64Var(&partition, "partition", 0, "`number` of its partition")
	f.Int64Var(&t.Before, "before", 0, "`offset` of the first event to keep")
	return a.addAdmin(cmd)
}

func streamRemoveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Delete a stream",
		Long: `Delete a stream. It takes no events any more and cannot be read; for a day
'skein stream undelete' brings it back with all that it keeps, then it is gone.
A node of the region that owns the stream must be asked. Nodes that have not heard
of it for a moment go on keeping events, which harms nobody.`,
		Example: "  skein stream rm orders",
		Args:    streamArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.administer(cmd.Context(), request{method: http.MethodDelete, path: a.server.stream(args[0], "")}, nil)
			return a.tellChanged(err, args[0], "deleted", "; 'skein stream undelete' brings it back within a day")
		},
	}
	return a.addAdmin(cmd)
}

func streamUndeleteCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "undelete NAME",
		Short:   "Have a deleted stream back",
		Long:    "Have back a stream that was deleted less than a day ago, with all that it keeps.",
		Example: "  skein stream undelete orders",
		Args:    streamArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := a.server.ask()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
			defer cancel()
			header, err := q.do(ctx, request{method: http.MethodPost, path: a.server.stream(args[0], "/undelete")}, nil)
			if missing := header.Get("Skein-Missing-Regions"); missing != "" {
				a.tellMissing(strings.Split(missing, ", "))
			}
			return a.tellChanged(err, args[0], "back", "")
		},
	}
	return a.addAdmin(cmd)
}

// tellChanged says what has become of a stream, or why nothing has.
func (a *app) tellChanged(err error, name, state, more string) error {
	if err != nil {
		return err
	}
	if a.json {
		return a.out.json(map[string]string{"stream": name, "state": state})
	}
	a.out.printf("stream %s is %s%s\n", printable(name), state, more)
	return nil
}
