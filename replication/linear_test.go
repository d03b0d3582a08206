package replication

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/skeinmesh/skein/transport/peer"
)

// founding is an attempt to found a region, and founder who did found it.
type founding struct {
	name string
	by   peer.ID
}

// register is the register of regions as it should be: of each region, whoever
// came first. An empty output is that of an attempt whose outcome is unknown.
func register() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byName := map[string][]porcupine.Operation{}
			for _, op := range history {
				name := op.Input.(founding).name
				byName[name] = append(byName[name], op)
			}
			var list [][]porcupine.Operation
			for _, ops := range byName {
				list = append(list, ops)
			}
			return list
		},
		Init: func() any { return peer.ID("") },
		Step: func(state, input, output any) (bool, any) {
			founder := state.(peer.ID)
			if founder == "" {
				founder = input.(founding).by
			}
			said := output.(peer.ID)
			return said == "" || said == founder, founder
		},
	}
}

// While nodes are cut off and leaders change, all who found regions at different
// nodes see one register: the history is linearizable.
func TestTheRegisterOfRegionsIsLinearizable(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { foundRegions(t, seed) })
		})
	}
}

func foundRegions(t *testing.T, seed uint64) {
	w := newTown(t, 5)
	w.rng = rand.New(rand.NewPCG(seed, 4))
	w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
	w.check(w.nodes[0].running().BeginRegister(t.Context(), w.nodes[0].self.ID, nil))
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	var mu sync.Mutex // guards history
	var history []porcupine.Operation
	var wg sync.WaitGroup
	for client := range 5 {
		rng := rand.New(rand.NewPCG(seed, uint64(client)))
		wg.Go(func() {
			for ctx.Err() == nil {
				in := founding{fmt.Sprintf("r%d", time.Since(began)/time.Second/2), peer.ID(fmt.Sprintf("founder-%d", client))}
				op := porcupine.Operation{ClientId: client, Input: in, Call: int64(time.Since(began)), Output: peer.ID(""), Return: math.MaxInt64}
				if m := w.pick(client); m != nil {
					if r, err := m.RegisterRegion(ctx, in.name, in.by); err == nil {
						op.Output, op.Return = r.FoundedBy, int64(time.Since(began))
					}
					mu.Lock()
					history = append(history, op)
					mu.Unlock()
				}
				time.Sleep(time.Duration(1+rng.IntN(200)) * time.Millisecond) // simulated
			}
		})
	}
	for range 12 {
		time.Sleep(time.Duration(1+w.rng.IntN(2000)) * time.Millisecond) // simulated
		switch w.rng.IntN(3) {
		case 0:
			w.cut(w.rng.Perm(5)[:1+w.rng.IntN(2)]...)
		case 1:
			i := w.rng.IntN(5)
			w.crash(i, true)
			time.Sleep(time.Duration(w.rng.IntN(2000)) * time.Millisecond) // simulated
			w.start(i)
		case 2: // whoever leads is cut off
			for i := range w.nodes {
				if m := w.pick(i); m != nil && m.meta.group().IsLeader() {
					w.cut(i)
				}
			}
		}
		time.Sleep(time.Duration(1+w.rng.IntN(3000)) * time.Millisecond) // simulated
		w.cut()
	}
	cancel()
	wg.Wait()
	known := 0
	for i, op := range history {
		history[i].ClientId = i // one whose outcome is unknown is never over
		if op.Output != peer.ID("") {
			known++
		}
	}
	if known < 100 {
		t.Errorf("only %d attempts have an outcome", known)
	}
	if !porcupine.CheckOperations(register(), history) {
		t.Error("the history is not linearizable")
	}
	t.Logf("%d attempts, %d with an outcome", len(history), known)
}
