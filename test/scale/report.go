package scale

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// phase is a part of a run, and what was seen in it.
type phase struct {
	name    string
	length  time.Duration
	end     time.Time
	crashes int

	began int             // tracks
	given int             // of them, those whose node crashed
	took  []time.Duration // by the others that are done
	last  time.Time       // when the last of them was

	node, gateway usage // of the heard regions

	published        int // events
	regions, entered int // other regions that they were sent to, and came into
	unwanted         int // events that came into a region where nobody wanted them
	delivered        int // events that came to nodes other than where they came in
	useless          int // of them, where nobody wanted them
	due              int // deliveries that events asked for at other nodes
	reported         int // of them, those that were reported as lost
	crossings        uint64
	wanEvents        uint64 // bytes over links between regions, of events,
	wanRest          uint64 // and of marks, acknowledgements and losses
	kept             int    // the most bytes that a publisher kept until they were acknowledged
}

// usage is the traffic of hosts of one kind.
type usage struct {
	hosts int
	sum   traffic // queue apart, of which it is the longest
}

func (u *usage) add(t *traffic) {
	u.hosts++
	u.sum.in += t.in
	u.sum.out += t.out
	u.sum.wan += t.wan
	u.sum.queue = max(u.sum.queue, t.queue)
	for i := range t.kinds {
		u.sum.kinds[i] += t.kinds[i]
	}
}

// during lets a phase pass.
func (w *world) during(name string, length time.Duration) {
	for _, h := range w.heard {
		h.traffic = traffic{}
	}
	p := &phase{name: name, length: length, end: w.now.Add(length)}
	w.phase = p
	w.phases = append(w.phases, p)
	w.run(length)
	w.cfg.log(name)
	for _, h := range w.heard {
		if h.gateway {
			p.gateway.add(&h.traffic)
		} else {
			p.node.add(&h.traffic)
		}
	}
}

// percentile is the p-th of some times, which it sorts.
func percentile(took []time.Duration, p int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[(len(took)-1)*p/100].Round(time.Millisecond)
}

// row is a line of the table: what it shows of a phase.
type row struct {
	name string
	of   func(p *phase) string
}

// print writes the table of all phases.
func (w *world) print(out io.Writer) {
	perSecond := func(u *usage, n uint64, p *phase) string {
		return fmt.Sprintf("%.0f", float64(n)/float64(max(1, u.hosts))/p.length.Seconds())
	}
	share := func(n, of int) string {
		return fmt.Sprintf("%d of %d", n, of)
	}
	each := func(n uint64, of int) string { return fmt.Sprintf("%.2f", float64(n)/float64(max(1, of))) }
	rows := []row{
		{"virtual seconds, and crashes", func(p *phase) string { return fmt.Sprintf("%.0f, %d", p.length.Seconds(), p.crashes) }},
		{"new interests; of nodes that crashed", func(p *phase) string { return fmt.Sprintf("%d; %d", p.began, p.given) }},
		{"applied wherever needed: p50", func(p *phase) string { return percentile(p.took, 50).String() }},
		{"  p99", func(p *phase) string { return percentile(p.took, 99).String() }},
		{"  slowest", func(p *phase) string { return percentile(p.took, 100).String() }},
		{"  the last, after the phase", func(p *phase) string { return max(0, p.last.Sub(p.end)).Round(time.Millisecond).String() }},
		{"node, control bytes/s in", func(p *phase) string { return perSecond(&p.node, p.node.sum.in, p) }},
		{"  out", func(p *phase) string { return perSecond(&p.node, p.node.sum.out, p) }},
		{"  both, per new interest", func(p *phase) string {
			return each((p.node.sum.in+p.node.sum.out)/uint64(max(1, p.node.hosts)), p.began)
		}},
		{"gateway, control bytes/s in", func(p *phase) string { return perSecond(&p.gateway, p.gateway.sum.in, p) }},
		{"  out", func(p *phase) string { return perSecond(&p.gateway, p.gateway.sum.out, p) }},
		{"  of it to other regions", func(p *phase) string { return perSecond(&p.gateway, p.gateway.sum.wan, p) }},
	}
	for kind, name := range kindNames {
		if name != "" {
			rows = append(rows, row{"  of it in " + name, func(p *phase) string { return perSecond(&p.gateway, p.gateway.sum.kinds[kind], p) }})
		}
	}
	rows = append(rows, []row{
		{"worst queue of a node, bytes", func(p *phase) string { return fmt.Sprint(max(p.node.sum.queue, p.gateway.sum.queue)) }},
		{"events published", func(p *phase) string { return fmt.Sprint(p.published) }},
		{"other regions that each goes to", func(p *phase) string { return each(uint64(p.regions), p.published) }},
		{"WAN bytes per event and region", func(p *phase) string { return each(p.wanEvents, p.entered) }},
		{"  and in marks and replies", func(p *phase) string { return each(p.wanRest, p.entered) }},
		{"WAN crossings per event and region", func(p *phase) string { return each(p.crossings, p.entered) }},
		{"entered a region, wanted by nobody", func(p *phase) string { return share(p.unwanted, p.entered) }},
		{"came to a node, wanted by nobody", func(p *phase) string { return share(p.useless, p.delivered) }},
		{"due, reported as lost", func(p *phase) string { return share(p.reported, p.due) }},
		{"due, neither came nor was reported", func(p *phase) string { return share(w.missing(p), p.due) }},
		{"worst of a publisher's kept bytes", func(p *phase) string { return fmt.Sprint(p.kept) }},
	}...)
	line := fmt.Sprintf("%-36s", "")
	for _, p := range w.phases {
		line += fmt.Sprintf(" %14s", p.name)
	}
	fmt.Fprintln(out, strings.TrimRight(line, " "))
	for _, r := range rows {
		line := fmt.Sprintf("%-36s", r.name)
		for _, p := range w.phases {
			line += fmt.Sprintf(" %14s", r.of(p))
		}
		fmt.Fprintln(out, line)
	}
}
