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
// Interest. Three topics are spread as facts: a node's interest to its region,
// the region's summary (told by each gateway) to the mesh, and the regions
// that a gateway reaches to its region. One goroutine, the spreader, owns the
// fact machine; what changed is applied to the routing table before the
// acknowledgement leaves, which is what makes the subscribe barrier true.
//
// An event's way. Publish matches once: local subscribers get the event in
// their queue, nodes of the region that want it get a Deliver record, and for
// each other region that wants it one copy leaves: as Enter to that region's
// entry node when this node has a link there, else as Relay to the gateway of
// this region that has. The entry node matches against its region's interest
// and fans out; a node that gets Deliver delivers and never forwards.
//
// What is lost when. Delivery is ephemeral: an event in a queue towards a peer
// whose link breaks is gone, and counted with its cause (Stats). A publish
// waits for room in a lane that is up; a subscriber that does not keep up
// loses its oldest events and is told how many, in their place.
//
// Goroutines: the spreader (facts, digests, removals that linger), the joiner
// (until the mesh is entered), the rememberer (peers to disk), the pruner (links
// that neither end wants), and short ones for barrier calls, all awaited by
// Close.
package node
