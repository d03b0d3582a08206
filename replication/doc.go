// Package replication keeps what must survive: the streams' logs, in partitions
// that are Raft groups of a region, and what a region agrees on, its metadata.
//
// A Member is one node's part in its region. Every node of the region has a
// replica of the metadata group, of which three or five vote; the region's founder
// begins it with itself alone, and lets in whoever asks. The metadata says which
// partitions there are and which nodes keep their replicas; each node opens the
// replicas that are its own and closes those that are not. Whoever leads the
// metadata decides what should be otherwise, by package placement; whoever leads a
// partition carries the changes of its replicas out.
//
// A replica that begins is known to the region before it can vote: one whose disk
// knows nothing of it although it had begun has lost its memory, never votes again,
// and is replaced under another epoch. So is one that is damaged.
//
// Append and Read work on every node: what is not here is asked of the nodes that
// have it. An outbox for each partition carries records to its leader in order,
// one batch after the other, and tries again while there is none. Records are
// bytes with a key; what they mean, packages above know.
//
// A node asks others by Network.Ask, which Answer answers there. Raft's messages
// have a connection of their own to each node of the region (Attach), and
// snapshots one each (ServeBulk).
//
// The register of regions says of every region who founded it and when, so that a
// region is founded once. It is kept by one node, the one that founded the mesh
// (the registrar), in a file that is replaced atomically and synced before an
// answer leaves. While that node is away, regions that exist go on as they are, and
// only the founding of a new region waits.
//
// Goroutines of a Member: one that registers the node and ends; one that steers
// (see steer); one for each outbox with something in it; those of the journal, the
// host and the partitions. Close waits for all of them.
package replication
