package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/store"
)

// OpenReplica makes an empty replica for a test. What it returns as reopen
// closes and opens it again, and may be called any number of times; it is nil if
// nothing is kept beyond that.
type OpenReplica func(t *testing.T) (r store.Replica, reopen func() store.Replica)

// TestReplica is what every store of a group's log and values must do.
func TestReplica(t *testing.T, open OpenReplica) {
	for name, test := range map[string]func(*suite){
		"AnEmptyLogHasNoIndexes":         (*suite).empty,
		"EntriesComeBackAsTheyWere":      (*suite).fields,
		"GapsAreRefused":                 (*suite).gaps,
		"TheOldestAreDeleted":            (*suite).prefix,
		"TheNewestAreDeletedAndReplaced": (*suite).suffix,
		"AfterAllAreDeletedAnyIndexMay":  (*suite).all,
		"ValuesAreSetAndReplaced":        (*suite).values,
		"ReadersSeeWholeEntries":         (*suite).concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{t: t}
			s.r, s.reopen = open(t)
			test(s)
		})
	}
}

// suite is one test of a replica.
type suite struct {
	t      *testing.T
	r      store.Replica
	reopen func() store.Replica
}

// both runs a check, and again after closing and opening, if anything is kept.
func (s *suite) both(check func()) {
	s.t.Helper()
	check()
	if s.reopen != nil {
		s.r = s.reopen()
		check()
	}
}

// Entry makes an entry that says by its bytes which one it is.
func Entry(index, term uint64) store.Entry {
	return store.Entry{Index: index, Term: term, Kind: uint8(term), Data: fmt.Appendf(nil, "entry %d of term %d", index, term)}
}

// Entries makes the entries of a term from one index to another.
func Entries(from, to, term uint64) []store.Entry {
	var list []store.Entry
	for i := from; i <= to; i++ {
		list = append(list, Entry(i, term))
	}
	return list
}

// SameEntry reports whether two entries are the same to whoever uses them.
func SameEntry(a, b *store.Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Kind == b.Kind && a.AppendedAt.Equal(b.AppendedAt) &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Extensions, b.Extensions)
}

// CheckLog fails the test unless a log has exactly these entries.
func CheckLog(t testing.TB, l store.Log, want []store.Entry) {
	t.Helper()
	first, err := l.FirstIndex()
	if err != nil {
		t.Fatalf("first index: %v", err)
	}
	last, err := l.LastIndex()
	if err != nil {
		t.Fatalf("last index: %v", err)
	}
	var from, to uint64
	if len(want) > 0 {
		from, to = want[0].Index, want[len(want)-1].Index
	}
	if first != from || last != to {
		t.Fatalf("entries %d to %d, want %d to %d", first, last, from, to)
	}
	for i := range want {
		var e store.Entry
		if err := l.Get(want[i].Index, &e); err != nil {
			t.Fatalf("entry %d: %v", want[i].Index, err)
		}
		if !SameEntry(&e, &want[i]) {
			t.Fatalf("got %+v, want %+v", e, want[i])
		}
	}
	for _, index := range []uint64{0, from - 1, to + 1} {
		var e store.Entry
		if err := l.Get(index, &e); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("entry %d: %v, want ErrNotFound", index, err)
		}
	}
}

func (s *suite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) has(want []store.Entry) {
	s.t.Helper()
	s.both(func() { s.t.Helper(); CheckLog(s.t, s.r, want) })
}

func (s *suite) empty() {
	s.has(nil)
	s.must(s.r.Append(nil))
	s.must(s.r.DeleteRange(1, 10))
	s.has(nil)
}

func (s *suite) fields() {
	want := []store.Entry{
		{Index: 1, Term: 1},
		{Index: 2, Term: 1<<64 - 1, Kind: 255, Data: []byte{0}, Extensions: []byte("ext")},
		{Index: 3, Term: 2, Data: bytes.Repeat([]byte{0xAB}, 300_000), AppendedAt: time.Unix(1_700_000_000, 123_456_789)},
		{Index: 4, Term: 2, Data: make([]byte, 4096), AppendedAt: time.Unix(-5, 1)},
		{Index: 5, Term: 2, Extensions: []byte{1, 2, 3}},
	}
	kept := bytes.Clone(want[1].Data)
	s.must(s.r.Append(want))
	want[1].Data[0] = 99 // the caller's bytes are his own again
	want[1].Data = kept
	s.has(want)
	var e store.Entry
	s.must(s.r.Get(5, &e))
	e.Extensions[0] = 77
	s.has(want)
}

func (s *suite) gaps() {
	s.must(s.r.Append(Entries(5, 7, 1)))
	if s.r.IsMonotonic() {
		for _, bad := range [][]store.Entry{
			{Entry(9, 1)}, {Entry(7, 1)}, {Entry(1, 1)}, {Entry(0, 1)},
			{Entry(8, 1), Entry(10, 1)}, {Entry(8, 1), Entry(8, 1)},
		} {
			if err := s.r.Append(bad); !errors.Is(err, store.ErrGap) {
				s.t.Errorf("appending %d after 7: %v, want ErrGap", bad[len(bad)-1].Index, err)
			}
		}
		if err := s.r.DeleteRange(6, 6); !errors.Is(err, store.ErrGap) {
			s.t.Errorf("deleting from the middle: %v, want ErrGap", err)
		}
	}
	s.must(s.r.Append(Entries(8, 9, 2)))
	s.has(append(Entries(5, 7, 1), Entries(8, 9, 2)...))
}

func (s *suite) prefix() {
	s.must(s.r.Append(Entries(1, 100, 1)))
	s.must(s.r.DeleteRange(1, 40))
	s.has(Entries(41, 100, 1))
	s.must(s.r.DeleteRange(1, 99))
	s.must(s.r.DeleteRange(3, 50)) // they are gone
	s.has(Entries(100, 100, 1))
	s.must(s.r.Append(Entries(101, 103, 2)))
	s.has(append(Entries(100, 100, 1), Entries(101, 103, 2)...))
}

func (s *suite) suffix() {
	s.must(s.r.Append(Entries(1, 100, 1)))
	s.must(s.r.DeleteRange(51, 100))
	s.has(Entries(1, 50, 1))
	s.must(s.r.Append(Entries(51, 60, 2)))
	s.must(s.r.DeleteRange(55, 1000))
	s.must(s.r.Append(Entries(55, 56, 3)))
	s.has(append(append(Entries(1, 50, 1), Entries(51, 54, 2)...), Entries(55, 56, 3)...))
}

func (s *suite) all() {
	s.must(s.r.Append(Entries(1, 20, 1)))
	s.must(s.r.DeleteRange(1, 20))
	s.has(nil)
	s.must(s.r.Append(Entries(1001, 1005, 2)))
	s.has(Entries(1001, 1005, 2))
	s.must(s.r.DeleteRange(0, 1<<62))
	s.must(s.r.Append(Entries(1006, 1006, 3)))
	s.has(Entries(1006, 1006, 3))
}

func (s *suite) values() {
	missing := func(key string) {
		s.t.Helper()
		if _, err := s.r.Value(key); !errors.Is(err, store.ErrNotFound) {
			s.t.Errorf("value %q: %v, want ErrNotFound", key, err)
		}
	}
	has := func(key, want string) {
		s.t.Helper()
		if got, err := s.r.Value(key); err != nil || string(got) != want {
			s.t.Errorf("value %q is %q, %v; want %q", key, got, err, want)
		}
	}
	s.both(func() { missing("term"); missing("") })
	if _, err := store.Uint64(s.r, "term"); !errors.Is(err, store.ErrNotFound) {
		s.t.Errorf("a number that was not set: %v, want ErrNotFound", err)
	}
	vote := []byte("node-1")
	s.must(s.r.SetValues(store.Uint64Value("term", 7), store.Value{Key: "vote", Data: vote}))
	vote[0] = 'X' // the caller's bytes are his own again
	s.must(s.r.Append(Entries(1, 3, 7)))
	s.must(s.r.SetValues(store.Value{Key: "marker", Data: []byte("group, node, epoch")}))
	s.both(func() {
		has("vote", "node-1")
		has("marker", "group, node, epoch")
		if n, err := store.Uint64(s.r, "term"); n != 7 || err != nil {
			s.t.Errorf("term %d, %v; want 7", n, err)
		}
	})
	for i := range 50 {
		s.must(s.r.SetValues(store.Uint64Value("term", uint64(i)), store.Value{Key: "vote", Data: fmt.Appendf(nil, "node-%d", i)}))
	}
	s.must(s.r.DeleteRange(1, 3))
	s.both(func() {
		has("vote", "node-49")
		has("marker", "group, node, epoch")
		missing("other")
		if n, err := store.Uint64(s.r, "term"); n != 49 || err != nil {
			s.t.Errorf("term %d, %v; want 49", n, err)
		}
	})
	s.has(nil)
}

// concurrent reads while entries are appended and deleted.
func (s *suite) concurrent() {
	s.must(s.r.Append(Entries(1, 50, 1)))
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-done:
					return
				default:
				}
				var e store.Entry
				index := 1 + i%300
				if err := s.r.Get(index, &e); err != nil {
					if !errors.Is(err, store.ErrNotFound) {
						s.t.Errorf("entry %d: %v", index, err)
						return
					}
				} else if want := Entry(index, 1); !SameEntry(&e, &want) {
					s.t.Errorf("got %+v, want %+v", e, want)
					return
				}
				if _, err := s.r.LastIndex(); err != nil {
					s.t.Error(err)
					return
				}
			}
		})
	}
	for i := uint64(60); i <= 250; i += 10 {
		s.must(s.r.Append(Entries(i-9, i, 1)))
		if i%20 == 0 {
			s.must(s.r.DeleteRange(0, i-30))
			s.must(s.r.DeleteRange(i-5, i))
			s.must(s.r.Append(Entries(i-5, i, 1)))
		}
	}
	close(done)
	readers.Wait()
	s.has(Entries(211, 250, 1))
}
