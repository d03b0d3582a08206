package node

import (
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// The types below are what inspection answers, here and over HTTP: their JSON
// names are part of the contract with tools.

// Topology is the mesh as one node sees it now, links of other nodes included
// as those report them.
type Topology struct {
	Mesh    string       `json:"mesh"`
	Node    peer.ID      `json:"node"`   // who answers
	Region  string       `json:"region"` // and where it is
	At      time.Time    `json:"at"`
	Regions []RegionView `json:"regions"`
	Links   []LinkView   `json:"links"`
}

// RegionView is a region and its nodes.
type RegionView struct {
	Name     string     `json:"name"`
	Gateways []peer.ID  `json:"gateways"`
	Nodes    []NodeView `json:"nodes"`
}

// NodeView is a node as the answering one sees it.
type NodeView struct {
	ID      peer.ID `json:"id"`
	Name    string  `json:"name"`
	Region  string  `json:"region"`
	Addr    string  `json:"addr"`
	HTTP    string  `json:"http,omitempty"`
	Boot    uint64  `json:"boot"`
	State   string  `json:"state"` // self, up, down (its link broke), alive (known by gossip; no link from here yet, or none is needed), lost (taken for dead)
	Gateway bool    `json:"gateway"`
	// Draining is whether its region empties it, as far as the node that answers knows:
	// of its own region.
	Draining bool `json:"draining,omitempty"`
}

// LinkView is one end's view of a link; a link between two nodes is listed
// once, by the end with the lower ID when both report it.
type LinkView struct {
	From        peer.ID   `json:"from"`
	FromName    string    `json:"fromName"`
	FromRegion  string    `json:"fromRegion"`
	To          peer.ID   `json:"to"`
	ToName      string    `json:"toName"`
	ToRegion    string    `json:"toRegion"`
	State       string    `json:"state"` // up, connecting, down
	Since       time.Time `json:"since"`
	Reason      string    `json:"reason,omitempty"` // of the last change: why it is not up or, when it is, why it had not been
	RTTMs       float64   `json:"rttMs"`
	Loss        float64   `json:"loss"` // 0 to 1
	Lanes       int       `json:"lanes"`
	LanesWhy    string    `json:"lanesWhy,omitempty"` // the reason of the last change of their number
	BytesIn     uint64    `json:"bytesIn"`
	BytesOut    uint64    `json:"bytesOut"`
	RateIn      uint64    `json:"rateIn"`     // bytes in the last second
	RateOut     uint64    `json:"rateOut"`    // bytes in the last second
	SavedBytes  uint64    `json:"savedBytes"` // that compression kept from going out
	EventsIn    uint64    `json:"eventsIn"`
	EventsOut   uint64    `json:"eventsOut"`
	QueuedBytes int       `json:"queuedBytes"`
	Dropped     uint64    `json:"dropped"`
}

// InterestView is one interest: who wants what.
type InterestView struct {
	Scope     string  `json:"scope"` // subscription (of this node), node (of this region), region
	Namespace string  `json:"namespace"`
	Filter    string  `json:"filter"` // for people
	Region    string  `json:"region"`
	Node      peer.ID `json:"node,omitempty"`
	NodeName  string  `json:"nodeName,omitempty"`
	Label     string  `json:"label,omitempty"`
	Count     int     `json:"count,omitempty"` // subscriptions that share it
}

// RouteReport says where an event would go now, seen from one node.
type RouteReport struct {
	At        peer.ID     `json:"at"`
	AtName    string      `json:"atName"`
	Region    string      `json:"region"`
	Namespace string      `json:"namespace"`
	Lane      int         `json:"lane"`
	Local     int         `json:"local"` // subscriptions of this node that match
	Nodes     []RouteNode `json:"nodes"` // nodes of this region that want it
	Targets   []RouteHop  `json:"targets"`
}

// RouteNode is a node of the region that an event would be delivered to.
type RouteNode struct {
	ID   peer.ID `json:"id"`
	Name string  `json:"name"`
}

// RouteHop is the way to one region.
type RouteHop struct {
	Region   string   `json:"region"`
	Path     []string `json:"path,omitempty"` // regions after this one, the target last
	Cost     int      `json:"cost,omitempty"` // of the path: ms of round trips, more with loss, and 40 for each region
	Next     peer.ID  `json:"next,omitempty"` // the node that it goes to first
	NextName string   `json:"nextName,omitempty"`
	Relay    bool     `json:"relay,omitempty"`   // that node is a gateway of this region; else one of the path's first
	Problem  string   `json:"problem,omitempty"` // why it cannot go now
}

// Stats are counters since the node's start, and what there is now.
type Stats struct {
	Published      uint64            // events accepted from faces
	Delivered      uint64            // events put into local subscribers' queues
	Forwarded      uint64            // events sent to peers
	Received       uint64            // events got from peers
	Dropped        map[string]uint64 // frames dropped on their way, by cause: asked for again, or found missing
	Gaps           map[string]uint64 // losses that this node has found, by cause
	Missed         map[string]uint64 // events that subscribers were told to have missed, by cause
	Flows          FlowStats
	Subscribers    int            // live subscriptions
	QueuedBytes    int            // in their queues
	Interests      map[string]int // known here, by scope as in InterestView
	Peers          int
	LinksUp        int
	Connections    int    // of QUIC, those of native clients included
	PacketsDropped uint64 // of gossip, read too slowly
	PacketsRebuilt uint64 // that the network had lost
	Summary        SummaryStats
	Gossip         GossipStats
	Streams        StreamStats
}

// StreamStats are of what streams keep.
type StreamStats struct {
	Streams    int    // that this node knows of and that are not deleted
	Appends    uint64 // batches of events that this node gave to partitions
	Kept       uint64 // positions that events published here got in streams
	Duplicates uint64 // positions that they had got before
	Unknown    uint64 // batches of which nobody knows whether they are kept
	Lost       uint64 // events published as Routed that were not kept then, or nobody knows
	Relay      RelayStats
}

// RelayStats are of what this node reads of other regions' streams.
type RelayStats struct {
	Asked  uint64 // questions that it sent to other regions
	Shared uint64 // readers' questions that were answered without one
	Bytes  int    // of records that it remembers for others that want them
}

// FlowStats are those of the events that were published here for other regions.
type FlowStats struct {
	Flows   int    // a region and a lane make one
	Bytes   int    // of events that are not acknowledged
	Lost    uint64 // events that had no room, or waited too long
	Resends uint64 // times that a flow went back to send again
}

// SummaryStats are of what this node says, to the mesh, that its region wants.
type SummaryStats struct {
	Bytes        int    // that it takes, as estimated
	Fingerprints int    // said in place of values
	Widened      int    // interests said in place of narrower ones
	Unwanted     uint64 // events that entered the region here and that nobody in it wanted
}

// GossipStats are membership's; all zero until the node has found its mesh.
type GossipStats struct {
	Peers         int    // alive
	Absent        int    // looked for, because they are not
	Rejoined      uint64 // contacts made with absent ones
	RumorsIn      uint64
	RumorsDropped uint64
	Health        int // memberlist's awareness: 0 is healthy, more is slower
}
