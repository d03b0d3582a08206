package journal

import (
	"fmt"

	"github.com/skeinmesh/skein/store"
)

// revived is a group as far as its records have been read.
type revived struct {
	state
	// lost is where records of it are missing: what it was after them nobody
	// knows, until its whole state is told again.
	lost *store.CorruptError
	// spot is where an entry was lost. It matters if the entry is still kept in
	// the end.
	spot *store.CorruptError
	// suspect is where its last records may have been lost. A later record that
	// follows the last one clears it.
	suspect *store.CorruptError
}

// damage is what the group has lost in the end, if anything.
func (g *revived) damage() *store.CorruptError {
	switch {
	case g.lost != nil:
		return g.lost
	case g.suspect != nil:
		return g.suspect
	case g.state.lost():
		return g.spot
	}
	return nil
}

// replay makes the groups again from the rounds of a journal, in their order.
type replay struct {
	groups map[ID]*revived
	number uint64 // of the last round, 0 before the first
	// doubt is where records may have been lost of groups of which nothing else
	// is known.
	doubt           *store.CorruptError
	closed          bool // the last round is that of a journal that was closed
	rounds, records int
	findings        []Finding
}

// group is the group of this ID, made if need be.
func (r *replay) group(id ID) *revived {
	g := r.groups[id]
	if g == nil {
		g = &revived{}
		r.groups[id] = g
	}
	return g
}

// suspectAll notes that records of any group may have been lost here.
func (r *replay) suspectAll(at store.CorruptError) {
	for id, g := range r.groups {
		if g.suspect == nil {
			g.suspect = named(at, id)
		}
	}
	r.doubt = &at
}

// named is what was lost, as a loss of this group.
func named(at store.CorruptError, id ID) *store.CorruptError {
	at.Log = id.String()
	return &at
}

// add takes in a round, or what is left of one. The bodies of values and states
// are read by body.
func (r *replay) add(name string, sequence uint32, round *roundFound, body func(f found) ([]byte, error)) error {
	where := store.CorruptError{File: name, Offset: round.flawAt, What: round.flaw}
	number := round.head.index
	if number == 0 { // the head is damaged
		number = r.number + 1
	} else if (r.rounds > 0 || r.number > 0) && number != r.number+1 {
		gap := store.CorruptError{File: name, Offset: round.at,
			What: fmt.Sprintf("rounds %d to %d before this one are missing", r.number+1, number-1)}
		r.findings = append(r.findings, Finding{gap.File, gap.Offset, gap.What})
		r.suspectAll(gap)
	}
	r.number = number
	r.rounds++
	r.closed = round.head.kind == kindClose
	checkpoint := round.head.kind == kindCheckpoint && round.flaw == ""
	if checkpoint {
		r.doubt = nil
	}
	for _, f := range round.records {
		r.records++
		if err := r.take(name, sequence, f, body); err != nil {
			return err
		}
	}
	for _, m := range round.members {
		if g := r.group(m.group); g.nth != m.nth {
			g.nth = m.nth
			if g.lost == nil {
				if where.What == "" {
					where.What, where.Offset = "records of the group before this round are missing", round.at
				}
				g.lost = named(where, m.group)
			}
		} else if round.flaw == "" {
			g.suspect = nil
		}
	}
	if round.unexplained {
		r.suspectAll(where)
	}
	if checkpoint {
		r.prune(round)
	}
	return nil
}

// prune drops the groups that a checkpoint does not list: that they were
// forgotten was told by a record which is lost.
func (r *replay) prune(round *roundFound) {
	listed := make(map[ID]bool, len(round.members))
	for _, m := range round.members {
		listed[m.group] = true
	}
	for id := range r.groups {
		if !listed[id] {
			delete(r.groups, id)
		}
	}
}

// take takes in one record.
func (r *replay) take(name string, sequence uint32, f found, body func(f found) ([]byte, error)) error {
	if f.typ == typeDoubt {
		r.doubt = &store.CorruptError{File: name, Offset: f.at, What: "groups were lost before this"}
		return nil
	}
	where := store.CorruptError{File: name, Offset: f.at, What: "the body of a record is damaged"}
	var row []byte
	if !f.bad && (f.typ == typeValues || f.typ == typeState) {
		var err error
		if row, err = body(f); err != nil {
			return err
		}
	}
	g := r.group(f.group)
	if f.typ == typeState {
		g.restate(f, row, where)
		return nil
	}
	if f.nth == after(g.nth) {
		g.suspect = nil
	} else if g.lost == nil {
		g.lost = named(store.CorruptError{File: name, Offset: f.at, What: "records of the group before this one are missing"}, f.group)
	}
	g.nth = f.nth
	if f.typ == typeForget {
		*g = revived{}
	}
	if g.lost == nil {
		g.change(f, row, sequence, where)
	}
	return nil
}

// change makes the change of a record that follows the group's last.
func (g *revived) change(f found, row []byte, sequence uint32, where store.CorruptError) {
	switch f.typ {
	case typeEntry:
		if !g.takes(f.index) {
			where.What = fmt.Sprintf("entry %d follows entry %d", f.index, g.last)
			g.lost = named(where, f.group)
			return
		}
		at := place{sequence, uint32(f.at), headSize + f.data + f.ext}
		if f.bad {
			at = place{}
			g.spot = named(where, f.group)
		}
		g.push(f.index, at)
	case typeRange:
		from, to, hole := g.clamp(f.index, f.term)
		if f.bad || hole {
			where.What = "a deletion leaves a hole"
			g.lost = named(where, f.group)
		} else if from <= to {
			g.deleteRange(from, to, func(uint32, int) {})
		}
	case typeValues:
		if f.bad || !readValues(row, g.set) {
			g.lost = named(where, f.group)
		}
	}
}

// restate takes in the state that a checkpoint tells of a group. What was read
// before tells where the entries lie, if it led to the same state.
func (g *revived) restate(f found, row []byte, where store.CorruptError) {
	follows := g.nth == f.nth && g.lost == nil && g.first == f.index && g.last == f.term
	g.suspect = nil
	g.nth = f.nth
	if f.kind == kindCorrupt {
		where.What = "the group had lost something before this"
		g.lost = named(where, f.group)
		return
	}
	if f.bad && follows {
		return // what was read before tells the same
	}
	g.lost, g.values = nil, nil
	if !follows {
		g.places = places{}
		g.first, g.last = f.index, f.term
		where.What = "older entries of the group are missing"
		g.spot = named(where, f.group)
	}
	if f.bad || f.term >= 1<<63 || f.index > f.term+1 || !readValues(row, g.set) {
		where.What = "the state of the group is damaged"
		g.lost = named(where, f.group)
	}
}
