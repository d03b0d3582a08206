package node

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// Topology is the mesh as this node sees it, with the links that the other
// nodes report: those of its own region are asked directly, those of other
// regions through one of their nodes. Who does not answer within a second is
// missing with its links, not with itself.
func (n *Node) Topology(ctx context.Context) Topology {
	top := Topology{Mesh: n.Mesh(), Node: n.self.ID, Region: n.self.Region, At: time.Now().UTC()}
	for _, region := range n.knownRegions() {
		top.Regions = append(top.Regions, RegionView{Name: region, Gateways: n.graph.Gateways(region)})
	}
	for _, v := range n.NodeViews() {
		i := slices.IndexFunc(top.Regions, func(r RegionView) bool { return r.Name == v.Region })
		top.Regions[i].Nodes = append(top.Regions[i].Nodes, v)
	}
	views := append(n.LinkViews(), n.collectLinks(ctx, true, collectWithin)...)
	for i := range top.Regions {
		learn(top.Regions[i].Nodes, views)
	}
	top.Links = mergeLinks(views)
	return top
}

// learn marks nodes as down that this node has no link to, and that those who
// should have one have lost, or given up since gossip told them: they know
// before this node does.
func learn(nodes []NodeView, links []LinkView) {
	for i := range nodes {
		v := &nodes[i]
		if v.State != "alive" {
			continue
		}
		told, up := false, false // by a node that should have a link to it; that it has
		for _, l := range links {
			of := l.From == v.ID || l.To == v.ID
			told = told || of || l.FromRegion == v.Region
			up = up || of && l.State == string(transport.Up)
		}
		if told && !up {
			v.State = "down"
		}
	}
}

// NodeViews lists the nodes of the mesh as this one sees them.
func (n *Node) NodeViews() []NodeView {
	var views []NodeView
	links := map[peer.ID]transport.State{}
	for _, l := range n.net.Links() {
		links[l.Peer.ID] = l.State
	}
	var draining []peer.ID
	if m := n.streams.member.Load(); m != nil {
		draining = m.Draining()
	}
	for _, p := range append([]peer.Peer{n.self}, n.graph.Peers()...) {
		v := NodeView{
			ID: p.ID, Name: p.Name, Region: p.Region, Addr: p.Addr.String(), HTTP: p.HTTP, Boot: p.Boot,
			State: "alive", Gateway: slices.Contains(n.graph.Gateways(p.Region), p.ID), Draining: slices.Contains(draining, p.ID),
		}
		switch {
		case p.ID == n.self.ID:
			v.State = "self"
		case links[p.ID] == transport.Up:
			v.State = "up"
		case links[p.ID] == transport.Down:
			v.State = "down"
		}
		views = append(views, v)
	}
	for _, p := range n.lost() {
		views = append(views, NodeView{ID: p.ID, Name: p.Name, Region: p.Region, Addr: p.Addr.String(), HTTP: p.HTTP, Boot: p.Boot, State: "lost"})
	}
	slices.SortFunc(views, func(a, b NodeView) int {
		if c := strings.Compare(a.Region, b.Region); c != 0 {
			return c
		}
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return views
}

// lost lists the nodes that were there, did not leave, and are taken for dead:
// gossip looks for them for a day.
func (n *Node) lost() []peer.Peer {
	g := n.gossip.Load()
	if g == nil {
		return nil
	}
	return slices.DeleteFunc(g.Absent(), func(p peer.Peer) bool {
		_, known := n.graph.Peer(p.ID)
		return known || p.Region == ""
	})
}

// knownRegions lists the regions of all nodes that did not leave, sorted.
func (n *Node) knownRegions() []string {
	list := n.graph.Regions()
	for _, p := range n.lost() {
		list = append(list, p.Region)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// LinkViews lists this node's own links.
func (n *Node) LinkViews() []LinkView {
	var views []LinkView
	rates := n.rates.Load()
	for _, l := range n.net.Links() {
		rate, reason := (*rates)[l.Peer.ID], l.Reason
		if l.State == transport.Up {
			reason = l.Before
		}
		views = append(views, LinkView{
			From: n.self.ID, FromName: n.self.Name, FromRegion: n.self.Region,
			To: l.Peer.ID, ToName: l.Peer.Name, ToRegion: l.Peer.Region,
			State: string(l.State), Since: l.Since.UTC(), Reason: reason, RateIn: rate.in, RateOut: rate.out,
			RTTMs: float64(l.RTT) / float64(time.Millisecond), Loss: l.Loss, Lanes: l.Lanes, LanesWhy: l.LanesWhy,
			BytesIn: l.BytesIn, BytesOut: l.BytesOut, SavedBytes: l.Saved, EventsIn: l.EventsIn, EventsOut: l.EventsOut,
			QueuedBytes: l.Queued, Dropped: l.Dropped,
		})
	}
	return views
}

// collectLinks asks other nodes for their links: all linked ones of this
// region and, with abroad, one of every other region for its region's.
func (n *Node) collectLinks(ctx context.Context, abroad bool, within time.Duration) []LinkView {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex // guards all
		all []LinkView
	)
	ask := func(id peer.ID, scope inspectScope) {
		wg.Go(func() {
			body, err := n.net.Call(ctx, id, kindLinks, []byte(scope))
			var views []LinkView
			if err != nil || json.Unmarshal(body, &views) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, views...)
		})
	}
	for _, id := range n.graph.Linked(n.self.Region) {
		ask(id, scopeNode)
	}
	if abroad {
		for _, region := range n.graph.Regions() {
			if hop := n.graph.Hop(region, 0); region != n.self.Region && hop.Next != "" {
				ask(hop.Next, inspectScope(region))
			}
		}
	}
	wg.Wait()
	return all
}

// inspectScope says whose links are asked for: the node's own, its region's,
// or those of another region, to which the question is passed on (its name).
type inspectScope string

// scopeNode is the node's own; a region's name is no dot.
const scopeNode inspectScope = "."

// answerLinks answers another node's question for links.
func (n *Node) answerLinks(ctx context.Context, scope inspectScope) ([]byte, error) {
	views := []LinkView{}
	switch scope {
	case scopeNode:
		views = n.LinkViews()
	case inspectScope(n.self.Region):
		// Less than the asker waits: one mute node must not silence its region.
		views = append(n.LinkViews(), n.collectLinks(ctx, false, collectWithin/2)...)
	default:
		if hop := n.graph.Hop(string(scope), 0); hop.Next != "" {
			return n.net.Call(ctx, hop.Next, kindLinks, []byte(scope))
		}
	}
	return json.Marshal(views)
}

// mergeLinks keeps one view of each link: that of the end with the lower ID,
// where it reported, and sorts them.
func mergeLinks(views []LinkView) []LinkView {
	slices.SortStableFunc(views, func(a, b LinkView) int {
		return strings.Compare(linkKey(a), linkKey(b))
	})
	merged := []LinkView{}
	for _, v := range views {
		if last := len(merged) - 1; last < 0 || pair(merged[last]) != pair(v) {
			merged = append(merged, v)
		}
	}
	slices.SortStableFunc(merged, func(a, b LinkView) int {
		return strings.Compare(a.FromRegion+" "+a.FromName+" "+a.ToRegion+" "+a.ToName, b.FromRegion+" "+b.FromName+" "+b.ToRegion+" "+b.ToName)
	})
	return merged
}

func pair(v LinkView) string { return string(min(v.From, v.To)) + " " + string(max(v.From, v.To)) }

// linkKey sorts a link's views together, the lower end's first.
func linkKey(v LinkView) string { return pair(v) + " " + string(v.From) }

// InterestViews lists who wants what, as this node knows it: its own
// subscriptions, the nodes of its region, and the other regions' summaries.
func (n *Node) InterestViews() []InterestView {
	views := []InterestView{}
	for _, in := range n.table.Interests() {
		v := InterestView{
			Scope: string(in.Scope), Namespace: in.Namespace, Filter: in.Filter,
			Region: in.Region, Node: in.Node, Label: in.Label, Count: in.Count,
		}
		if v.Region == "" {
			v.Region = n.self.Region
		}
		if p, ok := n.graph.Peer(in.Node); ok {
			v.NodeName = p.Name
		}
		views = append(views, v)
	}
	return views
}

// Route says where an event would go now if it were published here.
func (n *Node) Route(namespace string, ev *event.Event) (RouteReport, error) {
	ns, err := namespaceOf(namespace)
	if err != nil {
		return RouteReport{}, err
	}
	var m routing.Match
	n.table.Match(ns, ev, &m)
	lane := routing.Lane(ev.Key())
	r := RouteReport{
		At: n.self.ID, AtName: n.self.Name, Region: n.self.Region, Namespace: ns,
		Lane: int(lane), Local: len(m.Local), Nodes: []RouteNode{}, Targets: []RouteHop{},
	}
	for _, id := range m.Nodes {
		r.Nodes = append(r.Nodes, RouteNode{ID: id, Name: n.nameOf(id)})
	}
	for _, region := range m.Regions {
		hop := n.graph.Hop(region, lane)
		t := RouteHop{Region: region}
		switch {
		case hop.Next == "":
			t.Problem = "no way leads there now: neither this node nor a gateway of its region has a link that goes on to it"
		default:
			t.Path, t.Cost = hop.Route.Regions, hop.Route.Cost
			t.Next, t.NextName, t.Relay = hop.Next, n.nameOf(hop.Next), !hop.Abroad
		}
		r.Targets = append(r.Targets, t)
	}
	slices.SortFunc(r.Targets, func(a, b RouteHop) int { return strings.Compare(a.Region, b.Region) })
	return r, nil
}

func (n *Node) nameOf(id peer.ID) string {
	p, _ := n.graph.Peer(id)
	return p.Name
}

// Stats are the node's counters.
func (n *Node) Stats() Stats {
	mesh := n.net.Stats()
	s := Stats{
		Published: n.count.published.Load(), Delivered: n.count.delivered.Load(),
		Forwarded: n.count.forwarded.Load(), Received: n.count.received.Load(),
		Dropped: map[string]uint64{}, Gaps: map[string]uint64{}, Missed: map[string]uint64{}, Peers: len(n.graph.Peers()),
		Interests: map[string]int{}, Connections: mesh.Connections, PacketsDropped: mesh.PacketsDropped, PacketsRebuilt: mesh.PacketsRebuilt,
	}
	for i, name := range dropNames {
		s.Dropped[name] = n.count.drops[i].Load()
	}
	for cause := flow.Overflow; cause < flow.Causes; cause++ {
		s.Gaps[cause.String()] = n.count.gaps.found[cause].Load()
	}
	s.Missed[string(queue.Overflow)] = 0
	n.count.gaps.missed.Range(func(cause, count any) bool {
		s.Missed[string(cause.(queue.Cause))] = count.(*atomic.Uint64).Load()
		return true
	})
	origins := n.flows.stats()
	s.Flows = FlowStats{Flows: origins.Flows, Bytes: n.flows.budget.Used(), Lost: origins.Lost, Resends: origins.Resends}
	for _, l := range mesh.Links {
		if l.State == transport.Up {
			s.LinksUp++
		}
	}
	t := n.table.Stats()
	s.Summary = SummaryStats{Bytes: t.SummaryBytes, Fingerprints: t.Fingerprints, Widened: t.Widened, Unwanted: t.Unwanted}
	for scope, count := range n.table.Sizes() {
		s.Interests[string(scope)] = count
	}
	n.live.Range(func(sub, _ any) bool {
		s.Subscribers++
		s.QueuedBytes += sub.(*Subscription).queue.Bytes()
		return true
	})
	keep := &n.count.streams
	s.Streams = StreamStats{
		Streams: n.streams.count(), Appends: keep.appends.Load(), Kept: keep.kept.Load(),
		Duplicates: keep.duplicates.Load(), Unknown: keep.unknown.Load(), Lost: keep.lost.Load(), Relay: n.relays.Stats(),
	}
	if g := n.gossip.Load(); g != nil {
		st := g.Stats()
		s.Gossip = GossipStats{
			Peers: st.Peers, Absent: len(g.Absent()), Rejoined: st.Rejoined,
			RumorsIn: st.RumorsIn, RumorsDropped: st.RumorsDropped, Health: st.Health,
		}
	}
	return s
}
