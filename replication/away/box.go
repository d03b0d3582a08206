package away

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// box is what waits for one destination.
type box struct {
	dir     string
	log     *segment.Log  // replaced by the goroutine that sends, with the token of putting and Outbox.mu
	sent    int64         // offset; guarded by Outbox.mu
	damage  error         // what a scrub has found of log; guarded by Outbox.mu
	running bool          // guarded by Outbox.mu
	flows   bool          // the last batch got through; guarded by Outbox.mu
	empty   chan struct{} // closed when nothing waits any more; nil while nobody waits for that

	putting chan struct{} // holds a token while records are put in, or the log is replaced
	gone    bool          // it is dropped; guarded by that
}

// maxDamaged bounds the logs of a box that are set aside while the node runs: a disk, or
// memory, that damages one after the other would be filled with them.
const maxDamaged = 4

// Names in a box's directory.
const (
	logDir     = "log"
	mendedDir  = "log.new" // what is to take its place; whole if that is not there
	damagedDir = "damaged" // a log that was set aside; more have numbers behind the name
)

func (b *box) path(name string) string { return filepath.Join(b.dir, name) }

// box is the box for a destination, which is made if there is none.
func (o *Outbox) box(ctx context.Context, id ID) (*box, error) {
	at := func() *box {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.boxes[id]
	}
	if b := at(); b != nil {
		return b, nil
	}
	if err := take(ctx, o.opening); err != nil {
		return nil, err
	}
	defer func() { <-o.opening }()
	if b := at(); b != nil {
		return b, nil
	}
	b, err := o.open(id)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.boxes[id] = b
	return b, nil
}

// open opens a box.
func (o *Outbox) open(id ID) (*box, error) {
	b := &box{dir: filepath.Join(o.cfg.Dir, hex.EncodeToString(id[:])), putting: make(chan struct{}, 1)}
	if err := o.cfg.FS.MkdirAll(b.dir); err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	sent, err := readSent(o.cfg.FS, b.dir)
	if errors.Is(err, store.ErrCorrupt) {
		o.cfg.Log.Warn("how much of what waited has arrived is not known: all that is still here is sent again", "stream", id, "err", err)
		sent, err = 0, nil
	}
	if err != nil {
		return nil, fmt.Errorf("away: %s: %w", b.dir, err)
	}
	b.log, err = o.openLog(id, b, sent)
	if errors.Is(err, store.ErrCorrupt) {
		err = o.rescue(id, b, sent, err)
		if errors.Is(err, errNotCopied) && !errors.Is(err, store.ErrNewer) && !errors.Is(err, store.ErrForeign) {
			err = o.abandon(id, b, err) // the node is to start
		}
		if err == nil {
			b.log, err = o.openLog(id, b, sent)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	b.sent = b.log.Start()
	return b, nil
}

// openLog opens a box's log as it lies, from what was not sent on.
func (o *Outbox) openLog(id ID, b *box, sent int64) (*segment.Log, error) {
	if err := o.settle(b); err != nil {
		return nil, err
	}
	cfg := segment.Config{Files: o.cfg.Files, Dir: b.path(logDir), ID: id}
	log, err := segment.Open(cfg, nil)
	if err != nil {
		return nil, err
	}
	if tail := log.Tail(); tail != nil {
		o.cfg.Log.Error("the end of what waits for another region could not be read and is gone: if no crash was before this, events that were accepted are lost",
			"stream", id, "from", log.Next(), "err", tail)
	}
	if log.Next() < sent {
		// All has arrived, and the files are gone: offsets go on where they were.
		if err := log.Close(); err != nil {
			return nil, err
		}
		return segment.Open(cfg, &segment.Manifest{Start: sent, Next: sent})
	}
	log.Trim(sent)
	if err := log.Sync(); err != nil { // it may have been written, and no more, before a crash
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}

// emptied tells those who wait for it that nothing waits any more. Outbox.mu is held.
func (b *box) emptied() {
	if b.empty != nil {
		close(b.empty)
		b.empty = nil
	}
}

// drop removes a box whose destination is gone for good. Until its files are, nobody
// can make another.
func (o *Outbox) drop(to ID, b *box) {
	b.putting <- struct{}{}
	b.gone = true
	<-b.putting
	records := b.log.Next() - b.sent
	err := b.log.Close()
	for _, name := range []string{logDir, mendedDir, sentFile} {
		if err == nil {
			err = store.RemoveAll(o.cfg.FS, b.path(name))
		}
	}
	if names, failed := o.cfg.FS.List(b.dir); failed == nil && len(names) == 0 {
		err = errors.Join(err, o.cfg.FS.Remove(b.dir)) // else a log was set aside there
	}
	o.cfg.Log.Warn("what waited for another region is dropped: the stream was deleted and cannot be had back", "stream", to, "events", records, "err", err)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.boxes, to)
	b.emptied()
}
