// Package fact spreads what nodes tell about themselves, and keeps what the
// others told. It does not read the facts.
//
// A node's facts on a topic are a set of opaque strings that only this node
// writes, its owner. The set has an incarnation (the owner's count of starts)
// and a version (one more for each change); the two say which of two states is
// newer, so nothing needs to be merged, and a removal needs no tombstone. A sum
// of keyed hashes of the entries says whether two states of one version are the
// same; if they are not, the state is fetched whole and the conflict counted.
//
// Machine is a state machine without goroutines, clock or sockets: its inputs
// are method calls that carry the time, its outputs are drained by the caller.
// The same code runs in a node and, by the thousand, in a simulation.
//
// How a change travels:
//
//   - A topic of scope Region goes to the owner's region, one of scope Mesh to
//     all regions. The owner pushes a delta to every linked peer in scope. A
//     peer that gets a Mesh fact from outside its region relays it to the peers
//     of its own region.
//   - When a link comes up, both sides send a digest: what they have, in which
//     version. Whoever is behind pulls. A node does the same every second with
//     every link on which something is not acknowledged. And every second it
//     compares with one random linked peer of its region and one of the others,
//     by a stamp of all that the digest would say; digests follow if it differs.
//   - A rumor, spread by gossip, carries version, sum and, while it is small,
//     the delta of the owner's facts. Whoever is behind pulls from the owner or
//     from another linked peer.
//
// What was applied is acknowledged to whom it came from, and to everybody who
// told of it while it was on its way from another: so nobody waits for the next
// comparison unless something was lost. The acknowledgement of
// a Mesh fact to its owner in another region also says which version has been
// applied by all peers of the acknowledging node's region that are linked to it
// ("spread"). So Acked knows, without asking, whether every linked node of the
// mesh has applied a version.
//
// A new incarnation of an owner begins with an empty set. What the old one told
// stays visible beside the new set until the owner says that the new one is
// complete: a node that restarts must not make others forget what it is about
// to say again.
//
// Facts of an owner that is gone are kept for Config.Forget, then forgotten; a
// copy that some other peer still holds cannot bring them back, because who
// forgot remembers the version for Config.Remember. An owner that is seen alive
// again is believed again.
//
// # Messages
//
// A body is a sequence of records by one sender:
//
//	body:    format (1, = 1) | incarnation of the sender | record …
//	record:  kind (1) | length | content
//
//	delta  1: head | base | adds: list | removes: list
//	          brings any version from base on to the head's
//	full   2: head | part | parts | list
//	          replaces all; parts are numbered from 0 and sent in order
//	digest 3: flags (1: bit 0 = answer with yours, bit 1 = acknowledge) | head …
//	pull   4: owner | topic (1) | incarnation | version
//	          asks for what is newer than this
//	ack    5: owner | topic (1) | incarnation | version | spread
//	stamp  6: sum (8, big endian) of the keyed hashes of the digest's heads, each
//	          without region, flags and gone
//
//	head:    owner | region | topic (1) | incarnation | version | sum (8, big endian)
//	         | flags (1: bit 0 = complete) | gone for (seconds, 0 = it is alive)
//	list:    count | entry …              sorted, each entry against the one before:
//	entry:   shared (bytes taken from the entry before) | length | bytes
//
// Owner and region are length | bytes. All other numbers are uvarints.
package fact
