package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/skeinmesh/skein/store"
)

// Report is what Verify found in a directory.
type Report struct {
	Mesh, Node string // whose the journal is
	Segments   int
	Rounds     int
	Records    int
	Entries    uint64 // kept by the groups
	Groups     int
	Closed     bool // the journal was closed, and not ended by a crash
	// Torn is what a crash left of a round that was not synced, if it left
	// anything. Opening the journal cuts it off.
	Torn *Finding
	// Findings are all damages, those included that cost nothing.
	Findings []Finding
	// Corrupt are the groups that lost something, each with where.
	Corrupt []*store.CorruptError
}

// Err is nil if nothing is wrong, else ErrCorrupt with the findings.
func (r *Report) Err() error {
	errs := make([]error, 0, len(r.Findings)+len(r.Corrupt))
	for _, f := range r.Findings {
		errs = append(errs, &store.CorruptError{File: f.File, Offset: f.Offset, What: f.What})
	}
	for _, c := range r.Corrupt {
		errs = append(errs, c)
	}
	return errors.Join(errs...)
}

// Verify reads all of a journal that is not open, and changes nothing. The error
// says why it could not be read; what is wrong with it is in the report.
func Verify(fs store.FS, dir string) (*Report, error) { return verify(fs, dir, nil) }

// Dump writes a line for each record of a journal that is not open, and what
// Verify finds.
func Dump(fs store.FS, dir string, w io.Writer) (*Report, error) {
	d := dumper{w: w}
	report, err := verify(fs, dir, d.round)
	if err != nil {
		return nil, err
	}
	for _, f := range report.Findings {
		d.printf("damage: %v\n", f)
	}
	for _, c := range report.Corrupt {
		d.printf("corrupt: %v\n", c)
	}
	if report.Torn != nil {
		d.printf("torn: %v\n", *report.Torn)
	}
	return report, d.err
}

func verify(fs store.FS, dir string, observe observer) (*Report, error) {
	r, err := recoverFrom(fs, dir, nil, observe)
	if errors.Is(err, errNone) {
		return nil, fmt.Errorf("journal: verify %s: %w", dir, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("journal: verify %s: %w", dir, err)
	}
	defer r.close()
	report := &Report{
		Segments: len(r.files), Rounds: r.rounds, Records: r.records,
		Closed: r.closed, Torn: r.torn, Findings: r.findings,
	}
	if r.unfinished != nil && r.torn == nil {
		report.Torn = &Finding{File: r.unfinished.name, What: "a segment was being made when the power failed, or the process ended"}
	}
	for _, f := range r.files {
		if f.known {
			report.Mesh, report.Node = f.header.mesh, f.header.node
		}
	}
	for _, g := range r.groups {
		report.Groups++
		report.Entries += g.entries()
		if lost := g.damage(); lost != nil {
			report.Corrupt = append(report.Corrupt, lost)
		}
	}
	if r.doubt != nil {
		report.Corrupt = append(report.Corrupt, r.doubt)
	}
	slices.SortFunc(report.Corrupt, func(a, b *store.CorruptError) int {
		return slices.Compare([]byte(a.Log), []byte(b.Log))
	})
	return report, nil
}

// dumper writes what a journal holds. After an error it writes nothing more.
type dumper struct {
	w   io.Writer
	err error
}

func (d *dumper) printf(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format, args...)
	}
}

// round writes a round and its records.
func (d *dumper) round(f *fileFound, round *roundFound, body func(found) ([]byte, error)) {
	what := ""
	switch round.head.kind {
	case kindCheckpoint:
		what = " checkpoint"
	case kindClose:
		what = " close"
	}
	d.printf("%s %10d round %d%s, %d groups, %d bytes\n",
		f.name, round.at, round.head.index, what, len(round.members), round.bytes)
	for _, r := range round.records {
		d.record(f, r, body)
	}
}

func (d *dumper) record(f *fileFound, r found, body func(found) ([]byte, error)) {
	d.printf("%s %10d   ", f.name, r.at)
	switch r.typ {
	case typeEntry:
		d.printf("entry  %s #%d index %d term %d kind %d, %d+%d bytes", r.group, r.nth, r.index, r.term, r.kind, r.data, r.ext)
		if r.time != noTime {
			d.printf(" %s", time.Unix(0, r.time).UTC().Format(time.RFC3339Nano))
		}
	case typeRange:
		d.printf("delete %s #%d from %d to %d", r.group, r.nth, r.index, r.term)
	case typeValues:
		d.printf("values %s #%d", r.group, r.nth)
	case typeForget:
		d.printf("forget %s #%d", r.group, r.nth)
	case typeState:
		d.printf("state  %s #%d from %d to %d", r.group, r.nth, r.index, r.term)
		if r.kind == kindCorrupt {
			d.printf(" CORRUPT")
		}
	case typeDoubt:
		d.printf("doubt")
	}
	if r.bad {
		d.printf(" DAMAGED")
	} else if r.typ == typeValues || r.typ == typeState {
		row, err := body(r)
		if err != nil {
			d.printf(" %v", err)
		}
		readValues(row, func(key string, data []byte) { d.printf(" %q=%x", key, data) })
	}
	d.printf("\n")
}
