package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Finding is something that is not on the disk as it was put there.
type Finding struct {
	Log  ID
	File FileInfo // what the file should be; see Install
	// Err says where: a store.CorruptError, os.ErrNotExist if the file is gone, or
	// what the disk said when it was read.
	Err error
	// Repaired: it was an index, and was made anew.
	Repaired bool
}

// Scrub reads once through what logs have on the disk for certain, at most so
// many bytes a second, and calls report with each file that is not as it was
// written. One call at a time; it may block, and the scrub with it. Reading goes
// through the system's cache: what was used lately may be read from memory. The
// error is that of ctx, if it is done before the scrub is through.
func Scrub(ctx context.Context, logs iter.Seq[*Log], bytesPerSecond int64, report func(Finding)) error {
	p := pacer{ctx: ctx, rate: max(1, bytesPerSecond)}
	for l := range logs {
		if err := l.scrub(&p, report); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// scrub is Scrub for one log.
func (l *Log) scrub(p *pacer, report func(Finding)) error {
	l.mu.RLock()
	files, epoch := l.files, l.epoch
	l.mu.RUnlock()
	for _, f := range files {
		l.mu.RLock()
		info, written, stale := f.synced, f.index == nil, l.epoch != epoch || f.info.Next <= l.start
		l.mu.RUnlock()
		if stale || info.Bytes == 0 {
			continue
		}
		index, err := l.scrubFile(f, info, p)
		switch {
		case p.ctx.Err() != nil:
			return p.ctx.Err()
		case l.changed(epoch, info.Next-1) || err == nil && !written:
		case err == nil:
			repaired, err := l.scrubIndex(info, index)
			if err != nil {
				report(Finding{Log: l.config.ID, File: info, Err: err, Repaired: repaired})
			}
		default:
			report(Finding{Log: l.config.ID, File: info, Err: fmt.Errorf("segment: scrub %s: %w", l.config.Dir, err)})
		}
	}
	return p.ctx.Err()
}

// scrubFile goes through what a file should have.
func (l *Log) scrubFile(f *file, want FileInfo, p *pacer) (*sparse, error) {
	h, err := l.acquire(f, false)
	if err != nil {
		return nil, err
	}
	defer l.config.Files.release(h)
	name := l.path(f.first, fileSuffix)
	var b [headerSize]byte
	n, err := h.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head, err := parseHeader(name, b[:n])
	if err != nil {
		return nil, err
	}
	buf := l.config.Files.buffer()
	defer l.config.Files.putBuffer(buf)
	s := scanner{file: h, name: name, end: want.Bytes, data: true, hash: true, index: &sparse{}, state: head.begin(), pace: p.wait, window: *buf}
	defer func() { *buf = s.window }()
	if err := s.run(); err != nil {
		return nil, err
	}
	if s.state != want {
		return nil, damage(name, 0, -1, fmt.Sprintf("it has other records: its hash is %s, it should be %s", s.state.Hash, want.Hash))
	}
	return s.index, nil
}

// scrubIndex checks the index of a file that is well, and makes it anew if it
// is not. The error says what was wrong.
func (l *Log) scrubIndex(info FileInfo, index *sparse) (repaired bool, err error) {
	path := l.path(info.First, indexSuffix)
	if of, _, err := readIndex(l.config.Files.fs, path, l.config.ID); err == nil && of == info {
		return false, nil
	}
	err = damage(path, 0, -1, errNoIndex.Error())
	if e := writeIndex(l.config.Files.fs, path, l.config.ID, info, index); e != nil {
		return false, errors.Join(err, e)
	}
	return true, err
}

// pacer spreads reads over time.
type pacer struct {
	ctx  context.Context
	rate int64 // bytes a second
	due  time.Time
}

// wait returns when n bytes may be read.
func (p *pacer) wait(n int) error {
	now := time.Now()
	if p.due.Before(now) {
		p.due = now
	}
	wait := p.due.Sub(now)
	p.due = p.due.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
		}
	}
	return p.ctx.Err()
}
