package test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/realmesh"
)

// From when the answer comes that a stream is made, no node takes an event that the
// stream wants without saying where it is kept, also not after kill -9 of some nodes
// or all at a random moment, from their first event on; and no node that runs again
// denies the stream.
func TestNoEventPassesAStreamUnkept(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs processes")
	}
	m := realmesh.New(t, realmesh.Binary(t), 1, realmesh.Region{Name: "eu", Nodes: 2}, realmesh.Region{Name: "us", Nodes: 1}, realmesh.Region{Name: "ap", Nodes: 1})
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var taken, refused atomic.Int64
	for round, placement := range []string{"local", "home:us", "local:eu,ap", "local"} {
		name := fmt.Sprint("s", round)
		makeStream(t, m.Nodes[rng.IntN(len(m.Nodes))], name, placement)
		stop := make(chan struct{})
		var publishers sync.WaitGroup
		load := func(i, start int) { // publishes at a node until told to stop, or the node is gone
			url, source := m.Nodes[i].HTTP, fmt.Sprintf("/%s/%d/%d", name, i, start)
			publishers.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					status, position := publishTo(url, name+".placed", source, fmt.Sprint(k))
					switch {
					case status == 0:
						return
					case status != http.StatusAccepted:
						refused.Add(1)
						time.Sleep(2 * time.Millisecond) // it is not ready, or nobody leads
					case position == "":
						t.Errorf("node %d takes event %d of %s (%s) at start %d without keeping it", i, k, name, placement, start)
						return
					default:
						taken.Add(1)
					}
				}
			})
		}
		for i := range m.Nodes {
			load(i, 0)
		}
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		all := round == 0 || rng.IntN(2) == 0
		var killed []int
		for i, n := range m.Nodes {
			if all || rng.IntN(2) == 0 {
				n.Kill()
				killed = append(killed, i)
			}
		}
		for _, i := range killed {
			m.Launch(i)
		}
		for _, i := range killed {
			m.AwaitReadyOf(i)
			load(i, 1)
			res, err := http.Get(m.Nodes[i].HTTP + "/streams/" + name + "/events?count=1")
			if err != nil {
				t.Fatal(err)
			}
			if res.Body.Close(); res.StatusCode == http.StatusNotFound {
				t.Errorf("node %d denies stream %s after its start", i, name)
			}
		}
		m.AwaitWhole()
		close(stop)
		publishers.Wait()
	}
	t.Logf("%d events were kept, %d tries refused", taken.Load(), refused.Load())
}

// makeStream makes a stream of all types that begin with its name.
func makeStream(t *testing.T, at *realmesh.Node, name, placement string) {
	t.Helper()
	body := fmt.Sprintf(`{"name":%q,"filter":{"prefix":{"type":"%s."}},"placement":%q}`, name, name, placement)
	res, err := http.Post(at.HTTP+"/streams", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusCreated || res.Header.Get("Skein-Missing-Regions") != "" {
		t.Fatalf("create %s at %s: %s: %s", name, at.Name, res.Status, said)
	}
}

// publishTo publishes an event and returns the status, 0 if there is no answer, and
// where the event is kept.
func publishTo(url, typ, source, id string) (status int, position string) {
	req, err := http.NewRequest(http.MethodPost, url+"/events", strings.NewReader("x"))
	if err != nil {
		return 0, ""
	}
	for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": id, "ce-source": source, "ce-type": typ} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, ""
	}
	return res.StatusCode, res.Header.Get("Skein-Position")
}
