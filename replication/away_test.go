package replication

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
)

// lonely is a node whose events for another region do not get there.
func lonely(t *testing.T) (*townNode, *Member) {
	w := newTownOf(t, 1, func(n *townNode) { n.sendAway = func() error { return errDown } })
	m := w.nodes[0].running()
	w.until("it is of its region", m.Current)
	return w.nodes[0], m
}

// A full disk takes nothing for other regions, as it takes nothing for this one.
func TestAFullDiskPutsNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := lonely(t)
		put := func() error { return m.PutAway(t.Context(), meta.ID{7}, []Away{{Data: []byte("x")}}) }
		if err := put(); err != nil {
			t.Fatal(err)
		}
		n.disk.Put("ballast", make([]byte, 160<<20))
		n.disk.Limit(100*n.disk.Used()/94 + 1)
		time.Sleep(2 * diskEvery) // simulated
		if err := put(); !isFull(err) || errors.Is(err, ErrUnknown) {
			t.Errorf("the disk is full: %v", err)
		}
		n.disk.Limit(4 << 30)
		time.Sleep(2 * diskEvery) // simulated
		if err := put(); err != nil || m.Kept().Waiting != 2 {
			t.Errorf("there is room again: %v, and %d wait", err, m.Kept().Waiting)
		}
	})
}

// late reports whether an error is that of who does not wait any more: what had begun to
// be written may be kept.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && errors.Is(err, ErrUnknown) != errors.Is(err, ErrBusy)
}

// A disk that hangs holds up nobody for longer than he waits.
func TestAHungDiskAnswersWhoPutsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := lonely(t)
		for _, stream := range []meta.ID{{7}, {8}} { // one that waits already, and one that is new
			if stream == (meta.ID{7}) {
				if err := m.PutAway(t.Context(), stream, []Away{{Data: []byte("x")}}); err != nil {
					t.Fatal(err)
				}
			}
			release := n.disk.Hang()
			for _, wait := range []time.Duration{time.Second, time.Hour} {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				began := time.Now()
				err := m.PutAway(ctx, stream, []Away{{Data: []byte("x")}})
				cancel()
				if took := time.Since(began); !late(err) || took != min(wait, appendWait) {
					t.Errorf("after %v: %v", took, err)
				}
				if m.Kept(); m.DrainedAway(t.Context(), stream) != (stream == meta.ID{8}) {
					t.Error("whether anything waits is another than before")
				}
			}
			var wg sync.WaitGroup
			for range 15 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if err := m.PutAway(ctx, stream, []Away{{Data: make([]byte, 1<<20)}}); !late(err) {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			if err := m.PutAway(t.Context(), stream, []Away{{Data: make([]byte, 1<<20)}}); !errors.Is(err, ErrBusy) || errors.Is(err, ErrUnknown) {
				t.Errorf("too much waits for the disk already: %v", err)
			}
			wg.Wait()
			release()
			if err := m.PutAway(t.Context(), stream, []Away{{Data: []byte("x")}}); err != nil {
				t.Errorf("the disk answers again: %v", err)
			}
		}
	})
}

// A sync of what is put away fails: nobody knows whether that is kept, the node says that
// its disk has failed, and takes nothing more.
func TestAFailedSyncOfWhatIsPutAwayIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := lonely(t)
		put := func() error { return m.PutAway(t.Context(), meta.ID{7}, []Away{{Data: []byte("x")}}) }
		if err := put(); err != nil || m.Health() != nil {
			t.Fatal(err, m.Health())
		}
		n.disk.FailSync(1, errors.New("input/output error"))
		if err := put(); !errors.Is(err, ErrUnknown) {
			t.Errorf("the sync fails: %v", err)
		}
		if err := m.Health(); !errors.Is(err, store.ErrFailed) {
			t.Errorf("the node's health: %v", err)
		}
		if err := put(); !errors.Is(err, store.ErrFailed) || errors.Is(err, ErrUnknown) {
			t.Errorf("after that: %v", err)
		}
	})
}
