package replication

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What a node leads that is about to be stopped others lead before it is: publishing
// through any node goes on as if nothing were, it is handed nothing back, and leads
// again once it is back.
func TestANodeThatGoesHandsOverWhatItLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := three(t, 6)
		time.Sleep(10 * time.Second) // simulated: leadership has been balanced
		goes := 0
		w.until("who leads the metadata leads a partition, too", func() bool {
			for i, n := range w.nodes {
				if n.running().meta.group().IsLeader() {
					goes = i
				}
			}
			return w.leads(goes) > 1
		})
		l := w.publish(s, 2)
		const most = 200 * time.Millisecond
		goesOn := func(span time.Duration, what string) {
			t.Helper()
			for began := time.Now(); time.Since(began) < span; {
				if took := l.goesOn(1); took > most {
					t.Errorf("%s, publishing goes on after %v", what, took)
				}
			}
		}
		m := w.nodes[goes].running()
		left := make(chan int)
		go func() { left <- m.HandOver(t.Context()) }()
		goesOn(most, "while it is handed over")
		if left := <-left; left > 0 || w.leads(goes) > 0 {
			t.Fatalf("it leads %d groups, and says %d", w.leads(goes), left)
		}
		goesOn(3*time.Second, "after it is handed over")
		if _, err := m.answerLead(); !errors.Is(err, errLeaving) || w.leads(goes) > 0 {
			t.Errorf("it leads %d groups, and would lead more: %v", w.leads(goes), err)
		}
		w.stop(goes)
		goesOn(3*time.Second, "after the node is stopped")
		w.start(goes)
		w.until("it leads again", func() bool { return w.leads(goes) > 0 })
		l.end(3)
	})
}
