package partition

import "github.com/skeinmesh/skein/store/segment"

// window knows the keys of a log's last records.
type window struct {
	first int64 // offset of the oldest record in it
	known []seen
	head  int // of known: the oldest
	keys  map[Key]int64
}

// seen is a record in the window.
type seen struct {
	key  Key
	time int64
}

// openWindow reads a log's window from the log.
func openWindow(l *segment.Log, limits Window) (*window, error) {
	from := max(l.Start(), l.Next()-int64(limits.Events))
	w := &window{first: from, keys: map[Key]int64{}}
	err := l.Keys(from, func(offset, time int64, key Key) bool {
		w.add(offset, time, key)
		return true
	})
	return w, err
}

// find is the offset of the record with a key.
func (w *window) find(key Key) (offset int64, ok bool) {
	offset, ok = w.keys[key]
	return offset, ok
}

// add notes the record that was appended last.
func (w *window) add(offset, time int64, key Key) {
	w.known = append(w.known, seen{key, time})
	if key != (Key{}) {
		w.keys[key] = offset
	}
}

// limit forgets what is before start, older than the limits say at a time, or
// more than they say.
func (w *window) limit(start, now int64, limits Window) {
	for w.head < len(w.known) {
		oldest := w.known[w.head]
		if w.first >= start && len(w.known)-w.head <= limits.Events && now-oldest.time <= int64(limits.Age) {
			break
		}
		if w.keys[oldest.key] == w.first {
			delete(w.keys, oldest.key)
		}
		w.first++
		w.head++
	}
	if w.head > len(w.known)/2 { // so that it moves each record once on average
		w.known = w.known[:copy(w.known, w.known[w.head:])]
		w.head = 0
	}
}
