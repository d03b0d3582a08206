package transport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/transport/repair"
)

// mender sits between QUIC and the mesh port. It has package repair make up for
// losses between this node and those peers with whom that is agreed, by address;
// other packets pass as they are.
//
// Both nodes of a link say a tag in their hellos, which packets to them shall
// carry. While the link is up, either may send such packets; it does so if the
// other is farAway.
type mender struct {
	tag     uint32 // ours; not 0
	begun   time.Time
	send    func(b, control []byte, to *net.UDPAddr) (n, controlN int, err error)
	opened  chan struct{} // holds a token when a group was opened since flush looked
	rebuilt atomic.Uint64 // packets

	mu     sync.Mutex                               // of changes of mended
	mended atomic.Pointer[map[netip.AddrPort]*mend] // never changed, replaced
	busy   []*mend                                  // those with packets to hand up, now or later; the reader's

	deadline    sync.Mutex // guards the fields below
	setDeadline func(time.Time) error
	quicWants   bool // quic-go has set a read deadline: it is closing
	wakeAt      time.Time
}

// mend is what there is to repair with one peer.
type mend struct {
	addr *net.UDPAddr // as quic-go knows it
	tag  uint32       // theirs
	in   *repair.Decoder
	busy bool // it is in mender.busy; the reader's, as is in
	was  uint64
	gone atomic.Bool

	mu      sync.Mutex      // guards the fields below, and the order of packets
	out     *repair.Encoder // nil for a peer that is near
	buf     []byte
	control []byte // of the last packets
}

func newMender(send func(b, control []byte, to *net.UDPAddr) (int, int, error), setDeadline func(time.Time) error) *mender {
	m := &mender{tag: randomNumber() | 1, begun: time.Now(), send: send, setDeadline: setDeadline, opened: make(chan struct{}, 1)}
	m.mended.Store(&map[netip.AddrPort]*mend{})
	return m
}

func randomNumber() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}

func (m *mender) now() time.Duration { return time.Since(m.begun) }

// agree begins to repair what the peer at an address, who asked for a tag,
// sends; and, if it is far, what is sent to it. It returns nil if there is nothing
// to repair, and the end of that.
func (m *mender) agree(at netip.AddrPort, tag uint32, far bool) (p *mend, end func()) {
	if tag == 0 || !at.IsValid() {
		return nil, func() {}
	}
	p = &mend{addr: udpAddr(at), tag: tag, in: &repair.Decoder{}}
	if far {
		p.out = repair.NewEncoder(tag, randomNumber(), m.now())
	}
	m.change(func(all map[netip.AddrPort]*mend) {
		if old := all[at]; old != nil {
			old.gone.Store(true)
		}
		all[at] = p
	})
	return p, func() {
		m.change(func(all map[netip.AddrPort]*mend) {
			p.gone.Store(true)
			if all[at] == p {
				delete(all, at)
			}
		})
	}
}

// counted is what the peer has counted of the packets that were sent to it with
// numbers; nothing if p is nil.
func (p *mend) counted() traffic {
	if p == nil {
		return traffic{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return traffic{}
	}
	sent, lost := p.out.Counted()
	return traffic{sent, lost}
}

func (m *mender) change(f func(map[netip.AddrPort]*mend)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := maps.Clone(*m.mended.Load())
	f(all)
	m.mended.Store(&all)
}

// at is what there is to repair with the peer at an address, or nil.
func (m *mender) at(addr net.Addr) *mend {
	all := *m.mended.Load()
	if len(all) == 0 {
		return nil
	}
	return all[addrPort(addr)]
}

// write sends packets of QUIC's, several of the same size in one piece if
// control says so. Those that would leave no room for what repair adds are lost:
// to QUIC, which tries what passes, the way is a little narrower than it is.
func (m *mender) write(b, control []byte, to *net.UDPAddr) (n, controlN int, err error) {
	cut, at := cutAt(control)
	size := len(b)
	if at >= 0 {
		size = min(cut, size)
	}
	if size > repair.MaxInner {
		return len(b), len(control), nil
	}
	p := m.at(to)
	if p == nil || p.out == nil {
		return m.send(b, control, to)
	}
	now := m.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.control = append(p.control[:0], control...)
	m.probe(p, at, now)
	way := p.out.Way(b, max(cut, 0))
	if way == repair.AsIs {
		return m.send(b, control, to)
	}
	if p.out.Room() < (len(b)+size-1)/size {
		m.flushPeer(p)
	}
	_, was := p.out.Due()
	p.buf = p.buf[:0]
	head := 0
	for rest := b; len(rest) > 0; {
		one := rest[:min(size, len(rest))]
		before := len(p.buf)
		p.buf = p.out.Append(p.buf, one, way, now)
		head = len(p.buf) - before - len(one)
		rest = rest[len(one):]
	}
	setCut(p.control, at, size+head)
	if _, _, err := m.send(p.buf, p.control, to); err != nil {
		return 0, 0, err
	}
	if p.out.Full() {
		m.flushPeer(p)
	} else if _, is := p.out.Due(); is && !was {
		select {
		case m.opened <- struct{}{}:
		default:
		}
	}
	return len(b), len(control), nil
}

// probe sends the packets that try sizes, one by one. p.mu is held. A size that
// the kernel refuses does not pass either.
func (m *mender) probe(p *mend, at int, now time.Duration) {
	for {
		if p.buf = p.out.Probe(p.buf[:0], now); len(p.buf) == 0 {
			return
		}
		setCut(p.control, at, len(p.buf))
		m.send(p.buf, p.control, p.addr)
	}
}

// flushPeer ends the peer's group and sends its parity. p.mu is held. An error is
// for the next packet to meet.
func (m *mender) flushPeer(p *mend) {
	var size int
	if p.buf, size = p.out.Parity(p.buf[:0]); len(p.buf) == 0 {
		return
	}
	if _, at := cutAt(p.control); at >= 0 && len(p.buf) <= maxTrain {
		setCut(p.control, at, size)
		m.send(p.buf, p.control, p.addr)
		return
	} else if at >= 0 {
		setCut(p.control, at, size)
	}
	for rest := p.buf; len(rest) >= size; rest = rest[size:] {
		m.send(rest[:size], p.control, p.addr)
	}
}

// flush ends groups when it is time, until ctx is done.
func (m *mender) flush(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.opened:
		case <-timer.C:
		}
		wait := time.Hour
		for _, p := range *m.mended.Load() {
			if p.out != nil {
				wait = min(wait, m.flushDue(p))
			}
		}
		timer.Reset(wait)
	}
}

// flushDue ends the peer's group if it is time, and says how long to wait else.
func (m *mender) flushDue(p *mend) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	due, open := p.out.Due()
	if wait := due - m.now(); open && wait > 0 {
		return wait
	}
	m.flushPeer(p)
	return time.Hour
}

// maxTrain is the most bytes that are handed to the kernel in one piece.
const maxTrain = 60 << 10
