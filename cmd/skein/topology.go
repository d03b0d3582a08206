package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/peer"
)

func topologyCommand(a *app) *cobra.Command {
	var watch, dot, svg bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "topology",
		Short: "Show regions, nodes and the links between them",
		Long: `Show the mesh as one node sees it now: its regions, their nodes, and the links
between regions with round-trip time, loss, lanes and bytes.

With --watch the picture is drawn anew as it changes; piped, each change is
printed once. With --dot or --svg the graph of the regions is written for
Graphviz, or as a picture.`,
		Example: `  skein topology
  skein topology --watch
  skein topology --svg > mesh.svg
  skein topology --json | jq '.links[] | select(.state != "up")'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := a.server.ask()
			if err != nil {
				return err
			}
			ask := func(ctx context.Context) (node.Topology, error) {
				var t node.Topology
				return t, q.get(ctx, "/mesh/topology", nil, &t)
			}
			if dot && svg || (dot || svg) && (watch || a.json) {
				return usagef("only one of --watch, --json, --dot and --svg can be had")
			}
			if watch {
				return a.watchTopology(cmd.Context(), ask, every)
			}
			t, err := ask(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case dot:
				writeDOT(a.out, t)
			case svg:
				writeSVG(a.out, t)
			default:
				return a.showTopology(t)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "keep looking, and draw what changes")
	cmd.Flags().DurationVar(&every, "interval", time.Second, "`time` between two looks with --watch")
	cmd.Flags().BoolVar(&dot, "dot", false, "write the graph of the regions for Graphviz")
	cmd.Flags().BoolVar(&svg, "svg", false, "write the graph of the regions as a picture")
	a.addServer(cmd)
	a.addJSON(cmd)
	return cmd
}

func (a *app) showTopology(t node.Topology) error {
	if a.json {
		return a.out.json(t)
	}
	drawTopology(a.out, t)
	return nil
}

// watchTopology looks again and again until ctx ends. A node that does not
// answer is said once and waited for.
func (a *app) watchTopology(ctx context.Context, ask func(context.Context) (node.Topology, error), every time.Duration) error {
	if every <= 0 {
		return usagef("--interval %v: want more than 0", every)
	}
	clock := time.NewTicker(every)
	defer clock.Stop()
	var last node.Topology
	answered, silent := false, false
	for {
		t, err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !answered:
			return err
		case err != nil && !silent:
			silent = true
			a.err.printf("%s\n", a.err.paint(yellow, err.Error()))
		case err == nil && (silent || !sameShape(last, t) || a.out.terminal()):
			answered, silent, last = true, false, t
			if a.out.terminal() && !a.json {
				a.redraw(t)
			} else if err := a.showTopology(t); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-clock.C:
		}
	}
}

// redraw puts the picture in place of the one before, without flicker: home,
// each line cleared behind its end and cut where the terminal ends, then the
// rest of the screen.
func (a *app) redraw(t node.Topology) {
	var b bytes.Buffer
	picture := &screen{w: &b, color: a.out.color}
	drawTopology(picture, t)
	text := strings.ReplaceAll(b.String(), "\n", "\x1b[K\n")
	a.out.printf("\x1b[?7l\x1b[H%s%s\x1b[K\n\x1b[J\x1b[?7h", text, a.out.paint(dim, t.At.Local().Format(time.TimeOnly)+", ctrl-c ends"))
}

// sameShape tells whether two pictures differ in more than measurements.
func sameShape(x, y node.Topology) bool {
	return reflect.DeepEqual(shape(x), shape(y))
}

func shape(t node.Topology) node.Topology {
	t.At = time.Time{}
	t.Links = slices.Clone(t.Links)
	for i, l := range t.Links {
		t.Links[i] = node.LinkView{From: l.From, To: l.To, State: l.State, Since: l.Since, Reason: l.Reason, Lanes: l.Lanes}
	}
	return t
}

// drawTopology prints the mesh as a tree of regions, then the ways between
// them: one row a pair of regions, its links summed up.
func drawTopology(s *screen, t node.Topology) {
	nodes, up := 0, 0
	for _, r := range t.Regions {
		nodes += len(r.Nodes)
	}
	for _, l := range t.Links {
		if l.State == "up" {
			up++
		}
	}
	mesh := "mesh " + s.paint(bold, t.Mesh)
	if t.Mesh == "" {
		mesh = s.paint(yellow, "no mesh yet: the node is still joining (its /readyz says what keeps it)")
	}
	s.printf("%s, %s, %s, %d of %s up\n", mesh, plural(len(t.Regions), "region"),
		plural(nodes, "node"), up, plural(len(t.Links), "link"))
	for _, r := range t.Regions {
		s.printf("\n%s\n", s.paint(bold, r.Name))
		drawNodes(s, t, r)
	}
	pairs := pairRegions(t)
	if len(pairs) == 0 {
		return
	}
	s.printf("\n")
	drawPairs(s, pairs)
}

// drawNodes prints a region's nodes as the branches of its tree.
func drawNodes(s *screen, t node.Topology, r node.RegionView) {
	var rows [][]string
	for _, n := range r.Nodes {
		role := ""
		if n.Gateway {
			role = "gateway"
		}
		rows = append(rows, []string{printable(n.Name), n.Addr, role, nodeState(t, n)})
	}
	widths := columnWidths(rows)
	for i, row := range rows {
		branch := "├─ "
		if i == len(rows)-1 {
			branch = "└─ "
		}
		state := s.paint(stateStyle(r.Nodes[i].State), row[3])
		s.printf("%s%s  %s  %s  %s\n", branch, padded(row[0], widths[0]), s.paint(dim, padded(row[1], widths[1])),
			padded(row[2], widths[2]), state)
	}
}

// nodeState says how a node is seen: its state, and the round trip where the
// answering node has a link to it.
func nodeState(t node.Topology, n node.NodeView) string {
	if n.State == "self" {
		return "answers"
	}
	for _, l := range t.Links {
		direct := l.From == t.Node && l.To == n.ID || l.To == t.Node && l.From == n.ID
		if direct && l.State == "up" && l.RTTMs > 0 {
			return n.State + " " + millis(l.RTTMs)
		}
	}
	return n.State
}

// pair is the way between two regions: all links between their nodes.
type pair struct {
	a, b             string
	up, links, lanes int
	rtt              float64 // smallest, in milliseconds; 0 when none is up
	loss             float64 // largest
	forth, back      uint64  // bytes a to b, and b to a
	reason           string  // of one that is not up
}

func pairRegions(t node.Topology) []pair {
	byName := map[[2]string]*pair{}
	for _, l := range t.Links {
		if l.FromRegion == l.ToRegion {
			continue
		}
		from, to, out, in := l.FromRegion, l.ToRegion, l.BytesOut, l.BytesIn
		if from > to {
			from, to, out, in = to, from, in, out
		}
		p := byName[[2]string{from, to}]
		if p == nil {
			p = &pair{a: from, b: to}
			byName[[2]string{from, to}] = p
		}
		p.links++
		p.forth += out
		p.back += in
		if l.State != "up" {
			p.reason = l.Reason
			continue
		}
		p.up++
		p.lanes += l.Lanes
		p.loss = max(p.loss, l.Loss)
		if l.RTTMs > 0 && (p.rtt == 0 || l.RTTMs < p.rtt) {
			p.rtt = l.RTTMs
		}
	}
	var list []pair
	for _, p := range byName {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(x, y pair) int {
		return cmp.Or(strings.Compare(x.a, y.a), strings.Compare(x.b, y.b))
	})
	return list
}

func drawPairs(s *screen, pairs []pair) {
	var rows [][]cell
	for _, p := range pairs {
		state := cell{p.state(), green}
		switch state.text {
		case "down":
			state.style = red
		case "degraded":
			state.style = yellow
		}
		rows = append(rows, []cell{
			{p.a + " ── " + p.b, bold}, state, {fmt.Sprintf("%d/%d", p.up, p.links), plain},
			{millis(p.rtt), plain}, {percent(p.loss), plain}, {fmt.Sprint(p.lanes), plain},
			{size(p.forth), plain}, {size(p.back), plain}, {printable(p.reason), dim},
		})
	}
	s.table([]string{"BETWEEN", "STATE", ">LINKS", ">RTT", ">LOSS", ">LANES", ">BYTES ->", ">BYTES <-", ""}, rows)
}

func percent(part float64) string { return fmt.Sprintf("%.1f %%", part*100) }

// stateStyle colours a state of a node or link.
func stateStyle(state string) style {
	switch state {
	case "up", "self":
		return green
	case "down":
		return red
	case "connecting":
		return yellow
	}
	return plain
}

// columnWidths is the width of each column's widest text.
func columnWidths(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for i, text := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(text)))
		}
	}
	return widths
}

func padded(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-len([]rune(text))))
}

// nodeName is what to call a peer: its name, else the head of its ID.
func nodeName(name string, id peer.ID) string {
	if name == "" {
		return id.Short()
	}
	return printable(name)
}
