package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skeinmesh/skein/replication/fields"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/transport/peer"
)

// MaxQueued is how many bytes of records may wait for one partition.
const MaxQueued = partition.MaxQueued

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
	err := r.AppendAsync(ctx, number, records, func(a []partition.Appended, err error) { got <- outcome{a, err} })
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

// AppendAsync is Append for those who do not wait: done is called once if the error
// is nil, when the outcome is known, after about appendWait at the latest; it must
// not block. What is not on its way when ctx ends is not kept. What a node appends to
// a partition is kept in the order of the calls; an append that fails does not keep
// later ones from being kept. The records' bytes must not be changed until done is
// called.
func (r *Member) AppendAsync(ctx context.Context, number uint32, records []partition.Record, done func([]partition.Appended, error)) error {
	if len(records) == 0 {
		done(nil, nil)
		return nil
	}
	return r.courier(number).put((&appendCall{ctx: ctx, until: time.Now().Add(appendWait), records: records, done: done}).divide()...)
}

func (r *Member) noteLeader(number uint32, leader peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaders[number] = leader
}

// wayTo says whether a node is known not to know turns, and where those take a place
// that are sent to it.
func (r *Member) wayTo(id peer.ID) (older bool, slots chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots[id] == nil {
		r.slots[id] = make(chan struct{}, appendsToNode)
	}
	return r.older[id], r.slots[id]
}

func (r *Member) noteOlder(id peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.older[id] = true
}

// anyReplica is another node that has a replica of a partition and can be reached,
// of which one may know who leads it; a different one each time.
func (r *Member) anyReplica(number uint32) peer.ID {
	able := slices.DeleteFunc(r.able(number), func(id peer.ID) bool { return id == r.cfg.Self.ID })
	if len(able) == 0 {
		return ""
	}
	return able[r.asked.Add(1)%uint64(len(able))]
}

// encodeAppend adds records to a question: partition, then as in an entry of the
// partition's log, with each record's log and window spelled out.
func encodeAppend(b []byte, number uint32, records []partition.Record) []byte {
	size := 16
	for i := range records {
		size += recordSize(&records[i])
	}
	b = binary.AppendUvarint(slices.Grow(b, size), uint64(number))
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

// recordLeast is how many bytes a record has at least in a question.
const recordLeast = len(partition.LogID{}) + len(partition.Key{}) + 3

// decodeAppend reads what encodeAppend has added. The records lie in b.
func decodeAppend(b []byte) (number uint32, records []partition.Record, err error) {
	f := fields.Reader{Rest: b}
	number = uint32(f.Number(1<<32 - 1))
	n := f.Number(uint64(len(b)))
	records = make([]partition.Record, 0, min(n, uint64(len(f.Rest)/recordLeast)))
	for ; n > 0 && !f.Bad; n-- {
		var rec partition.Record
		f.Fill(rec.Log[:])
		rec.Window = partition.Window{Age: time.Duration(f.Number(1 << 62)), Events: int(f.Number(partition.MaxWindow))}
		f.Fill(rec.Key[:])
		rec.Data = f.Take(f.Number(partition.MaxData))
		records = append(records, rec)
	}
	return number, records, whole(&f)
}

// answerAppend appends for a node that sends one batch after the other.
func (r *Member) answerAppend(ctx context.Context, body []byte) ([]byte, error) {
	number, records, err := decodeAppend(body)
	if err != nil {
		return nil, err
	}
	p, err := r.leading(number)
	if err != nil {
		return nil, err
	}
	results, err := p.Append(ctx, records)
	if err != nil {
		return nil, r.elsewhere(p, err)
	}
	return encodeAppended(results), nil
}

// answerTurn appends a batch for a node that sends several at once, when its turn
// has come.
func (r *Member) answerTurn(ctx context.Context, from peer.ID, body []byte) ([]byte, error) {
	t, rest, err := readTurn(body)
	if err != nil {
		return nil, err
	}
	number, records, err := decodeAppend(rest)
	if err != nil {
		return nil, err
	}
	type outcome struct {
		results []partition.Appended
		err     error
	}
	got := make(chan outcome, 1)
	var p *partition.Partition
	err = r.turns.take(ctx, asker{from, number}, t, func(term uint64, over func(error)) (uint64, error) {
		var err error
		if p, err = r.leading(number); err != nil {
			return 0, err
		}
		return p.AppendAsync(term, records, func(a []partition.Appended, err error) {
			over(err)
			got <- outcome{a, err}
		})
	})
	if err != nil {
		return nil, r.elsewhere(p, err)
	}
	select {
	case o := <-got:
		if o.err != nil {
			return nil, r.elsewhere(p, o.err)
		}
		return encodeAppended(o.results), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("replication: append for a node: %w: %w", multiraft.ErrUnknown, context.Cause(ctx))
	}
}

// leading is this node's replica of a partition, unless it leads and its disk has
// no room.
func (r *Member) leading(number uint32) (*partition.Partition, error) {
	p, err := r.local(number)
	if err != nil {
		return nil, err
	}
	if err := r.room(); err != nil && p.Group().IsLeader() {
		return nil, err
	}
	return p, nil
}

// elsewhere adds to an error who leads a partition instead.
func (r *Member) elsewhere(p *partition.Partition, err error) error {
	if p != nil && errors.Is(err, multiraft.ErrNotLeader) && !errors.Is(err, multiraft.ErrUnknown) {
		if leader, _, known := p.Group().Leader(); known && leader.Node != r.cfg.Self.ID {
			return &ledElsewhere{leader.Node}
		}
	}
	return err
}

// encodeAppended is outcomes, a number each: the offset, and whether it was there.
func encodeAppended(results []partition.Appended) []byte {
	b := make([]byte, 0, 8*len(results))
	for _, a := range results {
		n := uint64(a.Offset) << 1
		if a.Duplicate {
			n |= 1
		}
		b = binary.AppendUvarint(b, n)
	}
	return b
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
