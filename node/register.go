package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/peer"
)

// The register says of every region who founded it, so that a region is founded
// once. It is in the metadata of the region that founded the mesh: any node there
// writes and reads it while a quorum of that region lives. Regions that exist need
// it no more.

// registration asks for a region to be founded.
type registration struct {
	Region  string  `json:"region"`
	Founder peer.ID `json:"founder"`
	Hops    int     `json:"hops,omitempty"` // so far
}

const maxRegisterHops = 16

// registerThrough asks the register, through whoever lets this node in, who founds
// this node's region.
func (n *Node) registerThrough(ctx context.Context, addr netip.AddrPort) (meta.Region, error) {
	var entry meta.Region
	body, err := json.Marshal(registration{Region: n.cfg.Region, Founder: n.self.ID})
	if err == nil {
		body, err = n.net.CallAddr(ctx, addr, kindRegister, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &entry)
	}
	return entry, err
}

// answerRegister answers a newcomer that founds a region, or passes it on towards
// the founding region.
func (n *Node) answerRegister(ctx context.Context, body []byte) ([]byte, error) {
	m := n.belongs.Load()
	if m == nil {
		return nil, errJoining
	}
	var r registration
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("the registration: %w", err)
	}
	if n.self.Region == m.register.Region {
		entry, err := n.registerRegion(ctx, r)
		if older := m.register.ID; errors.Is(err, replication.ErrNoRegister) && older != "" && older != n.self.ID {
			return n.net.Call(ctx, older, kindRegister, body)
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(entry)
	}
	if r.Hops++; r.Hops > maxRegisterHops {
		return nil, errors.New("the registration has gone through too many nodes")
	}
	hop := n.graph.Hop(m.register.Region, 0)
	if hop.Next == "" {
		return nil, fmt.Errorf("%w: no way leads now to region %s, which founded the mesh and registers others", ErrUnreachable, m.register.Region)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return n.net.Call(ctx, hop.Next, kindRegister, body)
}

func (n *Node) registerRegion(ctx context.Context, r registration) (meta.Region, error) {
	member := n.streams.member.Load()
	if member == nil {
		return meta.Region{}, errNoStreams
	}
	return member.RegisterRegion(ctx, r.Region, r.Founder)
}

// olderRegister is the file in which an older version kept the register, on the
// node that founded the mesh.
const olderRegister = "regions.json"

// readOlderRegister reads what an older version has registered. The error is
// fs.ErrNotExist if the file is gone.
func (s *state) readOlderRegister() (entries []meta.Region, err error) {
	data, err := os.ReadFile(s.path(olderRegister))
	if err == nil {
		err = json.Unmarshal(data, &entries)
	}
	if err != nil {
		err = fmt.Errorf("node: the register of regions in %s, of an older version, cannot be taken over (restore the file, or write [] into it if no region but %s was ever founded): %w", s.path(olderRegister), s.Region, err)
	}
	return entries, err
}

// beginsRegister reports whether it is up to this node that its region begins the
// register: it founded the mesh, and has not done so yet.
func (s *state) beginsRegister(self peer.ID) bool {
	return s.Founder && !s.Registers && s.Region == s.Register.Region && (s.Register.ID == "" || s.Register.ID == self)
}

// dueRegister is what begins the register, or nil if that is not up to this node.
func (n *Node) dueRegister() (begin func(), err error) {
	if !n.state.beginsRegister(n.self.ID) {
		return nil, nil
	}
	var before []meta.Region
	if n.state.Register.ID != "" {
		if before, err = n.state.readOlderRegister(); err != nil {
			return nil, err
		}
	}
	n.registers = make(chan struct{})
	return func() { n.beginRegister(before) }, nil
}

// beginRegister begins the register, and takes over what an older version has kept
// in a file. It is tried until it is done; nobody is let into the mesh before, so
// that no node that could not do it needs to.
func (n *Node) beginRegister(before []meta.Region) {
	var last string
	for pause := joinRetry; ; pause = min(pause*2, joinRetryMax) {
		err := n.tryBeginRegister(before)
		if err == nil {
			break
		}
		if text := err.Error(); n.ctx.Err() == nil && text != last {
			n.log.Warn("the register of regions cannot be begun yet; trying on", "err", err)
			last = text
		}
		if !n.sleep(pause) {
			return
		}
	}
	close(n.registers)
}

func (n *Node) tryBeginRegister(before []meta.Region) error {
	member := n.streams.member.Load()
	if member == nil {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(n.ctx, beginRegisterTry)
	defer cancel()
	if err := member.BeginRegister(ctx, n.self.ID, before); err != nil {
		return err
	}
	older := n.state.Register.ID != "" || before != nil
	n.state.Registers, n.state.Register = true, peer.Peer{Region: n.self.Region}
	if err := n.state.save(); err != nil {
		return err
	}
	n.belongs.Store(&membership{n.state.Mesh, n.state.Register})
	if !older {
		return nil
	}
	n.log.Info("the region's metadata has taken over the register of regions", "file", n.state.path(olderRegister), "regions", len(before))
	if err := os.Remove(n.state.path(olderRegister)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.log.Warn("the file of the register is of no use any more and cannot be removed", "err", err)
	}
	return nil
}

const beginRegisterTry = 10 * time.Second

// awaitRegister waits until the register is begun, where that is up to this node.
func (n *Node) awaitRegister(ctx context.Context) error {
	if n.registers == nil {
		return nil
	}
	select {
	case <-n.registers:
		return nil
	case <-ctx.Done():
		return errors.New("this node founded the mesh and has not begun the register of regions yet")
	}
}
