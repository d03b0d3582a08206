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
// 2026-11-21: a hundred regions of twenty nodes with fifty subscriptions each, of
// which two are heard, ten new interests a second in the whole mesh. In the first
// phase nothing fails; then ordinary nodes and gateways crash; then a heard region
// is cut from half of the others, from all, and joined again.
//
//	                                               calm        crashes   half cut off    all cut off   joined again
//	virtual seconds, and crashes                   5, 0          12, 8           4, 0           4, 0           5, 0
//	new interests; of nodes that crashed          50; 0         119; 0          40; 0          40; 0         100; 0
//	applied wherever needed: p50                   67ms           67ms           76ms         3.302s           68ms
//	  p99                                          76ms           76ms         5.402s         5.123s         1.131s
//	  slowest                                      76ms           76ms         5.453s         5.302s         1.302s
//	  the last, after the phase                    68ms           61ms         5.402s         1.402s         4.972s
//	node, control bytes/s in                      27112          37502          61146          27692         251673
//	  out                                          9279          10815          24695          11979          38943
//	  both, per new interest                    3639.06        4872.33        8584.05        3967.03       14530.81
//	gateway, control bytes/s in                   60914          73754         310780          69911         614396
//	  out                                        112364         199053         619002         161977        5156104
//	  of it to other regions                       4644          65773         375766          53343        4203996
//	  of it in delta                              89186          96477         483358         108119        1015703
//	  of it in full                                   0           1664              0              0           8711
//	  of it in digest                              6593          58706          62130          30660        4007238
//	  of it in pull                                   0             24            835              0           2607
//	  of it in ack                                 6770           6820          22444           8176          69626
//	  of it in stamp                                  9             10             10             10             10
//	worst queue of a node, bytes                  44064          59693         310884         200083       30194116
//	events published                               1000           2400            800            800           1000
//	other regions that each goes to                0.52           0.56           0.56           0.55           0.55
//	WAN bytes per event and region              1206.60        1210.68        1682.84        1838.68        1211.87
//	  and in marks and replies                   606.49         738.88        1012.53         962.79         963.66
//	WAN crossings per event and region             1.00           1.00           1.39           1.52           1.00
//	entered a region, wanted by nobody         0 of 518      0 of 1336       0 of 441       0 of 215       0 of 782
//	came to a node, wanted by nobody           0 of 513      0 of 1306       0 of 435       0 of 214       0 of 767
//	due, reported as lost                      0 of 534      0 of 1373       0 of 466       0 of 450       0 of 565
//	due, neither came nor was reported         0 of 534      0 of 1373       0 of 466       0 of 450       0 of 565
//	worst of a publisher's kept bytes             16119          18422          63358         269514         349004
//
// What is over lingers for longer than the run: a mesh that lives on says each
// interest's end as well, which costs about as much as its beginning. Interests of
// the cut region came to the others, and theirs to it, when the cut was over. The
// queue of the last phase is the digests that gateways send on all their new links
// at once. The whole, with five times as many nodes in each region and twice as
// many subscriptions at each, had not run to its end by then: it needs 7.5 GB and
// more than four minutes of processor time.
package scale
