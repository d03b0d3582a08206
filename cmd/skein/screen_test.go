package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/peer"
)

func TestNoColoursWhereThereIsNoTerminal(t *testing.T) {
	var b bytes.Buffer
	s := newScreen(&b)
	if s.terminal() || s.paint(red, "x") != "x" {
		t.Error("a buffer was taken for a terminal")
	}
	s.color = true
	if s.paint(red, "x") != "\x1b[31mx\x1b[0m" {
		t.Errorf("got %q", s.paint(red, "x"))
	}
}

func TestTableColumnsAlignWithColours(t *testing.T) {
	rows := [][]cell{{{"eu-1", bold}, {"7", green}}, {{"é", plain}, {"1234", plain}}}
	var plainText, coloured bytes.Buffer
	(&screen{w: &plainText}).table([]string{"NODE", ">N"}, rows)
	if want := "NODE     N\neu-1     7\né     1234\n"; plainText.String() != want {
		t.Errorf("got %q, want %q", plainText.String(), want)
	}
	(&screen{w: &coloured, color: true}).table([]string{"NODE", ">N"}, rows)
	bare := coloured.String()
	for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m"} {
		bare = strings.ReplaceAll(bare, code, "")
	}
	if bare != plainText.String() {
		t.Errorf("colours move columns: %q", bare)
	}
}

func TestTextFromOutsideSteersNoTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 漢": "plain é 漢", "\x1b[31mred": `\x1b[31mred`, "a\nb": `a\nb`, "\u202eevil": `\u202eevil`, "\xff": `\ufffd`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1234567): "1 234 567", count(-1234): "-1 234",
		size(0): "0 B", size(999): "999 B", size(1500): "1.5 kB", size(2_345_000_000): "2.3 GB",
		millis(0): "-", millis(0.25): "0.25 ms", millis(81.6): "82 ms",
		plural(1, "node"): "1 node", plural(2, "node"): "2 nodes",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProgressKnowsPartRateAndRest(t *testing.T) {
	p := newProgress(&screen{w: &bytes.Buffer{}}, 1000)
	if got, want := p.line(10*time.Second, 5000, 500), "███████████████░░░░░░░░░░░░░░░  50 %  5 000 events, 500/s, 10s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.total = 0
	if got, want := p.line(time.Second, 5000, 500), "5 000 events, 5 000/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgressIsSilentWithoutATerminal(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&screen{w: &b}, 1000)
	p.at(time.Now().Add(time.Hour), 1, 1)
	p.done()
	if b.Len() > 0 {
		t.Errorf("drew %q", b.String())
	}
}

// threeRegions is a mesh as a node might describe it, with one way cut.
func threeRegions() node.Topology {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	link := func(from, fromRegion, to, toRegion, state string, rtt float64) node.LinkView {
		return node.LinkView{
			From: peer.ID(from), FromName: from, FromRegion: fromRegion, To: peer.ID(to), ToName: to, ToRegion: toRegion,
			State: state, Since: at.Add(-90 * time.Minute), RTTMs: rtt, Lanes: 1, BytesOut: 1_500_000, SavedBytes: 3_200_000, BytesIn: 2_000,
			EventsOut: 1000, EventsIn: 7,
		}
	}
	down := link("ap-1", "ap", "us-1", "us", "down", 0)
	down.Reason, down.Lanes, down.Dropped = "no heartbeat for 1.2s", 0, 12
	regions := []node.RegionView{}
	for _, r := range []string{"ap", "eu", "us"} {
		v := node.RegionView{Name: r, Gateways: []peer.ID{peer.ID(r + "-1")}}
		for i, name := range []string{r + "-1", r + "-2"} {
			state := "up"
			if name == "eu-1" {
				state = "self"
			}
			v.Nodes = append(v.Nodes, node.NodeView{
				ID: peer.ID(name), Name: name, Region: r, Addr: "10.0.0." + string(rune('1'+i)) + ":7420", State: state, Gateway: i == 0, Boot: 1,
			})
		}
		regions = append(regions, v)
	}
	return node.Topology{
		Mesh: "4f1c0a2b", Node: peer.ID("eu-1"), Region: "eu", At: at, Regions: regions,
		Links: []node.LinkView{
			link("eu-1", "eu", "eu-2", "eu", "up", 0.21), link("ap-1", "ap", "eu-1", "eu", "up", 183.4),
			link("eu-1", "eu", "us-1", "us", "up", 81.2), down,
		},
	}
}

func TestTopologyIsDrawnAsATreeAndWays(t *testing.T) {
	var b bytes.Buffer
	drawTopology(&screen{w: &b}, threeRegions())
	golden(t, "topology.txt", b.String())
}

func TestTheGraphOfRegionsIsWrittenForGraphvizAndAsAPicture(t *testing.T) {
	top := threeRegions()
	top.Regions[2].Nodes[1].State = "lost"
	top.Regions = append(top.Regions, node.RegionView{Name: `a"<b>`})
	var dot, svg bytes.Buffer
	writeDOT(&dot, top)
	golden(t, "topology.dot", dot.String())
	writeSVG(&svg, top)
	golden(t, "topology.svg", svg.String())
	d := xml.NewDecoder(&svg)
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
}

func TestLinksAreDrawnAsATable(t *testing.T) {
	var b bytes.Buffer
	top := threeRegions()
	(&screen{w: &b}).table([]string{"FROM", "TO", "STATE", ">SINCE", ">RTT", ">LOSS", ">LANES", ">IN", ">OUT", ">IN/S", ">OUT/S", ">SAVED",
		">EVENTS IN", ">EVENTS OUT", ">QUEUED", ">DROPPED", ""}, linkRows(top.Links, top.At))
	golden(t, "links.txt", b.String())
}

func TestRouteIsDrawnWithItsProblems(t *testing.T) {
	var b bytes.Buffer
	s := &screen{w: &b}
	drawRoute(s, node.RouteReport{At: "1", AtName: "eu-1", Region: "eu", Lane: 3, Local: 1,
		Nodes: []node.RouteNode{{ID: "2", Name: "eu-2"}},
		Targets: []node.RouteHop{
			{Region: "us", Path: []string{"us"}, Cost: 120, Next: "3", NextName: "us-1"},
			{Region: "ap", Path: []string{"ap"}, Cost: 210, Next: "2", NextName: "eu-2", Relay: true},
			{Region: "af", Path: []string{"us", "af"}, Cost: 260, Next: "3", NextName: "us-1"},
			{Region: "au", Path: []string{"ap", "nz", "au"}, Cost: 330, Next: "2", NextName: "eu-2", Relay: true},
			{Region: "sa", Problem: "no link to the region"},
		}})
	drawRoute(s, node.RouteReport{At: "1", AtName: "eu-1", Region: "eu"})
	golden(t, "route.txt", b.String())
}

func TestWatchingPrintsChangesOfShapeOnly(t *testing.T) {
	x, y := threeRegions(), threeRegions()
	y.At = y.At.Add(time.Second)
	y.Links[0].RTTMs, y.Links[0].BytesOut = 99, 99
	if !sameShape(x, y) {
		t.Error("a measurement counts as a change")
	}
	y.Links[0].State = "down"
	if sameShape(x, y) {
		t.Error("a broken link counts as none")
	}
}
