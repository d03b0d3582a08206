package flow

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/skeinmesh/skein/transport/peer"
)

// reader reads b from at on; once something is bad, all that follows is zero.
type reader struct {
	b   []byte
	at  int
	bad string
}

func (r *reader) fail(what string) {
	if r.bad == "" {
		r.bad = what
	}
}

func (r *reader) end() error {
	if r.bad == "" && r.at < len(r.b) {
		r.fail("end")
	}
	if r.bad != "" {
		return fmt.Errorf("%w: bad %s at byte %d", ErrMalformed, r.bad, r.at)
	}
	return nil
}

func (r *reader) byte() byte {
	if r.bad != "" || r.at >= len(r.b) {
		r.fail("byte")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) uvarint() uint64 {
	if r.bad != "" {
		return 0
	}
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		r.at++
		return uint64(r.b[r.at-1])
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.fail("number")
		return 0
	}
	r.at += n
	return v
}

// sum is a+b, which must not overflow.
func (r *reader) sum(a, b uint64) uint64 {
	if a+b < a {
		r.fail("sum")
		return 0
	}
	return a + b
}

func (r *reader) text(limit uint64) string {
	b := r.bytes(limit)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (r *reader) bytes(limit uint64) []byte {
	size := r.uvarint()
	if r.bad == "" && (size > limit || size > uint64(len(r.b)-r.at)) {
		r.fail("length")
	}
	if r.bad != "" {
		return nil
	}
	r.at += int(size)
	return r.b[r.at-int(size) : r.at : r.at]
}

func (r *reader) flow(id *ID) {
	id.Origin = peer.ID(r.text(maxName))
	id.Boot = r.uvarint()
	id.Region = r.text(maxName)
	id.Lane = r.byte()
}

func (r *reader) runs(f *Frame) {
	count := r.uvarint()
	if count == 0 || count > maxRuns {
		r.fail("number of runs")
	}
	at := f.Prev
	for ; count > 0 && r.bad == ""; count-- {
		run := Run{Skip: r.uvarint(), Count: r.uvarint()}
		run.Records = r.bytes(uint64(len(r.b)))
		if at = r.sum(r.sum(at, run.Skip), run.Count); at > f.Upto {
			r.fail("claim")
		}
		left, n := run.Records, uint64(0)
		for ok := true; len(left) > 0; n++ {
			if _, _, left, ok = cutRecord(left); !ok {
				r.fail("record")
				return
			}
		}
		if n != run.Count || n == 0 {
			r.fail("number of records")
		}
		if r.bad == "" {
			f.Runs = append(f.Runs, run)
		}
	}
}

func (r *reader) labels(l *Labels) {
	n := r.byte()
	if n > 1+MaxLabels {
		r.fail("number of labels")
	}
	l.Any = n == 0
	for ; n > 1 && r.bad == ""; n-- {
		one := Label{r.text(maxName), r.text(maxType)}
		if r.bad == "" {
			l.List = append(l.List, one)
		}
	}
}
