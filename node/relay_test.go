package node

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/transport/event"
)

// However many logs of another region are followed, other questions get there.
func TestFollowersLeaveRoomForOtherQuestions(t *testing.T) {
	eu := open(t, Config{Region: "eu"})
	until(t, "eu is ready", func() bool { return eu.Ready() == nil })
	if _, err := eu.CreateStream(t.Context(), StreamDefinition{Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	s, err := eu.find(t.Context(), "", "orders", false)
	if err != nil {
		t.Fatal(err)
	}
	var b event.Builder
	b.SetString("id", "1")
	b.Set("source", event.URIRefValue("/shop"))
	b.SetString("type", "order")
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := eu.PublishKept(t.Context(), "", []event.Event{ev}, "")
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	us := open(t, Config{Region: "us", Seeds: []string{eu.self.Addr.String()}, KeyFile: eu.KeyFile()})
	until(t, "us is ready", func() bool { return us.Ready() == nil })

	const followers = 1500
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range followers {
		wg.Go(func() {
			q := blockAsk{Filter: fmt.Sprintf(`{"exact":{"type":"%d"}}`, i)}
			q.Partition, q.Log, q.From, q.Offset, q.Wait = kept[0].Partition, s.UUID, replication.FromOffset, 1, readWait
			for ctx.Err() == nil {
				if _, err := us.relays.block(ctx, "eu", &q, true); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	to := us.relays.room(eu.self.ID)
	until(t, "all ask", func() bool { return us.relays.Stats().Asked >= followers && len(to.waiting) >= roomWaiting })
	for range 20 {
		if _, err := us.endsOf(t.Context(), "eu", s.UUID); err != nil {
			t.Fatal(err)
		}
	}
}
