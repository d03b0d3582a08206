package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/fields"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

const (
	appendRecords = 1024      // that go to a leader at once
	appendBytes   = 512 << 10 // unless the only record is larger
	appendWait    = 10 * time.Second
	fullWait      = 3 * time.Second // for another leader, when the disk of this one is full
	// MaxQueued is how many bytes of records may wait for one partition.
	MaxQueued = partition.MaxQueued
)

// outbox carries records to the leader of one partition, wherever it is: in order,
// one batch after the other.
type outbox struct {
	r      *Member
	number uint32

	mu      sync.Mutex // guards the fields below
	calls   []*appendCall
	bytes   int
	running bool
}

// appendCall is an Append on its way.
type appendCall struct {
	ctx     context.Context
	records []partition.Record
	done    func([]partition.Appended, error)
}

func recordSize(rec *partition.Record) int { return len(rec.Data) + 96 }

// Append appends records to logs of one partition of the region and waits for the
// outcomes, one for each. It looks for the leader, and tries again when there is
// none or it is lost: what an attempt kept whose answer was lost counts as a
// duplicate then, unless its log has no window. The error says that
// nothing is kept (ErrNoLeader, partition.ErrBusy, store.ErrFull), or, with multiraft.ErrUnknown,
// that nobody knows.
func (r *Member) Append(ctx context.Context, number uint32, records []partition.Record) ([]partition.Appended, error) {
	type outcome struct {
		results []partition.Appended
		err     error
	}
	ctx, cancel := context.WithTimeout(ctx, appendWait)
	defer cancel()
	got := make(chan outcome, 1)
	err := r.outbox(number).put(&appendCall{ctx, records, func(a []partition.Appended, err error) { got <- outcome{a, err} }})
	if err != nil {
		return nil, err
	}
	select {
	case o := <-got:
		return o.results, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", multiraft.ErrUnknown, context.Cause(ctx))
	}
}

func (r *Member) outbox(number uint32) *outbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.outboxes[number]
	if o == nil {
		o = &outbox{r: r, number: number}
		r.outboxes[number] = o
	}
	return o
}

func (o *outbox) put(c *appendCall) error {
	size := 0
	for i := range c.records {
		size += recordSize(&c.records[i])
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes > 0 && o.bytes+size > MaxQueued {
		return partition.ErrBusy
	}
	if !o.running && !o.r.begin(o.run) {
		return partition.ErrClosed
	}
	o.running = true
	o.bytes += size
	o.calls = append(o.calls, c)
	return nil
}

// take is the next batch: whole calls, at least one. It is empty when nothing
// waits, and then run ends.
func (o *outbox) take() (calls []*appendCall) {
	o.mu.Lock()
	defer o.mu.Unlock()
	records, bytes := 0, 0
	for len(calls) < len(o.calls) {
		c := o.calls[len(calls)]
		size := 0
		for i := range c.records {
			size += recordSize(&c.records[i])
		}
		if len(calls) > 0 && (records+len(c.records) > appendRecords || bytes+size > appendBytes) {
			break
		}
		records, bytes = records+len(c.records), bytes+size
		calls = o.calls[:len(calls)+1]
	}
	o.calls = o.calls[len(calls):]
	o.bytes -= bytes
	o.running = len(calls) > 0
	return calls
}

func (o *outbox) run() {
	for {
		calls := o.take()
		if len(calls) == 0 {
			return
		}
		sent := make([]*appendCall, 0, len(calls)) // whoever waits no more is not served
		count := 0
		for _, c := range calls {
			if err := c.ctx.Err(); err != nil {
				c.done(nil, fmt.Errorf("%w: %w", ErrNoLeader, err))
				continue
			}
			sent = append(sent, c)
			count += len(c.records)
		}
		records := make([]partition.Record, 0, count)
		for _, c := range sent {
			records = append(records, c.records...)
		}
		results, err := o.insist(records)
		for _, c := range sent {
			if err != nil {
				c.done(nil, err)
				continue
			}
			n := len(c.records)
			c.done(results[:n:n], nil)
			results = results[n:]
		}
	}
}

// insist appends records, wherever their leader is, for as long as it may take.
func (o *outbox) insist(records []partition.Record) ([]partition.Appended, error) {
	if len(records) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(o.r.ctx, appendWait)
	defer cancel()
	safe := true // to try again what may be kept
	for i := range records {
		safe = safe && records[i].Key != (partition.Key{}) && records[i].Window.Events > 0
	}
	var unknown error
	began := time.Now()
	for pause := retryPause / 10; ; pause = min(2*pause, retryPauseTo) {
		results, err := o.r.appendOnce(ctx, o.number, records)
		switch {
		case err == nil:
			return results, nil
		case !nothingKept(err):
			unknown = fmt.Errorf("%w: %w", multiraft.ErrUnknown, err)
			if !safe {
				return nil, unknown
			}
		case errors.Is(err, partition.ErrBusy), errors.Is(err, store.ErrFull) && time.Since(began) > fullWait:
			if unknown != nil {
				return nil, unknown
			}
			return nil, err
		}
		if !o.r.sleep(ctx, pause) {
			if unknown != nil {
				return nil, unknown
			}
			return nil, fmt.Errorf("replication: partition %d: %w: %w", o.number, ErrNoLeader, err)
		}
	}
}

// nothingKept reports whether an error says that no record was kept.
func nothingKept(err error) bool {
	for _, is := range []error{multiraft.ErrNotLeader, multiraft.ErrUnwell, partition.ErrBusy, partition.ErrClosed, ErrNoLeader, ErrElsewhere, store.ErrFull} {
		if errors.Is(err, is) && !errors.Is(err, multiraft.ErrUnknown) {
			return true
		}
	}
	return false
}

// appendOnce appends through whoever leads the partition, as far as is known.
func (r *Member) appendOnce(ctx context.Context, number uint32, records []partition.Record) ([]partition.Appended, error) {
	if p, err := r.local(number); err == nil && p.Group().IsLeader() {
		if err := r.room(); err != nil {
			return nil, err
		}
		return p.Append(ctx, records)
	}
	leader := r.leaderOf(number)
	if leader == "" || leader == r.cfg.Self.ID {
		if leader = r.anyReplica(number); leader == "" {
			return nil, ErrNoLeader
		}
	}
	answer, err := r.ask(ctx, leader, askAppend, encodeAppend(number, records))
	if err != nil {
		var from *asked
		if errors.As(err, &from) {
			r.noteLeader(number, from.Leader)
		} else {
			r.noteLeader(number, "")
		}
		return nil, err
	}
	r.noteLeader(number, leader)
	return decodeAppended(answer, len(records))
}

func (r *Member) noteLeader(number uint32, leader peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaders[number] = leader
}

// anyReplica is another node that has a replica of a partition and can be reached,
// of which one may know who leads it; a different one each time.
func (r *Member) anyReplica(number uint32) peer.ID {
	able := slices.DeleteFunc(r.able(number), func(id peer.ID) bool { return id == r.cfg.Self.ID })
	if len(able) == 0 {
		return ""
	}
	return able[r.turn.Add(1)%uint64(len(able))]
}

// encodeAppend makes a question of records: partition, then as in an entry of the
// partition's log, with each record's log and window spelled out.
func encodeAppend(number uint32, records []partition.Record) []byte {
	size := 16
	for i := range records {
		size += recordSize(&records[i])
	}
	b := binary.AppendUvarint(make([]byte, 0, size), uint64(number))
	b = binary.AppendUvarint(b, uint64(len(records)))
	for i := range records {
		rec := &records[i]
		b = append(b, rec.Log[:]...)
		b = binary.AppendUvarint(b, uint64(max(0, rec.Window.Age)))
		b = binary.AppendUvarint(b, uint64(max(0, rec.Window.Events)))
		b = append(b, rec.Key[:]...)
		b = binary.AppendUvarint(b, uint64(len(rec.Data)))
		b = append(b, rec.Data...)
	}
	return b
}

func decodeAppend(b []byte) (number uint32, records []partition.Record, err error) {
	f := fields.Reader{Rest: b}
	number = uint32(f.Number(1<<32 - 1))
	for n := f.Number(uint64(len(b))); n > 0 && !f.Bad; n-- {
		var rec partition.Record
		f.Fill(rec.Log[:])
		rec.Window = partition.Window{Age: time.Duration(f.Number(1 << 62)), Events: int(f.Number(partition.MaxWindow))}
		f.Fill(rec.Key[:])
		rec.Data = f.Take(f.Number(partition.MaxData))
		records = append(records, rec)
	}
	return number, records, whole(&f)
}

func (r *Member) answerAppend(ctx context.Context, body []byte) ([]byte, error) {
	number, records, err := decodeAppend(append([]byte(nil), body...))
	if err != nil {
		return nil, err
	}
	p, err := r.local(number)
	if err != nil {
		return nil, err
	}
	if err := r.room(); err != nil && p.Group().IsLeader() {
		return nil, err
	}
	results, err := p.Append(ctx, records)
	if errors.Is(err, multiraft.ErrNotLeader) {
		if leader, _, known := p.Group().Leader(); known && leader.Node != r.cfg.Self.ID {
			return nil, &ledElsewhere{leader.Node}
		}
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 8*len(results))
	for _, a := range results {
		n := uint64(a.Offset) << 1
		if a.Duplicate {
			n |= 1
		}
		b = binary.AppendUvarint(b, n)
	}
	return b, nil
}

func decodeAppended(b []byte, count int) ([]partition.Appended, error) {
	results := make([]partition.Appended, count)
	f := fields.Reader{Rest: b}
	for i := range results {
		n := f.Number(1 << 63)
		results[i] = partition.Appended{Offset: int64(n >> 1), Duplicate: n&1 == 1}
	}
	return results, whole(&f)
}

// whole is what is wrong with a message that was read.
func whole(f *fields.Reader) error {
	if !f.Over() {
		return errors.New("replication: a malformed message")
	}
	return nil
}
