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
// # Who may vote
//
// A replica that begins is known to the region before it can vote: one whose disk
// knows nothing of it although it had begun has lost its memory, never votes again,
// and is replaced under another epoch. So is one that is damaged. A replica of the
// metadata has the number of the node's start as its epoch in which it began; what
// is lost or damaged begins anew under a later one, while the node runs too, and the
// group's leader lets it in in the old one's stead.
//
// A disk that was set back to an old image has forgotten votes, too. So a node
// that starts votes for nobody until a quorum of the metadata's other voters say
// that they know of no later start of it, and opens replicas of partitions once
// the region knows of this start. One that is found out takes part in nothing
// (Fenced). Where a node is the only voter, other regions tell it (SetBack): it goes
// on, since nobody else has what it kept, and says what that means. What nobody can
// find out: an image of the last start that anybody knows of, since the next start is
// then a new one, whatever was done after the image was taken; and any image in a mesh
// of one node, or while nobody who knows better can be reached.
//
// A region is founded once, by Config.Found; should two nodes of it have founded
// it, whoever has decided less is fenced when they meet.
//
// # What is damaged, full, or fails
//
// A scrubber reads again what is on the disk. A damaged file of a log is replaced by
// another replica's, an index and a snapshot are written again; what cannot be
// replaced, and an entry in the journal, costs the replica its place.
// Reading goes on at another replica meanwhile. A node whose disk fills up leads
// nothing from 92 % on, if others can, and refuses records with store.ErrFull, while
// trims and retention pass, which make room; it does not vote from 97 % on, and where
// a majority does not, only what else is on those disks can make room. A sync that fails ends the use of the disk until the node is
// started again: it leads nothing, votes for nobody, and counts as down. Health
// says all that.
//
// # Going
//
// A node that is stopped hands over what it leads first (HandOver), so that nobody
// waits until it is found to be gone. One that is to go for good is emptied (Drain),
// and says how far that is (Kept).
//
// # Asking
//
// Append and Read work on every node: what is not here is asked of the nodes that
// have it. Records are bytes with a key; what they mean, packages above know.
//
// A courier for each partition carries records to its leader, and tries again while
// there is none. Several batches are on their way at once, and are kept in their
// order all the same: each has its turn in a sequence, and the leader lets it in when
// those before it are in. One that is refused, or whose outcome is lost, ends the
// sequence: the leader lets none in that come after it, and the courier waits for the
// outcomes of all, and sends those that are not known to be kept again, in order, in
// a new sequence, perhaps to another leader. A sequence is of one term of its leader, and so
// are the entries that are made of its batches (multiraft.Group.ProposeIn), of which
// Raft then commits none without those before it. What an attempt has kept without
// anybody hearing of it, the next finds by the records' keys; without a window of
// keys, records are not sent again, and their outcome is unknown. A batch that is
// given up does not hold up those after it.
//
// A node asks others by Network.Ask, which Answer answers there. Raft's messages
// have a connection of their own to each node of the region (Attach), and
// snapshots one each (ServeBulk).
//
// What another region keeps, and cannot be sent there now, waits in this node's
// outbox (package away), which is on its disk.
//
// The register of regions says of every region who founded it and when, so that a
// region is founded once. It is part of the metadata of the region that founded the
// mesh (BeginRegister): any node of that region answers (RegisterRegion), what is
// new once a quorum has it on disk. While that region has no quorum, or is out of
// reach, only the founding of a new region waits; those that exist go on.
//
// Groups keep their logs, terms and votes in one journal for all of them, or each in a
// file of raft-boltdb of its own (Config.LogStore), which a directory is made with for
// good.
//
// Goroutines of a Member: one that registers the node and looks whether it still
// is of the region; one that steers (see steer); the scrubber; one that watches
// how full the disk is; one for each courier with something to carry, and one for each
// batch of it that is on its way to another node; those of the
// journal, the host, the outbox and the partitions. Close waits for all of them.
package replication
