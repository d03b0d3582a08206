package journal

import (
	"errors"
	"io"

	"github.com/skeinmesh/skein/store"
)

// windowBytes is how much of a file is read at once.
const windowBytes = 1 << 20

// window reads a file from front to back in large pieces.
type window struct {
	file store.File
	size int64 // of the file
	buf  []byte
	at   int64 // offset of buf in the file
}

// bytes is n bytes at an offset, or what there is of them before the file's
// end. They are valid until the next call.
func (w *window) bytes(at, n int64) ([]byte, error) {
	n = max(0, min(n, w.size-at))
	if at < w.at || at+n > w.at+int64(len(w.buf)) {
		if err := w.fill(at, max(n, windowBytes)); err != nil {
			return nil, err
		}
		n = min(n, int64(len(w.buf)))
	}
	return w.buf[at-w.at:][:n], nil
}

// fill reads up to n bytes from an offset. Sectors that the disk cannot read
// become bytes that no checksum matches; only if it can read none of them, it is
// not the sectors that are broken.
func (w *window) fill(at, n int64) error {
	n = max(0, min(n, w.size-at))
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.buf, w.at = w.buf[:n], at
	got, err := w.file.ReadAt(w.buf, at)
	if err == nil || errors.Is(err, io.EOF) {
		w.buf = w.buf[:got]
		return nil
	}
	readable := false
	for from := int64(0); from < n; {
		to := min(n, toSector(at+from+1)-at)
		if _, bad := w.file.ReadAt(w.buf[from:to], at+from); bad != nil {
			for i := from; i < to; i++ {
				w.buf[i] = 0xEE
			}
		} else {
			readable = true
		}
		from = to
	}
	if !readable {
		return err
	}
	return nil
}

// found is a record that was found in a file.
type found struct {
	head
	at  int64
	bad bool // its body is not what its head says
}

// roundFound is a round that was found in a file, or what is left of one.
type roundFound struct {
	head    head
	at      int64
	records []found
	// members are nil if the directory cannot be read.
	members []member
	// flaw is what is wrong with it first, and where; empty if nothing is.
	flaw   string
	flawAt int64
	// unexplained: records may have been lost, and nothing tells whose.
	unexplained bool
	bytes       int64
}

func (r *roundFound) blame(what string, at int64) {
	if r.flaw == "" {
		r.flaw, r.flawAt = what, at
	}
}

// scanner finds the rounds of one file.
type scanner struct {
	window
	salt   uint32
	number uint64 // rounds up to this one lie behind
	round  roundFound
}

// roundAt is the head of a round at an offset, if there is one that was not
// seen yet and ends before limit.
func (s *scanner) roundAt(at, limit int64) (h head, ok bool, err error) {
	b, err := s.bytes(at, headSize)
	if err != nil {
		return h, false, err
	}
	h, ok = readHead(b, s.salt)
	ok = ok && h.typ == typeRound && h.index > s.number &&
		h.term >= uint64(headSize+padded(int64(h.data))) && h.term <= uint64(limit-at)
	return h, ok, nil
}

// nextRound is the offset of the first round from an offset on, or -1.
func (s *scanner) nextRound(from, limit int64) (int64, error) {
	for at := from; at+headSize <= limit; at += sectorSize {
		if _, ok, err := s.roundAt(at, limit); ok || err != nil {
			return at, err
		}
	}
	return -1, nil
}

// readRound reads the round whose head this is into s.round.
func (s *scanner) readRound(at int64, h head) error {
	r := &s.round
	*r = roundFound{head: h, at: at, records: r.records[:0], members: r.members[:0], bytes: int64(h.term)}
	body, err := s.bytes(at+headSize, int64(h.data))
	if err != nil {
		return err
	}
	first := at + headSize + padded(int64(h.data))
	if h.whole(body) && len(body)%memberSize == 0 {
		for i := range len(body) / memberSize {
			r.members = append(r.members, readMember(body, i))
		}
	} else {
		r.members = nil
		r.blame("the directory of a round is damaged", at+headSize)
	}
	end := at + int64(h.term)
	gaps, err := s.readRecords(first, end)
	if err != nil {
		return err
	}
	if gaps || int64(len(r.records)) != h.time {
		r.blame("a round has not the records it says", at)
		r.unexplained = r.members == nil
	}
	padding, err := s.bytes(end, toSector(end)-end)
	if err != nil {
		return err
	}
	if i := nonZero(padding); i >= 0 {
		r.blame("there is something behind a round", end+int64(i))
	}
	return nil
}

// readRecords reads the records between two offsets into s.round, and reports
// whether anything else lies between them.
func (s *scanner) readRecords(at, end int64) (gaps bool, err error) {
	r := &s.round
	for at+headSize <= end {
		b, err := s.bytes(at, headSize)
		if err != nil {
			return gaps, err
		}
		h, ok := readHead(b, s.salt)
		if !ok || h.typ == typeRound || h.size() > end-at {
			gaps = true
			r.blame("the head of a record is damaged", at)
			at += alignment
			continue
		}
		body, err := s.bytes(at+headSize, h.size()-headSize)
		if err != nil {
			return gaps, err
		}
		bad := !h.whole(body)
		if bad {
			r.blame("the body of a record is damaged", at)
		}
		r.records = append(r.records, found{h, at, bad})
		at += h.size()
	}
	return gaps || at != end, nil
}

// salvage reads into s.round what is left between two offsets where no head of
// a round can be read. Records may go on up to limit. If that is the end, too, a
// round begins there, or the segment is known to end.
func (s *scanner) salvage(at, end, limit int64) error {
	r := &s.round
	*r = roundFound{at: at, records: r.records[:0], members: nil}
	r.blame("the head of a round is damaged", at)
	lost, err := s.blank(at)
	if err != nil {
		return err
	}
	r.unexplained = lost // a whole sector is, with whatever was in it
	// Is all there but the head? Then behind it and its directory the records
	// follow each other up to the last sector's end.
	groups := make(map[ID]bool)
	first, expect := int64(-1), at+headSize
	next := at + headSize
	for next < end && next+headSize <= limit {
		b, err := s.bytes(next, headSize)
		if err != nil {
			return err
		}
		h, ok := readHead(b, s.salt)
		if !ok || h.typ == typeRound || h.size() > limit-next {
			next += alignment
			continue
		}
		body, err := s.bytes(next+headSize, h.size()-headSize)
		if err != nil {
			return err
		}
		r.records = append(r.records, found{h, next, !h.whole(body)})
		if first < 0 {
			first, expect = next, next
		}
		if next != expect {
			r.unexplained = true
		}
		if h.typ != typeDoubt {
			groups[h.group] = true
		}
		next += h.size()
		expect = next
	}
	if first >= 0 && first != at+headSize+int64(len(groups))*memberSize {
		r.unexplained = true
	}
	rest, err := s.bytes(expect, toSector(expect)-expect)
	if err != nil {
		return err
	}
	if nonZero(rest) >= 0 || toSector(expect) < end {
		r.unexplained = true
	}
	r.bytes = max(end, toSector(expect)) - at
	return nil
}

// torn reports whether more than so many sectors of what lies between two offsets
// are missing: they read as zeros, as what was reserved and never written does,
// or lie beyond the end of the file.
func (s *scanner) torn(at, end int64, zero uint32) (bool, error) {
	missing := uint32(0)
	for ; at < end; at += sectorSize {
		b, err := s.bytes(at, sectorSize)
		if err != nil {
			return false, err
		}
		if len(b) < int(min(sectorSize, end-at)) || nonZero(b) < 0 {
			missing++
		}
	}
	return missing > zero, nil
}

// nonZero is the index of the first byte that is not 0, or -1.
func nonZero(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return -1
}
