// Package wan is a wide-area network on one machine: it carries packets
// between places, such as regions, and does to them what such networks do. They are
// delayed, lost one by one or in bursts, reordered, held up by a bandwidth and its
// queue, and stopped by cuts of one direction or both. Conditions may change at
// any time, also while packets are under way; a script (Parse, Run) does so by
// the clock.
//
// For UDP between real processes every node gets an address of the emulator's
// to advertise (Attach). A packet that arrives there from another node goes on
// to the node's real address, sent from the address that its sender
// advertises: so nodes see each other under their advertised addresses only, as
// they would behind real routers. One address a node is enough, whoever sends
// to it: the sender is known by the address it sends from, which also stays the
// same when a node is killed and started again. What carries other packets,
// as package tun does, hands them over with Carry.
//
// Goroutines: one sends what is due, and one a node reads. Close waits for them.
package wan

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Emulator is a running network. Its methods may be called by any goroutine.
type Emulator struct {
	wg   sync.WaitGroup
	wake chan struct{} // has room for one
	done chan struct{}

	mu     sync.Mutex // guards the fields below
	rng    *rand.Rand
	places []string // sorted
	byReal map[netip.AddrPort]*port
	ways   map[[2]string]*way
	due    packets
	order  uint64
}

// packet is one on its way.
type packet struct {
	at      time.Time
	order   uint64 // among packets of the same time
	data    []byte
	deliver func([]byte)
	way     *way
}

// New starts a network without places. The seed decides which packets suffer.
func New(seed uint64) *Emulator {
	e := &Emulator{
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		rng:    rand.New(rand.NewPCG(seed, seed)),
		byReal: map[netip.AddrPort]*port{},
		ways:   map[[2]string]*way{},
	}
	e.wg.Go(e.send)
	return e
}

// Place makes a place known, for Isolate and for the "*" of scripts. Attach
// does so by itself.
func (e *Emulator) Place(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i, known := slices.BinarySearch(e.places, name); !known {
		e.places = slices.Insert(e.places, i, name)
	}
}

// Set changes the conditions of the way from one place to another; SetBoth
// those of both directions.
func (e *Emulator) Set(from, to string, c Conditions) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.way(from, to).Conditions = c
}

// SetBoth is Set for both directions.
func (e *Emulator) SetBoth(a, b string, c Conditions) {
	e.Set(a, b, c)
	e.Set(b, a, c)
}

// Isolate cuts a place off from all others that are known, or heals it.
func (e *Emulator) Isolate(place string, cut bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, other := range e.places {
		if other != place {
			e.way(place, other).Cut = cut
			e.way(other, place).Cut = cut
		}
	}
}

// Stats are the counters of the way from one place to another.
func (e *Emulator) Stats(from, to string) Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.way(from, to).stats
}

// Carry takes a packet from one place to another: deliver is called with a copy
// of it when it arrives, in the emulator's goroutine, if it does. It must not
// block for long: it holds up every other packet.
func (e *Emulator) Carry(from, to string, data []byte, deliver func([]byte)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.carry(from, to, data, deliver, time.Now())
}

// carry is Carry with the lock held.
func (e *Emulator) carry(from, to string, data []byte, deliver func([]byte), now time.Time) {
	w := e.way(from, to)
	at, arrives := w.admit(len(data), now, e.rng)
	if !arrives {
		w.stats.Lost++
		return
	}
	w.stats.Backlog += len(data)
	e.order++
	heap.Push(&e.due, packet{at: at, order: e.order, data: slices.Clone(data), deliver: deliver, way: w})
	if e.due[0].order == e.order {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// Close ends the network; packets on their way are lost.
func (e *Emulator) Close() error {
	close(e.done)
	e.mu.Lock()
	var errs []error
	for _, p := range e.byReal {
		errs = append(errs, p.conn.Close())
	}
	e.mu.Unlock()
	e.wg.Wait()
	return errors.Join(errs...)
}

func (e *Emulator) way(from, to string) *way {
	key := [2]string{from, to}
	if e.ways[key] == nil {
		e.ways[key] = new(way)
	}
	return e.ways[key]
}

// send delivers what is due.
func (e *Emulator) send() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(e.sendDue(time.Now()))
		select {
		case <-timer.C:
		case <-e.wake:
		case <-e.done:
			return
		}
	}
}

// sendDue delivers the packets whose time has come and says when the next one's
// comes.
func (e *Emulator) sendDue(now time.Time) time.Duration {
	for {
		e.mu.Lock()
		if len(e.due) == 0 {
			e.mu.Unlock()
			return time.Hour
		}
		if wait := e.due[0].at.Sub(now); wait > 0 {
			e.mu.Unlock()
			return wait
		}
		p := heap.Pop(&e.due).(packet)
		p.way.stats.Backlog -= len(p.data)
		cut := p.way.Cut
		if cut {
			p.way.stats.Lost++
		} else {
			p.way.stats.Sent++
			p.way.stats.Bytes += uint64(len(p.data))
		}
		e.mu.Unlock()
		if !cut {
			p.deliver(p.data)
		}
	}
}

// packets is a heap of packets by time.
type packets []packet

func (h packets) Len() int { return len(h) }
func (h packets) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}
func (h packets) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *packets) Push(x any)   { *h = append(*h, x.(packet)) }
func (h *packets) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = packet{}
	*h = old[:len(old)-1]
	return p
}
