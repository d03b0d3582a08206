// Package wan is a wide-area network between real processes on one machine: it
// carries the UDP packets of nodes and does to them what such networks do.
//
// Every node gets an address of the emulator's to advertise. A packet that
// arrives there from another node is delayed, dropped or kept by the
// conditions of the pair of regions, and goes on to the node's real address,
// sent from the address that its sender advertises: so nodes see each other
// under their advertised addresses only, as they would behind real routers.
//
// Conditions may change at any time, also while packets are under way. One
// goroutine a node reads, one sends what is due; Close waits for them.
package wan

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conditions of the way from one region to another. The zero value is perfect.
type Conditions struct {
	Delay     time.Duration // one way
	Jitter    time.Duration // up to this is added, evenly distributed; order is kept
	Loss      float64       // share of packets lost, independently
	Reorder   float64       // share of packets that overtake: sent without the delay's second half
	Bandwidth int           // bytes per second; 0 is unlimited
	Queue     int           // bytes that may wait for the bandwidth; 0 is 256 KiB
	Cut       bool          // nothing passes
}

const defaultQueue = 256 << 10

// Stats count the packets of a way since the start.
type Stats struct {
	Sent    uint64
	Lost    uint64 // by Loss, Cut and full queues
	Bytes   uint64 // of the packets sent
	Backlog int    // bytes on their way
}

// Emulator is a running network.
type Emulator struct {
	wg   sync.WaitGroup
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex // guards the fields below
	rng    *rand.Rand
	byReal map[netip.AddrPort]*port
	ports  []*port
	ways   map[[2]string]*way
	due    packets
	order  uint64
}

// port is a node's place in the network.
type port struct {
	region string
	real   netip.AddrPort
	conn   *net.UDPConn
}

// way is the way from one region to another.
type way struct {
	Conditions
	free  time.Time // when the bandwidth is free again
	last  time.Time // when the last packet in order arrives
	stats Stats
}

// packet is one on its way.
type packet struct {
	at    time.Time
	order uint64 // among packets of the same time
	data  []byte
	from  *port
	to    *port
	way   *way
}

// New starts a network without nodes. The seed decides which packets suffer.
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

// Attach adds the node that will listen at a loopback address, and returns the
// address it must advertise.
func (e *Emulator) Attach(region string, real netip.AddrPort) (netip.AddrPort, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("wan: attach %s: %w", real, err)
	}
	conn.SetReadBuffer(4 << 20) // best effort: a small one only loses packets
	conn.SetWriteBuffer(4 << 20)
	p := &port{region: region, real: real, conn: conn}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ports = append(e.ports, p)
	e.byReal[real] = p
	e.wg.Go(func() { e.read(p) })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// Set changes the conditions of the way from one region to another; SetBoth
// those of both directions.
func (e *Emulator) Set(from, to string, c Conditions) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.way(from, to).Conditions = c
}

func (e *Emulator) SetBoth(a, b string, c Conditions) {
	e.Set(a, b, c)
	e.Set(b, a, c)
}

// Isolate cuts a region off from all others, or heals it.
func (e *Emulator) Isolate(region string, cut bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.ports {
		if p.region != region {
			e.way(region, p.region).Cut = cut
			e.way(p.region, region).Cut = cut
		}
	}
}

// Stats are the counters of the way from one region to another.
func (e *Emulator) Stats(from, to string) Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.way(from, to).stats
}

// Close ends the network; packets on their way are lost.
func (e *Emulator) Close() error {
	close(e.done)
	e.mu.Lock()
	var errs []error
	for _, p := range e.ports {
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

// read takes the packets that are sent to a node.
func (e *Emulator) read(to *port) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := to.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed; loopback sockets have no other lasting errors
		}
		e.accept(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), to, buf[:n], time.Now())
	}
}

// accept decides a packet's fate.
func (e *Emulator) accept(from netip.AddrPort, to *port, data []byte, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sender := e.byReal[from]
	if sender == nil {
		return // not one of ours
	}
	w := e.way(sender.region, to.region)
	if w.Cut || w.Loss > 0 && e.rng.Float64() < w.Loss {
		w.stats.Lost++
		return
	}
	leaves := now
	if w.Bandwidth > 0 {
		queue := w.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		if w.free.Before(now) {
			w.free = now
		}
		if int(w.free.Sub(now).Seconds()*float64(w.Bandwidth))+len(data) > queue {
			w.stats.Lost++
			return
		}
		w.free = w.free.Add(time.Duration(float64(len(data)) / float64(w.Bandwidth) * float64(time.Second)))
		leaves = w.free
	}
	at := leaves.Add(w.Delay)
	if w.Jitter > 0 {
		at = at.Add(time.Duration(e.rng.Int64N(int64(w.Jitter))))
	}
	if w.Reorder > 0 && e.rng.Float64() < w.Reorder {
		at = leaves.Add(w.Delay / 2)
	} else if at.Before(w.last) {
		at = w.last
	} else {
		w.last = at
	}
	w.stats.Backlog += len(data)
	e.order++
	heap.Push(&e.due, packet{at: at, order: e.order, data: append([]byte(nil), data...), from: sender, to: to, way: w})
	if e.due[0].order == e.order {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
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
			p.from.conn.WriteToUDPAddrPort(p.data, p.to.real) // a node that is down loses its packets
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
