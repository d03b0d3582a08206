// Package partition is one replica of a partition: a Raft group whose state
// machine keeps the logs of the streams that share it. Records are bytes with a
// key; what they mean, and who may write or read them, is for those above.
//
// # Writing
//
// The leader's replica puts what callers append at the same time into one Raft
// entry, at most 256 records or 128 KiB (a larger record has an entry of its own),
// and keeps four entries on their way: under load entries fill by themselves, and
// without load nobody waits for company. They are of one term, and when one fails,
// what waits behind it is refused: so callers that append in a term (AppendAsync)
// have what they append kept in order, and nothing without what was before it. An entry is committed when a quorum of
// the replicas has it on disk, each in its journal; only then is it applied, which
// gives its records their offsets, and only then do callers hear of it.
//
// An entry carries the leader's time and, for each log that it appends to, the
// log's settings. Both make Apply a function of the entries alone: all replicas
// have the same records at the same offsets with the same times, and agree on
// which are duplicates. Time never goes back in a partition, whatever the leaders'
// clocks say.
//
// # Duplicates
//
// A record whose key is in its log's window is not kept again; its caller hears
// the offset of the first. The window has the last records of the log, as many and
// as old as the log's settings say, and nothing that has been trimmed: so it can be
// made anew from the log, which a replica does when it first appends to it after a
// start. A zero key is no duplicate of anything.
//
// # What is on the disk, and when
//
// Apply appends to the segments of the logs, once for all entries that Raft hands
// over together, and does not sync; a little may wait in memory until it is worth a
// write. The journal has the entries. A snapshot syncs the logs that have changed,
// keeps the manifests of all, and lets Raft drop the entries before it. After a start each log is brought back
// to its manifest, and Raft applies what came after. Trimmed files are removed
// when a snapshot is on the disk that has no need of them. Where files can go, one is
// taken within seconds, on every replica, at most one every ten.
//
// A replica that is too far behind for entries gets the leader's snapshot. Prepare
// fetches the files that it names and that are not here, before Raft hears of it:
// a replica that Raft takes for having the snapshot has its records.
//
// # When the disk fails
//
// A full disk holds Apply up until there is room; the replica counts as unwell
// meanwhile, and others lead. Any other error ends the replica: nothing is applied
// any more, no snapshot is taken, and OnFailure is told, once.
//
// Goroutines: one that has files removed; one while records wait or are on their
// way; one while a snapshot is due; those of the group. Close waits for them.
package partition
