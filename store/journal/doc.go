// Package journal keeps the logs and the stable values of all raft groups of a
// node in one file at a time, so that many groups share one write and one sync.
// It knows nothing of raft: entries have an index, values have a key.
//
// # Promises
//
// What a change of a group returned nil for is there after any crash, in the
// order in which it was made, and nothing is there that was not asked for. A
// change is made wholly or not at all, that of many values and many entries too.
// A change that was under way when the process or the power ended may have been
// made or not. And after each fault:
//
//	process killed, power lost   nothing acknowledged is lost
//	sync or write fails          ErrFailed for all that waits and all that comes,
//	                             until the journal is opened again: nobody knows
//	                             what is on the disk, and a second sync would
//	                             succeed without having written anything. What
//	                             was there before can still be read.
//	disk full                    ErrFull, nothing of the change is made; what is
//	                             small still fits into what was reserved; works
//	                             again when there is room. Room is reserved by
//	                             segments before anything is written to them.
//	disk hangs                   changes wait, and Pending says for how long
//	bits change, sectors or      found when the journal is opened, or read: the
//	files vanish, files are cut  groups that lost something answer ErrCorrupt
//	                             with file and offset, until Forget; others go on
//	foreign or newer directory   ErrForeign or ErrNewer, untouched
//
// Damage that no file can show is not found: an image of the whole directory
// that was restored, or the newest file gone together with the mark of where the
// one before it was to end. Those who keep boot counters find that.
//
// # Files
//
// Segments are named by their sequence number, 16 hexadecimal digits and
// ".journal". Everything is little-endian, sectors have 512 bytes.
//
//	segment    header | header again | round | round | … | zeros
//	header     one sector: whose journal, which segment, and up to which byte
//	           the segment before it was synced; see the type header
//	round      head | directory | record | record | … | zeros to the sector's end
//	directory  of each group in the round: id (16), number of its last record
//	           in the round (4), how many records (4)
//	record     head | data | extensions | zeros to a multiple of 8
//
//	head     0  CRC32C of the rest of the head, salted (4)
//	         4  CRC32C of the body, padding included (4)
//	         8  bytes of data (4)        12  bytes of extensions (4)
//	        16  group (16)
//	        32  index (8)                40  term (8)
//	        48  time in nanoseconds (8)
//	        56  number of the record within its group (4)
//	        60  type (1)                 61  kind (1)          62  zero (2)
//
// A round is the head of type round, whose body is the directory; index is its
// number, counted over the life of the journal, term its length, time how many
// records it has, and the number within the group how many of its sectors are
// all zeros. The salt is random and a journal's own: bytes that come in as
// data can not be made to look like a head.
//
// The first round of a segment, a checkpoint, tells the whole state of every
// group: first and last index, all values. So no segment is needed but for the
// entries in it, and stable values never hold one back.
//
// # What was synced
//
// A round is one write, then one sync, then the answers to all who wait for it;
// only then the next is written. Hence the watermark, which costs nothing: that
// there is a round proves that all before it was synced. A header proves it of
// the segment before, up to the byte it tells. When the journal is idle for
// Config.MarkAfter, a round without records proves it of the last round. Close
// writes such a round, too, and says that nothing follows.
//
// So whatever is wrong before the last round is damage. Of the last round itself
// a crash takes whole sectors, which then read as zeros, because files are
// allocated, and that synced, before they are written to, and no part is written
// twice. A last round that is wrong and has no more zero sectors than it says was
// damaged, not torn; one with more is torn, and is cut off. Nothing in it was
// acknowledged, unless whole sectors that were synced got lost and a crash came
// within MarkAfter of the sync: this alone can not be told apart.
//
// A journal that is opened, and one that could not write a round, does not write
// to the segment any more: it goes on in a new one, whose header says where the
// old one ends. What lies beyond that is never read.
//
// # Who lost something
//
// A damaged body loses one record, whose head says whose it was. Where a head is
// damaged, the directory says which groups had records in the round; where a
// directory or the head of a round is damaged, the records are all there. Each
// record has a number within its group, so that whatever is missing is missed.
// Only if several of these are damaged at once nobody can tell; then all groups
// are corrupt which no later record, directory or checkpoint clears. An entry
// that was lost and is no longer kept in the end is no loss.
//
// # Recycling
//
// Entries are counted per segment. The oldest segment is deleted, and that
// synced, when none of its entries are kept; younger ones wait for it. What
// holds the oldest back is told to Config.OnHeldBack, so that a group which
// hardly writes is made to snapshot.
//
// Files are not used again under another name: what lies behind the last round
// must be zeros, or a torn round could not be told from a damaged one.
//
// # Memory
//
// 12 bytes for each entry that is kept, in a ring per group; the newest
// Config.CacheBytes of the files; the changes that wait, one per group, and the
// round that is made of them. Reading a journal takes a window of 1 MiB, or the
// largest record.
//
// # Goroutines
//
// The writer alone writes, and changes what groups keep once it is synced. It
// yields before it gathers a round and before it syncs: with as many threads as
// processors, the sync would else keep those from running who would fill the
// next round. The recycler deletes segments. Close ends both and waits for them.
// Changes are encoded, and checksums computed, by the callers.
package journal
