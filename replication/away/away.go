// Package away keeps on this node's disk what must go to another region and
// cannot now, and sends it in order as soon as that can be.
//
// There is one box for each destination; what is put in is on the disk when Put
// returns. A box sends its oldest records, a batch at a time, until a Send says that
// they have arrived, and only then goes on; how far it is, it writes down after
// each batch. After a crash the last batch may be sent once more: who takes it must
// know duplicates. As long as a box is not empty, what is meant for its destination
// has to go through it, or it would overtake.
//
// In a box's directory lie the files of a segment.Log, and "sent": how far it is
// (sent.go). Without that, or if it is damaged, all that is still there is sent. There
// is no other copy of what waits: what is damaged is lost, with what lies behind it in
// the last file, and that is said.
//
// One goroutine sends for each box that is not empty; Close waits for them.
package away

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// ID names a destination.
type ID = segment.ID

// Config is what an Outbox needs. Fields without a default are required.
type Config struct {
	FS    store.FS
	Dir   string // the outbox's own, made if it is not there
	Files *segment.Files
	// Send brings records to their destination; nil says that all have arrived. It
	// is called again and again with the same ones otherwise, unless it says ErrGone:
	// then all that waits for the destination is dropped. It must heed ctx.
	Send func(ctx context.Context, to ID, records []segment.Record) error
	// MaxBytes bounds what all boxes keep. Default 1 GiB.
	MaxBytes int64
	Log      *slog.Logger // default: nothing is logged
}

var (
	// ErrFull: the outbox keeps as much as it may.
	ErrFull = errors.New("away: it is full")
	// ErrGone: the destination will never be there again.
	ErrGone = errors.New("away: the destination is gone for good")
)

const (
	defaultMaxBytes = 1 << 30
	batchBytes      = 256 << 10
	pause           = 100 * time.Millisecond
	pauseMax        = 5 * time.Second
)

// Outbox is a node's outbox. Its methods may be called concurrently.
type Outbox struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	boxes map[ID]*box
}

// box is what waits for one destination.
type box struct {
	log     *segment.Log
	dir     string
	sent    int64         // offset; guarded by Outbox.mu
	running bool          // guarded by Outbox.mu
	flows   bool          // the last batch got through; guarded by Outbox.mu
	empty   chan struct{} // closed when nothing waits any more; nil while nobody waits for that

	putting sync.Mutex // held while records are put in
	gone    bool       // it is dropped; guarded by putting
}

// Open opens an outbox as it was left, and begins to send what is in it.
func Open(cfg Config) (*Outbox, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	o := &Outbox{cfg: cfg, boxes: map[ID]*box{}}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	names, err := cfg.FS.List(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		id, ours := parseID(name)
		if !ours {
			continue
		}
		b, err := o.open(id)
		if err != nil {
			return nil, errors.Join(err, o.closeBoxes())
		}
		o.start(id, b)
	}
	return o, nil
}

// parseID reads the name of a box's directory.
func parseID(name string) (id ID, ok bool) {
	b, err := hex.DecodeString(name)
	return id, err == nil && len(b) == len(id) && copy(id[:], b) == len(id)
}

// open opens a box. o.mu is held.
func (o *Outbox) open(id ID) (*box, error) {
	b := &box{dir: filepath.Join(o.cfg.Dir, hex.EncodeToString(id[:]))}
	if err := o.cfg.FS.MkdirAll(b.dir); err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	sent, err := readSent(o.cfg.FS, b.dir)
	if errors.Is(err, store.ErrCorrupt) {
		o.cfg.Log.Warn("how much of what waited has arrived is not known: all that is still here is sent again", "to", id, "err", err)
		sent, err = 0, nil
	}
	if err != nil {
		return nil, fmt.Errorf("away: %s: %w", b.dir, err)
	}
	cfg := segment.Config{Files: o.cfg.Files, Dir: filepath.Join(b.dir, "log"), ID: id}
	if b.log, err = segment.Open(cfg, nil); err == nil && b.log.Next() < sent {
		// All has arrived, and the files are gone: offsets go on where they were.
		err = b.log.Close()
		if err == nil {
			b.log, err = segment.Open(cfg, &segment.Manifest{Start: sent, Next: sent})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	if tail := b.log.Tail(); tail != nil {
		o.cfg.Log.Error("the end of what waits for another region could not be read and is gone: if no crash was before this, events that were accepted are lost",
			"to", id, "from", b.log.Next(), "err", tail)
	}
	b.log.Trim(sent)
	b.sent = b.log.Start()
	o.boxes[id] = b
	return b, nil
}

// Close stops sending and returns when nothing of the outbox runs. What is in it
// stays.
func (o *Outbox) Close() error {
	o.cancel()
	o.wg.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closeBoxes()
}

func (o *Outbox) closeBoxes() error {
	var errs []error
	for _, b := range o.boxes {
		errs = append(errs, b.log.Close())
	}
	return errors.Join(errs...)
}

// Drained waits until nothing waits for a destination, for those who would rather
// send themselves. It returns false when ctx ends first, and at once when what waits
// does not get through at present.
func (o *Outbox) Drained(ctx context.Context, to ID) bool {
	o.mu.Lock()
	b := o.boxes[to]
	if b == nil || b.log.Next() == b.sent {
		o.mu.Unlock()
		return true
	}
	if !b.flows {
		o.mu.Unlock()
		return false
	}
	if b.empty == nil {
		b.empty = make(chan struct{})
	}
	empty := b.empty
	o.mu.Unlock()
	select {
	case <-empty:
		return true
	case <-ctx.Done():
		return false
	}
}

// Waiting is how many records are not known to have arrived.
func (o *Outbox) Waiting() (records int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.boxes {
		records += b.log.Next() - b.sent
	}
	return records
}

// bytes is what the outbox takes on disk. o.mu is held.
func (o *Outbox) bytes() (n int64) {
	for _, b := range o.boxes {
		for _, f := range b.log.Files() {
			n += f.Bytes
		}
	}
	return n
}

// Put keeps records for a destination: they are on the disk when it returns nil.
// Records that are put in one after the other are sent in that order. The error is
// ErrFull, or the disk's.
func (o *Outbox) Put(to ID, records []segment.Record) error {
	o.mu.Lock()
	b := o.boxes[to]
	var err error
	switch {
	case o.ctx.Err() != nil:
		err = store.ErrClosed
	case o.bytes() >= o.cfg.MaxBytes:
		err = ErrFull
	case b == nil:
		b, err = o.open(to)
	}
	o.mu.Unlock()
	if err != nil {
		return err
	}
	b.putting.Lock()
	if b.gone {
		err = ErrGone
	} else {
		_, err = b.log.Append(records)
	}
	b.putting.Unlock()
	if err == nil {
		err = b.log.Sync()
	}
	if err != nil {
		return fmt.Errorf("away: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.start(to, b)
	return nil
}

// start begins to send what is in a box. o.mu is held.
func (o *Outbox) start(to ID, b *box) {
	if !b.running && b.log.Next() > b.sent && o.ctx.Err() == nil {
		b.running = true
		o.wg.Go(func() { o.send(to, b) })
	}
}

// send empties a box.
func (o *Outbox) send(to ID, b *box) {
	buf := make([]byte, batchBytes)
	for wait := pause; ; {
		err := o.sendBatch(to, b, buf)
		o.mu.Lock()
		b.flows = err == nil
		o.mu.Unlock()
		switch {
		case o.ctx.Err() != nil:
			return
		case errors.Is(err, ErrGone):
			o.drop(to, b)
			return
		case err != nil:
			o.cfg.Log.Debug("what waits in the outbox does not get through yet", "to", to, "records", b.log.Next()-b.sent, "err", err)
			select {
			case <-time.After(wait):
			case <-o.ctx.Done():
				return
			}
			wait = min(2*wait, pauseMax)
			continue
		}
		wait = pause
		o.mu.Lock()
		if b.sent == b.log.Next() {
			b.running = false
			b.emptied()
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
	}
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
	b.putting.Lock()
	b.gone = true
	b.putting.Unlock()
	records := b.log.Next() - b.sent
	err := b.log.Close()
	for _, name := range []string{filepath.Join(b.dir, "log"), filepath.Join(b.dir, sentFile), b.dir} {
		if err == nil {
			err = store.RemoveAll(o.cfg.FS, name)
		}
	}
	o.cfg.Log.Warn("what waited for another region is dropped: the stream was deleted and cannot be had back", "stream", to, "events", records, "err", err)
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.boxes, to)
	b.emptied()
}

// sendBatch sends a box's oldest records and notes that they have arrived.
func (o *Outbox) sendBatch(to ID, b *box, buf []byte) error {
	batch, err := b.log.Reader(b.sent).Read(buf)
	if err != nil {
		return err
	}
	var records []segment.Record
	for _, r := range batch.Records() {
		records = append(records, r)
	}
	if len(records) > 0 {
		if err := o.cfg.Send(o.ctx, to, records); err != nil {
			return err
		}
	}
	sent := batch.Next()
	if err := writeSent(o.cfg.FS, b.dir, sent); err != nil {
		return err
	}
	o.mu.Lock()
	b.sent = sent
	o.mu.Unlock()
	b.log.Trim(sent)
	return b.log.Release(sent)
}
