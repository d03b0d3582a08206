package journal

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/skeinmesh/skein/store"
)

// Finding is something in a journal's files that should not be so. Most cost
// nothing; those that do show in the groups that lost something.
type Finding struct {
	File   string
	Offset int64
	What   string
}

func (f Finding) String() string { return fmt.Sprintf("%s at byte %d: %s", f.File, f.Offset, f.What) }

// fileFound is a file of a journal.
type fileFound struct {
	sequence uint64
	name     string
	file     store.File
	size     int64
	header   header
	known    bool  // the header could be read
	end      int64 // up to where there are rounds
}

// recovery is what could be read of a journal.
type recovery struct {
	replay
	files []*fileFound // in order, without unfinished
	salt  uint32
	// unfinished is a file whose making a crash interrupted. Nothing that is in
	// it is needed.
	unfinished *fileFound
	torn       *Finding // what lies behind the last round: it was never synced
	bytes      int64
}

// observer is told about each round that was read, with what is wrong with it,
// before it is taken in.
type observer func(f *fileFound, round *roundFound, body func(found) ([]byte, error))

// errNone: the directory holds no journal.
var errNone = errors.New("no journal")

// recoverFrom reads a journal. Nothing is changed. The identity is that of whose it
// must be, unless it is nil. When there is none the error is errNone.
func recoverFrom(fs store.FS, dir string, whose *header, observe observer) (*recovery, error) {
	r := &recovery{replay: replay{groups: make(map[ID]*revived)}}
	if err := r.read(fs, dir, whose, observe); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *recovery) read(fs store.FS, dir string, whose *header, observe observer) error {
	if err := r.open(fs, dir); err != nil {
		return err
	}
	if err := r.identify(whose); err != nil {
		return err
	}
	if err := r.dropUnfinished(); err != nil {
		return err
	}
	s := &scanner{salt: r.salt}
	for i := range r.files {
		if err := r.scan(s, i, observe); err != nil {
			return fmt.Errorf("read %s: %w", r.files[i].name, err)
		}
	}
	return nil
}

// close closes the files.
func (r *recovery) close() {
	for _, f := range r.files {
		f.file.Close()
	}
	if r.unfinished != nil {
		r.unfinished.file.Close()
	}
}

// open opens the journal's files.
func (r *recovery) open(fs store.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		sequence, ok := sequenceOf(name)
		if !ok {
			continue
		}
		file, err := fs.Open(filepath.Join(dir, name), false)
		if err != nil {
			return err
		}
		f := &fileFound{sequence: sequence, name: name, file: file}
		r.files = append(r.files, f)
		if f.size, err = file.Size(); err != nil {
			return err
		}
		if f.size > 1<<32 {
			return fmt.Errorf("%s has %d bytes: %w", name, f.size, store.ErrTooLarge)
		}
	}
	if len(r.files) == 0 {
		return errNone
	}
	slices.SortFunc(r.files, func(a, b *fileFound) int { return cmp.Compare(a.sequence, b.sequence) })
	return nil
}

// identify reads the headers and finds out whose journal it is.
func (r *recovery) identify(whose *header) error {
	var first *header
	for _, f := range r.files {
		w := window{file: f.file, size: f.size}
		for copy := range int64(2) {
			b, err := w.bytes(copy*sectorSize, sectorSize)
			if err != nil {
				return fmt.Errorf("read %s: %w", f.name, err)
			}
			h, err := readHeader(b)
			switch {
			case errors.Is(err, store.ErrNewer):
				return fmt.Errorf("%s: %w", f.name, err)
			case err != nil || h.sequence != f.sequence || first != nil && h.salt != first.salt:
				r.findings = append(r.findings, Finding{f.name, copy * sectorSize, "a header is damaged"})
				continue
			case whose != nil && (h.mesh != whose.mesh || h.node != whose.node):
				return fmt.Errorf("%s is of node %q in mesh %q, this is node %q in mesh %q: %w",
					f.name, h.node, h.mesh, whose.node, whose.mesh, store.ErrForeign)
			}
			f.header, f.known = h, true
			if first == nil {
				first = &f.header
			}
		}
	}
	if first != nil {
		r.salt = first.salt
		return nil
	}
	return r.begun()
}

// begun judges a journal of which no header can be read: a crash may have
// interrupted the making of its first file, else it is lost.
func (r *recovery) begun() error {
	f := r.files[0]
	lost := &store.CorruptError{File: f.name, What: "no header can be read"}
	if len(r.files) > 1 {
		return lost
	}
	w := window{file: f.file, size: f.size}
	for at := int64(0); at < f.size; at += windowBytes {
		b, err := w.bytes(at, windowBytes)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.name, err)
		}
		// Of a new journal's first file a crash leaves the first round at most,
		// which is one sector.
		if at == 0 && len(b) >= headersSize+sectorSize {
			clear(b[headersSize:][:sectorSize])
		}
		if nonZero(b) >= 0 {
			return lost
		}
	}
	r.unfinished, r.files, r.findings = f, nil, nil
	return nil
}

// dropUnfinished leaves out the newest file if a crash interrupted its making.
func (r *recovery) dropUnfinished() error {
	if len(r.files) == 0 {
		return nil
	}
	f := r.files[len(r.files)-1]
	if len(r.files) == 1 && f.sequence > 1 {
		return nil // the files before it went when it was there
	}
	if f.known && f.size < f.header.allocated {
		return nil // its size was synced before anything was written to it
	}
	s := &scanner{salt: r.salt, window: window{file: f.file, size: f.size}}
	h, ok, err := s.roundAt(headersSize, f.size)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	from, end, zero := int64(headersSize+sectorSize), int64(headersSize+sectorSize), uint32(0)
	if ok {
		if err := s.readRound(headersSize, h); err != nil {
			return fmt.Errorf("read %s: %w", f.name, err)
		}
		from = headersSize + toSector(int64(h.term))
		end, zero = headersSize+int64(h.term), h.nth
	}
	later, err := s.nextRound(from, f.size)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	torn, err := s.torn(0, end, zero)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	if later >= 0 || !torn {
		return nil
	}
	r.unfinished = f
	r.files = r.files[:len(r.files)-1]
	r.findings = slices.DeleteFunc(r.findings, func(d Finding) bool { return d.File == f.name })
	return nil
}

// scan reads the rounds of the i-th file.
func (r *recovery) scan(s *scanner, i int, observe observer) error {
	f := r.files[i]
	s.window = window{file: f.file, size: f.size, buf: s.buf[:0]}
	end, ends := f.size, false // ends: end is where the synced part ends for certain
	if i+1 < len(r.files) {
		if next := r.files[i+1]; next.known && next.sequence == f.sequence+1 {
			end, ends = next.header.before, true
		}
	}
	last := i+1 == len(r.files)
	body := func(d found) ([]byte, error) { return s.bytes(d.at+headSize, int64(d.data)) }
	take := func() error {
		if s.round.flaw != "" {
			r.findings = append(r.findings, Finding{f.name, s.round.flawAt, s.round.flaw})
		}
		if observe != nil {
			observe(f, &s.round, body)
		}
		r.bytes += s.round.bytes
		err := r.add(f.name, uint32(f.sequence), &s.round, body)
		s.number = r.number
		return err
	}
	if f.known && r.rounds == 0 && f.header.firstRound > 0 {
		r.number = f.header.firstRound - 1
		s.number = r.number
	}
	at := int64(headersSize)
	for at+headSize <= end {
		h, ok, err := s.roundAt(at, end)
		if err != nil {
			return err
		}
		next := at + sectorSize
		if ok {
			next = at + toSector(int64(h.term))
			if err := s.readRound(at, h); err != nil {
				return err
			}
		}
		if ok && s.round.flaw == "" {
			if err := take(); err != nil {
				return err
			}
			at = next
			continue
		}
		// Whatever has a round behind it was synced, and is damaged. So is what
		// lies before the end that the next segment tells, and what was written
		// to its last sector, since a crash takes whole sectors away.
		later, err := s.nextRound(next, end)
		if err != nil {
			return err
		}
		if later < 0 && !ends {
			torn, err := s.blank(at)
			if ok {
				torn, err = s.torn(at, next, h.nth)
			}
			if err != nil {
				return err
			}
			if torn {
				break
			}
		}
		if !ok {
			written, limit := later, later
			switch {
			case later < 0 && ends:
				written, limit = end, end
			case later < 0:
				limit = end
				if written, err = s.written(at, end); err != nil {
					return err
				}
			}
			if err := s.salvage(at, written, limit); err != nil {
				return err
			}
			next = at + s.round.bytes
		}
		if err := take(); err != nil {
			return err
		}
		if at = next; !ok && !s.round.unexplained && len(s.round.records) == 0 && at == f.size {
			r.closed = true // it was the mark of that: the file ends with it
		}
	}
	f.end = at
	if f.size%sectorSize != 0 {
		r.findings = append(r.findings, Finding{f.name, f.size, "the end of a sector is missing"})
	}
	switch {
	case ends && f.size < end, last && f.known && f.size < f.header.allocated && !r.closed:
		lost := store.CorruptError{File: f.name, Offset: min(f.size, end), What: "the end of the file is missing"}
		r.findings = append(r.findings, Finding{lost.File, lost.Offset, lost.What})
		r.suspectAll(lost)
	case last:
		return r.behind(s, f)
	}
	return nil
}

// blank reports whether nothing was ever written where the head of a round would
// be.
func (s *scanner) blank(at int64) (bool, error) {
	b, err := s.bytes(at, headSize)
	return err == nil && nonZero(b) < 0, err
}

// written is the end of the last sector before limit that has anything in it,
// or of the sector at this offset.
func (s *scanner) written(at, limit int64) (int64, error) {
	end := at + sectorSize
	for at = end; at < limit; at += sectorSize {
		b, err := s.bytes(at, sectorSize)
		if err != nil {
			return 0, err
		}
		if nonZero(b) >= 0 {
			end = at + sectorSize
		}
	}
	return min(end, limit), nil
}

// behind looks for what a crash left behind the last round.
func (r *recovery) behind(s *scanner, f *fileFound) error {
	for at := f.end; at < f.size; at += windowBytes {
		b, err := s.bytes(at, windowBytes)
		if err != nil {
			return err
		}
		if i := nonZero(b); i >= 0 {
			r.torn = &Finding{f.name, at + int64(i), "a round was not synced when the power failed, or the process ended"}
			return nil
		}
	}
	return nil
}
