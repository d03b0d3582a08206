// Package multiraft runs many Raft groups on one node over few connections.
//
// A Host is one node's part in all its groups. The node above hands it one
// duplex connection for each linked peer (Attach) and a way to open a stream of
// its own for a snapshot (Config.Dial); it addresses peers by peer.ID alone. A
// Group is one replica of one Raft group; hashicorp/raft decides in it, and is
// seen by nobody above: entries are bytes, members are Replicas.
//
// A Replica is a node and an epoch. An identity that ever voted or acknowledged
// must never forget, so a replica whose disk was lost comes back under the next
// epoch and never again under the old one. Every request names the group and
// both epochs; what does not fit is refused, counted and told.
//
// # Heartbeats
//
// The heartbeats of all groups to one peer are collected for at most 20 ms and
// leave in one frame; their answers return in one. Each stays a request with
// its own answer, so that Raft's rules are untouched. What coalescing could
// hide is a stuck group on a node whose connection is well: therefore a replica
// whose log or state machine has not returned for Config.StallAfter, or whose
// node's Health complains, neither sends nor answers heartbeats, nor votes, and
// its node tells the others, who look for another leader.
//
// # Silence when idle
//
// Raft's leader sends each follower an empty AppendEntries every so often
// (Config.CommitTimeout), only to pass on its commit index. Here it is passed on a few
// milliseconds after the last entry was applied, if no others follow, so that followers
// need not wait for that and Raft need not do it often. An AppendEntries that says what the follower has already
// acknowledged (same term, same previous entry, same commit index) changes
// nothing there, and is not sent. It is not answered either: to Raft it is a
// message whose answer is still on its way, and Raft must bear the loss of any
// message at any time. So no contact is invented: what keeps the leader's lease
// and confirms its leadership are the heartbeats alone, each a true round trip
// to the replica in question. The silence ends as soon as the state that was
// acknowledged may be gone: when the connection is another, when the replica
// was started anew, when a heartbeat was refused, answered in another term, or
// not answered for the length of the lease.
//
// # Two disks at a time
//
// Raft's leader writes entries to its own disk before it sends them. Here the
// LogStore sends them to the followers that have all before them, as the append
// that Raft is about to make, while it writes: an entry then takes as long as the
// slower of the two syncs and not as both. When Raft has them sent, they are on
// their way or acknowledged, and only their answer is handed on. That is an
// append of the leader of that term at its place in the log, and it makes no
// other entry for that place in that term: if it cannot write them, it steps
// down. Nothing is committed before Raft counts it, which it does after the
// leader has them on its disk. But entries that the leader could not write, a
// later leader may commit: of those it is unknown.
//
// # Letting go of the log
//
// A group that is idle keeps its last entries for ever, and with them the node's
// journal. So Release drops all that a snapshot contains, but for the entries of the
// last seconds, which followers that are a little behind are cheaper to send. Raft knows
// the term of its snapshot's last entry only while nothing follows it, and would refuse
// a leader that goes on from there: a follower's log knows it, and an append that begins
// before is cut down to begin there. Whoever has all that a leader's snapshot contains
// says so, and does not install it: Raft would put it in the place of the entries that
// follow, among them acknowledged ones. And an append commits no more than it reaches.
//
// # Failover
//
// Timeouts are long so that idle groups are cheap. When the link layer says
// that a node is gone (PeerDown), the replicas whose leader sat there tell each
// other how long their logs are and shorten their timeouts: those that would
// lose at once, so that they forget the leader and may vote, and the one with
// the longest log a moment later, so that it wins. Raft's own check of the last
// contact and the pre-vote make a false verdict harmless.
//
// # A failed disk
//
// hashicorp/raft panics when it cannot store its term or read an entry that is
// committed. Here such a failure ends the replica, not the process: the replica
// falls silent, writes nothing more, and GroupConfig.OnFailure is told. Raft itself
// is told that all is well, so that it goes on, heard by nobody, and gives all that
// was proposed an outcome; but what comes after an entry that could not be read is
// not applied.
//
// # Goroutines
//
// For each connection a reader and a writer; for each group those of
// hashicorp/raft (three, and three more for each follower of a leader), one
// while requests of peers wait to be handled, and one while proposals wait to
// be committed; for the host one that calls back. An idle follower has none of
// ours. Close waits for all of them.
package multiraft
