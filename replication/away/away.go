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
// One goroutine sends for each box that is not empty, and one puts in what a Put brings,
// which does not wait for it longer than it may; Close waits for them.
package away

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	// Failed is called when a sync has failed: nobody knows then what is on the disk. It
	// must not block. Default: nobody hears of it.
	Failed func(err error)
	// MaxBytes bounds what all boxes keep. Default 1 GiB.
	MaxBytes int64
	Log      *slog.Logger // default: nothing is logged
}

var (
	// ErrFull: the outbox keeps as much as it may.
	ErrFull = errors.New("away: it is full")
	// ErrBusy: too much waits for the disk.
	ErrBusy = errors.New("away: too much waits for the disk")
	// ErrUnknown: what was put in may be on the disk, or not.
	ErrUnknown = errors.New("away: nobody knows whether it is kept")
	// ErrGone: the destination will never be there again.
	ErrGone = errors.New("away: the destination is gone for good")
)

const (
	defaultMaxBytes = 1 << 30
	batchBytes      = 256 << 10
	maxPutting      = 16 << 20 // bytes on their way to the disk, unless it is one call
	putOverhead     = 4 << 10  // of these, for a call as such
	pause           = 100 * time.Millisecond
	pauseMax        = 5 * time.Second
)

// Outbox is a node's outbox. Its methods may be called concurrently.
type Outbox struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	opening chan struct{} // holds a token while a box is opened that was not there

	mu      sync.Mutex // guards the fields below; never held while the disk is asked
	boxes   map[ID]*box
	putting int // bytes on their way to the disk
}

// Open opens an outbox as it was left, and begins to send what is in it.
func Open(cfg Config) (*Outbox, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Failed == nil {
		cfg.Failed = func(error) {}
	}
	o := &Outbox{cfg: cfg, boxes: map[ID]*box{}, opening: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	names, err := cfg.FS.List(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("away: %w", err)
	}
	for _, name := range names {
		id, ours := parseID(name)
		if !ours {
			continue
		}
		if o.boxes[id], err = o.open(id); err != nil {
			delete(o.boxes, id)
			return nil, errors.Join(err, o.closeBoxes())
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, b := range o.boxes {
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
	o.mu.Lock()
	o.cancel() // nothing is started after this
	o.mu.Unlock()
	o.wg.Wait()
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
// Records that are put in one after the other are sent in that order. ErrUnknown says
// that they may be kept, or will be: ctx has ended while the disk did not answer, or the
// disk failed when all was written. With another error they are not: ErrFull, ErrBusy,
// ErrGone, store.ErrFull, or the disk's.
func (o *Outbox) Put(ctx context.Context, to ID, records []segment.Record) error {
	size := 0
	own := make([]segment.Record, len(records)) // who does not wait any more may use the memory again
	for i, r := range records {
		r.Data = slices.Clone(r.Data)
		own[i], size = r, size+len(r.Data)
	}
	size += putOverhead
	o.mu.Lock()
	var err error
	switch {
	case o.ctx.Err() != nil:
		err = store.ErrClosed
	case o.bytes() >= o.cfg.MaxBytes:
		err = ErrFull
	case o.putting > 0 && o.putting+size > maxPutting:
		err = ErrBusy
	}
	if err != nil {
		o.mu.Unlock()
		return err
	}
	o.putting += size
	done := make(chan error, 1)
	o.wg.Go(func() {
		err := o.put(ctx, to, own)
		o.mu.Lock()
		o.putting -= size
		o.mu.Unlock()
		done <- err
	})
	o.mu.Unlock()
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		default:
			err = fmt.Errorf("%w: the disk has not answered: %w", ErrUnknown, context.Cause(ctx))
		}
	}
	return err
}

// put is Put, which may wait for the disk for ever.
func (o *Outbox) put(ctx context.Context, to ID, records []segment.Record) error {
	b, err := o.box(ctx, to)
	if err != nil {
		return err
	}
	if err := take(ctx, b.putting); err != nil {
		return err
	}
	log := b.log
	gone := b.gone
	if !gone {
		_, err = log.Append(records)
	}
	<-b.putting
	switch {
	case gone:
		return ErrGone
	case err != nil:
		return fmt.Errorf("away: %w", err)
	}
	err = log.Sync()
	o.mu.Lock()
	o.start(to, b)
	o.mu.Unlock()
	if err != nil {
		o.failed(err)
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// take takes a token, unless nobody waits for what is done with it any more.
func take(ctx context.Context, token chan<- struct{}) error {
	select {
	case token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
	}
}

// failed tells of a sync that has failed.
func (o *Outbox) failed(err error) {
	if errors.Is(err, store.ErrFailed) {
		o.cfg.Failed(fmt.Errorf("away: %w", err))
	}
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
			err = o.mend(to, b, unread.cause)
			o.failed(err)
			if err == nil {
				err = errMended // not at once: what was written now may be damaged as well
			} else if !said && o.ctx.Err() == nil {
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
			o.cfg.Log.Debug("what waits in the outbox does not get through yet", "stream", to, "records", b.log.Next()-b.sent, "err", err)
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

var errMended = errors.New("away: it was damaged")

// readError is why a box cannot be read.
type readError struct{ cause error }

func (e *readError) Error() string { return e.cause.Error() }
func (e *readError) Unwrap() error { return e.cause }

// sendBatch sends a box's oldest records and notes that they have arrived.
func (o *Outbox) sendBatch(to ID, b *box, buf []byte) error {
	if damage := o.found(b); damage != nil {
		return &readError{damage}
	}
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
	o.mu.Lock()
	b.sent = sent // it is not sent again while this process runs, noted or not
	o.mu.Unlock()
	if err := writeSent(o.cfg.FS, b.dir, sent); err != nil {
		return err
	}
	b.log.Trim(sent)
	return b.log.Release(sent)
}
