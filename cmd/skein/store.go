package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/transport/event"
)

func storeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Check what a node has on its disk",
		Long: `Check what a node keeps of streams in its data directory, or print it. The node
must not be running; nothing is changed.`,
		Example: "  skein store verify ./skein-data",
		RunE:    group,
	}
	cmd.AddCommand(storeVerifyCommand(a), storeDumpCommand(a))
	return cmd
}

// storeArg is the only argument of a command about a data directory.
func storeArg(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("want the data directory, as in %q", cmd.CommandPath()+" ./skein-data")
	}
	return nil
}

// hold takes a node's data directory and returns where its streams are.
func hold(dir string) (streams string, release func() error, err error) {
	if _, err := os.Stat(filepath.Join(dir, "node.json")); err != nil {
		return "", nil, fmt.Errorf("%s is no data directory of a node: %w", dir, err)
	}
	if release, err = node.HoldData(dir); err != nil {
		return "", nil, err
	}
	return filepath.Join(dir, "streams"), release, nil
}

func storeVerifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check a node's data directory",
		Long: `Read all that a node keeps, and say what is wrong and where: who it is, which
streams it knows, and of these the journal, the snapshots, and the logs' files, each
against its checksums and against what the others say of it. What a crash leaves is
noted, and is no damage: the node mends it when it starts.

The exit code is 1 if something is damaged. The node gives up the replicas that
need it, and they are rebuilt from others.`,
		Example: `  skein store verify ./skein-data
  skein store verify ./skein-data --json | jq .damage`,
		Args: storeArg,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, release, err := hold(args[0])
			if err != nil {
				return err
			}
			damage, err := node.VerifyData(args[0])
			var r replication.Report
			if err == nil {
				r, err = replication.VerifyDir(nil, dir)
			}
			if err = errors.Join(err, release()); err != nil {
				return err
			}
			for _, d := range damage {
				r.Damage = append(r.Damage, d.Error())
			}
			if a.json {
				err = a.out.json(r)
			} else {
				a.describeStore(&r)
			}
			if err == nil && len(r.Damage) > 0 {
				return &saidError{fmt.Errorf("%s is damaged", args[0])}
			}
			return err
		},
	}
	a.addJSON(cmd)
	return cmd
}

func (a *app) describeStore(r *replication.Report) {
	a.out.printf("node %s of mesh %s\n", printable(r.Node), printable(r.Mesh))
	a.out.printf("%s: %s, %s of %s\n", r.LogStore, plural(r.Segments, "file"), count(r.Entries)+" entries", plural(r.Groups, "group"))
	a.out.printf("logs: %s in %s, %s, %s\n", plural(r.Logs, "log"), plural(r.Partitions, "partition"), plural(int(r.Records), "event"), size(uint64(r.Bytes)))
	if r.Waiting > 0 {
		a.out.printf("outbox: %s for other regions\n", plural(int(r.Waiting), "event"))
	}
	for _, n := range r.Notes {
		a.out.printf("%s\n", a.out.paint(dim, "left by a crash: "+printable(n)))
	}
	for _, d := range r.Damage {
		a.out.printf("%s\n", a.out.paint(red, "damage: "+printable(d)))
	}
	if len(r.Damage) == 0 {
		a.out.printf("%s\n", a.out.paint(green, "nothing is damaged"))
	}
}

func storeDumpCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dump DIR",
		Short: "Print a node's data directory",
		Long: `Print a line for each record of a node's journal, and for each event of its logs:
partition and epoch, the stream's ID, the offset, when it was kept, and the event.
With --json the events alone, as JSON. If the node was not stopped but ended, the
last events of a log may be in the journal alone: they are put into the logs when
it starts.`,
		Example: "  skein store dump ./skein-data | less",
		Args:    storeArg,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, release, err := hold(args[0])
			if err != nil {
				return err
			}
			journal := &plainLines{app: a}
			err = replication.DumpDir(nil, dir, journal, a.dumped)
			return errors.Join(err, release())
		},
	}
	a.addJSON(cmd)
	return cmd
}

// plainLines passes text on to the screen, but not among JSON.
type plainLines struct{ app *app }

func (p *plainLines) Write(b []byte) (int, error) {
	if p.app.json {
		return len(b), nil
	}
	for line := range bytes.Lines(b) {
		if _, err := fmt.Fprintf(p.app.out, "%s\n", printable(string(bytes.TrimRight(line, "\n")))); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// dumped prints a record of a log.
func (a *app) dumped(d replication.Dumped) error {
	var ev event.Event
	bad := ev.Scan(d.Data)
	if a.json {
		line := map[string]any{"replica": d.Replica, "log": d.Log, "offset": d.Offset, "time": d.Time}
		if bad != nil {
			line["error"] = bad.Error()
		} else {
			line["event"] = json.RawMessage(ev.AppendJSONLine(nil))
		}
		return a.out.json(line)
	}
	text := "no event: "
	if bad == nil {
		text = fmt.Sprintf("%s  %s  %s  %s", ev.Type(), ev.Source(), ev.ID(), size(uint64(len(d.Data))))
	} else {
		text += bad.Error()
	}
	_, err := fmt.Fprintf(a.out, "%s %s %d %s  %s\n", d.Replica, d.Log, d.Offset, d.Time.Format("2006-01-02T15:04:05.000Z"), printable(text))
	return err
}
