package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// about makes an event of type reading with a subject.
func about(t *testing.T, subject string) event.Event {
	t.Helper()
	var b event.Builder
	b.SetString("id", "1").SetString("source", "/test").SetString("type", "reading").SetString("subject", subject)
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// Subscribers to many values make their region say fingerprints: other regions
// send what is wanted and nothing else, and do not learn the values.
func TestManyValuesCrossTheMeshAsFingerprints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 3}})
		const values = 40
		var subs []*node.Subscription
		for i := range values {
			f, err := filter.Parse(fmt.Appendf(nil, `{"exact":{"type":"reading","subject":"sensor-%d"}}`, i))
			if err != nil {
				t.Fatal(err)
			}
			s, err := m.Nodes[2+i%3].Subscribe(t.Context(), node.SubscribeRequest{Filter: f})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			if len(s.Missing()) > 0 {
				t.Fatalf("the barrier misses %v", s.Missing())
			}
			subs = append(subs, s)
		}
		// The values that were said while they were few linger.
		time.Sleep(time.Minute)
		from := m.Nodes[0]
		var shown []string
		for _, v := range from.InterestViews() {
			if v.Scope == "region" && v.Region == "r1" {
				shown = append(shown, v.Filter)
			}
		}
		if want := []string{fmt.Sprintf("type reading and subject is one of %d values", values)}; !slices.Equal(shown, want) {
			t.Errorf("another region sees %q, want %q", shown, want)
		}
		before := from.Stats().Forwarded
		for i := range 100 {
			subject := "nobody's"
			if i < values {
				subject = fmt.Sprint("sensor-", i)
			}
			if err := from.Publish(t.Context(), "", []event.Event{about(t, subject)}, ""); err != nil {
				t.Fatal(err)
			}
		}
		if sent := from.Stats().Forwarded - before; sent != values {
			t.Errorf("%d events were sent, %d are wanted", sent, values)
		}
		for i, s := range subs {
			if got := collect(t, s, time.Second); !slices.Equal(got, []string{"1"}) {
				t.Errorf("subscriber %d got %v", i, got)
			}
		}
		if s := m.Nodes[2].Stats().Summary; s.Fingerprints != values || s.Unwanted != 0 || s.Widened != 0 {
			t.Errorf("the region's summary: %+v", s)
		}
		own := ""
		for _, v := range m.Nodes[2].InterestViews() {
			if v.Scope == "region" && v.Region == "r1" {
				own = v.Label
			}
		}
		if !strings.Contains(own, "fingerprints") || !strings.Contains(own, "0 events came for nobody") {
			t.Errorf("the region itself sees %q", own)
		}
	})
}
