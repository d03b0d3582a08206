package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// beatEvery is the pause between heartbeats.
	beatEvery = 400 * time.Millisecond
	// missedBeats in a row end a link.
	missedBeats = 3
	// silence is when the last of the missed ones is overdue beyond doubt: half
	// a pause after it should have come.
	silence = missedBeats*beatEvery + beatEvery/2
	// pingSize is how long a heartbeat's body is. A shorter packet would not be
	// answered with a reset by a peer that has restarted.
	pingSize = 64

	maxControlQueue = 8 << 20 // bytes of frames that wait for one peer
	controlBuffer   = 16 << 10
)

// Send queues a control frame for a peer and returns. Frames arrive in order
// while the link is up; what is queued when it goes down is lost.
func (e *Endpoint) Send(to peer.ID, kind wire.Kind, body []byte) error {
	if kind < wire.FirstControl || kind > wire.LastControl {
		return fmt.Errorf("%w: kind %#x is not for control frames", ErrProtocol, kind)
	}
	if len(body) > e.cfg.MaxFrame {
		return ErrTooLarge
	}
	s, err := e.session(to)
	if err != nil {
		return err
	}
	return s.out.put(kind, body)
}

// frameQueue is the encoded frames that wait for the control stream.
type frameQueue struct {
	wake chan struct{} // holds a token while there is something to do

	mu     sync.Mutex // guards the fields below
	buf    []byte
	closed bool
}

func newFrameQueue() *frameQueue { return &frameQueue{wake: make(chan struct{}, 1)} }

func (q *frameQueue) put(kind wire.Kind, body []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrLinkDown
	case len(q.buf)+len(body) > maxControlQueue:
		return ErrLinkFull
	}
	q.buf = wire.AppendFrame(q.buf, kind, body)
	q.signal()
	return nil
}

// take is all that waits, in exchange for a buffer to go on with; false once
// the queue is closed. It waits for nothing.
func (q *frameQueue) take(spare []byte) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.buf
	q.buf = spare[:0]
	return full, !q.closed
}

func (q *frameQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.buf = true, nil
	q.signal()
}

func (q *frameQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// writeControl writes what is queued, all of it at once.
func (s *session) writeControl() {
	var spare []byte
	for range s.out.wake {
		frames, open := s.out.take(spare)
		if !open {
			return
		}
		if _, err := s.ctl.Write(frames); err != nil {
			s.fail(s.control, err)
			return
		}
		if spare = frames; cap(spare) > 4*controlBuffer {
			spare = nil
		}
	}
}

// readControl handles the peer's frames in order.
func (s *session) readControl() {
	frames := wire.NewReader(s.ctl, controlBuffer)
	frames.Limit = s.link.e.cfg.MaxFrame
	for {
		kind, body, err := frames.Next()
		if err == nil {
			s.heard.Store(int64(time.Since(s.begun)))
			err = s.handle(kind, body)
		}
		if err != nil {
			s.fail(s.control, garbage(err))
			return
		}
	}
}

func (s *session) handle(kind wire.Kind, body []byte) error {
	switch {
	case kind >= wire.FirstControl && kind <= wire.LastControl:
		s.link.e.cfg.Handler.HandleControl(s.peer.ID, kind, body)
	case kind == wire.Ping:
		if len(body) > 2*pingSize {
			return refuse(codeProtocol, "heartbeat of %d bytes", len(body))
		}
		s.echo(body)
	case kind == wire.Lanes:
		n, err := wire.ReadLanes(body)
		if err == nil && !s.dialled {
			err = refuse(codeProtocol, "a wish for lanes, which are for the peer to dial")
		}
		if err != nil {
			return err
		}
		s.demand.ask(n)
		s.stir()
	default:
		return refuse(codeProtocol, "frame of unknown kind %#x", kind)
	}
	return nil
}

// beat sends heartbeats and ends the session when the peer's do not come.
func (s *session) beat() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	overdue := time.NewTimer(silence)
	defer overdue.Stop()
	s.out.put(wire.Ping, s.ping())
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			s.out.put(wire.Ping, s.ping())
			s.count()
			s.weigh(time.Now())
		case <-overdue.C:
			left := silence - (time.Since(s.begun) - time.Duration(s.heard.Load()))
			if left <= 0 {
				s.end(codeSilent, fmt.Sprintf("no heartbeat for %v", silence))
				return
			}
			overdue.Reset(left)
		}
	}
}

// garbage makes an error about bytes that make no sense a refusal that tells
// the peer so.
func garbage(err error) error {
	for _, sense := range []error{wire.ErrTooLarge, wire.ErrTruncated, wire.ErrMalformed} {
		if errors.Is(err, sense) {
			return refuse(codeProtocol, "%v", err)
		}
	}
	return err
}

// ping is a heartbeat's body: when it was made, then the peer's last one's
// time and for how long that was kept, all in nanoseconds of who made them.
// The peer learns the round trip time from it without an answer.
func (s *session) ping() []byte {
	now := uint64(time.Since(s.begun))
	body := make([]byte, 0, pingSize)
	body = binary.BigEndian.AppendUint64(body, now)
	if last := s.pinged.Load(); last != nil {
		body = binary.BigEndian.AppendUint64(body, last.stamp)
		body = binary.BigEndian.AppendUint64(body, now-uint64(last.came))
	}
	return body[:pingSize]
}

// pinged is the peer's last heartbeat: its time by the peer's clock, and when
// it came by ours.
type pinged struct {
	stamp uint64
	came  time.Duration
}

// echo takes the peer's time, and a round trip time, from its heartbeat. What
// counts is the median of the last few: one late packet does not change it, a
// new way does within three heartbeats. Only the control reader calls it.
func (s *session) echo(ping []byte) {
	if len(ping) < 24 {
		return
	}
	now := time.Since(s.begun)
	s.pinged.Store(&pinged{binary.BigEndian.Uint64(ping), now})
	ours, kept := binary.BigEndian.Uint64(ping[8:]), binary.BigEndian.Uint64(ping[16:])
	sample := now - time.Duration(ours) - time.Duration(kept)
	if ours == 0 || sample < 0 || sample > time.Minute {
		return // none of ours has arrived yet, or nonsense
	}
	s.trips[s.tripped%len(s.trips)] = sample
	s.tripped++
	recent := s.trips // a copy
	known := recent[:min(s.tripped, len(recent))]
	slices.Sort(known)
	s.rtt.Store(int64(max(known[len(known)/2], 1)))
}
