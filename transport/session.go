package transport

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
)

// session is one life of a link: its two connections, from the hellos to the
// end. When one connection fails, both end. serve runs it; end, from any
// goroutine, ends it.
type session struct {
	link    *link
	id      string // made by the dialer
	peer    peer.Peer
	dialled bool // by this node

	control    *quic.Conn
	ctl        *quic.Stream // the control connection's hellos, then its frames
	laneConn   *quic.Conn
	laneStream *quic.Stream // the lane's hellos, then its batches
	greeted    bool         // our hello on ctl is out; guarded by link.mu, as are
	ready      bool         // both connections are there, and greeted
	taken      bool         // run serves it, or has

	out      *frameQueue
	lane     *laneQueue
	calls    chan struct{}          // a token for each call of the peer's that is being answered
	rtt      atomic.Int64           // median of trips, nanoseconds; 0 before the first echo
	trips    [5]time.Duration       // the last round trips, in a ring; echo's
	tripped  int                    // how many there were
	heard    atomic.Int64           // when a frame last came, nanoseconds since begun
	pinged   atomic.Pointer[pinged] // nil before the first
	begun    time.Time
	counters counters

	once sync.Once
	done chan struct{} // closed by end, after code and why are set
	code quic.ApplicationErrorCode
	why  string
}

func newSession(l *link, id string, p peer.Peer, dialled bool) *session {
	return &session{
		link:    l,
		id:      id,
		peer:    p,
		dialled: dialled,
		out:     newFrameQueue(),
		lane:    newLaneQueue(l.e.cfg.LaneQueue, l.e.batches),
		calls:   make(chan struct{}, maxCallsPerLink),
		begun:   time.Now(),
		done:    make(chan struct{}),
	}
}

// end ends the session. The first reason counts.
func (s *session) end(code quic.ApplicationErrorCode, why string) {
	s.once.Do(func() {
		s.code, s.why = code, why
		s.out.close()
		s.counters.dropped.Add(s.lane.close())
		s.roomAgain()
		close(s.done)
	})
}

func (s *session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// reason is why the session has ended.
func (s *session) reason() string {
	<-s.done
	return s.why
}

// shut closes the connections with the reason of the end.
func (s *session) shut() {
	<-s.done
	for _, conn := range []*quic.Conn{s.control, s.laneConn} {
		if conn != nil {
			s.link.e.shut(conn, s.code, s.why)
		}
	}
}

// fail ends the session because of an error of one of its connections.
func (s *session) fail(conn *quic.Conn, err error) {
	if cause := context.Cause(conn.Context()); cause != nil {
		err = cause
	}
	var ref *refusal
	var remote *quic.ApplicationError
	switch {
	case s.link.e.ctx.Err() != nil:
		s.end(codeLeaving, "the node stops")
	case errors.As(err, &ref):
		s.end(ref.code, ref.reason)
	case errors.As(err, &remote) && remote.Remote:
		s.end(codeDone, "closed by the peer: "+remote.ErrorMessage)
	case errors.Is(err, io.EOF):
		s.end(codeProtocol, "the peer ended a stream of the link")
	default:
		s.end(codeDone, strings.TrimPrefix(s.link.e.creds.cause(err, "").Error(), "transport: "))
	}
}

// serve runs the session from LinkUp to LinkDown. Its goroutines: the control
// reader and writer, the heartbeat, the acceptor of calls (and one for each
// call), the lane's reader and writer.
func (s *session) serve() {
	e, l := s.link.e, s.link
	s.heard.Store(int64(time.Since(s.begun)))
	e.log.Info("link up", "peer", s.peer.ID, "name", s.peer.Name, "region", s.peer.Region, "addr", s.control.RemoteAddr())
	l.up.Store(s)
	e.cfg.Handler.LinkUp(s.peer)

	var wg sync.WaitGroup
	wg.Go(s.readControl)
	wg.Go(s.writeControl)
	wg.Go(s.beat)
	wg.Go(func() { s.answerCalls(&wg) })
	wg.Go(s.readLane)
	wg.Go(s.writeLane)
	select {
	case <-s.done:
	case <-e.ctx.Done():
		s.end(codeLeaving, "the node stops")
	}
	l.up.Store(nil)
	s.shut()
	wg.Wait()
	e.log.Info("link down", "peer", s.peer.ID, "name", s.peer.Name, "region", s.peer.Region, "reason", s.why)
	e.cfg.Handler.LinkDown(s.peer.ID, s.why)
}
