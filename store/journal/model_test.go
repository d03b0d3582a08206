package journal

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// model is what a group must have.
type model struct {
	entries []store.Entry
	values  map[string]string
}

// after is the model after an operation; the one before stays as it is.
func (m model) after(op operation) model {
	switch op.kind {
	case "append":
		m.entries = append(slices.Clip(slices.Clone(m.entries)), op.entries...)
	case "delete":
		m.entries = slices.DeleteFunc(slices.Clone(m.entries), func(e store.Entry) bool {
			return e.Index >= op.min && e.Index <= op.max
		})
	case "set":
		m.values = maps.Clone(m.values)
		if m.values == nil {
			m.values = make(map[string]string)
		}
		for _, v := range op.values {
			m.values[v.Key] = string(v.Data)
		}
	case "forget":
		m = model{}
	}
	return m
}

// check says how a group differs from the model, if it does.
func (m model) check(g *Group) error {
	if err := g.Err(); err != nil {
		return err
	}
	first, _ := g.FirstIndex()
	last, _ := g.LastIndex()
	var from, to uint64
	if len(m.entries) > 0 {
		from, to = m.entries[0].Index, m.entries[len(m.entries)-1].Index
	}
	if first != from || last != to {
		return fmt.Errorf("entries %d to %d, want %d to %d", first, last, from, to)
	}
	for i := range m.entries {
		var e store.Entry
		if err := g.Get(m.entries[i].Index, &e); err != nil {
			return err
		}
		if !storetest.SameEntry(&e, &m.entries[i]) {
			return fmt.Errorf("entry %d is not what was appended", e.Index)
		}
	}
	for _, key := range keys {
		got, err := g.Value(key)
		want, set := m.values[key]
		if set != (err == nil) || set && string(got) != want {
			return fmt.Errorf("value %q is %q, %v; want %q, %v", key, got, err, want, set)
		}
	}
	return nil
}

var keys = []string{"term", "vote", "marker"}

// operation is something that is done to a group.
type operation struct {
	kind     string
	entries  []store.Entry
	min, max uint64
	values   []store.Value
}

// random is an operation that may be done to a group in this state.
func random(rng *rand.Rand, m model, term uint64) operation {
	first, last := uint64(1), uint64(0)
	if n := len(m.entries); n > 0 {
		first, last = m.entries[0].Index, m.entries[n-1].Index
	}
	switch p := rng.IntN(100); {
	case p < 55:
		next := last + 1
		if last == 0 {
			next = 1 + rng.Uint64N(1000)
		}
		op := operation{kind: "append"}
		for i := range 1 + rng.Uint64N(5) {
			e := store.Entry{Index: next + i, Term: term, Kind: uint8(rng.IntN(256)), Data: noise(rng, rng.IntN(400))}
			if rng.IntN(20) == 0 {
				e.Data, e.Extensions = noise(rng, 3000), noise(rng, 30)
			}
			if rng.IntN(10) == 0 {
				e.Data = make([]byte, rng.IntN(2000)) // zeros are what torn writes look like
			}
			op.entries = append(op.entries, e)
		}
		return op
	case p < 70: // after a snapshot
		return operation{kind: "delete", min: 1, max: first + rng.Uint64N(last-first+2)}
	case p < 78: // a conflict
		return operation{kind: "delete", min: last - min(last, rng.Uint64N(4)), max: last}
	case p < 82:
		return operation{kind: "delete", min: 0, max: 1 << 40}
	case p < 98:
		op := operation{kind: "set"}
		for range 1 + rng.IntN(2) {
			op.values = append(op.values, store.Value{Key: keys[rng.IntN(len(keys))], Data: noise(rng, rng.IntN(40))})
		}
		return op
	}
	return operation{kind: "forget"}
}

// do does it to a group.
func (op operation) do(g *Group) error {
	switch op.kind {
	case "append":
		return g.Append(op.entries)
	case "delete":
		return g.DeleteRange(op.min, op.max)
	case "set":
		return g.SetValues(op.values...)
	}
	return g.Forget()
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// either reports which of two models a group is like, and the error if it is
// like none.
func either(g *Group, before, after model) (model, error) {
	errBefore := before.check(g)
	if errBefore == nil {
		return before, nil
	}
	if err := after.check(g); err != nil {
		return before, errors.Join(fmt.Errorf("not as it was: %w", errBefore), fmt.Errorf("not as it was to be: %w", err))
	}
	return after, nil
}
