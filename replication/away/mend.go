package away

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// mend makes a box whose log is damaged, or could not be opened again after that, one
// that can be read: without what is damaged. Whoever puts something in waits.
func (o *Outbox) mend(id ID, b *box, cause error) error {
	damaged := errors.Is(cause, store.ErrCorrupt) || errors.Is(cause, os.ErrNotExist) // a file is gone
	if !damaged && !errors.Is(cause, store.ErrClosed) || o.ctx.Err() != nil {
		return cause
	}
	if names, err := o.cfg.FS.List(b.dir); err != nil {
		return err
	} else if n := len(slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, damagedDir) })); n >= maxDamaged {
		return fmt.Errorf("%w; %d damaged copies of it lie in %s already: see that the disk is well, and remove them", cause, n, b.dir)
	}
	b.putting <- struct{}{}
	defer func() { <-b.putting }()
	if err := b.log.Close(); err != nil {
		return err
	}
	var log *segment.Log
	err := cause
	if !damaged {
		log, err = o.openLog(id, b, b.sent)
		damaged = errors.Is(err, store.ErrCorrupt)
	}
	if damaged {
		if err = o.rescue(id, b, b.sent, err); err == nil {
			log, err = o.openLog(id, b, b.sent)
		}
	}
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b.log, b.sent, b.damage = log, log.Start(), nil
	return nil
}

// Scrub reads once through all that waits, at most so many bytes a second. What is
// damaged is mended by those who send. The error is that of ctx.
func (o *Outbox) Scrub(ctx context.Context, bytesPerSecond int64) error {
	o.mu.Lock()
	var logs []*segment.Log
	of := map[ID]*box{}
	for id, b := range o.boxes {
		if b.running {
			logs, of[id] = append(logs, b.log), b
		}
	}
	o.mu.Unlock()
	return segment.Scrub(ctx, slices.Values(logs), bytesPerSecond, func(f segment.Finding) {
		if f.Repaired {
			o.cfg.Log.Warn("an index was damaged and was made anew", "stream", f.Log, "err", f.Err)
			return
		}
		b := of[f.Log]
		o.mu.Lock()
		defer o.mu.Unlock()
		if slices.Contains(logs, b.log) && !errors.Is(f.Err, store.ErrClosed) { // it is not mended since
			b.damage = f.Err
		}
	})
}

// found is what a scrub has found in a box since the last call, or nil.
func (o *Outbox) found(b *box) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	damage := b.damage
	b.damage = nil
	return damage
}

// errNotCopied: the damaged log is where it was, and the only one.
var errNotCopied = errors.New("away: cannot copy what is whole")

// rescue sets a box's log aside, which is damaged and not open, and puts a new one in
// its place that has what can still be read from an offset on.
func (o *Outbox) rescue(id ID, b *box, from int64, cause error) error {
	records, lost, err := o.copyWhole(id, b, from)
	if err != nil {
		return fmt.Errorf("%w of %s: %w", errNotCopied, b.path(logDir), err)
	}
	return o.setAside(b, func(aside string) {
		o.cfg.Log.Error("what waits for another region is damaged: the events that cannot be read are lost, unless a crash came before they were accepted, and the others are sent. The damaged files are set aside: look what is wrong with the disk, and remove them when nobody can make use of them",
			"stream", id, "aside", aside, "saved", records, "lost", errors.Join(lost...), "damage", cause)
	})
}

// abandon is rescue where nothing can be copied.
func (o *Outbox) abandon(id ID, b *box, cause error) error {
	if err := store.RemoveAll(o.cfg.FS, b.path(mendedDir)); err != nil {
		return err
	}
	return o.setAside(b, func(aside string) {
		o.cfg.Log.Error("what waits for another region is damaged and cannot be copied: none of it is sent, and all is set aside. To have what is whole of it sent, stop the node, see that the error is gone, give the directory its name back, and start the node before anything else waits for that stream",
			"stream", id, "aside", aside, "name", b.path(logDir), "err", cause)
	})
}

// setAside gives a box's log another name, which it says before, and lets the new one
// take its place, if there is one.
func (o *Outbox) setAside(b *box, say func(aside string)) error {
	fs := o.cfg.FS
	names, err := fs.List(b.dir)
	if err != nil {
		return err
	}
	aside := b.path(damagedDir)
	for n := 2; slices.Contains(names, filepath.Base(aside)); n++ {
		aside = b.path(fmt.Sprintf("%s-%d", damagedDir, n))
	}
	say(aside)
	if err := fs.Rename(b.path(logDir), aside); err != nil {
		return fmt.Errorf("set aside what is damaged: %w", err)
	}
	for _, dir := range []string{aside, b.dir} {
		if err := fs.SyncDir(dir); err != nil {
			return err
		}
	}
	return o.settle(b)
}

// copyWhole copies what is whole of a box's log, from an offset on, into what is to take
// its place. It says how many records that are, and what is damaged.
func (o *Outbox) copyWhole(id ID, b *box, from int64) (records int64, lost []error, err error) {
	if err := store.RemoveAll(o.cfg.FS, b.path(mendedDir)); err != nil {
		return 0, nil, err
	}
	cfg := segment.Config{Files: o.cfg.Files, Dir: b.path(mendedDir), ID: id}
	log, err := segment.Open(cfg, &segment.Manifest{Start: from, Next: from})
	if err != nil {
		return 0, nil, err
	}
	var batch []segment.Record
	size := 0
	put := func() error {
		_, err := log.Append(batch)
		records, batch, size = records+int64(len(batch)), batch[:0], 0
		return err
	}
	lost, err = segment.Salvage(o.cfg.FS, b.path(logDir), from, func(_ int64, r segment.Record) error {
		r.Data = slices.Clone(r.Data)
		batch, size = append(batch, r), size+len(r.Data)
		if size < batchBytes {
			return nil
		}
		return put()
	})
	if err == nil {
		err = put()
	}
	if err == nil {
		err = log.Sync()
	}
	return records, lost, errors.Join(err, log.Close())
}

// settle gives a new log the place of one that was set aside, which a crash may have
// come between; a new one that is not whole is removed.
func (o *Outbox) settle(b *box) error {
	fs := o.cfg.FS
	names, err := fs.List(b.dir)
	if err != nil || !slices.Contains(names, mendedDir) {
		return err
	}
	if slices.Contains(names, logDir) {
		return store.RemoveAll(fs, b.path(mendedDir))
	}
	if err := fs.Rename(b.path(mendedDir), b.path(logDir)); err != nil {
		return err
	}
	for _, dir := range []string{b.path(logDir), b.dir} {
		if err := fs.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
