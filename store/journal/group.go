package journal

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/store"
)

// Group is what one replica of a group keeps in a journal: its log and its
// values. It is a store.Replica. All methods may be called concurrently;
// changes wait for each other.
//
// A group that lost something answers nothing but with that error, which is
// ErrCorrupt and says where it was, until Forget is called.
type Group struct {
	id      ID
	journal *Journal

	turn sync.Mutex // held while a change is made, guards next
	next change

	mu sync.RWMutex // guards the fields below, which the writer changes
	state
	err error // what was lost, or nil
}

var _ store.Replica = (*Group)(nil)

// change is a change to one group on its way to the disk. It is used again by
// the group's next one.
type change struct {
	group   *Group
	typ     recordType
	nth     uint32   // of its last record
	records []byte   // encoded
	sizes   []uint32 // typeEntry: bytes of head and body of each
	first   uint64   // typeEntry: index of the first; typeRange: the first deleted
	last    uint64   // typeRange: the last deleted
	values  []store.Value
	since   time.Time
	done    chan error // has room for the one answer
}

// maxIdleBuffer is the largest buffer that a group keeps between changes, in
// bytes.
const maxIdleBuffer = 256 << 10

func newGroup(j *Journal, id ID) *Group {
	g := &Group{id: id, journal: j}
	g.next = change{group: g, done: make(chan error, 1)}
	return g
}

// ID is the group's name.
func (g *Group) ID() ID { return g.id }

// Err says what the group has lost, if anything: a *store.CorruptError.
func (g *Group) Err() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.err
}

// known reports whether anything is kept of the group, or was lost.
func (g *Group) known() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.nth != 0 || g.err != nil
}

// FirstIndex is the index of the oldest entry, 0 if there is none.
func (g *Group) FirstIndex() (uint64, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.err != nil || g.entries() == 0 {
		return 0, g.err
	}
	return g.first, nil
}

// LastIndex is the index of the newest entry, 0 if there is none.
func (g *Group) LastIndex() (uint64, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.err != nil || g.entries() == 0 {
		return 0, g.err
	}
	return g.last, nil
}

// IsMonotonic is true.
func (g *Group) IsMonotonic() bool { return true }

// Get reads an entry: from memory if it was written not long ago. What it reads
// from the disk is checked; if it is damaged the group has lost it.
func (g *Group) Get(index uint64, e *store.Entry) error {
	record, err := g.read(index, false)
	if err != nil {
		return err
	}
	h, _ := readHead(record, g.journal.salt)
	h.entry(record[headSize:], e)
	return nil
}

// Check reads an entry from the disk, and returns how many bytes it has there. The
// error is that of Get.
func (g *Group) Check(index uint64) (bytes int, err error) {
	record, err := g.read(index, true)
	return len(record), err
}

func (g *Group) read(index uint64, fromDisk bool) ([]byte, error) {
	g.mu.RLock()
	at, kept := g.place(index)
	err := g.err
	g.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if !kept {
		return nil, fmt.Errorf("journal: group %s: entry %d: %w", g.id, index, store.ErrNotFound)
	}
	record, lost, err := g.journal.read(g.id, index, at, fromDisk)
	switch {
	case lost != nil:
		g.mu.Lock()
		defer g.mu.Unlock()
		if now, _ := g.place(index); now != at {
			// It was deleted meanwhile, and its bytes are nobody's.
			return nil, fmt.Errorf("journal: group %s: entry %d: %w", g.id, index, store.ErrNotFound)
		}
		if g.err == nil {
			g.err = lost
		}
		return nil, lost
	case err != nil:
		return nil, fmt.Errorf("journal: group %s: entry %d: %w", g.id, index, err)
	}
	return record, nil
}

// Append adds entries, as store.Log says. They are encoded on the caller's
// goroutine.
func (g *Group) Append(entries []store.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	g.turn.Lock()
	defer g.turn.Unlock()
	nth, err := g.begin(typeEntry)
	if err != nil {
		return err
	}
	g.mu.RLock()
	fits, last := g.takes(entries[0].Index), g.last
	g.mu.RUnlock()
	if !fits {
		return fmt.Errorf("journal: group %s: entry %d after %d: %w", g.id, entries[0].Index, last, store.ErrGap)
	}
	c, sum := &g.next, 0
	for i := range entries {
		e := &entries[i]
		if e.Index != entries[0].Index+uint64(i) {
			return fmt.Errorf("journal: group %s: entry %d after %d: %w", g.id, e.Index, entries[i-1].Index, store.ErrGap)
		}
		sum += headSize + len(e.Data) + len(e.Extensions) + alignment
		if len(e.Data) > MaxEntryBytes || len(e.Extensions) > MaxExtensionBytes || sum > MaxAppendBytes {
			return fmt.Errorf("journal: group %s: entry %d: %w", g.id, e.Index, store.ErrTooLarge)
		}
	}
	c.first = entries[0].Index
	c.records = slices.Grow(c.records, sum)
	for i := range entries {
		e := &entries[i]
		nth = after(nth)
		h := entryHead(g.id, nth, e)
		c.records = appendRecord(c.records, &h, e.Data, e.Extensions, g.journal.salt)
		c.sizes = append(c.sizes, headSize+h.data+h.ext)
	}
	return g.finish(nth)
}

// DeleteRange deletes entries, as store.Log says: the oldest after a snapshot,
// the newest when another leader's take their place, or all.
func (g *Group) DeleteRange(min, max uint64) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	nth, err := g.begin(typeRange)
	if err != nil {
		return err
	}
	g.mu.RLock()
	from, to, hole := g.clamp(min, max)
	g.mu.RUnlock()
	switch {
	case hole:
		return fmt.Errorf("journal: group %s: deleting entries %d to %d: %w", g.id, min, max, store.ErrGap)
	case from > to:
		return nil
	}
	g.next.first, g.next.last = from, to
	h := head{typ: typeRange, group: g.id, nth: after(nth), index: from, term: to, time: noTime}
	g.next.records = appendRecord(g.next.records, &h, nil, nil, g.journal.salt)
	return g.finish(h.nth)
}

// Value is a value that was set, as store.Stable says.
func (g *Group) Value(key string) ([]byte, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.err != nil {
		return nil, g.err
	}
	data, ok := g.values[key]
	if !ok {
		return nil, fmt.Errorf("journal: group %s: value %q: %w", g.id, key, store.ErrNotFound)
	}
	return data, nil
}

// SetValues sets values, all or none of them, by one record. Values that are
// set already cost nothing.
func (g *Group) SetValues(values ...store.Value) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	nth, err := g.begin(typeValues)
	if err != nil {
		return err
	}
	g.mu.RLock()
	same, fits := true, g.room(values)
	for _, v := range values {
		was, set := g.values[v.Key]
		same = same && set && bytes.Equal(was, v.Data)
	}
	g.mu.RUnlock()
	if same {
		return nil
	}
	if !fits {
		return fmt.Errorf("journal: group %s: values of more than %d bytes: %w", g.id, MaxValuesBytes, store.ErrTooLarge)
	}
	var row []byte
	for _, v := range values {
		row = appendValue(row, v.Key, v.Data)
	}
	g.next.values = values
	h := head{typ: typeValues, group: g.id, nth: after(nth), time: noTime}
	g.next.records = appendRecord(g.next.records, &h, row, nil, g.journal.salt)
	return g.finish(h.nth)
}

// Forget deletes all that is kept of the group. It is how the replica of a
// group that lost something is begun anew: afterwards the group is empty, and
// no longer corrupt.
func (g *Group) Forget() error {
	g.turn.Lock()
	defer g.turn.Unlock()
	if !g.known() {
		return nil
	}
	g.reset(typeForget)
	g.mu.RLock()
	h := head{typ: typeForget, group: g.id, nth: after(g.nth), time: noTime}
	g.mu.RUnlock()
	g.next.records = appendRecord(g.next.records, &h, nil, nil, g.journal.salt)
	return g.finish(0)
}

// begin readies the group's next change, unless the group has lost something.
// It returns the number of the group's last record. The turn is held.
func (g *Group) begin(typ recordType) (nth uint32, err error) {
	g.reset(typ)
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.nth, g.err
}

func (g *Group) reset(typ recordType) {
	c := &g.next
	c.typ, c.records, c.sizes, c.values = typ, c.records[:0], c.sizes[:0], nil
}

// finish lets the writer make the change, whose last record has this number.
func (g *Group) finish(nth uint32) error {
	g.next.nth = nth
	err := g.journal.do(&g.next)
	g.next.values = nil
	if cap(g.next.records) > maxIdleBuffer {
		g.next.records = nil
	}
	if cap(g.next.sizes) > maxIdleBuffer/4 {
		g.next.sizes = nil
	}
	if err != nil {
		return fmt.Errorf("journal: group %s: %w", g.id, err)
	}
	return nil
}

// apply makes a change that is on the disk, its records beginning at this offset
// of a segment. It is called by the writer.
func (g *Group) apply(c *change, segment uint32, at int64, kept func(segment uint32, n int)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	released := func(segment uint32, n int) { kept(segment, -n) }
	switch c.typ {
	case typeEntry:
		for i, size := range c.sizes {
			g.push(c.first+uint64(i), place{segment, uint32(at), size})
			at += padded(int64(size))
		}
		kept(segment, len(c.sizes))
	case typeRange:
		g.deleteRange(c.first, c.last, released)
	case typeValues:
		for _, v := range c.values {
			g.set(v.Key, v.Data)
		}
	case typeForget:
		g.release(0, g.places.count, released)
		g.state, g.err = state{}, nil
	}
	g.nth = c.nth
}
