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
	"github.com/skeinmesh/skein/transport/wire"
)

// session is one life of a link: its control connection and its lanes, from the
// hellos to the end. When one connection fails, all end. serve runs it; end, from
// any goroutine, ends it.
type session struct {
	link    *link
	id      string // made by the dialer
	peer    peer.Peer
	dialled bool   // by this node
	repair  uint32 // the peer's tag, see mender; 0 if it has none

	control  *quic.Conn
	ctl      *quic.Stream // the control connection's hellos, then its frames
	out      *frameQueue
	calls    chan struct{}          // a token for each call of the peer's that is being answered
	bulk     bulk                   // calls to it
	rtt      atomic.Int64           // median of trips, nanoseconds; 0 before the first echo
	trips    [5]time.Duration       // the last round trips, in a ring; echo's
	tripped  int                    // how many there were
	heard    atomic.Int64           // when a frame last came, nanoseconds since begun
	pinged   atomic.Pointer[pinged] // nil before the first
	begun    time.Time
	counters counters
	started  chan struct{}  // closed when the handler knows of the link
	wg       sync.WaitGroup // the goroutines of serve

	// Guarded by link.mu until the session is served, as is first's connection.
	greeted bool // our hello on ctl is out
	ready   bool // both connections are there, and greeted
	taken   bool // run serves it, or has

	most    int   // lanes that both nodes take
	first   *lane // lanes[0], there from the beginning to the end
	backlog backlog
	demand  demand
	losses  losses
	mend    *mend         // what is repaired, or nil; set before the goroutines of serve start
	stirred chan struct{} // holds a token while tend has something to do
	where   *whereabouts  // the peer's slices
	// slices are the lanes that ours are on. They change under mu and the locks of
	// both lanes' queues, see lockQueue.
	slices [wire.MaxLanes]atomic.Pointer[lane]

	mu       sync.Mutex // guards the fields below
	closed   bool       // no lane joins any more
	lanes    [wire.MaxLanes]*lane
	open     int     // how many of them the slices are spread over
	lanesWhy string  // the reason for that many
	epoch    uint64  // of the last move
	past     traffic // of lanes that are gone

	once sync.Once
	done chan struct{} // closed by end, after code and why are set
	code quic.ApplicationErrorCode
	why  string
}

// newSession makes a session with the node that said theirs.
func newSession(l *link, id string, theirs Hello, dialled bool) *session {
	s := &session{
		link:    l,
		id:      id,
		peer:    theirs.Peer,
		dialled: dialled,
		repair:  theirs.Repair,
		out:     newFrameQueue(),
		calls:   make(chan struct{}, maxCallsPerLink),
		begun:   time.Now(),
		started: make(chan struct{}),
		most:    commonLanes(l.e.cfg.MaxLanes, theirs.Lanes),
		stirred: make(chan struct{}, 1),
		where:   newWhereabouts(),
		open:    1,
		done:    make(chan struct{}),
	}
	s.backlog.low = int64(offered * float64(l.e.cfg.LaneQueue) / 2)
	s.demand = demand{most: s.most, need: 1}
	s.first = s.newLane(0, nil, nil)
	s.lanes[0] = s.first
	for i := range s.slices {
		s.slices[i].Store(s.first)
	}
	return s
}

// end ends the session. The first reason counts.
func (s *session) end(code quic.ApplicationErrorCode, why string) {
	s.once.Do(func() {
		s.code, s.why = code, why
		s.out.close()
		s.mu.Lock()
		s.closed = true
		for _, l := range s.lanes {
			if l != nil {
				s.counters.dropped.Add(l.queue.close())
			}
		}
		s.mu.Unlock()
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
	s.mu.Lock()
	lanes := s.lanes
	s.mu.Unlock()
	if s.control != nil {
		s.link.e.shut(s.control, s.code, s.why)
	}
	for _, l := range lanes {
		if l != nil && l.conn != nil {
			s.link.e.shut(l.conn, s.code, s.why)
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
// call), a reader and a writer for each lane, and tend.
func (s *session) serve() {
	e, l := s.link.e, s.link
	s.heard.Store(int64(time.Since(s.begun)))
	e.log.Info("link up", "peer", s.peer.ID, "name", s.peer.Name, "region", s.peer.Region, "addr", s.control.RemoteAddr())
	far := s.control.ConnectionStats().SmoothedRTT >= farAway
	mend, end := e.socket.mender.agree(addrPort(s.control.RemoteAddr()), s.repair, far)
	defer end()
	s.mend = mend
	l.up.Store(s)
	e.cfg.Handler.LinkUp(s.peer)

	ctx, cancel := context.WithCancel(e.ctx)
	s.wg.Go(s.readControl)
	s.wg.Go(s.writeControl)
	s.wg.Go(s.beat)
	s.wg.Go(func() { s.answerCalls(&s.wg) })
	s.wg.Go(func() { s.tend(ctx) })
	s.mu.Lock()
	s.attach(s.first)
	s.mu.Unlock()
	close(s.started)
	select {
	case <-s.done:
	case <-e.ctx.Done():
		s.end(codeLeaving, "the node stops")
	}
	l.up.Store(nil)
	cancel()
	s.shut()
	s.wg.Wait()
	e.log.Info("link down", "peer", s.peer.ID, "name", s.peer.Name, "region", s.peer.Region, "reason", s.why)
	e.cfg.Handler.LinkDown(s.peer.ID, s.why)
}
