package replication

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skeinmesh/skein/replication/fields"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/transport/peer"
)

// From says where reading begins if it is not at an offset.
type From string

// Where reading can begin.
const (
	FromOffset   From = ""
	FromEarliest From = "earliest"
	FromLatest   From = "latest"
	FromTime     From = "time"
)

// Read asks for records of a log.
type Read struct {
	Partition uint32        `json:"partition"`
	Log       meta.ID       `json:"log"`
	From      From          `json:"from,omitempty"`
	Offset    int64         `json:"offset,omitempty"`
	Time      int64         `json:"time,omitempty"`  // nanoseconds since 1970
	Bytes     int           `json:"bytes,omitempty"` // at most, about; one record at least. Default 256 KiB
	Wait      time.Duration `json:"wait,omitempty"`  // for the first record, at most 30 s
	Until     int64         `json:"until,omitempty"` // an offset from which on nothing is waited for; 0: none
}

// Records are some records of a log, the first at an offset.
type Records struct {
	Start  int64 // of the log
	End    int64 // of the log: the offset that its next record gets
	Offset int64 // of the first record, or where reading goes on
	List   []Stored
}

// Next is where reading goes on.
func (r *Records) Next() int64 { return r.Offset + int64(len(r.List)) }

// Stored is a record as its log has it.
type Stored struct {
	Time int64 // nanoseconds since 1970, of the leader that took it
	Data []byte
}

// over reports whether nothing is waited for that is at an offset.
func (q *Read) over(offset int64) bool { return q.Until > 0 && offset >= q.Until }

const (
	readBytes = 256 << 10
	maxRead   = 1 << 20
	readLeast = 32 << 10
	readEach  = 16 << 10 // for each record, if there are few; Select asks again for what is larger
	maxWait   = 30 * time.Second
	// behindWait is how long a replica that is asked for more than it has waits for
	// it, and who asks for it, before another one is asked.
	behindWait = time.Second
)

// Read reads from a replica of the partition in this region: this node's, or
// another's if that one is damaged, behind or not there. A log that nothing was
// appended to is empty. The error is a *TrimmedError if the log begins later than
// asked for, and segment.ErrAhead if it ends before.
func (r *Member) Read(ctx context.Context, q Read) (Records, error) {
	q.Wait = min(q.Wait, maxWait)
	body, err := json.Marshal(q)
	if err != nil {
		return Records{}, err
	}
	err = ErrNoLeader
	for _, id := range r.readers(&q) {
		var got Records
		if id == r.cfg.Self.ID {
			got, err = r.readHere(ctx, &q)
		} else {
			var answer []byte
			if answer, err = r.ask(ctx, id, askRead, body); err == nil {
				got, err = DecodeRecords(answer)
			}
		}
		if err == nil {
			return got, nil
		}
		var from *asked
		if ctx.Err() != nil || (id == r.cfg.Self.ID || errors.As(err, &from)) && !elsewhere(err) {
			break // another replica would say the same
		}
	}
	return Records{}, fmt.Errorf("replication: read partition %d: %w", q.Partition, err)
}

// elsewhere reports whether another replica may read what this one cannot.
func elsewhere(err error) bool {
	for _, is := range []error{ErrElsewhere, segment.ErrAhead, partition.ErrGone, store.ErrCorrupt, store.ErrClosed, errAt} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// errAt is what a reader gets whose replica's disk fails to read.
var errAt = errors.New("replication: the log cannot be read here")

// readers are the nodes to read from, in the order in which to try: this one if
// it can, then the leader, then the others. Who asks for what comes next asks the
// leader first, since others may be behind.
func (r *Member) readers(q *Read) []peer.ID {
	leader := r.leaderOf(q.Partition)
	var here, lead, rest []peer.ID
	for _, id := range r.able(q.Partition) {
		switch id {
		case r.cfg.Self.ID:
			here = append(here, id)
		case leader:
			lead = append(lead, id)
		default:
			rest = append(rest, id)
		}
	}
	if q.From == FromLatest && leader != r.cfg.Self.ID {
		return slices.Concat(lead, here, rest)
	}
	return slices.Concat(here, lead, rest)
}

// able are the nodes that have a replica of a partition to read from: those that
// can be reached, and this one.
func (r *Member) able(number uint32) (list []peer.ID) {
	linked := map[peer.ID]bool{r.cfg.Self.ID: true}
	for _, id := range r.cfg.Net.Linked() {
		linked[id] = true
	}
	p, known := r.meta.state().Number(number)
	if !known {
		return nil
	}
	for _, rep := range p.Replicas {
		if linked[rep.Node] && rep.Role == meta.Voter && !rep.Lost {
			list = append(list, rep.Node)
		}
	}
	return list
}

// readHere reads from this node's replica.
func (r *Member) readHere(ctx context.Context, q *Read) (Records, error) {
	p, err := r.local(q.Partition)
	if err != nil {
		return Records{}, err
	}
	got, err := readLog(ctx, p, q)
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, errAt) {
		r.suspect()
	}
	return got, err
}

func readLog(ctx context.Context, p *partition.Partition, q *Read) (Records, error) {
	l, err := p.Log(partition.LogID(q.Log))
	if errors.Is(err, partition.ErrGone) { // nothing was ever appended, as far as is known here
		if q.From == FromOffset && q.Offset > 0 {
			return Records{}, segment.ErrAhead
		}
		if q.Wait > 0 {
			t := time.NewTimer(min(q.Wait, 100*time.Millisecond))
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		}
		return Records{}, nil
	}
	if err != nil {
		return Records{}, err
	}
	at, err := seek(l, q)
	if err != nil {
		return Records{}, err
	}
	if at > l.Next() { // another replica had more: this one has it soon
		ctx, cancel := context.WithTimeout(ctx, behindWait)
		err := l.Wait(ctx, at-1)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return Records{}, err
		}
	}
	if q.Wait > 0 && at == l.Next() && !q.over(at) {
		ctx, cancel := context.WithTimeout(ctx, q.Wait)
		defer cancel()
		if err := l.Wait(ctx, at); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return Records{}, err
		}
	}
	bytes := min(q.Bytes, maxRead)
	if bytes <= 0 {
		bytes = readBytes
	}
	// Who follows gets few at a time, and needs no more memory than they.
	bytes = min(bytes, int(min(int64(maxRead), max(readLeast, (l.Next()-at)*readEach))))
	batch, err := l.Reader(at).Read(make([]byte, bytes))
	out := Records{Start: l.Start(), End: l.Next(), Offset: at}
	switch {
	case errors.Is(err, segment.ErrTrimmed):
		return Records{}, &TrimmedError{Start: l.Start()}
	case err != nil && !elsewhere(err):
		return Records{}, fmt.Errorf("%w: %w", errAt, err)
	case err != nil:
		return Records{}, err
	}
	for _, rec := range batch.Records() {
		out.List = append(out.List, Stored{rec.Time, rec.Data})
	}
	return out, nil
}

// seek is the offset that a question begins at.
func seek(l *partition.Log, q *Read) (int64, error) {
	switch q.From {
	case FromOffset:
		if q.Offset < l.Start() {
			return 0, &TrimmedError{Start: l.Start()}
		}
		return q.Offset, nil
	case FromEarliest:
		return l.Start(), nil
	case FromLatest:
		return l.Next(), nil
	case FromTime:
		return l.OffsetAt(q.Time)
	}
	return 0, fmt.Errorf("replication: read from %q: it must be an offset, earliest, latest or a time", q.From)
}

func (r *Member) answerRead(ctx context.Context, body []byte) ([]byte, error) {
	var q Read
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("replication: a malformed question: %w", err)
	}
	q.Wait = min(q.Wait, maxWait)
	records, err := r.readHere(ctx, &q)
	if err != nil {
		return nil, err
	}
	return records.AppendTo(nil), nil
}

// AppendTo appends the records in a binary form, which DecodeRecords reads: start,
// end and offset, then each record's time, length and data.
func (r *Records) AppendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(r.Start))
	b = binary.AppendUvarint(b, uint64(r.End))
	b = binary.AppendUvarint(b, uint64(r.Offset))
	b = binary.AppendUvarint(b, uint64(len(r.List)))
	for _, s := range r.List {
		b = binary.AppendVarint(b, s.Time)
		b = binary.AppendUvarint(b, uint64(len(s.Data)))
		b = append(b, s.Data...)
	}
	return b
}

// DecodeRecords reads what AppendTo wrote; the records lie in b.
func DecodeRecords(b []byte) (r Records, err error) {
	f := fields.Reader{Rest: b}
	r.Start, r.End, r.Offset = int64(f.Number(1<<63-1)), int64(f.Number(1<<63-1)), int64(f.Number(1<<63-1))
	for n := f.Number(uint64(len(b))); n > 0 && !f.Bad; n-- {
		at := f.Number(1<<64 - 1)
		s := Stored{Time: int64(at>>1) ^ -int64(at&1)}
		s.Data = f.Take(f.Number(uint64(len(b))))
		r.List = append(r.List, s)
	}
	return r, whole(&f)
}
