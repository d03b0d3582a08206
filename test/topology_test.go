package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// toldWithin is the promise of `skein topology`: whoever asks this long after a
// change is told the truth.
const toldWithin = 2 * time.Second

// holdsFrom fails the test unless what the running nodes answer, asked again and
// again from toldWithin after now until a time after now, is true: wrong says
// what of a topology is not. In a large mesh the nodes are asked in turns.
func holdsFrom(t *testing.T, m *simmesh.Mesh, until time.Duration, wrong func(node.Topology) string) {
	t.Helper()
	change := time.Now()
	time.Sleep(toldWithin)
	turns := 1 + len(m.Nodes)/8
	for round := 0; time.Since(change) < until; round++ {
		for i, n := range m.Nodes {
			if n == nil || (i+round)%turns != 0 {
				continue
			}
			asked := time.Since(change)
			if why := wrong(n.Topology(t.Context())); why != "" {
				t.Fatalf("node %d, asked %v after the change: %s", i, asked, why)
			}
		}
		time.Sleep(time.Second)
	}
}

// unlike says which link of a topology is down, or is up, against what it
// should be. One that is being made is neither.
func unlike(top node.Topology, up func(node.LinkView) bool) string {
	for _, l := range top.Links {
		if up(l) && l.State == "down" || !up(l) && l.State == "up" {
			return fmt.Sprintf("the link %s–%s is %s (%s)", l.FromName, l.ToName, l.State, l.Reason)
		}
		if l.State == "up" && (l.RTTMs <= 0 || l.Lanes < 1) {
			return fmt.Sprintf("the link %s–%s is up with a round trip of %v ms and %d lanes", l.FromName, l.ToName, l.RTTMs, l.Lanes)
		}
	}
	return ""
}

// stateOf is how a topology shows a node; empty when it does not.
func stateOf(top node.Topology, name string) string {
	for _, r := range top.Regions {
		for _, n := range r.Nodes {
			if n.Name == name {
				return n.State
			}
		}
	}
	return ""
}

// linksOf counts the links that a topology has of a node, and those of them
// that are up.
func linksOf(top node.Topology, name string) (all, up int) {
	for _, l := range top.Links {
		if l.FromName == name || l.ToName == name {
			all++
			if l.State == "up" {
				up++
			}
		}
	}
	return all, up
}

func TestTopologyShowsACutBetweenTwoRegionsToAThird(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 2}})
		m.CutRegions("r0", "r1")
		holdsFrom(t, m, 30*time.Second, func(top node.Topology) string {
			if len(top.Links) != 15 && top.Region == "r2" {
				return fmt.Sprintf("%d links are shown, want all 15", len(top.Links))
			}
			return unlike(top, func(l node.LinkView) bool {
				return l.FromRegion+l.ToRegion != "r0r1" && l.FromRegion+l.ToRegion != "r1r0"
			})
		})
		m.HealRegions("r0", "r1")
		m.Until(30*time.Second, "all links are up again", func() bool {
			return unlike(m.Nodes[5].Topology(t.Context()), func(node.LinkView) bool { return true }) == ""
		})
	})
}

func TestTopologyShowsAKilledNodeAsDown(t *testing.T) {
	// Regions larger than the number of gateways have nodes without a link to
	// the one that is killed; those are told by others.
	for _, size := range []int{2, 7} {
		t.Run(fmt.Sprint(size, " nodes a region"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := simmesh.New(t, simmesh.Config{Regions: []int{size, size, size}})
				killed := map[string]bool{}
				for _, victim := range []int{size, size + 1} {
					name := fmt.Sprint("n", victim)
					killed[name] = true
					m.Crash(victim)
					holdsFrom(t, m, 17*time.Second, func(top node.Topology) string {
						if s := stateOf(top, name); s != "down" && s != "lost" {
							return fmt.Sprintf("the killed node is shown as %q", s)
						}
						if _, up := linksOf(top, name); up > 0 {
							return fmt.Sprintf("%d links of the killed node are shown as up", up)
						}
						return unlike(top, func(l node.LinkView) bool {
							return !killed[l.FromName] && !killed[l.ToName]
						})
					})
				}
			})
		})
	}
}

func TestTopologyShowsANodeThatJoins(t *testing.T) {
	for _, region := range []string{"r1", "new"} {
		t.Run("region "+region, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 2}})
				i := m.Add(region)
				name := fmt.Sprint("n", i)
				holdsFrom(t, m, 10*time.Second, func(top node.Topology) string {
					if s := stateOf(top, name); s != "up" && s != "self" {
						return fmt.Sprintf("the new node is shown as %q", s)
					}
					if all, up := linksOf(top, name); all != 6 || up != 6 {
						return fmt.Sprintf("of its links %d are shown, %d up; want 6", all, up)
					}
					return unlike(top, func(node.LinkView) bool { return true })
				})
			})
		})
	}
}

func TestTopologyShowsRoundTripTimesAndWhatWentOverLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lan, wan = 500 * time.Microsecond, 40 * time.Millisecond
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 1, 1}, LAN: lan, WAN: wan})
		subscribe(t, m.Nodes[2], "a")
		near := func(ms float64, want time.Duration) bool {
			d := time.Duration(ms * float64(time.Millisecond))
			return d > want*95/100 && d < want*110/100+time.Millisecond
		}
		trips := func(wan time.Duration) func(top node.Topology) string {
			return func(top node.Topology) string {
				for _, l := range top.Links {
					want := 2 * wan
					if l.FromRegion == l.ToRegion {
						want = 2 * lan
					}
					if !near(l.RTTMs, want) {
						return fmt.Sprintf("the round trip %s–%s is shown as %v ms, and is %v", l.FromName, l.ToName, l.RTTMs, want)
					}
				}
				return ""
			}
		}
		holdsFrom(t, m, 4*time.Second, trips(wan))
		m.SetWAN(5 * wan)
		holdsFrom(t, m, 4*time.Second, trips(5*wan))
		m.SetWAN(wan)
		holdsFrom(t, m, 4*time.Second, trips(wan))

		const events, size = 20, 1000
		for i := range events {
			noise := make([]byte, size) // so that compression spares nothing
			rand.Read(noise)
			ev := newEvent(t, "a", fmt.Sprint(i), noise)
			if err := m.Nodes[0].Publish(context.Background(), "", []event.Event{ev}, ""); err != nil {
				t.Fatal(err)
			}
		}
		holdsFrom(t, m, 4*time.Second, func(top node.Topology) string {
			for _, l := range top.Links {
				forth, back, out, in := l.EventsOut, l.EventsIn, l.BytesOut, l.BytesIn
				if l.FromRegion > l.ToRegion {
					forth, back, out, in = back, forth, in, out
				}
				between := l.FromRegion + l.ToRegion
				switch carried := forth + back; {
				case between != "r0r1" && between != "r1r0":
					if carried != 0 || out+in > 1000 { // a word about flows, at most
						return fmt.Sprintf("%s–%s carried %d events and %d bytes, and nothing was for there", l.FromName, l.ToName, carried, out+in)
					}
				case (l.FromName == "n0" || l.ToName == "n0") && (forth != events || back != 0 || out < events*size || in != 0):
					return fmt.Sprintf("%s–%s carried %d events forth and %d back, %d bytes forth and %d back, of %d events", l.FromName, l.ToName, forth, back, out, in, events)
				}
			}
			return ""
		})
	})
}
