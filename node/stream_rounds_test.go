package node

import (
	"fmt"
	"testing"
)

// Making a stream costs the same among ten streams as among thousands: what follows
// the metadata looks at those that have changed, here and in other regions.
func TestMakingAStreamDoesNotLookAtAllOthers(t *testing.T) {
	a := open(t, Config{Name: "a", Region: "eu"})
	b := open(t, Config{Name: "b", Region: "us", Seeds: []string{a.self.Addr.String()}, KeyFile: a.KeyFile()})
	for _, n := range []*Node{a, b} {
		until(t, "ready", func() bool { return n.Ready() == nil })
	}
	const some, more = 10, 25
	made := 0
	looked := func(until int) (byOwner, byOther uint64) {
		for ; made < until; made++ {
			v, err := a.CreateStream(t.Context(), StreamDefinition{Name: fmt.Sprint("s", made)})
			if err != nil || len(v.Missing) > 0 {
				t.Fatal(err, v.Missing)
			}
		}
		count := func(n *Node) uint64 {
			n.streams.mu.Lock()
			defer n.streams.mu.Unlock()
			return n.streams.rounds.looked
		}
		return count(a), count(b)
	}
	beforeA, beforeB := looked(some) // what regions know of each other has settled
	afterA, afterB := looked(some + more)
	// One that is new, its assignment, and that it is told.
	for _, n := range []uint64{afterA - beforeA, afterB - beforeB} {
		if n < more || n > 5*more {
			t.Errorf("for %d new streams a node looked at %d", more, n)
		}
	}
	if list, err := b.StreamViews(""); err != nil || len(list) != some+more {
		t.Errorf("the other region lists %d streams: %v", len(list), err)
	}
}
