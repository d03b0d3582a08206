// Package node is one broker of the mesh. It opens the subsystems in order,
// hands each what the others learn, and offers the verbs that faces and
// programs use: Publish, Subscribe, and the inspection behind the CLI.
//
// Who does what: gossip says who exists; transport keeps links to the peers
// that matter and moves bytes on them; gossip/fact spreads what each node
// wants; routing turns that into the decision who gets an event. Node only
// asks and acts, and nobody holds a *Node but the faces.
//
// Links. A node links to every node of its region, and, when it is one of its
// region's gateways, to the gateways of every other region. Gateways are the
// first few nodes of a region by rendezvous rank, so every node names the same
// ones without asking; a link from outside the region that somebody else
// opened is used all the same, until there is another way and it is closed.
//
// Interest. Four topics are spread as facts: a node's interest to its region, the
// region's summary (told by each gateway) to the mesh, what that brings for nobody
// to the region, and the regions that a gateway reaches, with what they cost, to
// the mesh. The spreader alone owns the fact machine; what changed is applied to
// the routing table before the acknowledgement leaves, which is what makes the
// subscribe barrier true.
//
// An event's way. Publish matches once: local subscribers get the event in their
// queue; what goes to nodes of the region is handed to the entry machine, and what
// goes to other regions to the origin machine of the event's lane, see flows. The
// next node on the way to a region is the graph's to say: straight there, or a
// region in between, or a gateway of this region; a relay passes a flow's frame on
// as it came. The entry node matches it against its region's interest and hands it
// to the nodes that want it; they deliver and never forward.
//
// What is lost when. An origin keeps an event until the region has acknowledged
// it, as far as there is room and time. What is lost is a gap with a cause, which
// the receivers' machines find, and each subscriber is told that may have wanted
// it. A node that is gone takes with it what it had not sent: that is told when
// gossip gives it up and its region is in sight, else when its events would have
// expired; if it then comes back all the same, that is told, too. A node that leaves
// has sent all, and waits until those of its region have links who must hear how far
// the flows are; who could not be reached by then is told by the entry nodes, which
// keep what they know of a node that has left, or takes it for a loss. A node that is
// ready although others do not answer cannot know what those want: what it takes
// meanwhile is a gap to them. A subscriber that does not keep up loses its oldest
// events and is told how many, in their place.
//
// What is kept. A stream is an interest that remembers. Publish has the streams that
// want an event keep it before anybody else gets it: in this region's partitions, or
// in the region that is the stream's home, or in the outbox towards it (see capture
// and away). A region's gateways tell the mesh of the streams it owns, as facts; a
// region that hears of one keeps what is published in it, too, if the stream's
// placement says so. Every node that takes events knows a stream once it is made, and
// has it on its disk: whoever makes it waits for that, and a node that starts is not
// ready before it has heard which there are (see stream_known and stream_learn). Readers
// merge the logs of all regions that keep a stream, and say
// which are out of reach; questions to another region go from node to node on the way
// that its events take. What is read of another region's log crosses once: one node of
// the region, its relay, asks for all, see relays.
//
// Goroutines: the relays' questions and what forgets their answers; the streams'
// follower (what changed in the metadata) and, for each node of the region, the way for
// raft; the spreader (facts, digests, removals that linger), the flows' pump (what
// lanes had no room for, and time) and their replier, the joiner (until the mesh is
// entered), the rememberer (peers to disk), the pruner (links that neither end wants),
// the measurer (what links cost), and short ones for barrier calls, all awaited by
// Close. A stream's reader has one for each log and, if it follows, one that looks for
// new logs; its Close awaits them.
package node
