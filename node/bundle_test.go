package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// However records are cut into bundles, each fits into a call, also as older nodes
// send it, unless it is one record; none is so small that many calls are needed.
func TestBundlesFitIntoCalls(t *testing.T) {
	key := replication.Key{}
	for i := range key {
		key[i] = 255 // its form in JSON is the longest
	}
	for _, size := range []int{0, 50, 300, 5000, 300 << 10, 900 << 10, maxEnvelope} {
		records := make([]replication.Away, 9000)
		data := make([]byte, size)
		for i := range records {
			records[i] = replication.Away{Key: key, Data: data}
		}
		n := fitting(records)
		if n == 0 || n > 1 && n < bundleRecords && n*(size+recordLeast) < 400<<10 {
			t.Errorf("%d records of %d bytes", n, size)
		}
		b := bundle{bundleHead{Region: "r", Stream: meta.ID{1}}, replication.AppendAway(nil, records[:n])}
		body, err := b.encode()
		if err != nil || len(body) > wire.MaxFrame-64 {
			t.Errorf("%d records of %d bytes: %d bytes, %v", n, size, len(body), err)
		}
		if old, err := b.question(); n > 1 && (err != nil || len(old) > wire.MaxFrame-64) {
			t.Errorf("%d records of %d bytes for an older node: %d bytes, %v", n, size, len(old), err)
		}
	}
}

// recordLeast is what a record takes in an older bundle besides its data.
const recordLeast = 96

// A node hands a bundle to one that is older than bundles as that one knows it. An
// event that is too large for that cannot go there now.
func TestABundleGoesToAnOlderNode(t *testing.T) {
	home := open(t, Config{Name: "h", Region: "eu"})
	far := open(t, Config{Name: "f", Region: "us", Seeds: []string{home.self.Addr.String()}, KeyFile: home.KeyFile()})
	until(t, "both are ready", func() bool { return home.Ready() == nil && far.Ready() == nil })
	view, err := home.CreateStream(t.Context(), StreamDefinition{Name: "orders", Placement: "home:eu", Filter: []byte(`{"pattern":{"type":"order.>"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := far.find(t.Context(), "", "orders", false)
	if err != nil {
		t.Fatal(err)
	}
	pass := func(ids []string, size int) (positions []Position, err error) {
		var records []replication.Away
		for _, id := range ids {
			var b event.Builder
			b.SetString("id", id).SetString("source", "/shop").SetString("type", "order.placed")
			ev, err := b.SetData(event.BinaryData, make([]byte, size)).Event()
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, replication.Away{Key: dedupKey(&ev), Data: ev.Bytes()})
		}
		p := &bundle{bundleHead{Region: "eu", Stream: s.UUID}, replication.AppendAway(nil, records)}
		b, err := far.passOld(t.Context(), home.self.ID, p)
		return positions, heardAbroad("eu", b, err, &positions)
	}
	positions, err := pass([]string{"1", "2", "3"}, 100)
	if err != nil || len(positions) != 3 || positions[2].Offset != 2 || positions[2].Stream != view.Name {
		t.Errorf("%+v, %v", positions, err)
	}
	if _, err := pass([]string{"4"}, 1<<20-200); !errors.Is(err, ErrUnreachable) {
		t.Errorf("too large for an older node: %v", err)
	}
	if _, err := far.net.Call(t.Context(), home.self.ID, wire.LastControl, []byte("?")); !isUnknownCall(err) {
		t.Errorf("a call that is not known yet is refused with %v", err)
	}
}

func TestABundleIsReadAsItWasWritten(t *testing.T) {
	records := []replication.Away{{Key: replication.Key{1}, Data: []byte("one")}, {Key: replication.Key{2}, Data: []byte{}}}
	p := bundle{bundleHead{"eu", meta.ID{7}, 3}, replication.AppendAway(nil, records)}
	b, err := p.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeBundle(b)
	list, bad := got.list()
	if errors.Join(err, bad) != nil || got.bundleHead != p.bundleHead || len(list) != 2 {
		t.Fatalf("%+v, %v %v", got, err, bad)
	}
	for i, r := range list {
		if r.Stream != p.Stream || r.Dedup != records[i].Key || !slices.Equal(r.Data, records[i].Data) {
			t.Errorf("record %d is %v", i, fmt.Sprint(r))
		}
	}
	for cut := range len(b) {
		got, err := decodeBundle(b[:cut])
		if _, bad := got.list(); err == nil && bad == nil {
			t.Errorf("cut to %d bytes it is read", cut)
		}
	}
}
