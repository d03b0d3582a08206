package multiraft

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store"
)

const (
	// The newest entries are kept in memory for followers that keep up and for
	// the state machine: so many, and so many bytes of them, at most.
	cacheEntries = 256
	cacheBytes   = 4 << 20
)

// logStore is a store.Replica as Raft's LogStore and StableStore. When the
// store fails, the replica fails: it is silent from then on, and nothing is
// written any more. Where Raft would panic it is told that all is well, so that
// it goes on and answers whoever waits for it until the replica is closed.
type logStore struct {
	group   *Group
	store   store.Replica
	busy    busy
	running atomic.Bool // Raft runs: until then failures are Start's to report
	gap     atomic.Bool // an entry could not be read: nothing is applied any more

	mu    sync.RWMutex // guards the fields below
	cache []*raft.Log  // contiguous, the newest last
	bytes int          // of the cache's data

	stable sync.Mutex        // guards the fields below
	values map[string][]byte // as stored, or about to be

	cut atomic.Bool // entries at the end were deleted, and none stored since
	age age
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

func newLogStore(g *Group, s store.Replica) *logStore {
	return &logStore{group: g, store: s, busy: busy{what: "log"}, values: map[string][]byte{}}
}

func (l *logStore) IsMonotonic() bool           { return l.store.IsMonotonic() }
func (l *logStore) FirstIndex() (uint64, error) { return l.store.FirstIndex() }

// LastIndex is the index of the newest entry. While Raft runs and a snapshot has taken
// the place of all entries, it is that of the snapshot: Raft asks how many entries there
// are beyond its snapshot, and would take another one again and again.
func (l *logStore) LastIndex() (uint64, error) {
	last, err := l.store.LastIndex()
	if err == nil && last == 0 && l.running.Load() {
		if s, ok := l.snapshot(); ok {
			return s.Index, nil
		}
	}
	return last, err
}

func (l *logStore) GetLog(index uint64, out *raft.Log) error {
	l.mu.RLock()
	if n := len(l.cache); n > 0 && index >= l.cache[0].Index && index-l.cache[0].Index < uint64(n) {
		*out = *l.cache[index-l.cache[0].Index]
		l.mu.RUnlock()
		return nil
	}
	l.mu.RUnlock()
	var e store.Entry
	err := l.store.Get(index, &e)
	if err == nil {
		*out = raft.Log{Index: e.Index, Term: e.Term, Type: raft.LogType(e.Kind), Data: e.Data, Extensions: e.Extensions, AppendedAt: e.AppendedAt}
		return nil
	}
	err = fmt.Errorf("read entry %d: %w", index, err)
	if errors.Is(err, store.ErrNotFound) {
		first, err1 := l.store.FirstIndex()
		last, err2 := l.store.LastIndex()
		if err1 == nil && err2 == nil && (first == 0 || index < first || index > last) {
			return l.boundary(index, out)
		}
	}
	l.group.fail(err)
	if !l.running.Load() {
		return err
	}
	l.gap.Store(true) // before anything that comes after the entry is applied
	*out = raft.Log{Index: index, Type: raft.LogNoop}
	return nil
}

// termOf is the term of an entry, or 0: one that is in the log, or the last one of
// the snapshot, which may have taken its place.
func (l *logStore) termOf(index uint64) uint64 {
	if index == 0 {
		return 0
	}
	if s, ok := l.snapshot(); ok && s.Index == index {
		return s.Term
	}
	var e raft.Log
	if first, err := l.store.FirstIndex(); err != nil || index < first || l.GetLog(index, &e) != nil {
		return 0
	}
	return e.Term
}

func (l *logStore) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs returns when the entries are on the disk. It stores none if one is of
// another term than its proposer wants.
//
// A full disk leaves the log as it was, and Raft goes on; but not if it takes for
// stored what is not: it works by a configuration whether or not that was stored, and
// does not know that its last entries are gone when it could not store others in
// their place. Then the replica ends, and begins again from what is on its disk.
func (l *logStore) StoreLogs(logs []*raft.Log) error {
	if err := l.group.failure(); err != nil {
		return err
	}
	if err := inTerm(logs); err != nil {
		return err
	}
	entries := make([]store.Entry, len(logs))
	for i, e := range logs {
		entries[i] = store.Entry{Index: e.Index, Term: e.Term, Kind: uint8(e.Type), Data: e.Data, Extensions: e.Extensions, AppendedAt: e.AppendedAt}
	}
	ahead := l.group.sendAhead(logs)
	l.busy.begin()
	err := l.store.Append(entries)
	l.busy.end()
	if err != nil {
		err = fmt.Errorf("append %d entries: %w", len(logs), err)
		if ahead {
			err = fmt.Errorf("%w: %w", ErrUnknown, err) // the others may keep them
		}
		if !errors.Is(err, store.ErrFull) || l.cut.Load() || slices.ContainsFunc(logs, isConfiguration) {
			l.group.fail(err)
		}
		return err
	}
	l.cut.Store(false)
	l.remember(logs)
	l.age.note(time.Now(), logs[0].Index, logs[len(logs)-1].Index)
	l.group.passOnSoon()
	return nil
}

func isConfiguration(e *raft.Log) bool { return e.Type == raft.LogConfiguration }

func (l *logStore) remember(logs []*raft.Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range logs {
		if n := len(l.cache); n > 0 && e.Index != l.cache[n-1].Index+1 {
			l.cache, l.bytes = nil, 0
		}
		l.cache = append(l.cache, e)
		l.bytes += len(e.Data) + len(e.Extensions)
	}
	drop := 0
	for ; drop < len(l.cache) && (len(l.cache)-drop > cacheEntries || l.bytes > cacheBytes); drop++ {
		l.bytes -= len(l.cache[drop].Data) + len(l.cache[drop].Extensions)
		l.cache[drop] = nil
	}
	l.cache = l.cache[drop:]
}

func (l *logStore) DeleteRange(low, high uint64) error {
	if err := l.group.failure(); err != nil {
		return err
	}
	if first, err := l.store.FirstIndex(); err == nil && (first == 0 || high < first) {
		return nil // a snapshot took their place before
	}
	if s, ok := l.snapshot(); ok && low <= s.Index && high > s.Index && l.running.Load() {
		// Raft clears the whole log when it has taken over a snapshot that contradicts it,
		// and goes on as if what is behind that were still there: the leader replaces it.
		high = s.Index
	}
	l.mu.Lock()
	l.cache, l.bytes = nil, 0
	l.mu.Unlock()
	if last, err := l.store.LastIndex(); err == nil && high >= last {
		l.cut.Store(true)
	}
	l.busy.begin()
	err := l.store.DeleteRange(low, high)
	l.busy.end()
	if err != nil {
		err = fmt.Errorf("delete entries %d to %d: %w", low, high, err)
		l.group.fail(err)
	}
	return err
}

// currentTerm is the key under which Raft keeps its term.
const currentTerm = "CurrentTerm"

// Keys under which Raft keeps its vote: it stores them one after the other, and
// the second makes the vote. Here they are stored together, by one sync: a term
// without its candidate is no vote, and says nothing that a crash may not lose.
const (
	voteTerm      = "LastVoteTerm"
	voteCandidate = "LastVoteCand"
)

func (l *logStore) Set(key []byte, value []byte) error {
	l.stable.Lock()
	defer l.stable.Unlock()
	set := []store.Value{{Key: string(key), Data: value}}
	if string(key) == voteCandidate {
		set = append(set, store.Value{Key: voteTerm, Data: l.values[voteTerm]})
	}
	return l.write(set...)
}

// write sets values. The caller holds stable.
func (l *logStore) write(set ...store.Value) error {
	if err := l.group.failure(); err != nil {
		return err
	}
	l.busy.begin()
	err := l.store.SetValues(set...)
	l.busy.end()
	if err != nil {
		err = fmt.Errorf("store %s: %w", set[0].Key, err)
		l.group.fail(err)
		return err
	}
	for _, v := range set {
		l.values[v.Key] = v.Data
	}
	return nil
}

func (l *logStore) Get(key []byte) ([]byte, error) {
	l.stable.Lock()
	defer l.stable.Unlock()
	return l.value(string(key))
}

// value reads a value; nil if there is none. The caller holds stable.
func (l *logStore) value(key string) ([]byte, error) {
	if v, ok := l.values[key]; ok {
		return v, nil
	}
	v, err := l.store.Value(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	l.values[key] = v
	return v, nil
}

func (l *logStore) SetUint64(key []byte, n uint64) error {
	v := store.Uint64Value(string(key), n)
	if string(key) == voteTerm {
		l.stable.Lock()
		defer l.stable.Unlock()
		l.values[voteTerm] = v.Data
		return nil
	}
	if was, err := l.GetUint64(key); err == nil && was == n && n != 0 {
		return nil // Raft stores its term again at each start
	}
	l.stable.Lock()
	err := l.write(v)
	l.stable.Unlock()
	if l.running.Load() {
		return nil // Raft would panic; what it makes of a term that is not kept, nobody hears
	}
	return err
}

func (l *logStore) GetUint64(key []byte) (uint64, error) {
	l.stable.Lock()
	defer l.stable.Unlock()
	v, err := l.value(string(key))
	switch {
	case err != nil || v == nil:
		return 0, err
	case len(v) != 8:
		return 0, fmt.Errorf("read %s: %d bytes, a number has 8", key, len(v))
	}
	return store.Uint64(one{v}, "")
}

// one is a store.Stable of one value, to read it as a number.
type one struct{ data []byte }

func (o one) Value(string) ([]byte, error)   { return o.data, nil }
func (o one) SetValues(...store.Value) error { return errors.ErrUnsupported }

// busy tells how long a call has been going on.
type busy struct {
	what  string
	start atomic.Int64 // Unix nanoseconds; 0 for no call
}

func (b *busy) begin() { b.start.Store(time.Now().UnixNano()) }
func (b *busy) end()   { b.start.Store(0) }

func (b *busy) since() time.Duration {
	if start := b.start.Load(); start != 0 {
		return time.Duration(time.Now().UnixNano() - start)
	}
	return 0
}
