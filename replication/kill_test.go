package replication

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store/storetest"
	"github.com/skeinmesh/skein/transport/peer"
)

// Under load, processes are killed and the power fails, on one node, two or all,
// again and again; a node joins, and one is drained and leaves. Nothing that was
// acknowledged is lost, kept twice or out of order, and all replicas are the same.
func TestDurableKill9Loop(t *testing.T) {
	seeds := 3
	if factor, err := strconv.Atoi(os.Getenv("SKEIN_SOAK")); err == nil && factor > 1 {
		seeds *= factor
	}
	for seed := range seeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { killLoop(t, uint64(seed)) })
		})
	}
}

func killLoop(t *testing.T, seed uint64) {
	w := newTown(t, 3)
	w.rng = rand.New(rand.NewPCG(seed, 9))
	s := w.stream("orders", 3)
	w.until("the replicas are there", func() bool { return w.whole(3) })
	l := w.publish(s, 4)
	for round := range 10 {
		l.goesOn(20)
		switch round {
		case 3:
			w.join("late")
		case 7:
			w.until("the replicas are there", func() bool { return w.whole(3) })
			w.drain(0)
			w.stop(0)
			l.goesOn(20)
		}
		w.strike(round > 6)
	}
	l.goesOn(100)
	l.end(3)
}

// join adds a node.
func (w *town) join(name string) {
	n := &townNode{town: w, disk: storetest.NewDisk(), self: peer.Peer{ID: peer.ID(name), Name: name, Region: "eu"}}
	w.add(n)
	w.start(len(w.nodes) - 1)
}

// strike ends some nodes, at the same time or nearly, and starts them again. The
// first one has left if gone says so.
func (w *town) strike(gone bool) {
	nodes := w.rng.Perm(len(w.nodes))
	if gone {
		nodes = w.rng.Perm(len(w.nodes) - 1)
		for i := range nodes {
			nodes[i]++
		}
	}
	nodes = nodes[:1+w.rng.IntN(len(nodes))]
	pause := func(most int) { time.Sleep(time.Duration(w.rng.IntN(most)) * time.Millisecond) } // simulated
	for _, i := range nodes {
		pause(50)
		w.crash(i, w.rng.IntN(2) == 0)
	}
	pause(5000)
	for _, i := range nodes {
		pause(1000)
		w.start(i)
	}
	w.t.Log(fmt.Sprint("struck ", nodes))
}
