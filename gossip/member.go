package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/skeinmesh/skein/transport/peer"
)

// What a member says about itself, in memberlist's node meta (512 bytes):
//
//	meta: format (1, = 1) | mesh | name | region | http | gateway
//
// each length (1) | bytes. ID and boot are in the member's name, "id#boot".
const metaFormat = 1

var errMeta = errors.New("gossip: a member's description is malformed")

func memberName(p peer.Peer) string {
	return string(p.ID) + "#" + strconv.FormatUint(p.Boot, 10)
}

func appendMeta(b []byte, mesh string, p peer.Peer) []byte {
	b = append(b, metaFormat)
	for _, s := range []string{mesh, p.Name, p.Region, p.HTTP, string(p.Gateway)} {
		s = s[:min(len(s), 255)]
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	return b
}

// readMember is the peer that a member stands for, and the mesh it is in.
func readMember(n *memberlist.Node) (p peer.Peer, mesh string, err error) {
	id, boot, ok := strings.Cut(n.Name, "#")
	if p.Boot, err = strconv.ParseUint(boot, 10, 64); !ok || id == "" || len(id) > 64 || err != nil {
		return peer.Peer{}, "", fmt.Errorf("%w: name %.80q", errMeta, n.Name)
	}
	p.ID = peer.ID(id)
	addr, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return peer.Peer{}, "", fmt.Errorf("%w: no address", errMeta)
	}
	p.Addr = netip.AddrPortFrom(addr.Unmap(), n.Port)
	b := n.Meta
	switch {
	case len(b) == 0 || b[0] == 0:
		return peer.Peer{}, "", fmt.Errorf("%w: no format", errMeta)
	case b[0] > metaFormat:
		return peer.Peer{}, "", fmt.Errorf("gossip: %s at %s describes itself in format %d, this node knows %d: they are of different versions", p.ID, p.Addr, b[0], metaFormat)
	}
	b = b[1:]
	for _, s := range []*string{&mesh, &p.Name, &p.Region, &p.HTTP} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return peer.Peer{}, "", fmt.Errorf("%w: ends in the middle", errMeta)
		}
		*s, b = string(b[1:1+b[0]]), b[1+b[0]:]
	}
	if len(b) > 0 && len(b) >= 1+int(b[0]) { // older nodes do not say
		p.Gateway = peer.Gateway(b[1 : 1+b[0]])
	}
	return p, mesh, nil
}

// delegate is what memberlist calls; it is not part of Gossip's API. Memberlist
// holds its own locks meanwhile: nothing here may wait or call memberlist.
type delegate Gossip

// admit says why a member must not be one.
func (d *delegate) admit(n *memberlist.Node) error {
	p, mesh, err := readMember(n)
	switch {
	case err != nil:
		return err
	case mesh != d.cfg.MeshID:
		return fmt.Errorf("gossip: %s at %s is of mesh %s, this is %s", p.ID, p.Addr, mesh, d.cfg.MeshID)
	case p.ID == d.cfg.Self.ID && p.Boot == d.cfg.Self.Boot:
		return nil
	case p.ID == d.cfg.Self.ID && p.Boot > d.cfg.Self.Boot:
		return fmt.Errorf("gossip: identity %s is used twice: another process at %s has it, started later", p.ID, p.Addr)
	case p.ID == d.cfg.Self.ID:
		return fmt.Errorf("gossip: %s is an earlier start of this node", n.Name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.peers[p.ID]; ok && p.Boot < known.Boot {
		return fmt.Errorf("gossip: %s is an earlier start of %s", n.Name, memberName(known))
	}
	return nil
}

func (d *delegate) NotifyAlive(n *memberlist.Node) error { return d.admit(n) }

// NotifyMerge refuses to merge with another mesh. Anything else that is wrong
// with single members is a matter of NotifyAlive.
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if _, mesh, err := readMember(n); err == nil && mesh != d.cfg.MeshID {
			return d.admit(n)
		}
	}
	return nil
}

func (d *delegate) NotifyJoin(n *memberlist.Node)   { d.alive(n, 1) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.alive(n, 0) }

func (d *delegate) alive(n *memberlist.Node, joined int) {
	p, _, err := readMember(n)
	if err != nil || p.ID == d.cfg.Self.ID {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members += joined
	if known, ok := d.peers[p.ID]; ok && (p.Boot < known.Boot || p == known) {
		return
	}
	d.peers[p.ID] = p
	delete(d.absent, p.ID)
	delete(d.left, n.Name)
	d.news.alive(p)
}

func (d *delegate) NotifyLeave(n *memberlist.Node) {
	p, _, err := readMember(n)
	if err != nil || p.ID == d.cfg.Self.ID {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members--
	if known, ok := d.peers[p.ID]; !ok || known.Boot != p.Boot {
		return // a later start of it is alive
	}
	_, left := d.left[n.Name]
	delete(d.peers, p.ID)
	if !left {
		d.absent[p.ID] = absentee{p, time.Now()}
	}
	d.news.gone(p.ID, left)
}

func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return appendMeta(nil, d.cfg.MeshID, d.self)
}

func (d *delegate) NotifyMsg(b []byte) { (*Gossip)(d).hear(b) }

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

func (d *delegate) LocalState(bool) []byte        { return nil }
func (d *delegate) MergeRemoteState([]byte, bool) {}

// rumor, as memberlist's user message:
//
//	rumor: kind (1) | origin | boot | sequence | name | body
//
// origin and name are length | bytes, the numbers uvarints. Kind 1 is a rumor,
// kind 2 says that the origin leaves.
const (
	kindRumor   = 1
	kindGoodbye = 2

	maxRumorName = 32
	maxHeard     = 64 << 10 // names of rumors that are remembered
)

var errRumor = errors.New("gossip: malformed rumor")

type rumor struct {
	kind      byte
	origin    peer.ID
	boot, seq uint64
	name      string
	body      []byte
}

// rumorName is whose rumor it is, and which; rumorAge which of that.
type rumorName struct {
	origin peer.ID
	kind   byte
	name   string
}
type rumorAge struct{ boot, seq uint64 }

func appendRumor(b []byte, r *rumor) []byte {
	b = append(b, r.kind)
	b = binary.AppendUvarint(b, uint64(len(r.origin)))
	b = append(b, r.origin...)
	b = binary.AppendUvarint(b, r.boot)
	b = binary.AppendUvarint(b, r.seq)
	b = binary.AppendUvarint(b, uint64(len(r.name)))
	b = append(b, r.name...)
	return append(b, r.body...)
}

// readRumor reads a rumor; its body is a part of b.
func readRumor(b []byte) (r rumor, err error) {
	if len(b) == 0 {
		return r, errRumor
	}
	r.kind, b = b[0], b[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err, b = errRumor, nil
			return 0
		}
		b = b[n:]
		return v
	}
	text := func(limit uint64) string {
		n := number()
		if err != nil || n > limit || n > uint64(len(b)) {
			err = errRumor
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	r.origin = peer.ID(text(64))
	r.boot, r.seq = number(), number()
	r.name = text(maxRumorName)
	r.body = b
	if err != nil || len(r.body) > MaxRumor {
		return rumor{}, errRumor
	}
	return r, nil
}
