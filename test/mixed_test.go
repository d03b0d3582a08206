package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/test/realmesh"
)

// olderRevision is the version that a mesh is upgraded from: the commit before this
// one, unless SKEIN_OLDER names another.
func olderRevision() string {
	if r := os.Getenv("SKEIN_OLDER"); r != "" {
		return r
	}
	return "HEAD^"
}

// TestMixedVersions: a mesh of an older version is upgraded node by node, under load.
// Meanwhile old nodes and new ones are in one region and in several, subscribe to
// each other's events, keep streams together and read them from each other; a region
// is founded through an old founder, and one through a new. What was acknowledged
// then is there, once and where it was said to be, however leaders moved.
func TestMixedVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs processes")
	}
	older, commit, err := realmesh.Older(t, olderRevision())
	if err != nil {
		t.Skipf("no older version can be had: %v", err)
	}
	t.Logf("from commit %s", commit)
	newer := realmesh.Binary(t)
	m := realmesh.New(t, older, 1, realmesh.Region{Name: "eu", Nodes: 3}, realmesh.Region{Name: "us", Nodes: 1})
	createOrders(t, m)
	u := &upgrade{t: t, m: m, c: converse(t, m), urls: map[string][]string{}}
	for i, region := range []string{"eu", "eu", "us"} {
		u.publishers = append(u.publishers, &publisher{source: fmt.Sprintf("/shop/%d", i), acked: map[string]string{}, tries: map[string]int{}})
		u.regions = append(u.regions, region)
	}
	u.check("old")
	u.c.doubted = true
	for stage, i := range []int{1, 3, 2, 0} { // the founder of the mesh is the last
		u.under(stage, func() {
			u.close(m.Nodes[i])
			if err := m.Nodes[i].Terminate(); err != nil {
				t.Errorf("%s ended with %v", m.Nodes[i].Name, err)
			}
			m.Nodes[i].Binary = newer
			m.Start(i)
			u.open()
		})
		m.AwaitWhole()
		u.check(fmt.Sprint("stage-", stage))
		if stage == 1 {
			m.Add("ap", newer)
			m.AwaitWhole()
		}
	}
	m.Add("sa", newer)
	m.AwaitWhole()
	u.check("new")
	if _, err := os.Stat(filepath.Join(m.Dir(m.Nodes[0]), "regions.json")); err == nil {
		t.Error("the register of regions is still in a file")
	}
}

// upgrade is a mesh that is upgraded, and what is published in it meanwhile.
type upgrade struct {
	t          *testing.T
	m          *realmesh.Mesh
	c          *conversation
	publishers []*publisher
	regions    []string // where each of them publishes

	mu   sync.Mutex // guards the map
	urls map[string][]string
}

// open tells the publishers which nodes there are.
func (u *upgrade) open() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.urls)
	for _, n := range u.m.Running() {
		u.urls[n.Region] = append(u.urls[n.Region], n.HTTP)
	}
}

// close takes a node off that list.
func (u *upgrade) close(n *realmesh.Node) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var left []string
	for _, url := range u.urls[n.Region] {
		if url != n.HTTP {
			left = append(left, url)
		}
	}
	u.urls[n.Region] = left
}

// door is a node of a region, or empty if none runs.
func (u *upgrade) door(region string, try int) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if list := u.urls[region]; len(list) > 0 {
		return list[try%len(list)]
	}
	return ""
}

// under does something while each publisher publishes one order after the other, the
// same one until it is acknowledged, at the nodes of its region in turn.
func (u *upgrade) under(stage int, do func()) {
	u.open()
	stop := make(chan struct{})
	var running sync.WaitGroup
	for i, p := range u.publishers {
		running.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("%d-%d", stage, n)
				for try, end := n, time.Now().Add(realmesh.Patience); p.acked[id] == ""; try++ {
					if url := u.door(u.regions[i], try); url != "" {
						p.acked[id] = strings.TrimSuffix(p.publish(url, id), ";duplicate")
					}
					if p.acked[id] == "" {
						time.Sleep(10 * time.Millisecond) // it was refused, or the node is away
					}
					if time.Now().After(end) {
						u.t.Errorf("%s %s is not acknowledged within %v", p.source, id, realmesh.Patience)
						return
					}
				}
				time.Sleep(time.Millisecond) // the machine has other things to do
			}
		})
	}
	do()
	close(stop)
	running.Wait()
}

// check has all nodes hear each other, and compares what is kept with what was
// acknowledged.
func (u *upgrade) check(about string) {
	u.t.Helper()
	nodes := u.m.Running()
	u.c.exchange(about, nodes, u.c.listen(client.BarrierMesh, nodes...))
	checkDurable(u.t, u.m, u.publishers)
}
