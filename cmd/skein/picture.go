package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"strconv"

	"github.com/skeinmesh/skein/node"
)

// The mesh as a graph of its regions, for other programs to draw (Graphviz) or
// to show (SVG). Both are whole documents.

// ink is the colour of the way between two regions.
func (p *pair) ink() string {
	switch p.state() {
	case "up":
		return "#2e7d32"
	case "down":
		return "#c62828"
	}
	return "#ef6c00"
}

// writeDOT writes the graph in Graphviz's language.
func writeDOT(w io.Writer, t node.Topology) {
	fmt.Fprintf(w, "graph mesh {\n  layout=circo\n  node [shape=box style=rounded fontname=sans]\n  edge [fontname=sans fontsize=10]\n")
	for _, r := range t.Regions {
		fmt.Fprintf(w, "  %s [label=%s]\n", strconv.Quote(r.Name), strconv.Quote(r.Name+"\n"+census(r)))
	}
	for _, p := range pairRegions(t) {
		fmt.Fprintf(w, "  %s -- %s [label=%s color=%q%s]\n", strconv.Quote(p.a), strconv.Quote(p.b), strconv.Quote(p.caption()), p.ink(), dashed(p, " style=dashed"))
	}
	fmt.Fprintln(w, "}")
}

// census counts a region's nodes.
func census(r node.RegionView) string {
	there := 0
	for _, n := range r.Nodes {
		if n.State != "down" && n.State != "lost" {
			there++
		}
	}
	if there < len(r.Nodes) {
		return fmt.Sprintf("%d of %s up", there, plural(len(r.Nodes), "node"))
	}
	return plural(len(r.Nodes), "node")
}

// state is how the links between two regions do.
func (p *pair) state() string {
	switch {
	case p.up == 0:
		return "down"
	case p.up < p.links:
		return "degraded"
	}
	return "up"
}

// caption is what stands beside the way between two regions.
func (p *pair) caption() string {
	if p.up == 0 {
		return "down"
	}
	if p.loss >= 0.001 {
		return millis(p.rtt) + ", " + percent(p.loss) + " lost"
	}
	return millis(p.rtt)
}

func dashed(p pair, style string) string {
	if p.up == 0 {
		return style
	}
	return ""
}

// Sizes of the SVG picture, in pixels.
const (
	boxWidth, boxHeight = 130, 52
	margin              = 20
	arc                 = 140 // of the circle, for each region, at least
)

// writeSVG writes the graph as a picture: the regions on a circle.
func writeSVG(w io.Writer, t node.Topology) {
	radius := max(130, arc*float64(len(t.Regions))/(2*math.Pi))
	width, height := 2*radius+boxWidth+2*margin, 2*radius+boxHeight+2*margin
	at := map[string][2]float64{}
	for i, r := range t.Regions {
		turn := 2*math.Pi*float64(i)/float64(len(t.Regions)) - math.Pi/2
		at[r.Name] = [2]float64{width/2 + radius*math.Cos(turn), height/2 + radius*math.Sin(turn)}
	}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="13" text-anchor="middle">`+"\n", width, height)
	fmt.Fprintf(w, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", html.EscapeString("mesh "+t.Mesh))
	for _, p := range pairRegions(t) {
		a, b := at[p.a], at[p.b]
		ink := p.ink()
		fmt.Fprintf(w, `<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" stroke="%s" stroke-width="2"%s/>`+"\n", a[0], a[1], b[0], b[1], ink, dashed(p, ` stroke-dasharray="6 5"`))
		fmt.Fprintf(w, `<text x="%.0f" y="%.0f" fill="%s" stroke="white" stroke-width="4" paint-order="stroke">%s</text>`+"\n", (a[0]+b[0])/2, (a[1]+b[1])/2+4, ink, html.EscapeString(p.caption()))
	}
	for _, r := range t.Regions {
		c := at[r.Name]
		fmt.Fprintf(w, `<rect x="%.0f" y="%.0f" width="%d" height="%d" rx="8" fill="#eceff1" stroke="#455a64"/>`+"\n", c[0]-boxWidth/2, c[1]-boxHeight/2, boxWidth, boxHeight)
		fmt.Fprintf(w, `<text x="%.0f" y="%.0f" font-weight="bold">%s</text>`+"\n", c[0], c[1]-4, html.EscapeString(printable(r.Name)))
		fmt.Fprintf(w, `<text x="%.0f" y="%.0f">%s</text>`+"\n", c[0], c[1]+15, census(r))
	}
	fmt.Fprintln(w, "</svg>")
}
