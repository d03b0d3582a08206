package gossip

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Bounds of the rejoin loop.
const (
	maxContacts = 8              // absent peers that are tried in one round, chosen at random
	maxSeeds    = 16             // addresses of seeds that are tried in one round
	absentFor   = 24 * time.Hour // after which a peer is not looked for any more
)

// rejoin looks for peers that are not alive: after a cut both sides hold the
// other for dead, and memberlist alone would never try again.
func (g *Gossip) rejoin() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-timer.C:
		}
		found := g.contact(g.wanted())
		wait := g.cfg.RejoinEvery
		if g.alone() {
			wait = g.cfg.RejoinAlone
		}
		if found != (netip.AddrPort{}) {
			// Nodes that join at the same time may miss each other: the one that
			// was contacted knows better a moment later.
			wait = g.cfg.RejoinAlone
			g.again(found, wait)
			wait = g.cfg.RejoinEvery
		}
		timer.Reset(wait/2 + rand.N(wait))
	}
}

// again exchanges states with a peer once more, after a while.
func (g *Gossip) again(addr netip.AddrPort, after time.Duration) {
	select {
	case <-time.After(after):
		g.ml.Join([]string{addr.String()}) // best effort; memberlist's own push/pull follows
	case <-g.ctx.Done():
	}
}

func (g *Gossip) alone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.peers) == 0
}

// wanted is the addresses to contact now.
func (g *Gossip) wanted() []netip.AddrPort {
	seeds := g.resolve()
	g.mu.Lock()
	defer g.mu.Unlock()
	skip := map[netip.AddrPort]bool{g.self.Addr: true}
	for _, p := range g.peers {
		skip[p.Addr] = true
	}
	var list []netip.AddrPort
	add := func(a netip.AddrPort, limit int) {
		if !skip[a] && len(list) < limit {
			skip[a] = true
			list = append(list, a)
		}
	}
	for _, a := range seeds {
		add(a, maxSeeds)
	}
	limit := len(list) + maxContacts
	for id, a := range g.absent { // in random order
		if time.Since(a.since) > absentFor {
			delete(g.absent, id)
			continue
		}
		add(a.Addr, limit)
	}
	return list
}

// resolve is the addresses of the seeds, in random order.
func (g *Gossip) resolve() []netip.AddrPort {
	ctx, cancel := context.WithTimeout(g.ctx, dialTimeout)
	defer cancel()
	var list []netip.AddrPort
	for _, seed := range g.cfg.Seeds {
		if a, err := netip.ParseAddrPort(seed); err == nil {
			list = append(list, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
			continue
		}
		host, service, err := net.SplitHostPort(seed)
		port, perr := strconv.ParseUint(service, 10, 16)
		if err != nil || perr != nil {
			g.log.Warn("gossip: a seed is not host:port", "seed", seed)
			continue
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			g.log.Debug("gossip: a seed cannot be resolved", "seed", seed, "err", err)
		}
		for _, a := range addrs {
			list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(port)))
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// contact exchanges states with whoever answers, and returns one that did.
func (g *Gossip) contact(addrs []netip.AddrPort) (found netip.AddrPort) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, a := range addrs {
		wg.Go(func() {
			if n, err := g.ml.Join([]string{a.String()}); err != nil || n == 0 {
				g.log.Debug("gossip: no answer", "addr", a, "err", err)
				return
			}
			mu.Lock()
			found = a
			mu.Unlock()
		})
	}
	wg.Wait()
	if found.IsValid() {
		g.mu.Lock()
		g.rejoined++
		g.mu.Unlock()
	}
	return found
}

// Absent returns the peers that are looked for: known and not alive.
func (g *Gossip) Absent() []peer.Peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []peer.Peer
	for _, a := range g.absent {
		list = append(list, a.Peer)
	}
	return list
}
