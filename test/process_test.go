package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/test/realmesh"
)

// Real processes in three regions over an emulated wide-area network.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("a mesh of processes takes its time")
	}
	binary := realmesh.Binary(t)
	start := func(t *testing.T, seed uint64) *realmesh.Mesh {
		return realmesh.New(t, binary, seed, realmesh.Region{Name: "eu", Nodes: 2},
			realmesh.Region{Name: "us", Nodes: 1}, realmesh.Region{Name: "ap", Nodes: 1})
	}
	for _, c := range []struct {
		promise  string
		scenario func(*testing.T, *realmesh.Mesh)
	}{
		{"an event published in any region reaches all", everyRegionIsHeard},
		{"a region that is cut off serves its own and comes back", aCutRegionServesItsOwn},
		{"a killed node comes back as itself", aKilledNodeComesBack},
		{"a node that is told to stop leaves", aNodeLeaves},
	} {
		t.Run(c.promise, func(t *testing.T) { c.scenario(t, start(t, 1)) })
	}
	for seed := range uint64(seeds(1)) {
		t.Run(fmt.Sprint("loss and reordering cost no event and no order, seed ", seed), func(t *testing.T) {
			aBadNetworkCostsNothing(t, start(t, seed))
		})
	}
}

const ocean = "at 0s delay * * 20ms jitter 5ms\n"

func everyRegionIsHeard(t *testing.T, m *realmesh.Mesh) {
	m.Run(ocean)
	c := converse(t, m)
	ears := c.listen(client.BarrierMesh, m.Nodes...)
	c.exchange("news", m.Nodes, ears)
}

func aBadNetworkCostsNothing(t *testing.T, m *realmesh.Mesh) {
	c := converse(t, m)
	ears := c.listen(client.BarrierMesh, m.Nodes...)
	c.exchangeBy("weather", m.Nodes, ears, func(about string) {
		over := m.Begin(ocean + `
			at 0s  reorder * * 3%
			at 0s  loss * * 1%
			at 2s  loss * * 3%
			at 3s  burst eu -> us enter 0.2% leave 30% loss 50%
			at 4s  loss * * 5%
			at 6s  loss * * 2%
		`)
		for going := true; going; {
			for _, n := range m.Nodes {
				c.speak(n, about, 5, 1)
			}
			select {
			case err := <-over:
				if err != nil {
					t.Fatal(err)
				}
				going = false
			case <-time.After(2 * time.Millisecond): // a steady load
			}
		}
	})
	for _, to := range []string{"us", "ap"} {
		if s := m.WAN.Stats("eu", to); s.Lost == 0 {
			t.Errorf("the network to %s was not bad: %+v", to, s)
		} else {
			t.Logf("to %s %d packets were sent and %d lost", to, s.Sent, s.Lost)
		}
	}
}

func aCutRegionServesItsOwn(t *testing.T, m *realmesh.Mesh) {
	m.Run(ocean)
	c := converse(t, m)
	far, near := m.Nodes[3:], m.Nodes[:3]
	farEars, nearEars := c.listen(client.BarrierMesh, far...), c.listen(client.BarrierMesh, near...)

	m.Run("at 0s cut ap *")
	cut := time.Now()
	for _, side := range []struct {
		nodes []*realmesh.Node
		ears  []*ear
	}{{far, farEars}, {near, nearEars}} {
		c.exchange("cut", side.nodes, side.ears)
		late := c.listen(client.BarrierRegion, side.nodes...) // who comes now is served, too
		c.exchange("latecomers", side.nodes, append(late, side.ears...))
	}
	for _, e := range farEars {
		if e.hears(c, near[0], "cut") {
			t.Error("the cut was none")
		}
	}
	time.Sleep(time.Until(cut.Add(10 * time.Second)))
	m.Run("at 0s heal ap *")
	healed := time.Now()
	m.AwaitWhole()
	t.Logf("whole %v after the heal", time.Since(healed).Round(time.Millisecond))

	again := c.listen(client.BarrierMesh, m.Nodes...)
	c.exchange("heal", m.Nodes, slices.Concat(farEars, nearEars, again))
}

func aKilledNodeComesBack(t *testing.T, m *realmesh.Mesh) {
	m.Run(ocean)
	c := converse(t, m)
	for _, victim := range []int{3, 0} { // a region's only one, and the founder, everybody's seed
		n := m.Nodes[victim]
		id, boot, others := n.ID, n.Boot, slices.Delete(slices.Clone(m.Nodes), victim, victim+1)
		ears := c.listen(client.BarrierMesh, others...)
		n.Kill()
		c.killed[n.Name] = true
		m.Start(victim)
		if n.ID != id || n.Boot != boot+1 {
			t.Errorf("%s was %s boot %d, is %s boot %d", n.Name, id, boot, n.ID, n.Boot)
		}
		m.AwaitWhole()
		ears = append(ears, c.listen(client.BarrierMesh, n)...)
		c.exchange("end-of-"+n.Name, m.Nodes, ears)
	}
}

func aNodeLeaves(t *testing.T, m *realmesh.Mesh) {
	m.Run(ocean)
	c := converse(t, m)
	leaving := m.Nodes[2]
	ears := c.listen(client.BarrierMesh, slices.Delete(slices.Clone(m.Nodes), 2, 3)...)
	c.exchange("work", m.Nodes, ears)
	c.speak(leaving, "farewell", 5, 100)
	began := time.Now()
	if err := leaving.Terminate(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if wrong, _ := c.heard(ears, []*realmesh.Node{leaving}, "farewell", began); len(wrong) > 0 {
		t.Errorf("what it had taken before it left: %s", strings.Join(wrong, "\n"))
	}
	m.AwaitWhole() // without it: one that was lost would still be listed
}
