package segment

import (
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/store"
)

// Append adds records, which get the offsets from first on, and keeps none of
// their bytes. It does not sync. If it fails, the log is as it was before: all
// of the records are in it or none. The error is store.ErrTooLarge for a record
// with too much data, store.ErrFull if the disk is full; then a later Append may
// do better.
func (l *Log) Append(records []Record) (first int64, err error) {
	first, err = l.append(records)
	l.config.Files.relieve()
	return first, err
}

func (l *Log) append(records []Record) (first int64, err error) {
	l.appending.Lock()
	defer l.appending.Unlock()

	for i := range records {
		if n := len(records[i].Data); n > MaxData {
			return 0, fmt.Errorf("segment: append to %s: %w: it has %d bytes, %d may be", l.config.Dir, store.ErrTooLarge, n, MaxData)
		}
	}
	a := appender{log: l, buf: l.config.Files.buffer()}
	defer l.config.Files.putBuffer(a.buf)
	if err := a.begin(); err != nil {
		return 0, err
	}
	first = a.next
	for i := range records {
		if err := a.add(records[i]); err != nil {
			return 0, a.undo(err)
		}
	}
	if err := a.flush(); err != nil {
		return 0, a.undo(err)
	}
	a.publish()
	if a.kept { // who wrote others out since then left what was not published yet
		l.config.Files.keep(l, 0)
	}
	return first, nil
}

// appender is one Append under way. What it writes lies beyond what readers are
// told of, until publish.
type appender struct {
	log  *Log
	next int64
	time int64

	tail  *file    // the file it writes to; nil if there is none yet
	info  FileInfo // of tail, as it will be
	index sparse   // what tail's index gains
	buf   *[]byte  // what is not written yet
	at    int64    // where in tail it goes
	kept  bool     // some of it waits in memory

	old     *file // what was the last file, if it gains records, and what it gains
	oldInfo FileInfo
	oldGain sparse
	made    []*file // files that did not exist before
}

// begin reads where the log ends.
func (a *appender) begin() error {
	l := a.log
	l.mu.RLock()
	failed, all := l.failed, l.start == l.next.Load() // all was trimmed: see Trim
	a.next, a.time = l.next.Load(), l.lastTime
	var last *file
	if n := len(l.files); n > 0 {
		last = l.files[n-1]
		a.info, a.at, a.index.mark = last.info, last.info.Bytes, last.index.mark
	}
	l.mu.RUnlock()
	if failed != nil || last == nil {
		return failed
	}
	if l.ragged {
		if err := l.cut(last, a.info.Bytes); err != nil {
			return fmt.Errorf("segment: append to %s: cut off what an earlier append left: %w", l.config.Dir, err)
		}
		l.ragged = false
	}
	if !all {
		a.tail = last
		return nil
	}
	if err := l.writeFile(last, a.info.Bytes); err != nil {
		return fmt.Errorf("segment: append to %s: write what is in memory: %w", l.config.Dir, full(err))
	}
	return nil
}

// add puts a record into the buffer, and into the next file if this one is full.
func (a *appender) add(r Record) error {
	size := int64(headSize + len(r.Data))
	if a.tail == nil || a.info.Bytes+size > a.tail.limit && a.info.Next > a.info.First {
		if err := a.roll(); err != nil {
			return err
		}
	}
	if len(*a.buf) > 0 && len(*a.buf)+int(size) > cap(*a.buf) {
		if err := a.flush(); err != nil {
			return err
		}
	}
	a.time = max(a.time, r.Time)
	r.Time = a.time
	from := len(*a.buf)
	*a.buf = appendRecord(*a.buf, a.next, r)
	a.index.add(a.info.First, a.next, a.info.Bytes, a.time)
	a.info.add((*a.buf)[from:])
	a.next++
	return nil
}

// roll begins a new file.
func (a *appender) roll() error {
	if err := a.flush(); err != nil {
		return err
	}
	if a.tail != nil { // it is full, and of full files all is written
		if err := a.log.writeFile(a.tail, a.at); err != nil {
			return err
		}
	}
	a.settle()
	h := header{id: a.log.config.ID, first: a.next, limit: a.log.config.FileBytes, floor: a.time}
	a.tail = &file{first: h.first, limit: h.limit, floor: h.floor, whole: true}
	a.info, a.at, a.index = h.begin(), 0, sparse{}
	a.made = append(a.made, a.tail)
	*a.buf = append(*a.buf, h.encode()...)
	return nil
}

// settle notes what has become of tail. Files that nobody knows yet are changed
// here; the one that readers know, by publish.
func (a *appender) settle() {
	switch {
	case a.tail == nil:
	case len(a.made) > 0:
		a.tail.info, a.tail.index = a.info, a.index.clone()
	default:
		a.old, a.oldInfo, a.oldGain = a.tail, a.info, a.index
	}
}

// flush writes what is in the buffer, or keeps it to be written later.
func (a *appender) flush() error {
	n, files := len(*a.buf), a.log.config.Files
	if n == 0 {
		return nil
	}
	if files.behind > 0 && a.at > 0 && a.tail.behind.add(*a.buf, a.at) {
		files.keep(a.log, n)
		a.kept = true
		a.at += int64(n)
		*a.buf = (*a.buf)[:0]
		return nil
	}
	if err := a.log.writeFile(a.tail, a.at); err != nil {
		return err
	}
	h, err := a.log.acquire(a.tail, true)
	if err != nil {
		return err
	}
	defer files.release(h)
	if a.at == 0 { // a file of that name may have been left by one that failed
		if err := h.Truncate(0); err != nil {
			return err
		}
	}
	if _, err := h.WriteAt(*a.buf, a.at); err != nil {
		return err
	}
	a.at += int64(n)
	*a.buf = (*a.buf)[:0]
	return nil
}

// publish lets readers see it all.
func (a *appender) publish() {
	a.settle()
	l := a.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.old != nil {
		a.old.info = a.oldInfo
		a.old.index.entries = append(a.old.index.entries, a.oldGain.entries...)
		a.old.index.mark = a.oldGain.mark
	}
	l.files = append(l.files, a.made...)
	l.newNames = l.newNames || len(a.made) > 0
	l.lastTime = a.time
	l.next.Store(a.next)
}

// undo takes back what was written, as well as can be done on a disk that has
// just failed: what it leaves is cut off before anything else is appended.
func (a *appender) undo(err error) error {
	l := a.log
	err = fmt.Errorf("segment: append to %s: %w", l.config.Dir, full(err))
	for i := len(a.made) - 1; i >= 0; i-- {
		l.forget(a.made[i])
		err = errors.Join(err, removeAny(l.config.Files.fs, l.path(a.made[i].first, fileSuffix)))
	}
	l.mu.RLock()
	var last *file
	var size int64
	if n := len(l.files); n > 0 {
		last, size = l.files[n-1], l.files[n-1].info.Bytes
	}
	l.mu.RUnlock()
	if last != nil {
		l.ragged = l.cut(last, size) != nil
	}
	return err
}

// full makes an error that says so a store.ErrFull.
func full(err error) error {
	if store.IsFull(err) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// cut shortens a file to a length in bytes. What of that is not written yet stays so,
// and may be written at this moment.
func (l *Log) cut(f *file, size int64) error {
	l.config.Files.less(f.behind.cut(size))
	h, err := l.acquire(f, false)
	if err != nil {
		return err
	}
	defer l.config.Files.release(h)
	if has, err := h.Size(); err != nil || has <= size {
		return err
	}
	return h.Truncate(size)
}
