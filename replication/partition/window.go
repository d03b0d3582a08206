package partition

import "github.com/skeinmesh/skein/store/segment"

// window knows the keys of a log's last records.
type window struct {
	first int64 // offset of the oldest record in it
	known []seen
	head  int // of known: the oldest
	keys  table
}

// seen is a record in the window.
type seen struct {
	key  Key
	time int64
}

// openWindow reads a log's window from the log.
func openWindow(l *segment.Log, limits Window) (*window, error) {
	w := newWindow(max(l.Start(), l.Next()-int64(limits.Events)))
	err := l.Keys(w.first, func(offset, time int64, key Key) bool {
		w.add(offset, time, key)
		return true
	})
	return w, err
}

func newWindow(first int64) *window { return &window{first: first, keys: newTable()} }

// key is the key of a record in the window.
func (w *window) key(offset uint32) *Key {
	return &w.known[w.head+int(offset-uint32(w.first))].key
}

// find is the offset of the record with a key.
func (w *window) find(key Key) (offset int64, ok bool) {
	if key == (Key{}) {
		return 0, false
	}
	low, ok := w.keys.find(&key, w.key)
	return w.first + int64(low-uint32(w.first)), ok
}

// add notes the record that was appended last.
func (w *window) add(offset, time int64, key Key) {
	w.known = append(w.known, seen{key, time})
	if key != (Key{}) {
		w.keys.set(&key, uint32(offset), w.key)
	}
}

// limit forgets what is before start, older than the limits say at a time, or
// more than they say.
func (w *window) limit(start, now int64, limits Window) {
	for w.head < len(w.known) {
		oldest := &w.known[w.head]
		if w.first >= start && len(w.known)-w.head <= limits.Events && now-oldest.time <= int64(limits.Age) {
			break
		}
		if oldest.key != (Key{}) {
			w.keys.remove(&oldest.key, uint32(w.first))
		}
		w.first++
		w.head++
	}
	if w.head > len(w.known)/2 { // so that it moves each record once on average
		w.known = w.known[:copy(w.known, w.known[w.head:])]
		w.head = 0
	}
}
