package multiraft

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"sync"

	"github.com/skeinmesh/skein/store"
)

// history is a state machine that keeps what was applied.
type history struct {
	mu      sync.Mutex // guards the fields below
	entries [][]byte
	last    uint64
	sum     [32]byte
	hang    chan struct{}
	refuses error // to be restored
}

func (h *history) Apply(batch []Entry) []any {
	h.mu.Lock()
	hang := h.hang
	h.mu.Unlock()
	if hang != nil {
		<-hang
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]any, len(batch))
	for i, e := range batch {
		if e.Index > h.last {
			h.last = e.Index
			h.entries = append(h.entries, bytes.Clone(e.Data))
			h.sum = sha256.Sum256(append(h.sum[:], e.Data...))
		}
		out[i] = len(h.entries)
	}
	return out
}

func (h *history) state() (n int, sum [32]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.entries), h.sum
}

func (h *history) has(data []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.entries, func(e []byte) bool { return bytes.Equal(e, data) })
}

func (h *history) Snapshot() (Snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h.last)
	for _, e := range h.entries {
		b.Write(appendBytes(nil, e))
	}
	return &saved{b.Bytes()}, nil
}

type saved struct{ data []byte }

func (s *saved) WriteTo(w io.Writer) (int64, error) { n, err := w.Write(s.data); return int64(n), err }
func (s *saved) Release()                           {}

func (h *history) Restore(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuses != nil {
		return h.refuses
	}
	h.entries, h.sum = nil, [32]byte{}
	h.last = binary.LittleEndian.Uint64(data)
	d := decoder{b: data[8:]}
	for len(d.b) > 0 {
		e := bytes.Clone(d.bytes(1 << 30))
		h.entries = append(h.entries, e)
		h.sum = sha256.Sum256(append(h.sum[:], e...))
	}
	return nil
}

// memoryStore is a store.Replica in memory that can hang and fail.
type memoryStore struct {
	mu     sync.Mutex // guards the fields below
	first  uint64
	list   []store.Entry
	values map[string][]byte
	hang   chan struct{}
	err    error // of every write
	full   bool  // no more entries are taken
	rotten uint64
	syncs  int
}

func newMemoryStore() *memoryStore { return &memoryStore{values: map[string][]byte{}} }

func (s *memoryStore) set(f func(*memoryStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// length is how many entries there are.
func (s *memoryStore) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

func (s *memoryStore) begin() error {
	s.mu.Lock()
	hang, err := s.hang, s.err
	s.syncs++
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return err
}

func (s *memoryStore) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return 0, nil
	}
	return s.first, nil
}

func (s *memoryStore) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return 0, nil
	}
	return s.first + uint64(len(s.list)) - 1, nil
}

func (s *memoryStore) Get(index uint64, e *store.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index < s.first || index >= s.first+uint64(len(s.list)) {
		return store.ErrNotFound
	}
	if index == s.rotten {
		return &store.CorruptError{File: "memory", What: "rotten"}
	}
	*e = s.list[index-s.first]
	return nil
}

func (s *memoryStore) Append(entries []store.Entry) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return store.ErrFull
	}
	if len(s.list) == 0 {
		s.first = entries[0].Index
	} else if entries[0].Index != s.first+uint64(len(s.list)) {
		return store.ErrGap
	}
	s.list = append(s.list, entries...)
	return nil
}

func (s *memoryStore) DeleteRange(low, high uint64) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end := s.first + uint64(len(s.list)) - 1
	switch {
	case low <= s.first && high >= end:
		s.list = nil
	case low <= s.first:
		s.list = slices.Clone(s.list[high+1-s.first:])
		s.first = high + 1
	default:
		s.list = s.list[:low-s.first]
	}
	return nil
}

func (s *memoryStore) IsMonotonic() bool { return true }

func (s *memoryStore) Value(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[key]; ok {
		return v, nil
	}
	return nil, store.ErrNotFound
}

func (s *memoryStore) SetValues(values ...store.Value) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		s.values[v.Key] = bytes.Clone(v.Data)
	}
	return nil
}
