package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/skeinmesh/skein/gossip"
	"github.com/skeinmesh/skein/transport/peer"
)

// joinAnswer is what a node of the mesh tells one that joins.
type joinAnswer struct {
	Register peer.Peer `json:"registrar"` // where regions are registered; see state
	Regions  []string  `json:"regions"`   // that exist: they need no founding
}

var errJoining = errors.New("this node is itself still joining")

// answerJoin tells a newcomer how it joins.
func (n *Node) answerJoin(ctx context.Context) ([]byte, error) {
	if n.belongs.Load() == nil {
		return nil, errJoining
	}
	if err := n.awaitRegister(ctx); err != nil {
		return nil, err
	}
	return json.Marshal(joinAnswer{Register: n.belongs.Load().register, Regions: n.graph.Regions()})
}

// enter brings the node into its mesh: as its founder, as who it was before,
// or as a newcomer through its seeds, in the background.
func (n *Node) enter() error {
	switch {
	case n.state.Mesh != "":
		n.belongs.Store(&membership{n.state.Mesh, n.state.Register})
		if n.state.Region != n.cfg.Region {
			return fmt.Errorf("node: %s was of region %q and cannot become one of %q: give the new node a data directory of its own",
				n.cfg.DataDir, n.state.Region, n.cfg.Region)
		}
		begin, err := n.dueRegister()
		if err != nil {
			return err
		}
		for _, p := range n.book.Peers(time.Now()) {
			n.expected = append(n.expected, p.Region)
		}
		if err := n.openGossip(); err != nil {
			return err
		}
		if begin != nil {
			n.wg.Go(begin)
		}
		n.wg.Go(n.settle)
	case len(n.cfg.Seeds) == 0:
		return n.found()
	default:
		n.setReady(fmt.Errorf("joining the mesh through %v", n.cfg.Seeds))
		n.wg.Go(n.join)
	}
	return nil
}

// found makes a new mesh of this one node.
func (n *Node) found() error {
	n.state.Founder = true
	if err := n.belong(randomHex(8), peer.Peer{Region: n.cfg.Region}); err != nil {
		return err
	}
	begin, err := n.dueRegister()
	if err != nil {
		return err
	}
	n.founded = true
	if err := n.openGossip(); err != nil {
		return err
	}
	n.wg.Go(begin)
	n.log.Info("founded a mesh", "mesh", n.state.Mesh, "region", n.cfg.Region, "key", n.KeyFile())
	n.admit()
	return nil
}

// join tries the seeds, again and again, until one lets the node in.
func (n *Node) join() {
	var last string
	for pause := joinRetry; ; pause = min(pause*2, joinRetryMax) {
		err := n.tryJoin()
		if err == nil {
			break
		}
		if n.ctx.Err() != nil {
			return
		}
		n.setReady(err)
		if text := err.Error(); text != last { // say what changed, not every try
			n.log.Warn("cannot join the mesh yet; trying on", "err", err)
			last = text
		}
		if !n.sleep(pause + rand.N(pause/2)) {
			return
		}
	}
	n.settle()
}

// tryJoin asks each seed once.
func (n *Node) tryJoin() error {
	var all error
	failed := func(seed string, err error) {
		err = fmt.Errorf("seed %s: %w", seed, err)
		if all != nil {
			err = fmt.Errorf("%w; %w", all, err) // in one line: it is logged and asked for
		}
		all = err
	}
	for _, seed := range n.cfg.Seeds {
		addrs, err := n.resolve(seed)
		if err != nil {
			failed(seed, err)
			continue
		}
		for _, addr := range addrs {
			if err = n.joinThrough(addr); err == nil {
				return nil
			}
			failed(seed, err)
		}
	}
	return all
}

// resolve looks a seed's addresses up anew each time: they may have moved.
func (n *Node) resolve(seed string) ([]netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(seed); err == nil {
		return []netip.AddrPort{ap}, nil
	}
	host, service, err := net.SplitHostPort(seed)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, errors.New("the port must be a number from 0 to 65535")
	}
	ctx, cancel := context.WithTimeout(n.ctx, joinTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return addrs, nil
}

// errSilent is why a seed that says nothing does not let the node in.
var errSilent = fmt.Errorf("nobody answers within %v: is a node running there, and do UDP packets get through?", joinTimeout)

// joinThrough enters the mesh of whoever answers at an address.
func (n *Node) joinThrough(addr netip.AddrPort) error {
	if addr == n.self.Addr {
		return errors.New("that is this node itself")
	}
	ctx, cancel := context.WithTimeoutCause(n.ctx, joinTimeout, errSilent)
	defer cancel()
	there, err := n.net.Probe(ctx, addr)
	if err != nil {
		return err
	}
	if there.Mesh == "" {
		return fmt.Errorf("node %s is itself still joining", there.Peer.Name)
	}
	body, err := n.net.CallAddr(ctx, addr, kindJoin, nil)
	if err != nil {
		return fmt.Errorf("ask node %s to join: %w", there.Peer.Name, err)
	}
	var answer joinAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("answer of node %s: %w", there.Peer.Name, err)
	}
	if !slices.Contains(answer.Regions, n.cfg.Region) {
		region, err := n.registerThrough(ctx, addr)
		if err != nil {
			return fmt.Errorf("have region %q registered by region %q, which founded the mesh: %w",
				n.cfg.Region, answer.Register.Region, err)
		}
		n.state.Founder = region.FoundedBy == n.self.ID
	}
	if err := n.belong(there.Mesh, answer.Register); err != nil {
		return err
	}
	n.expected = append(answer.Regions, there.Peer.Region)
	return n.openGossip()
}

// belong makes the node, for good, one of a mesh.
func (n *Node) belong(mesh string, register peer.Peer) error {
	n.net.SetMesh(mesh)
	n.state.Mesh, n.state.Register, n.state.Region = mesh, register, n.cfg.Region
	n.belongs.Store(&membership{mesh, register})
	return n.state.save()
}

// settle waits until the node knows what its neighbours want and which streams
// there are, which is when it may take publishes: every peer it should have a link
// to is linked and has exchanged its facts, or has had the time for it.
func (n *Node) settle() {
	start, whole := time.Now(), false
	for {
		waiting := n.unsettled()
		alone := len(n.graph.Peers()) == 0 && n.expectsPeers()
		strange := n.unseen()
		if len(waiting) == 0 && len(strange) == 0 && !alone {
			whole = true
			break
		}
		if time.Since(start) > syncGrace {
			regions, nodes := n.unheard()
			n.log.Warn("starting without peers that do not answer", "peers", waiting, "regions", regions)
			n.flows.doubts.Store(newDoubts(regions, nodes))
			break
		}
		switch {
		case alone:
			n.setReady(errors.New("looking for the peers of before"))
		case len(strange) > 0:
			n.setReady(fmt.Errorf("looking for the regions %v", strange))
		default:
			n.setReady(fmt.Errorf("learning what %d peers want", len(waiting)))
		}
		if !n.sleep(20 * time.Millisecond) {
			return
		}
	}
	if n.learnStreams(start); whole {
		n.flows.entered()
	}
	if n.ctx.Err() == nil {
		n.log.Info("entered the mesh", "mesh", n.state.Mesh, "region", n.cfg.Region, "peers", len(n.graph.Peers()))
		n.admit()
	}
}

// unseen names the regions that this node knew before, or the one that let it in
// knows, and of which no node has been heard of yet.
func (n *Node) unseen() []string {
	known := n.graph.Regions()
	list := slices.DeleteFunc(slices.Clone(n.expected), func(r string) bool { return slices.Contains(known, r) })
	slices.Sort(list)
	return slices.Compact(list)
}

// unheard names the other regions that have not told all they want since this node
// started, and the nodes of its own region that have not said what they want.
func (n *Node) unheard() (regions []string, nodes []peer.ID) {
	list, own := n.unseen(), map[peer.ID]bool{}
	for _, p := range n.book.Peers(time.Now()) {
		if p.Region == n.self.Region {
			own[p.ID] = true
		}
	}
	for _, p := range n.graph.Peers() {
		if p.Region == n.self.Region {
			own[p.ID] = !n.net.Linked(p.ID) || !n.spread.synced(p.ID)
		} else {
			list = append(list, p.Region)
		}
	}
	slices.Sort(list)
	for _, region := range slices.Compact(list) {
		if region != n.self.Region && !n.spread.knows(region) {
			regions = append(regions, region)
		}
	}
	for id, unheard := range own {
		if unheard && id != n.self.ID {
			nodes = append(nodes, id)
		}
	}
	return regions, nodes
}

// unsettled names the peers that should be linked and in step but are not.
func (n *Node) unsettled() []string {
	var list []string
	for _, p := range n.graph.Wanted() {
		if !n.net.Linked(p.ID) || !n.spread.synced(p.ID) || p.Region == n.self.Region && !n.flows.hasTold(p.ID) {
			list = append(list, p.Name)
		}
	}
	return list
}

// expectsPeers reports whether there are others: seeds, or peers of before.
func (n *Node) expectsPeers() bool {
	return len(n.cfg.Seeds) > 0 || len(n.book.Peers(time.Now())) > 0
}

// sleep waits, or says false when the node closes.
func (n *Node) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// openGossip starts membership: the node is in the mesh from here on.
func (n *Node) openGossip() error {
	g, err := gossip.Open(gossip.Config{
		Self: n.self, MeshID: n.state.Mesh, Network: n.net.Layer("gossip"), Keys: n.identity.GossipKeys(),
		Seeds: n.cfg.Seeds, Known: n.book.Peers(time.Now()), Observer: (*observer)(n), Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	n.gossip.Store(g)
	return n.streams.open()
}
