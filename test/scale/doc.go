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
//     its nodes, and that gateways alone say: at each gateway of a heard region one
//     of its own; in the other regions one for all gateways, which then say the
//     same at the same time.
//   - The facts of every node of the heard regions and of all gateways, by
//     fact.Machine, with every message encoded and decoded: interests inside
//     heard regions, summaries and reach between all that are linked. Gateways of
//     regions that are not heard are linked to each other inside their region and
//     to the gateways of the heard regions only. So what a heard node gets and
//     sends is what it would in the whole mesh, as long as regions are not cut
//     from each other: then only heard regions relay facts.
//   - The graph.Graph of the gateways and of one publisher in each heard region.
//   - The events of these publishers, from flow.Origin by way of graph.Graph's
//     hops and of relays, where routing.Relay splits what is for several regions,
//     to flow.Entry at an entry node of each region that the publisher's Table
//     names, and on to flow.Receiver at the nodes. The publisher's Table knows all
//     summaries of all gateways.
//
// What is not:
//
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
//
// # What it showed
//
// 2026-11-21: a hundred regions of a hundred nodes with a hundred subscriptions
// each, ten thousand nodes and a million subscriptions, of which two regions are
// heard; ten new interests a second in the whole mesh. In the first phase nothing
// fails; then ordinary nodes and gateways crash; then a heard region is cut from half
// of the others, from all, and joined again.
//
//	                                               calm        crashes   half cut off    all cut off   joined again
//	virtual seconds, and crashes                   5, 0          12, 8           4, 0           4, 0           5, 0
//	new interests; of nodes that crashed          50; 0         120; 0          40; 0          40; 0         100; 0
//	applied wherever needed: p50                   67ms           68ms           74ms          3.41s           67ms
//	  p99                                          76ms          874ms         1.308s         5.301s         1.267s
//	  slowest                                      76ms          974ms         5.445s         5.313s         1.304s
//	  the last, after the phase                    60ms           63ms         5.445s          1.61s         4.971s
//	node, control bytes/s in                      30385         128351          61293          41803         431714
//	  out                                         11819          67486          25287          13072          42896
//	  both, per new interest                    4220.40       19583.64        8657.95        5487.48       23730.50
//	gateway, control bytes/s in                  185321         230794         655005         239530        1316885
//	  out                                        540014        1385739        1527521         806815       12561316
//	  of it to other regions                      13333          47415         362636          47682        4201320
//	  of it in delta                             489179         465743        1308306         475395        8139826
//	  of it in full                                   0           7924              0              0          11147
//	  of it in digest                              1920          58689          70899          26392        4017888
//	  of it in pull                                   0             22            758              0           2651
//	  of it in ack                                 6785           6875          21859           8177          71990
//	  of it in stamp                                 10             10             10             10             10
//	worst queue of a node, bytes                  62987        2728638        1110105         200083       30417118
//	events published                               1000           2400            800            800           1000
//	other regions that each goes to                0.68           0.70           0.72           0.72           0.78
//	WAN bytes per event and region              1194.69        1217.38        1738.39        1765.24        1204.75
//	  and in marks and replies                   608.33         736.88         922.42         861.39         924.27
//	WAN crossings per event and region             0.99           1.01           1.44           1.46           1.00
//	entered a region, wanted by nobody         0 of 692      0 of 1675       0 of 578       0 of 303      0 of 1065
//	came to a node, wanted by nobody           0 of 780      0 of 1984       0 of 676       0 of 377      0 of 1245
//	due, reported as lost                      0 of 780      0 of 2004       0 of 685       0 of 677       0 of 945
//	due, neither came nor was reported         0 of 780      0 of 2004       0 of 685       0 of 677       0 of 945
//	worst of a publisher's kept bytes             23021          33362          91006         329527         452885
//
// What is over lingers for longer than the run: a mesh that lives on says each
// interest's end as well, which costs about as much as its beginning. Interests of
// the cut region came to the others, and theirs to it, when the cut was over. The
// queue of the last phase is the digests that gateways send on all their new links
// at once. The run took 25 minutes of half a busy processor, and 7.6 GB.
package scale
