package flow

// outbox collects runs for a node until they are sent.
type outbox struct {
	buf  []byte
	runs []Run // without Records: ends says where they end in buf
	ends []int
	last uint64 // the number of the last event
}

// spareOutboxes is how many outboxes are kept for reuse, and spareBuf the
// largest of their buffers, in bytes.
const (
	spareOutboxes = 256
	spareBuf      = 128 << 10
)

// flushAt is how many bytes an outbox collects at most, but for one event.
const flushAt = 64 << 10

// outbox is an empty one for a node that is known up to from.
func (e *Entry) outbox(from uint64) *outbox {
	var o *outbox
	if n := len(e.spare); n > 0 {
		o = e.spare[n-1]
		e.spare = e.spare[:n-1]
	} else {
		o = &outbox{}
	}
	o.last = from
	return o
}

func (e *Entry) free(o *outbox) {
	if len(e.spare) < spareOutboxes && cap(o.buf) <= spareBuf {
		o.buf, o.runs, o.ends = o.buf[:0], o.runs[:0], o.ends[:0]
		e.spare = append(e.spare, o)
	}
}

// add adds the event with a number, which lengthens the last run if it follows.
func (o *outbox) add(number uint64, namespace string, envelope []byte) {
	o.buf = appendRecord(o.buf, namespace, envelope)
	if n := len(o.runs); n > 0 && o.last+1 == number {
		o.runs[n-1].Count++
		o.ends[n-1] = len(o.buf)
	} else {
		o.runs = append(o.runs, Run{Skip: number - o.last - 1, Count: 1})
		o.ends = append(o.ends, len(o.buf))
	}
	o.last = number
}

// views completes the runs, whose records lie in buf.
func (o *outbox) views() []Run {
	begin := 0
	for i, end := range o.ends {
		o.runs[i].Records = o.buf[begin:end]
		begin = end
	}
	return o.runs
}
