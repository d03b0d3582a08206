package segment

import (
	"fmt"
	"io"
	"sync"
)

// behindMost is how many bytes of one file stay in memory at most: more are written
// in one go as well as in many.
const behindMost = 32 << 10

// behind is the end of a log's last file that is not written yet. Writing a few
// bytes costs a disk nearly as much as writing many, and a node has thousands of
// logs: so they are written once they are many, once Files has too many of all logs,
// or by Sync or Flush.
type behind struct {
	mu   sync.Mutex
	from int64 // where in the file data goes
	data []byte
}

// add takes bytes that go to a position, the file's end, if it has room for them.
func (b *behind) add(data []byte, at int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.data)+len(data) > behindMost {
		return false
	}
	if len(b.data) == 0 {
		b.from = at
	}
	b.data = append(b.data, data...)
	return true
}

// upTo is what goes to the file below a position, and where it begins. It does not
// change until it is written: who appends only adds to it.
func (b *behind) upTo(end int64) (data []byte, from int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data[:max(0, min(int64(len(b.data)), end-b.from))], b.from
}

// written lets go of what is in the file now, up to a position. It says how many
// bytes those are.
func (b *behind) written(end int64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int(max(0, min(int64(len(b.data)), end-b.from)))
	b.data = append([]byte(nil), b.data[n:]...)
	b.from += int64(n)
	return n
}

// cut drops what goes beyond a position. It says how many bytes those are.
func (b *behind) cut(end int64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := int(max(0, min(int64(len(b.data)), end-b.from)))
	dropped := len(b.data) - keep
	b.data = b.data[:keep]
	return dropped
}

// readAt reads what the file has of a range, from the disk, and the rest.
func (b *behind) readAt(disk io.ReaderAt, buf []byte, at int64) (int, error) {
	b.mu.Lock()
	onDisk, n := len(buf), 0
	if len(b.data) > 0 {
		onDisk = int(max(0, min(int64(len(buf)), b.from-at)))
		if skip := max(0, at-b.from); skip < int64(len(b.data)) {
			n = copy(buf[onDisk:], b.data[skip:])
		}
	}
	b.mu.Unlock()
	if onDisk > 0 {
		if n, err := disk.ReadAt(buf[:onDisk], at); n < onDisk {
			return n, err
		}
	}
	if onDisk+n < len(buf) {
		return onDisk + n, io.EOF
	}
	return len(buf), nil
}

// Flush writes what waits in memory. It does not sync: whoever looks at the files
// themselves finds there what was appended before it began. The error is
// store.ErrFull or another of the disk's; then it waits on.
func (l *Log) Flush() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.writeOut(); err != nil {
		return fmt.Errorf("segment: write %s: %w", l.config.Dir, full(err))
	}
	return nil
}

// writeOut writes what readers know of the last file and is not written yet.
// Nobody may truncate the log meanwhile: syncing must be held.
func (l *Log) writeOut() error {
	l.mu.RLock()
	var f *file
	var end int64
	if n := len(l.files); n > 0 && l.failed == nil {
		f, end = l.files[n-1], l.files[n-1].info.Bytes
	}
	l.mu.RUnlock()
	if f == nil {
		return nil
	}
	return l.writeFile(f, end)
}

// writeFile writes what is not written yet of a file's first so many bytes. An error
// leaves it in memory.
func (l *Log) writeFile(f *file, end int64) error {
	data, from := f.behind.upTo(end)
	if len(data) == 0 {
		return nil
	}
	h, err := l.acquire(f, false)
	if err != nil {
		return err
	}
	defer l.config.Files.release(h)
	if _, err := h.WriteAt(data, from); err != nil {
		return err
	}
	l.config.Files.less(f.behind.written(from + int64(len(data))))
	return nil
}

// keep notes that a log has so many bytes more in memory.
func (f *Files) keep(l *Log, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.waiting == nil {
		l.waiting = f.waiting.PushBack(l)
	}
	f.unwritten += n
}

// less notes that so many bytes are not in memory any more.
func (f *Files) less(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unwritten -= n
}

// leave forgets a log that has nothing in memory and gets nothing more.
func (f *Files) leave(l *Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.waiting != nil {
		f.waiting.Remove(l.waiting)
		l.waiting = nil
	}
}

// surplus is the log that has had something in memory for longest, if all logs
// together have too much.
func (f *Files) surplus() *Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.waiting.Front()
	if f.unwritten <= f.behind || first == nil {
		return nil
	}
	l := f.waiting.Remove(first).(*Log)
	l.waiting = nil
	return l
}

// relieve has logs written until they have no more in memory than they may. One that
// is being synced is written by that; what a disk does not take stays where it is, and
// who appends to that log, or syncs it, hears of it.
func (f *Files) relieve() {
	for l := f.surplus(); l != nil; l = f.surplus() {
		if !l.syncing.TryLock() {
			f.keep(l, 0)
			return
		}
		err := l.writeOut()
		if err != nil {
			f.keep(l, 0)
		}
		l.syncing.Unlock()
		if err != nil {
			return
		}
	}
}
