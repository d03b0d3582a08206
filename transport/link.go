package transport

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
)

const (
	// dialWait bounds one attempt to connect.
	dialWait = 4 * time.Second
	// yield is how long the node with the higher ID leaves the dialling to the
	// other, from the last time there was a link.
	yield = 2 * time.Second
	// Pauses between attempts grow from the first to the last of these.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	// steady is how long a link must have lived for the pauses to start over.
	steady = 5 * time.Second
)

// link keeps the connection to one peer: one session after the other. Both
// nodes may dial; so that they end up with the same session, the node with the
// lower ID has the first go, and where the two attempts cross, admit decides.
// Its run goroutine calls the handler.
type link struct {
	e     *Endpoint
	id    peer.ID
	lower bool // whether this node has the lower ID of the two

	up atomic.Pointer[session] // the session in use; nil when down

	mu       sync.Mutex // guards the fields below
	changed  chan struct{}
	wanted   bool      // Connect was called; else the link lives while the peer keeps it
	target   peer.Peer // whom to dial
	gone     bool      // run has ended; there may be another link to the peer
	offered  *session  // dialled by the peer, to be used next
	abandon  context.CancelFunc
	engaged  bool // this node's attempt has got so far that the peer's is refused
	cur      *session
	dialAt   time.Time
	backoff  time.Duration
	since    time.Time // of the last change of state
	reason   string    // why the link is not up
	failures int       // attempts since the link was last up
	totals   counters  // of sessions that are over
}

// link finds or makes the link to a peer.
func (e *Endpoint) linkTo(p peer.Peer) (*link, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if l := e.links[p.ID]; l != nil {
		return l, nil
	}
	l := &link{e: e, id: p.ID, lower: e.self.ID < p.ID, changed: make(chan struct{}), target: p, since: time.Now(), reason: "not connected yet"}
	e.links[p.ID] = l
	e.wg.Go(l.run)
	return l, nil
}

// Connect keeps a link to p from now on, until Disconnect. Calling it again
// with a new address or a later boot of the peer replaces the link.
func (e *Endpoint) Connect(p peer.Peer) {
	for {
		l, err := e.linkTo(p)
		if err != nil || l.want(p) {
			return
		}
	}
}

// Disconnect ends the link to a peer. The handler's LinkDown, if the link was
// up, is called soon after.
func (e *Endpoint) Disconnect(id peer.ID) {
	if l := e.find(id); l != nil {
		l.unwant()
	}
}

// Reject ends the present connection to a peer, telling it why: its frames or
// batches make no sense. A link that is kept is dialled again after a pause.
func (e *Endpoint) Reject(id peer.ID, reason string) {
	if l := e.find(id); l != nil {
		if s := l.up.Load(); s != nil {
			s.end(codeProtocol, reason)
		}
	}
}

// Linked reports whether the link to a peer is up.
func (e *Endpoint) Linked(id peer.ID) bool {
	l := e.find(id)
	return l != nil && l.up.Load() != nil
}

func (e *Endpoint) find(id peer.ID) *link {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.links[id]
}

// session is the link's session in use, or why there is none.
func (e *Endpoint) session(id peer.ID) (*session, error) {
	if l := e.find(id); l != nil {
		if s := l.up.Load(); s != nil {
			return s, nil
		}
	}
	return nil, ErrLinkDown
}

// want makes p the one to dial. It reports false if the link is gone.
func (l *link) want(p peer.Peer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return false
	}
	if l.wanted && p.Boot < l.target.Boot {
		return true // old news
	}
	moved := l.wanted && p.Addr != l.target.Addr
	if !l.wanted || moved || p.Boot > l.target.Boot {
		l.backoff, l.dialAt = 0, time.Now()
		if !l.lower && !moved {
			l.dialAt = l.dialAt.Add(yield)
		}
		if l.abandon != nil {
			l.abandon()
		}
	}
	l.wanted, l.target = true, p
	switch {
	case l.cur == nil:
	case l.cur.peer.Boot < p.Boot:
		l.cur.end(codeDone, "the peer has restarted")
	case moved:
		l.cur.end(codeDone, "the peer's address has changed")
	}
	l.notify()
	return true
}

func (l *link) unwant() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = false
	if l.abandon != nil {
		l.abandon()
	}
	for _, s := range []*session{l.cur, l.offered} {
		if s != nil {
			s.end(codeDone, "disconnected")
		}
	}
	l.notify()
}

// notify wakes whoever waits for the link's state. l.mu is held.
func (l *link) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// run serves one session after the other. It ends with the endpoint, or when
// nobody keeps the link.
func (l *link) run() {
	for {
		s := l.next()
		if s == nil {
			return
		}
		s.serve()
		l.over(s)
	}
}

// next waits for a session: one that the peer has dialled, or one of our own
// when it is our turn. It returns nil when the link is to end.
func (l *link) next() *session {
	for {
		l.mu.Lock()
		if s := l.offered; s != nil && s.ready {
			l.offered = nil
			l.use(s)
			l.mu.Unlock()
			return s
		}
		if l.e.ctx.Err() != nil || !l.wanted && l.offered == nil {
			l.mu.Unlock()
			if l.vanish() {
				return nil
			}
			continue
		}
		changed, wait := l.changed, time.Until(l.dialAt)
		switch {
		case l.offered != nil:
			wait = dialWait // run is woken when the offer is ready or dead
		case wait <= 0:
			ctx, cancel := context.WithCancel(l.e.ctx)
			l.abandon = cancel
			target := l.target
			l.mu.Unlock()
			s, err := l.dial(ctx, target)
			if s = l.dialled(ctx, s, err); s != nil {
				return s
			}
			continue
		}
		l.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-l.e.ctx.Done():
		}
		timer.Stop()
	}
}

// use makes s the session in use. l.mu is held.
func (l *link) use(s *session) {
	l.cur = s
	l.since, l.reason, l.failures = time.Now(), "", 0
	if l.target.Boot <= s.peer.Boot {
		addr := l.target.Addr
		l.target = s.peer
		if l.wanted && addr.IsValid() {
			l.target.Addr = addr // what Connect was told stays the address to dial
		}
	}
}

// vanish removes the link unless somebody has begun to want it.
func (l *link) vanish() bool {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.e.ctx.Err() == nil && (l.wanted || l.offered != nil) {
		return false
	}
	l.gone = true
	if l.e.links[l.id] == l {
		delete(l.e.links, l.id)
	}
	return true
}

// dialled notes how an attempt ended, and returns its session if it is to be used.
func (l *link) dialled(ctx context.Context, s *session, err error) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	abandoned := ctx.Err() != nil
	l.abandon()
	l.abandon, l.engaged = nil, false
	switch {
	case err != nil:
		if !abandoned {
			l.failures++
			l.reason = err.Error()
			l.pause()
		}
		return nil
	case l.offered != nil || !l.wanted:
		s.end(codeDuplicate, "another connection was made meanwhile")
		s.shut()
		return nil
	}
	l.use(s)
	return s
}

// pause puts the next attempt off, longer each time. l.mu is held.
func (l *link) pause() {
	l.backoff = min(max(2*l.backoff, minBackoff), maxBackoff)
	jittered := l.backoff/2 + mathrand.N(l.backoff/2+1)
	l.dialAt = time.Now().Add(jittered)
}

// over notes that a session has ended and when to dial next.
func (l *link) over(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	lived := now.Sub(l.since)
	l.cur = nil
	l.since, l.reason = now, s.reason()
	l.totals.add(&s.counters)
	switch {
	case lived < steady:
		l.pause()
	default:
		l.backoff, l.dialAt = 0, now
	}
	if turn := now.Add(yield); !l.lower && l.dialAt.Before(turn) {
		l.dialAt = turn
	}
}

// dial makes both connections of a session.
func (l *link) dial(ctx context.Context, p peer.Peer) (*session, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	id := rand.Text()
	var lane dialed
	var laneErr error
	done := make(chan struct{})
	l.e.wg.Go(func() {
		defer close(done)
		if lane, laneErr = l.greet(ctx, p, roleLane, id, nil); laneErr != nil {
			cancel()
		}
	})
	control, err := l.greet(ctx, p, roleControl, id, func() error { return l.engage(ctx) })
	if err != nil {
		cancel()
	}
	<-done
	if err == nil && laneErr != nil {
		l.e.shut(control.conn, codeDone, "the lane's connection failed")
		err = laneErr
	} else if err != nil && laneErr == nil {
		l.e.shut(lane.conn, codeDone, "the control connection failed")
	}
	if err != nil {
		return nil, err
	}
	s := newSession(l, id, control.theirs.Peer, true)
	s.control, s.ctl = control.conn, control.stream
	s.laneConn, s.laneStream = lane.conn, lane.stream
	return s, nil
}

func (l *link) greet(ctx context.Context, p peer.Peer, as role, id string, engage func() error) (dialed, error) {
	d, err := l.e.greet(ctx, p.Addr, as, id, engage)
	if err == nil && d.theirs.Peer.ID != p.ID {
		l.e.shut(d.conn, codeRefused, "another node was expected here")
		err = fmt.Errorf("%w: at %s is node %s, not %s", ErrRefused, p.Addr, d.theirs.Peer.ID.Short(), p.ID.Short())
	}
	return d, err
}

// engage is the point of an attempt from which on the node with the lower ID
// refuses the peer's. It is not reached while packets do not pass this way, so
// that a peer which can reach us is let in even if we cannot reach it.
func (l *link) engage(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() == nil {
		l.engaged = true
	}
	return ctx.Err()
}

// admit decides whether the peer's attempt is accepted, and puts s up as the
// next session if so. The node with the higher ID always yields; the other
// stands by its own attempt once engaged, and by its session while that lives,
// unless the peer has restarted since.
func (l *link) admit(s *session) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return errGone
	}
	if l.wanted && s.peer.Boot < l.target.Boot {
		return refuse(codeRefused, "boot %d of the node is over", s.peer.Boot)
	}
	if l.lower && (l.engaged || l.cur != nil && l.cur.dialled && l.cur.peer.Boot == s.peer.Boot && !l.cur.ended()) {
		return refuse(codeDuplicate, "there is a link between the two already")
	}
	for _, old := range []*session{l.cur, l.offered} {
		if old != nil {
			old.end(codeDuplicate, "replaced by a newer connection")
		}
	}
	if l.abandon != nil {
		l.abandon()
	}
	l.offered = s
	l.notify()
	return nil
}

var errGone = fmt.Errorf("%w: the link is gone", ErrLinkDown)

// admitControl takes the first connection of a session that the peer dials,
// and waits for the second.
func (e *Endpoint) admitControl(conn *quic.Conn, stream *quic.Stream, theirs Hello) error {
	var s *session
	for err := errGone; err == errGone; {
		l, lerr := e.linkTo(theirs.Peer)
		if lerr != nil {
			return refuse(codeLeaving, "the node stops")
		}
		s = newSession(l, theirs.Session, theirs.Peer, false)
		s.control, s.ctl = conn, stream
		if err = l.admit(s); err != nil && err != errGone {
			return err
		}
	}
	l := s.link
	err := writeHello(stream, e.hello(roleControl, s.id))
	if err == nil {
		err = l.await(s, conn.Context())
	}
	if err != nil {
		l.withdraw(s)
		return err
	}
	return nil
}

// admitLane takes the second connection of a session that the peer dials.
func (e *Endpoint) admitLane(conn *quic.Conn, stream *quic.Stream, theirs Hello) error {
	l, err := e.linkTo(theirs.Peer)
	if err != nil {
		return refuse(codeLeaving, "the node stops")
	}
	s, err := l.attach(conn, stream, theirs.Session)
	if err != nil {
		return err
	}
	if err := writeHello(stream, e.hello(roleLane, s.id)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.ready = true
	l.notify()
	return nil
}

// await waits until an offered session has both connections.
func (l *link) await(s *session, ctx context.Context) error {
	timer := time.NewTimer(helloWait)
	defer timer.Stop()
	for {
		l.mu.Lock()
		ready, offered, changed := s.ready, l.offered == s && !s.ended(), l.changed
		l.mu.Unlock()
		switch {
		case ready:
			return nil
		case !offered:
			return refuse(codeDuplicate, "replaced by a newer connection")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return refuse(codeRefused, "the lane's connection did not come")
		}
	}
}

// attach gives the session of that name its lane. The connection may be here
// before the control connection, and waits for it then.
func (l *link) attach(conn *quic.Conn, stream *quic.Stream, id string) (*session, error) {
	timer := time.NewTimer(helloWait)
	defer timer.Stop()
	for {
		l.mu.Lock()
		s, changed := l.offered, l.changed
		if s != nil && s.id == id && s.laneConn == nil && !s.ended() {
			s.laneConn, s.laneStream = conn, stream
			l.mu.Unlock()
			return s, nil
		}
		l.mu.Unlock()
		select {
		case <-changed:
		case <-conn.Context().Done():
			return nil, context.Cause(conn.Context())
		case <-timer.C:
			return nil, refuse(codeRefused, "a lane without its control connection")
		}
	}
}

// withdraw drops an offered session that did not get ready.
func (l *link) withdraw(s *session) {
	s.end(codeDone, "the session did not get ready")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.offered == s {
		l.offered = nil
	}
	l.notify()
}

// address is where the link's peer was last dialled or came from.
func (l *link) address() netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.target.Addr
}
