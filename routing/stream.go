package routing

import (
	"slices"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
	"github.com/skeinmesh/skein/transport/event"
)

// Stream is an interest that remembers: events that its filter accepts are kept.
// It is not told to others: who keeps what is decided where events are published.
type Stream struct {
	Keeper any // what the caller of SetStream gave

	ns     string
	filter filter.Filter
}

// SetStream adds a stream, or replaces the one of the same name; without a keeper
// it removes it. The name is the caller's.
func (t *Table) SetStream(name, ns string, f filter.Filter, keeper any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.streams[name]; old != nil {
		delete(t.streams, name)
		for _, c := range old.filter.Conjuncts {
			t.space(old.ns).dropStream(c, old)
		}
		t.prune(old.ns)
	}
	if keeper == nil {
		t.keeps.Store(int64(len(t.streams)))
		return
	}
	s := &Stream{Keeper: keeper, ns: ns, filter: f}
	t.streams[name] = s
	t.keeps.Store(int64(len(t.streams))) // never less meanwhile: Keeps takes no lock
	for _, c := range f.Conjuncts {
		t.space(ns).addStream(c, s)
	}
}

func (s *space) addStream(c filter.Conjunct, st *Stream) {
	if s.streams == nil {
		s.streams = match.New[*Stream]()
	}
	s.streams.Add(c, st)
}

func (s *space) dropStream(c filter.Conjunct, st *Stream) {
	s.streams.Remove(c, st)
	if s.streams.Len() == 0 {
		s.streams = nil
	}
}

// Keeps reports whether there are streams at all.
func (t *Table) Keeps() bool { return t.keeps.Load() > 0 }

// MatchStreams finds the streams that keep an event, each once, and adds them to
// dst.
func (t *Table) MatchStreams(ns string, ev *event.Event, dst []*Stream) []*Stream {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.spaces[ns]
	if s == nil || s.streams == nil {
		return dst
	}
	at := len(dst)
	dst = s.streams.Match(ev, dst)
	for i := len(dst) - 1; i > at; i-- {
		if slices.Contains(dst[at:i], dst[i]) { // it has several conjuncts
			dst = slices.Delete(dst, i, i+1)
		}
	}
	return dst
}
