package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/realmesh"
)

// publisher publishes orders of a source at a node, one after the other, and
// records what came of each. What was not acknowledged is sent again, under the
// same id, until it is.
type publisher struct {
	source string
	client http.Client
	acked  map[string]string // id → the position that was told
	tries  map[string]int
}

// publish sends an order once; the position is empty unless it was acknowledged.
func (p *publisher) publish(url, id string) (position string) {
	return p.publishData(url, id, strings.Repeat("x", orderBytes))
}

// publishData is publish for an order with some data.
func (p *publisher) publishData(url, id, data string) (position string) {
	p.tries[id]++
	req, err := http.NewRequest(http.MethodPost, url+"/events", strings.NewReader(data))
	if err != nil {
		return ""
	}
	for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": id, "ce-source": p.source, "ce-type": "order.placed"} {
		req.Header.Set(name, value)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusAccepted {
		return ""
	}
	return res.Header.Get("Skein-Position")
}

// until publishes orders of a round until it is told to stop, which it heeds
// between two of them.
func (p *publisher) until(url string, round int, stop <-chan struct{}, count func()) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		id := fmt.Sprintf("%d-%d", round, i)
		if at := p.publish(url, id); at != "" {
			p.acked[id] = strings.TrimSuffix(at, ";duplicate")
			count()
		}
	}
}

// What was acknowledged before all processes were killed at once, under load, is
// read in another region once they run again, at the position that was told, and
// nothing is there twice.
func TestDurableKill9(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs processes")
	}
	binary := realmesh.Binary(t)
	for logStore, rounds := range map[string]int{"journal": 3, "bolt": 1} {
		t.Run(logStore, func(t *testing.T) { durableKill9(t, binary, rounds, "--log-store", logStore) })
	}
}

func durableKill9(t *testing.T, binary string, rounds int, flags ...string) {
	m := realmesh.New(t, binary, 1, realmesh.Region{Name: "eu", Nodes: 3, Flags: flags}, realmesh.Region{Name: "us", Nodes: 1, Flags: flags}, realmesh.Region{Name: "ap", Nodes: 1, Flags: flags})
	createOrders(t, m)
	publishers := make([]*publisher, len(m.Nodes))
	for i := range publishers {
		publishers[i] = &publisher{source: fmt.Sprintf("/shop/%d", i), acked: map[string]string{}, tries: map[string]int{}}
	}
	for round := range rounds {
		killUnderLoad(m, publishers, round)
		for i := range m.Nodes {
			m.Launch(i)
		}
		m.AwaitReady()
		m.AwaitWhole()
		// A publisher sends what it has heard nothing of again: once is enough.
		for i, p := range publishers {
			for id, tries := range p.tries {
				for n := tries; p.acked[id] == ""; n++ {
					if n > 100 {
						t.Fatalf("%s %s is never acknowledged", p.source, id)
					}
					if n > tries {
						time.Sleep(20 * time.Millisecond) // it was refused
					}
					at := p.publish(m.Nodes[i].HTTP, id)
					p.acked[id] = strings.TrimSuffix(at, ";duplicate")
				}
			}
		}
		checkDurable(t, m, publishers)
	}
}

func createOrders(t *testing.T, m *realmesh.Mesh) {
	t.Helper()
	body := `{"name":"orders","filter":{"pattern":{"type":"order.>"}},"partitions":2,"dedupWindow":"1h"}`
	res, err := http.Post(m.Nodes[0].HTTP+"/streams", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusCreated {
		t.Fatalf("create: %s: %s", res.Status, b)
	}
}

// killUnderLoad kills all nodes when each has acknowledged some orders of a round
// and others are on their way.
func killUnderLoad(m *realmesh.Mesh, publishers []*publisher, round int) {
	const enough = 50
	stop := make(chan struct{})
	var running, warm sync.WaitGroup
	for i, p := range publishers {
		url := m.Nodes[i].HTTP
		warm.Add(enough)
		left := enough
		running.Go(func() {
			p.until(url, round, stop, func() {
				if left > 0 {
					left--
					warm.Done()
				}
			})
		})
	}
	warm.Wait()
	var killing sync.WaitGroup
	for _, n := range m.Nodes {
		killing.Go(n.Kill)
	}
	killing.Wait()
	close(stop)
	running.Wait()
}

// checkDurable reads the stream in another region, and compares.
func checkDurable(t *testing.T, m *realmesh.Mesh, publishers []*publisher) {
	t.Helper()
	found, where := map[string]int{}, map[string]string{}
	next := map[string]int64{} // of each log
	for _, line := range readOrders(t, m) {
		if strings.HasPrefix(line.Event.Source, "/probe") {
			continue
		}
		key := line.Event.Source + " " + line.Event.ID
		found[key]++
		where[key] = fmt.Sprintf("orders@%s/%d/%d", line.Region, line.Partition, line.Offset)
	}
	for _, line := range readOrders(t, m) {
		log := fmt.Sprintf("%s/%d", line.Region, line.Partition)
		if line.Offset != next[log] {
			t.Fatalf("%s has offset %d after %d", log, line.Offset, next[log]-1)
		}
		next[log]++
	}
	acked := 0
	for _, p := range publishers {
		for id, at := range p.acked {
			acked++
			key := p.source + " " + id
			if found[key] != 1 || where[key] != at {
				t.Errorf("%s was acknowledged at %s and is there %d times, at %s; it was sent %d times", key, at, found[key], where[key], p.tries[id])
			}
			delete(found, key)
		}
	}
	for key := range found {
		t.Errorf("%s is kept, and nobody has published it", key)
	}
	t.Logf("%d acknowledged, all there", acked)
}

// keptLine is a line of a stream as a node answers it.
type keptLine struct {
	Region    string
	Partition uint32
	Offset    int64
	Event     struct{ ID, Source string }
	Problem   json.RawMessage
}

// readOrders reads the stream at the last node, which is of another region than
// those that most was published in, as soon as all regions have leaders again.
func readOrders(t *testing.T, m *realmesh.Mesh) (list []keptLine) {
	t.Helper()
	url := m.Nodes[len(m.Nodes)-1].HTTP + "/streams/orders/events"
	m.UntilWithin(2*time.Minute, "the stream can be read", func() bool {
		list = nil
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return false
		}
		for lines := json.NewDecoder(res.Body); ; {
			var line keptLine
			err := lines.Decode(&line)
			if err == io.EOF {
				return true
			}
			if err != nil || line.Problem != nil {
				t.Logf("reading ended with %v %s", err, line.Problem)
				return false
			}
			list = append(list, line)
		}
	})
	return list
}
