package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/realmesh"
)

// archive is the stream of a soak, and what was acknowledged of it. A publisher at
// each node publishes one order after the other, each again and again until it is
// acknowledged; so the log of its region has them all, once and in order.
//
// Goroutines: the publishers; close waits for them.
type archive struct {
	t      *testing.T
	m      *realmesh.Mesh
	client http.Client
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex        // guards the fields below
	large  bool              // orders of the first region are, and come without a pause
	acked  map[string]int    // source → how many were acknowledged
	told   map[string]string // source and id → where, of those that were not read yet
	resent int               // tries beyond the first

	next map[string]int64 // log → the offset that is read next; the reader's
	read map[string]int   // source → how many were read; the reader's
}

const (
	// archivePause is between two orders of a publisher.
	archivePause = 20 * time.Millisecond
	// The bytes of an order: of large ones a few hundred fill a file of the journal.
	orderBytes, largeOrderBytes = 300, 256 << 10
)

func newArchive(t *testing.T, m *realmesh.Mesh) *archive {
	t.Helper()
	createOrders(t, m)
	ctx, cancel := context.WithCancel(context.Background())
	a := &archive{
		t: t, m: m, client: http.Client{Timeout: time.Minute}, stop: cancel,
		acked: map[string]int{}, told: map[string]string{}, next: map[string]int64{}, read: map[string]int{},
	}
	for _, n := range m.Nodes {
		a.wg.Go(func() { a.publish(ctx, n, n.Region == m.Nodes[0].Region) })
	}
	return a
}

// close stops publishing.
func (a *archive) close() {
	a.stop()
	a.wg.Wait()
	a.client.CloseIdleConnections()
}

func (a *archive) publish(ctx context.Context, at *realmesh.Node, swells bool) {
	source := "/archive/" + at.Name
	p := &publisher{source: source, client: a.client, tries: map[string]int{}}
	small, large := strings.Repeat("x", orderBytes), strings.Repeat("x", largeOrderBytes)
	for n := 0; ctx.Err() == nil; {
		a.mu.Lock()
		data, pause := small, archivePause
		if a.large && swells {
			data, pause = large, 0
		}
		a.mu.Unlock()
		id := strconv.Itoa(n)
		position := p.publishData(at.HTTP, id, data)
		a.mu.Lock()
		if position != "" {
			a.acked[source]++
			a.told[source+" "+id] = strings.TrimSuffix(position, ";duplicate")
			a.resent += p.tries[id] - 1
			delete(p.tries, id)
			n++
		} else {
			pause = archivePause
		}
		a.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// swell makes the orders of the first region large, or small again.
func (a *archive) swell(large bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.large = large
}

// check reads at a node what has come since the last time, and compares. What was
// acknowledged before is read, or reading fails; it may fail for as long as a mesh
// takes to be whole.
func (a *archive) check(at *realmesh.Node) {
	a.t.Helper()
	a.mu.Lock()
	due := maps.Clone(a.acked)
	a.mu.Unlock()
	var broken error
	for deadline := time.Now().Add(soakPatience); ; time.Sleep(100 * time.Millisecond) {
		if broken = a.readOn(at); broken == nil {
			break
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("the stream cannot be read at %s: %v", at.Name, broken)
		}
	}
	for source, n := range due {
		if a.read[source] < n {
			a.t.Errorf("%d orders of %s were acknowledged, and %d are read at %s", n, source, a.read[source], at.Name)
		}
	}
}

// readOn reads to the end.
func (a *archive) readOn(at *realmesh.Node) error {
	url := at.HTTP + "/streams/orders/events"
	if len(a.next) > 0 {
		url += "?from=" + a.cursor()
	}
	res, err := a.client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return errors.Join(fmt.Errorf("%s: %s", res.Status, b), err)
	}
	for lines := json.NewDecoder(res.Body); ; {
		var line keptLine
		if err := lines.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if line.Problem != nil {
			return fmt.Errorf("reading ended: %s", line.Problem)
		}
		a.note(&line)
	}
}

func (a *archive) cursor() string {
	var list []string
	for _, log := range slices.Sorted(maps.Keys(a.next)) {
		list = append(list, fmt.Sprintf("%s:%d", log, a.next[log]))
	}
	return strings.Join(list, ",")
}

// note compares a line.
func (a *archive) note(line *keptLine) {
	log := fmt.Sprintf("%s/%d", line.Region, line.Partition)
	if line.Offset != a.next[log] {
		a.t.Errorf("%s has offset %d after %d", log, line.Offset, a.next[log]-1)
	}
	a.next[log] = line.Offset + 1
	source := line.Event.Source
	if !strings.HasPrefix(source, "/archive/") {
		return
	}
	if want := strconv.Itoa(a.read[source]); line.Event.ID != want {
		a.t.Errorf("%s of %s is kept at %s/%d, want %s there", line.Event.ID, source, log, line.Offset, want)
	}
	a.read[source]++
	a.mu.Lock()
	defer a.mu.Unlock()
	key := source + " " + line.Event.ID
	if told, is := a.told[key]; is && told != fmt.Sprintf("orders@%s/%d", log, line.Offset) {
		a.t.Errorf("%s was acknowledged at %s, and is at %s/%d", key, told, log, line.Offset)
	}
	delete(a.told, key)
}

// String says how much was published and read.
func (a *archive) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	acked, read := 0, 0
	for source, n := range a.acked {
		acked, read = acked+n, read+a.read[source]
	}
	return fmt.Sprintf("%d orders were acknowledged (%d tries beyond the first), %d read back", acked, a.resent, read)
}
