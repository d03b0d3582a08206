package journal

import (
	"maps"
	"slices"

	"github.com/skeinmesh/skein/store"
)

// state is what a group keeps. Running and recovering journals change it by the
// same methods, record by record. The zero value is a group of which nothing is
// kept.
type state struct {
	// first and last are the entries' indexes; without entries, last is first-1.
	first, last uint64
	// places are those of the newest entries. Entries from first up to them have
	// been lost, if there are any.
	places places
	values map[string][]byte
	nth    uint32 // the group's last record
}

// entries is how many entries there are, those that were lost included.
func (s *state) entries() uint64 { return s.last + 1 - max(s.first, 1) }

// takes reports whether an entry of this index may follow.
func (s *state) takes(index uint64) bool {
	return index > 0 && index < 1<<63 && (s.entries() == 0 || index == s.last+1)
}

// push adds an entry which takes allows.
func (s *state) push(index uint64, at place) {
	if s.entries() == 0 {
		s.first = index
	}
	s.last = index
	s.places.push(at)
}

// place is where an entry lies, if it is kept.
func (s *state) place(index uint64) (at place, kept bool) {
	if s.entries() == 0 || index < s.first || index > s.last {
		return place{}, false
	}
	fromNewest := s.last - index
	if fromNewest >= uint64(s.places.count) {
		return place{}, true
	}
	return s.places.get(s.places.count - 1 - int(fromNewest)), true
}

// lost reports whether an entry that should be kept is not.
func (s *state) lost() bool {
	if s.entries() != uint64(s.places.count) {
		return true
	}
	for i := range s.places.count {
		if s.places.get(i).segment == 0 {
			return true
		}
	}
	return false
}

// clamp cuts a range to the entries there are. Nothing is left of it if min is
// then larger than max; hole reports that entries would be kept on both sides.
func (s *state) clamp(min, max uint64) (from, to uint64, hole bool) {
	if s.entries() == 0 || min > s.last || max < s.first || min > max {
		return 1, 0, false
	}
	if min < s.first {
		min = s.first
	}
	if max > s.last {
		max = s.last
	}
	return min, max, min > s.first && max < s.last
}

// deleteRange deletes what clamp returned without a hole. It tells released how
// many entries of which segment are gone.
func (s *state) deleteRange(from, to uint64, released func(segment uint32, n int)) {
	n := to - from + 1
	if from == s.first {
		lost := s.entries() - uint64(s.places.count)
		gone := int(n - min(n, lost))
		s.release(0, gone, released)
		s.places.dropOldest(gone)
		s.first = to + 1
		return
	}
	gone := int(min(n, uint64(s.places.count)))
	s.release(s.places.count-gone, s.places.count, released)
	s.places.dropNewest(gone)
	s.last = from - 1
}

// release tells released about the i-th place up to the j-th, run by run.
func (s *state) release(i, j int, released func(segment uint32, n int)) {
	for i < j {
		run, segment := i, s.places.get(i).segment
		for i < j && s.places.get(i).segment == segment {
			i++
		}
		if segment != 0 {
			released(segment, i-run)
		}
	}
}

// set sets a value. It keeps no part of data.
func (s *state) set(key string, data []byte) {
	if s.values == nil {
		s.values = make(map[string][]byte)
	}
	s.values[key] = slices.Clone(data)
}

// record is the record that tells the whole state but for where the entries lie.
func (s *state) record(buf []byte, id ID, kind uint8, salt uint32) []byte {
	var row []byte
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		row = appendValue(row, key, s.values[key])
	}
	h := head{typ: typeState, kind: kind, group: id, nth: s.nth, index: s.first, term: s.last, time: noTime}
	return appendRecord(buf, &h, row, nil, salt)
}

// room reports whether values fit beside those that they do not replace.
func (s *state) room(values []store.Value) bool {
	sum := 0
	for key, data := range s.values {
		if !slices.ContainsFunc(values, func(v store.Value) bool { return v.Key == key }) {
			sum += valueSize(key, data)
		}
	}
	for _, v := range values {
		if len(v.Key) > 255 {
			return false
		}
		sum += valueSize(v.Key, v.Data)
	}
	return sum <= MaxValuesBytes
}
