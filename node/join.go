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
	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// registrar says, once and for good, who founded a region.
type registrar interface {
	Found(ctx context.Context, region string) (replication.Region, error)
}

var (
	_ registrar = ownRegister{}
	_ registrar = remoteRegister{}
)

// joinAnswer is what a node of the mesh tells one that joins.
type joinAnswer struct {
	Registrar peer.Peer `json:"registrar"`
	Regions   []string  `json:"regions"` // that exist: they need no founding
}

// enter brings the node into its mesh: as its founder, as who it was before,
// or as a newcomer through its seeds, in the background.
func (n *Node) enter(ctx context.Context) error {
	switch {
	case n.state.Mesh != "":
		n.belongs.Store(&membership{n.state.Mesh, n.state.Registrar})
		if n.state.Registrar.ID == n.self.ID {
			if err := n.openRegister(); err != nil {
				return err
			}
		}
		if n.state.Region != n.cfg.Region {
			return fmt.Errorf("node: %s was of region %q and cannot become one of %q: give the new node a data directory of its own",
				n.cfg.DataDir, n.state.Region, n.cfg.Region)
		}
		for _, p := range n.book.Peers(time.Now()) {
			n.expected = append(n.expected, p.Region)
		}
		if err := n.openGossip(); err != nil {
			return err
		}
		n.wg.Go(n.settle)
	case len(n.cfg.Seeds) == 0:
		return n.found(ctx)
	default:
		n.setReady(fmt.Errorf("joining the mesh through %v", n.cfg.Seeds))
		n.wg.Go(n.join)
	}
	return nil
}

// found makes a new mesh of this one node.
func (n *Node) found(ctx context.Context) error {
	if err := n.openRegister(); err != nil {
		return err
	}
	if _, err := (ownRegister{n}).Found(ctx, n.cfg.Region); err != nil {
		return err
	}
	n.state.Founder = true
	if err := n.belong(randomHex(8), n.self); err != nil {
		return err
	}
	n.founded = true
	if err := n.openGossip(); err != nil {
		return err
	}
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
		registrar := remoteRegister{n.net, addr, n.self.ID}
		region, err := registrar.Found(ctx, n.cfg.Region)
		if err != nil {
			return fmt.Errorf("register region %q with the registrar, node %s at %s: %w",
				n.cfg.Region, answer.Registrar.Name, answer.Registrar.Addr, err)
		}
		n.state.Founder = region.FoundedBy == n.self.ID
	}
	if err := n.belong(there.Mesh, answer.Registrar); err != nil {
		return err
	}
	n.expected = append(answer.Regions, there.Peer.Region)
	return n.openGossip()
}

// belong makes the node, for good, one of a mesh.
func (n *Node) belong(mesh string, registrar peer.Peer) error {
	n.net.SetMesh(mesh)
	n.state.Mesh, n.state.Registrar, n.state.Region = mesh, registrar, n.cfg.Region
	n.belongs.Store(&membership{mesh, registrar})
	return n.state.save()
}

// settle waits until the node knows what its neighbours want, which is when it
// may take publishes: every peer it should have a link to is linked and has
// exchanged its facts, or has had the time for it.
func (n *Node) settle() {
	start := time.Now()
	for {
		waiting := n.unsettled()
		alone := len(n.graph.Peers()) == 0 && n.expectsPeers()
		strange := n.unseen()
		if len(waiting) == 0 && len(strange) == 0 && !alone {
			n.flows.entered()
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

func (n *Node) openRegister() (err error) {
	if n.register, err = replication.OpenRegister(n.cfg.DataDir); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

// ownRegister is the register on the registrar itself, remoteRegister the one
// that a newcomer asks, through whoever lets it in: it may not reach the
// registrar itself.
type ownRegister struct{ n *Node }

func (r ownRegister) Found(_ context.Context, region string) (replication.Region, error) {
	return r.n.register.Found(region, r.n.self.ID, time.Now())
}

type remoteRegister struct {
	net     *transport.Endpoint
	through netip.AddrPort
	founder peer.ID
}

// registration asks for a region to be founded.
type registration struct {
	Region  string  `json:"region"`
	Founder peer.ID `json:"founder"`
}

func (r remoteRegister) Found(ctx context.Context, region string) (replication.Region, error) {
	var g replication.Region
	body, err := json.Marshal(registration{region, r.founder})
	if err == nil {
		body, err = r.net.CallAddr(ctx, r.through, kindRegister, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &g)
	}
	return g, err
}

// answerRegister answers a newcomer that founds a region, or passes it on
// towards the registrar.
func (n *Node) answerRegister(ctx context.Context, body []byte) ([]byte, error) {
	if n.register != nil {
		var r registration
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, fmt.Errorf("the registration: %w", err)
		}
		g, err := n.register.Found(r.Region, r.Founder, time.Now())
		if err != nil {
			return nil, err
		}
		return json.Marshal(g)
	}
	m := n.belongs.Load()
	if m == nil {
		return nil, errors.New("this node is itself still joining")
	}
	to := m.registrar.ID
	if !n.net.Linked(to) {
		if hop := n.graph.Hop(m.registrar.Region, 0); hop.Next != "" {
			to = hop.Next
		}
	}
	return n.net.Call(ctx, to, kindRegister, body)
}
