// Package scale lets a mesh of ten thousand nodes live in virtual time, on the
// product's own state machines, and prints how it does: how long new interests
// take to come wherever they are needed, what that costs, what events cost
// between regions, how many come for nobody, and how long queues get.
//
// A mesh of that size does not fit on a machine whole, so a few regions, the
// heard ones, are modelled whole, and of the others what the heard ones see. In
// the short form, which runs with all tests, all regions are heard.
//
// What runs on the product's code:
//
//   - Every node's subscriptions, in a routing.Table of its own, and what it says
//     of them: what is covered, what lingers.
//   - Every region's summary, in a routing.Table that knows the interest of all
//     its nodes: at each gateway of a heard region one of its own; in the other
//     regions one for all gateways, which then say the same at the same time.
//   - The facts of every node of the heard regions and of all gateways, by
//     fact.Machine, with every message encoded and decoded: interests inside
//     heard regions, summaries and reach between all that are linked. Gateways of
//     regions that are not heard are linked to each other inside their region and
//     to the gateways of the heard regions only. So what a heard node gets and
//     sends is what it would in the whole mesh, as long as regions are not cut
//     from each other: then only heard regions relay facts.
//   - The graph.Graph of the gateways and of one publisher in each heard region.
//   - The events of these publishers, from flow.Origin by way of graph.Graph's
//     hops and relays, which split what is for several regions, to flow.Entry at an entry node of each region that the
//     publisher's Table names, and on to flow.Receiver at the nodes. The
//     publisher's Table knows all summaries of all gateways.
//
// What is not:
//
//   - Gateways alone say summaries, as the design has it.
//   - Where not all regions are heard, summaries are told as the difference from
//     what they were at the beginning, which all are taken to know: an entry that
//     is no longer said is told as one more. A change takes the same bytes either
//     way; when a summary is fetched whole, the bytes of the rest are added, but
//     not the time that they take. Gateways of heard regions do not crash then.
//   - Gossip: everybody knows all members, and all rumors are lost. At worst it
//     adds what package gossip lets memberlist send. Nobody is taken for dead.
//   - Between a heard gateway and one that is not heard, comparisons other than a
//     new link's, and questions for what other regions that are not heard say: the
//     latter does not know these, as it would. A gateway compares with one other
//     region's a second, which in step costs a few bytes, out of step two digests.
//   - Whether regions are apart, which decides what is relayed, may be known 10 ms
//     later than graph.Graph knows it.
//   - Lanes: a frame of a flow travels alone, uncompressed, as soon as it is made,
//     and is counted without what QUIC adds, as are control messages.
//   - The network: 0.5 ms one way inside a region, 40 to 75 between two; one
//     message in a hundred comes a round trip and 25 ms late, as if a packet had
//     been sent again, and links keep order; a node sends 1 Gbit/s, and 100 Mbit/s
//     on one link to another region. A broken link is noticed after 1.2 to 1.6 s
//     and made anew a second after it could be. Control messages queue, events do
//     not.
package scale
