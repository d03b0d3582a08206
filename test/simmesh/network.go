package simmesh

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// network is a simulated packet network: every endpoint has an address, a
// region and a link with unlimited bandwidth; packets between regions take
// longer, and any pair of endpoints can be cut or made lossy.
type network struct {
	rt    *router
	links []*simnet.SimulatedLink
}

func newNetwork(seed uint64, lan, wan time.Duration) *network {
	return &network{rt: &router{
		lan: lan, wan: wan,
		rng:    rand.New(rand.NewPCG(seed, seed)),
		region: map[string]string{},
		cut:    map[[2]string]bool{},
		nat:    map[string]map[string]time.Time{}, crossed: map[[2]string]uint64{},
	}}
}

// endpoint adds a socket; its delay is that of the pair of regions.
func (n *network) endpoint(addr *net.UDPAddr, region string) *simnet.SimConn {
	n.rt.mu.Lock()
	n.rt.region[addr.String()] = region
	n.rt.mu.Unlock()
	link := &simnet.SimulatedLink{LatencyFunc: n.rt.latency, UploadPacket: n.rt}
	conn := simnet.NewBlockingSimConn(addr, link)
	link.Start() // before others can send to it
	n.rt.AddNode(addr, link)
	n.links = append(n.links, link)
	return conn
}

func (n *network) close() {
	for _, l := range n.links {
		l.Close()
	}
}

// router delivers packets unless their way is cut or they are lost.
type router struct {
	simnet.PerfectRouter

	mu       sync.Mutex // guards the fields below
	lan, wan time.Duration
	loss     float64 // of packets between regions
	rng      *rand.Rand
	region   map[string]string // by address
	cut      map[[2]string]bool
	nat      map[string]map[string]time.Time // by address behind one: when it last sent to another
	crossed  map[[2]string]uint64            // bytes, by region from and region to
}

// natForgets is how long a NAT lets answers in.
const natForgets = 30 * time.Second

// passes notes a packet at the NATs on its way, and reports whether they let it
// through. r.mu is held.
func (r *router) passes(from, to string) bool {
	now := time.Now()
	if sent := r.nat[from]; sent != nil {
		sent[to] = now
	}
	asked := r.nat[to]
	return asked == nil || now.Sub(asked[from]) < natForgets
}

func (r *router) latency(p simnet.Packet) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.region[p.From.String()] == r.region[p.To.String()] {
		return r.lan
	}
	return r.wan
}

func (r *router) SendPacket(p simnet.Packet) error {
	from, to := p.From.String(), p.To.String()
	r.mu.Lock()
	drop := r.cut[[2]string{from, to}] || !r.passes(from, to) ||
		r.loss > 0 && r.region[from] != r.region[to] && r.rng.Float64() < r.loss
	r.crossed[[2]string{r.region[from], r.region[to]}] += uint64(len(p.Data))
	r.mu.Unlock()
	if drop {
		return nil
	}
	return r.PerfectRouter.SendPacket(p)
}

// setCut cuts or heals the way from one address to another.
func (r *router) setCut(from, to string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cut {
		r.cut[[2]string{from, to}] = true
	} else {
		delete(r.cut, [2]string{from, to})
	}
}
