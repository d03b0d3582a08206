package replication

import (
	"strings"
	"testing"
	"testing/synctest"
)

// Groups that are idle hold no files of the journal back, however much others write,
// and all goes on after a start.
func TestIdlePartitionsDoNotHoldTheJournal(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes much; that a group lets go of its log is tested in multiraft")
	}
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		s := w.stream("orders", 1)
		w.until("the replicas are there", func() bool { return w.whole(3) })
		l := w.publish(s, 1)
		files := func(i int) (n int) {
			for _, name := range files(w.nodes[i].disk, "streams") {
				if strings.Contains(name, "/journal/") {
					n++
				}
			}
			return n
		}
		for range 2 {
			w.fill(l, 3500)
			for i := range w.nodes {
				w.until("the journal has let go", func() bool { return files(i) <= heldSegments+2 })
			}
		}
		for i := range w.nodes {
			w.crash(i, true)
		}
		for i := range w.nodes {
			w.start(i)
		}
		l.goesOn(100)
		l.end(3)
	})
}
