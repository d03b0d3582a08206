package test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/realmesh"
)

// A process whose files were damaged while it did not run, or are gone, says so and has
// its replicas rebuilt from others; then those do without the ones that they were rebuilt
// from, and nothing that was acknowledged is missing.
func TestAProcessRebuildsWhatIsDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs processes")
	}
	m := realmesh.New(t, realmesh.Binary(t), 1, realmesh.Region{Name: "eu", Nodes: 3}, realmesh.Region{Name: "us", Nodes: 1})
	createOrders(t, m)
	p := &publisher{source: "/shop", acked: map[string]string{}, tries: map[string]int{}}
	publish := func(at, n int) {
		t.Helper()
		for range n {
			id := fmt.Sprint(len(p.acked))
			m.Until("an order is acknowledged", func() bool {
				p.acked[id] = strings.TrimSuffix(p.publish(m.Nodes[at].HTTP, id), ";duplicate")
				return p.acked[id] != ""
			})
		}
	}
	publish(0, 100)
	for _, damage := range []struct {
		what  string
		on    int
		files string // whose names end so
		do    func(path string, data []byte) error
		said  string // in its log; empty if it need not notice
	}{
		{"a flipped bit in the journal", 1, ".journal", flipOrder, "the body of a record is damaged"},
		{"a flipped bit in a log's file", 1, ".seg", flipOrder, ""}, // it is put there again, from the journal
		{"a journal that was cut short", 2, ".journal", cutShort, "will be made anew"},
		{"a log's file that was cut short", 2, ".seg", cutShort, ""}, // as well
		{"all is gone that it kept of streams", 1, "", remove, "the disk knows nothing of it"},
	} {
		n := m.Nodes[damage.on]
		if err := n.Terminate(); err != nil {
			t.Fatal(err)
		}
		publish(0, 20)
		done := 0
		err := filepath.WalkDir(filepath.Join(m.Dir(n), "streams"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, damage.files) {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || len(data) == 0 {
				return err
			}
			done++
			return damage.do(path, data)
		})
		if err != nil || done == 0 {
			t.Fatalf("%s: %d files, %v", damage.what, done, err)
		}
		m.Start(damage.on)
		m.AwaitWhole()
		m.Until(damage.what+": all replicas have all", func() bool {
			var v node.StreamView
			n.Get("/streams/orders", &v)
			whole := 0
			for _, l := range v.Logs {
				for _, r := range l.Replicas {
					if r.Role == "voter" && !r.Lost && r.Behind == 0 && l.Error == "" && l.Leader != "" {
						whole++
					}
				}
			}
			return whole == 2*3+2*1
		})
		if log, err := n.Log(); err != nil || !bytes.Contains(log, []byte(damage.said)) {
			t.Errorf("%s: its log does not say %q: %v", damage.what, damage.said, err)
		}
		publish(damage.on, 20)
		checkDurable(t, m, []*publisher{p})
	}
	m.Nodes[0].Kill()
	checkDurable(t, m, []*publisher{p})
}

// flipOrder flips a bit in the first order of a file, if it has one.
func flipOrder(path string, data []byte) error {
	at := bytes.Index(data, bytes.Repeat([]byte("x"), orderBytes))
	if at < 0 {
		return nil
	}
	data[at+orderBytes/2] ^= 1
	return os.WriteFile(path, data, 0o600)
}

// cutShort removes a file's second half.
func cutShort(path string, data []byte) error { return os.Truncate(path, int64(len(data)/2)) }

func remove(path string, _ []byte) error { return os.Remove(path) }
