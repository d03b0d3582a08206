package journal

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/store"
)

// ID names a group of replicas. The zero ID names none.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Config says where a journal lies and how much it may use.
type Config struct {
	// FS is the disk; nil is the operating system's.
	FS store.FS
	// Dir is the journal's own directory. It is made if it does not exist.
	Dir string
	// Mesh and Node say whose the journal is: at most 128 bytes each. A
	// directory of another mesh or node is refused.
	Mesh, Node string
	// SegmentBytes is the size of a file, from 16 KiB to 1 GiB; the first ones are
	// smaller. Default 64 MiB.
	SegmentBytes int64
	// CacheBytes is how much of what was written last is kept in memory, to be
	// read from there. Default 8 MiB; negative for none.
	CacheBytes int
	// HoldSegments is how many files there may be before OnHeldBack is told.
	// Default 4.
	HoldSegments int
	// OnHeldBack is called with the groups that still need the oldest file while
	// there are more than HoldSegments: once they have deleted their oldest
	// entries, it can go. It is called from a goroutine of the journal each time
	// a file was filled, never twice at once; it may change groups, but until it
	// returns no file is deleted, and Close waits for it.
	OnHeldBack func(groups []ID)
	// MarkAfter is how long the journal is idle before it marks what it wrote
	// last as synced, by one more write and sync. Default 100 ms.
	MarkAfter time.Duration
}

// withDefaults fills in what is not set and checks what is.
func (c Config) withDefaults() (Config, error) {
	if c.FS == nil {
		c.FS = store.OS{}
	}
	c.SegmentBytes = cmp.Or(c.SegmentBytes, 64<<20)
	c.CacheBytes = max(0, cmp.Or(c.CacheBytes, 8<<20))
	c.HoldSegments = cmp.Or(c.HoldSegments, 4)
	c.MarkAfter = cmp.Or(c.MarkAfter, 100*time.Millisecond)
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no directory"))
	}
	if c.SegmentBytes < 16<<10 || c.SegmentBytes > 1<<30 {
		errs = append(errs, fmt.Errorf("segments of %d bytes, from %d to %d are possible", c.SegmentBytes, 16<<10, 1<<30))
	}
	if len(c.Mesh) > maxName || len(c.Node) > maxName {
		errs = append(errs, fmt.Errorf("a name of mesh or node has more than %d bytes", maxName))
	}
	if c.HoldSegments < 0 || c.MarkAfter < 0 {
		errs = append(errs, errors.New("HoldSegments and MarkAfter must be positive"))
	}
	return c, errors.Join(errs...)
}

// Journal is made by Open. All methods may be called concurrently.
type Journal struct {
	cfg  Config
	salt uint32
	segs segments
	tail tail
	w    writer

	wake    chan struct{} // something is queued
	recycle chan struct{} // a segment was filled, or may be dropped
	stop    chan struct{} // closed by Close
	wg      sync.WaitGroup
	closed  sync.Once

	cacheReads, diskReads atomic.Uint64

	mu     sync.Mutex // guards the fields below
	groups map[ID]*Group
	queue  []*change // in the order of their coming
	flying time.Time // since when the oldest change of a round has waited
	// refusal is why nothing is taken any more: ErrFailed or ErrClosed, wrapped.
	refusal error
	failure error
	// doubt is where groups may have been lost of which nothing is known: then
	// no unknown group may begin as if it were new.
	doubt    *store.CorruptError
	counters Stats
}

// Group is the group of this ID. A group of which nothing is kept is empty.
func (j *Journal) Group(id ID) *Group {
	j.mu.Lock()
	defer j.mu.Unlock()
	g := j.groups[id]
	if g == nil {
		g = newGroup(j, id)
		if j.doubt != nil {
			lost := *j.doubt
			lost.Log = id.String()
			g.err = &lost
		}
		j.groups[id] = g
	}
	return g
}

// Groups lists the groups of which something is kept or was lost, in order.
func (j *Journal) Groups() []ID {
	var list []ID
	for _, g := range j.everyGroup() {
		if g.known() {
			list = append(list, g.id)
		}
	}
	return list
}

// everyGroup lists the groups in the order of their IDs.
func (j *Journal) everyGroup() []*Group {
	j.mu.Lock()
	list := make([]*Group, 0, len(j.groups))
	for _, g := range j.groups {
		list = append(list, g)
	}
	j.mu.Unlock()
	slices.SortFunc(list, func(a, b *Group) int { return slices.Compare(a.id[:], b.id[:]) })
	return list
}

// do hands a change to the writer and waits until it is on the disk.
func (j *Journal) do(c *change) error {
	j.mu.Lock()
	if err := j.refusal; err != nil {
		j.mu.Unlock()
		return err
	}
	c.since = time.Now()
	j.queue = append(j.queue, c)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return <-c.done
}

// Close waits for the changes under way, marks the journal as closed, and closes
// its files: then nothing of it runs any more. A disk that hangs lets it wait.
// The error is that of a disk which failed before.
func (j *Journal) Close() error {
	j.closed.Do(func() {
		j.mu.Lock()
		if j.refusal == nil {
			j.refusal = fmt.Errorf("journal: %w", store.ErrClosed)
		}
		j.mu.Unlock()
		close(j.stop)
		j.wg.Wait()
		j.segs.close()
	})
	return j.Err()
}

// Err is why the journal failed for good, or nil. It wraps ErrFailed.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failure
}

// Pending is for how long the oldest change that was not answered has waited, 0
// if there is none: on a disk that hangs it grows.
func (j *Journal) Pending() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case !j.flying.IsZero():
		return time.Since(j.flying)
	case len(j.queue) > 0:
		return time.Since(j.queue[0].since)
	}
	return 0
}

// Stats are counts since the journal was opened, and how it is now.
type Stats struct {
	Entries uint64 // appended
	Changes uint64 // to groups, of any kind
	Rounds  uint64 // written and synced, each with the changes of many groups
	Bytes   uint64 // written
	Full    uint64 // changes refused because the disk was full
	Created uint64 // segments
	Dropped uint64 // segments

	CacheReads uint64 // entries read from memory
	DiskReads  uint64 // entries read from a file

	SyncTime time.Duration // spent in syncs of rounds
	Pending  time.Duration // see Journal.Pending

	Groups    int   // known
	Corrupt   int   // groups that lost something
	Segments  int   // there now
	DiskBytes int64 // in them, up to where they are written
	// DropError is why a segment that nobody needs could not be deleted, if the
	// last attempt failed.
	DropError error
}

// Stats says how the journal is.
func (j *Journal) Stats() Stats {
	pending := j.Pending()
	groups := j.everyGroup()
	j.mu.Lock()
	s := j.counters
	j.mu.Unlock()
	s.Pending = pending
	s.CacheReads, s.DiskReads = j.cacheReads.Load(), j.diskReads.Load()
	for _, g := range groups {
		if g.known() {
			s.Groups++
		}
		if g.Err() != nil {
			s.Corrupt++
		}
	}
	j.segs.mu.Lock()
	defer j.segs.mu.Unlock()
	s.Segments = len(j.segs.list)
	for _, seg := range j.segs.list {
		s.DiskBytes += seg.end
	}
	return s
}

// count changes the counters.
func (j *Journal) count(change func(*Stats)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.counters)
}
