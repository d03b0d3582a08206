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

// damage is what befalls files of a node while it does not run.
type damage struct {
	what  string
	on    int    // the node's number
	files string // whose names end so
	do    func(path string, data []byte) error
	said  string // in the node's log; empty if it need not notice
}

// A process whose files were damaged while it did not run, or are gone, says so and has
// its replicas rebuilt from others; then those do without the ones that they were rebuilt
// from, and nothing that was acknowledged is missing.
func TestAProcessRebuildsWhatIsDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs processes")
	}
	binary := realmesh.Binary(t)
	for logStore, all := range map[string][]damage{
		"journal": {
			{"a flipped bit in the journal", 1, ".journal", flipOrder, "the body of a record is damaged"},
			{"a flipped bit in a log's file", 1, ".seg", flipOrder, ""}, // it is put there again, from the journal
			{"a journal that was cut short", 2, ".journal", cutShort, "will be made anew"},
			{"a log's file that was cut short", 2, ".seg", cutShort, ""}, // as well
			{"all is gone that it kept of streams", 1, "", remove, "the disk knows nothing of it"},
		},
		"bolt": {
			{"a flipped bit in a file of raft-boltdb", 1, ".bolt", flipOrder, "will be made anew"},
			{"files of raft-boltdb that were cut short", 2, ".bolt", cutShort, "it begins anew"},
		},
	} {
		t.Run(logStore, func(t *testing.T) { rebuildWhatIsDamaged(t, binary, logStore, all) })
	}
}

func rebuildWhatIsDamaged(t *testing.T, binary, logStore string, all []damage) {
	flags := []string{"--log-store", logStore}
	m := realmesh.New(t, binary, 1, realmesh.Region{Name: "eu", Nodes: 3, Flags: flags}, realmesh.Region{Name: "us", Nodes: 1, Flags: flags})
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
	for _, d := range all {
		n := m.Nodes[d.on]
		if err := n.Terminate(); err != nil {
			t.Fatal(err)
		}
		publish(0, 20)
		d.befall(t, filepath.Join(m.Dir(n), "streams"))
		m.Start(d.on)
		m.AwaitWhole()
		m.Until(d.what+": all replicas have all", func() bool {
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
		if log, err := n.Log(); err != nil || !bytes.Contains(log, []byte(d.said)) {
			t.Errorf("%s: its log does not say %q: %v", d.what, d.said, err)
		}
		publish(d.on, 20)
		checkDurable(t, m, []*publisher{p})
	}
	m.Nodes[0].Kill()
	checkDurable(t, m, []*publisher{p})
}

// befall does the damage to all such files below a directory.
func (d *damage) befall(t *testing.T, dir string) {
	t.Helper()
	done := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, d.files) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return err
		}
		done++
		return d.do(path, data)
	})
	if err != nil || done == 0 {
		t.Fatalf("%s: %d files, %v", d.what, done, err)
	}
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
