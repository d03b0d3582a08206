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
// In a box's directory lie "log", the directory of a segment.Log, and "sent": how far it
// is (sent.go). Without that, or if it is damaged, all that is still there is sent. There
// is no other copy of what waits: what is damaged is lost, and that is said. The log is
// set aside then as it is, as "damaged" in the box's directory, and what can still be
// read of it waits in a new one (mend.go).
//
// One goroutine sends for each box that is not empty; Close waits for them.
package away

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
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
	log := b.log
	if b.gone {
		err = ErrGone
	} else {
		_, err = log.Append(records)
	}
	b.putting.Unlock()
	if err == nil {
		err = log.Sync()
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
	said := false
	for wait := pause; ; {
		err := o.sendBatch(to, b, buf)
		var unread *readError
		if errors.As(err, &unread) {
			if err = o.mend(to, b, unread.cause); err == nil {
				continue
			}
			if !said && o.ctx.Err() == nil {
				o.cfg.Log.Error("what waits for another region cannot be read from the disk: it is tried again and again", "stream", to, "dir", b.dir, "err", err)
				said = true
			}
		}
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
		wait, said = pause, false
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

// readError is why a box cannot be read.
type readError struct{ cause error }

func (e *readError) Error() string { return e.cause.Error() }
func (e *readError) Unwrap() error { return e.cause }

// sendBatch sends a box's oldest records and notes that they have arrived.
func (o *Outbox) sendBatch(to ID, b *box, buf []byte) error {
	batch, err := b.log.Reader(b.sent).Read(buf)
	if err != nil {
		return &readError{err}
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
