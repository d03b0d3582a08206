package httpapi

import (
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/skeinmesh/skein/node"
)

// Stats are an API's counters since it was made.
type Stats struct {
	Requests map[int]uint64 // by status; WebSockets count as 101
	Accepted uint64         // events taken
	Sent     uint64         // events and gaps handed to subscribers
	Streams  int            // Server-Sent Events open now
	Sockets  int            // WebSockets open now
	Polls    int            // polls kept now
	Readers  int            // GET /streams/{stream}/events under way
}

// counters are an API's Stats while it runs.
type counters struct {
	statuses         [600]atomic.Uint64
	accepted, sent   atomic.Uint64
	streams, sockets atomic.Int64
	readers          atomic.Int64
}

func (c *counters) request(status int) {
	if status > 0 && status < len(c.statuses) {
		c.statuses[status].Add(1)
	}
}

// Stats are the counters now.
func (a *API) Stats() Stats {
	s := Stats{
		Requests: map[int]uint64{}, Accepted: a.count.accepted.Load(), Sent: a.count.sent.Load(),
		Streams: int(a.count.streams.Load()), Sockets: int(a.count.sockets.Load()), Polls: a.polls.open(),
		Readers: int(a.count.readers.Load()),
	}
	for status := range a.count.statuses {
		if n := a.count.statuses[status].Load(); n > 0 {
			s.Requests[status] = n
		}
	}
	return s
}

// newMetrics makes the handler of /metrics: a registry of its own with the
// node's and the API's counters and those of the Go runtime and the process.
func (a *API) newMetrics(more []prometheus.Collector) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(a), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reg.MustRegister(more...)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 8})
}

func (a *API) serveMetrics(w *response, r *http.Request, _ string) error {
	a.metrics.ServeHTTP(w, r)
	return nil
}

// collector turns Stats into metrics when it is asked. Events' ids, subjects
// and data are never labels.
type collector struct {
	api *API

	published, delivered, forwarded, received         *prometheus.Desc
	dropped, gaps, missed                             *prometheus.Desc
	flows, flowBytes, flowLost, flowResends           *prometheus.Desc
	subscriptions, queued, interests                  *prometheus.Desc
	summary, prints, widened, unwanted                *prometheus.Desc
	peers, links, ready, connections                  *prometheus.Desc
	packetsDropped, packetsRebuilt                    *prometheus.Desc
	gossipPeers, gossipAbsent, gossipHealth           *prometheus.Desc
	rejoins, rumors, rumorsDropped                    *prometheus.Desc
	linkBytes, linkEvents, linkRTT, linkLoss          *prometheus.Desc
	linkQueued, linkDropped, linkSaved, linkUp        *prometheus.Desc
	requests, accepted, sent, open                    *prometheus.Desc
	streams, appends, kept, duplicates, unknown, lost *prometheus.Desc
	relayAsked, relayShared, relayBytes               *prometheus.Desc
}

func newCollector(a *API) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("skein_"+name, help, labels, nil)
	}
	return &collector{
		api:            a,
		published:      desc("published_events_total", "Events accepted from all faces."),
		delivered:      desc("delivered_events_total", "Events put into the queues of this node's subscribers."),
		forwarded:      desc("forwarded_events_total", "Events sent to peers."),
		received:       desc("received_events_total", "Events got from peers."),
		dropped:        desc("dropped_frames_total", "Frames of flows dropped on their way; they are asked for again, or found missing.", "cause"),
		gaps:           desc("gaps_total", "Losses of events that this node has found in flows.", "cause"),
		missed:         desc("missed_events_total", "Events that subscribers were told to have missed, at most.", "cause"),
		flows:          desc("flows", "Flows from this node: a region and a lane make one."),
		flowBytes:      desc("flow_buffered_bytes", "Bytes of events published here that a region has not acknowledged."),
		flowLost:       desc("flow_lost_events_total", "Events published here that had no room, or waited too long; a gap tells."),
		flowResends:    desc("flow_resends_total", "Times that a flow went back to send again."),
		subscriptions:  desc("subscriptions", "Live subscriptions of this node."),
		queued:         desc("subscription_queued_bytes", "Bytes waiting in the queues of this node's subscribers."),
		interests:      desc("interests", "Interests this node knows: of its subscriptions, of nodes of its region, of other regions.", "scope"),
		summary:        desc("summary_bytes", "What it takes to say what this region wants, as estimated."),
		prints:         desc("summary_fingerprints", "Fingerprints said in place of values that this region wants."),
		widened:        desc("summary_widened", "Interests said in place of narrower ones, so that the summary stays small."),
		unwanted:       desc("summary_unwanted_events_total", "Events that entered this region here and that nobody in it wanted."),
		connections:    desc("transport_connections", "QUIC connections that are open."),
		packetsDropped: desc("transport_packets_dropped_total", "Packets of gossip dropped because they were read too slowly."),
		packetsRebuilt: desc("transport_packets_rebuilt_total", "Packets that the network had lost and that were made anew from parity."),
		gossipPeers:    desc("gossip_peers", "Other nodes that gossip takes for alive."),
		gossipAbsent:   desc("gossip_absent_peers", "Nodes that are looked for because they did not leave and are not alive."),
		gossipHealth:   desc("gossip_health_score", "0 when gossip keeps up; more when this node answers late."),
		rejoins:        desc("gossip_rejoins_total", "Contacts made with nodes that were absent."),
		rumors:         desc("gossip_rumors_total", "Rumors heard for the first time."),
		rumorsDropped:  desc("gossip_rumors_dropped_total", "Rumors dropped for lack of room."),
		peers:          desc("peers", "Other nodes of the mesh that are alive."),
		links:          desc("links_up", "Links of this node that are up."),
		ready:          desc("ready", "1 when the node is part of its mesh."),
		linkUp:         desc("link_up", "1 when the link is up.", "peer", "name", "region"),
		linkBytes:      desc("link_bytes_total", "Bytes on a link.", "peer", "name", "region", "direction"),
		linkEvents:     desc("link_events_total", "Events on a link.", "peer", "name", "region", "direction"),
		linkRTT:        desc("link_rtt_seconds", "Smoothed round-trip time of a link.", "peer", "name", "region"),
		linkLoss:       desc("link_loss_ratio", "Share of packets that the network lost on a link of late, repaired or not.", "peer", "name", "region"),
		linkSaved:      desc("link_saved_bytes_total", "Bytes that compression kept from going out.", "peer", "name", "region"),
		linkQueued:     desc("link_queued_bytes", "Bytes waiting for a link.", "peer", "name", "region"),
		linkDropped:    desc("link_dropped_total", "Events dropped for lack of room towards a peer, or because the link broke.", "peer", "name", "region"),
		requests:       desc("http_requests_total", "HTTP requests by the status of their answer.", "status"),
		accepted:       desc("http_accepted_events_total", "Events taken over HTTP and WebSocket."),
		sent:           desc("http_sent_events_total", "Events and gaps handed to subscribers over HTTP and WebSocket."),
		streams:        desc("streams", "Streams that this node knows of."),
		appends:        desc("stream_appends_total", "Batches of events that this node gave to partitions of its region."),
		kept:           desc("stream_kept_events_total", "Events published here that streams keep; an event that two keep counts twice."),
		duplicates:     desc("stream_duplicate_events_total", "Events published here that streams had already."),
		lost:           desc("stream_lost_events_total", "Events published here as routed that were not kept then, or nobody knows."),
		unknown:        desc("stream_unknown_outcomes_total", "Batches published here of which nobody knows whether they are kept."),
		relayAsked:     desc("stream_relay_asked_total", "Questions for records that this node sent to other regions, for readers of its own."),
		relayShared:    desc("stream_relay_shared_total", "Readers' questions to other regions that needed none, for another had asked the same."),
		relayBytes:     desc("stream_relay_bytes", "Bytes of other regions' records that this node remembers for readers of its own."),
		open:           desc("http_subscriptions", "Subscriptions open over HTTP now.", "face"),
	}
}

// Describe names no metric: the set depends on the links there are.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads all Stats.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	n := c.api.inspect.Stats()
	counter(c.published, n.Published)
	counter(c.delivered, n.Delivered)
	counter(c.forwarded, n.Forwarded)
	counter(c.received, n.Received)
	for cause, v := range n.Dropped {
		counter(c.dropped, v, cause)
	}
	for cause, v := range n.Gaps {
		counter(c.gaps, v, cause)
	}
	for cause, v := range n.Missed {
		counter(c.missed, v, cause)
	}
	gauge(c.flows, float64(n.Flows.Flows))
	gauge(c.flowBytes, float64(n.Flows.Bytes))
	counter(c.flowLost, n.Flows.Lost)
	counter(c.flowResends, n.Flows.Resends)
	gauge(c.subscriptions, float64(n.Subscribers))
	gauge(c.queued, float64(n.QueuedBytes))
	for scope, v := range n.Interests {
		gauge(c.interests, float64(v), scope)
	}
	gauge(c.connections, float64(n.Connections))
	counter(c.packetsDropped, n.PacketsDropped)
	counter(c.packetsRebuilt, n.PacketsRebuilt)
	gauge(c.summary, float64(n.Summary.Bytes))
	gauge(c.prints, float64(n.Summary.Fingerprints))
	gauge(c.widened, float64(n.Summary.Widened))
	counter(c.unwanted, n.Summary.Unwanted)
	gauge(c.gossipPeers, float64(n.Gossip.Peers))
	gauge(c.gossipAbsent, float64(n.Gossip.Absent))
	gauge(c.gossipHealth, float64(n.Gossip.Health))
	counter(c.rejoins, n.Gossip.Rejoined)
	counter(c.rumors, n.Gossip.RumorsIn)
	counter(c.rumorsDropped, n.Gossip.RumorsDropped)
	gauge(c.streams, float64(n.Streams.Streams))
	counter(c.appends, n.Streams.Appends)
	counter(c.kept, n.Streams.Kept)
	counter(c.duplicates, n.Streams.Duplicates)
	counter(c.unknown, n.Streams.Unknown)
	counter(c.lost, n.Streams.Lost)
	counter(c.relayAsked, n.Streams.Relay.Asked)
	counter(c.relayShared, n.Streams.Relay.Shared)
	gauge(c.relayBytes, float64(n.Streams.Relay.Bytes))
	gauge(c.peers, float64(n.Peers))
	gauge(c.links, float64(n.LinksUp))
	gauge(c.ready, truth(c.api.broker.Ready() == nil))
	for _, l := range c.api.inspect.LinkViews() {
		c.collectLink(&l, counter, gauge)
	}
	s := c.api.Stats()
	for status, v := range s.Requests {
		counter(c.requests, v, strconv.Itoa(status))
	}
	counter(c.accepted, s.Accepted)
	counter(c.sent, s.Sent)
	gauge(c.open, float64(s.Streams), "sse")
	gauge(c.open, float64(s.Sockets), "websocket")
	gauge(c.open, float64(s.Polls), "poll")
	gauge(c.open, float64(s.Readers), "ndjson")
}

func (c *collector) collectLink(l *node.LinkView, counter func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	to, name, region := string(l.To), l.ToName, l.ToRegion
	counter(c.linkBytes, l.BytesIn, to, name, region, "in")
	counter(c.linkBytes, l.BytesOut, to, name, region, "out")
	counter(c.linkEvents, l.EventsIn, to, name, region, "in")
	counter(c.linkEvents, l.EventsOut, to, name, region, "out")
	counter(c.linkDropped, l.Dropped, to, name, region)
	counter(c.linkSaved, l.SavedBytes, to, name, region)
	gauge(c.linkRTT, l.RTTMs/1000, to, name, region)
	gauge(c.linkLoss, l.Loss, to, name, region)
	gauge(c.linkQueued, float64(l.QueuedBytes), to, name, region)
	gauge(c.linkUp, truth(l.State == "up"), to, name, region)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
