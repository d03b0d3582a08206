package transport

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

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

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	wanted  bool      // Connect was called; else the link lives while the peer keeps it
	target  peer.Peer // whom to dial
	guests  int       // calls of enter without leave
	offered *session  // dialled by the peer, to be used next
	abandon context.CancelFunc
	engaged bool // this node's attempt has got so far that the peer's is refused
	cur     *session
	dialAt  time.Time
	backoff time.Duration
	since   time.Time // of the last change of state
	reason  string    // why the link is not up
	before  string    // why it was not, when it is up; empty for its first time
	broken  bool      // it was up once, or an attempt has failed
	totals  counters  // of sessions that are over
}

// enter finds or makes the link to a peer, which stays at least until leave.
func (e *Endpoint) enter(p peer.Peer) (*link, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	l := e.links[p.ID]
	if l == nil {
		l = &link{e: e, id: p.ID, lower: e.self.ID < p.ID, changed: make(chan struct{}), target: p, since: time.Now(), reason: "not connected yet"}
		e.links[p.ID] = l
		e.wg.Go(l.run)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests++
	return l, nil
}

// leave undoes enter.
func (l *link) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests--
	l.notify()
}

// Connect keeps a link to p from now on, until Disconnect. Calling it again
// with a new address or a later boot of the peer replaces the link.
func (e *Endpoint) Connect(p peer.Peer) {
	if l, err := e.enter(p); err == nil {
		l.want(p)
		l.leave()
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

// want makes p the one to dial.
func (l *link) want(p peer.Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wanted && p.Boot < l.target.Boot {
		return // old news
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
			l.offered, s.taken = nil, true
			l.use(s)
			l.notify()
			l.mu.Unlock()
			return s
		}
		if l.e.ctx.Err() != nil || l.idle() {
			l.mu.Unlock()
			if l.vanish() {
				return nil
			}
			continue
		}
		changed, wait := l.changed, time.Until(l.dialAt)
		switch {
		case l.offered != nil || !l.wanted:
			wait = time.Hour // until something changes
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
	if l.broken {
		l.before = l.reason
	}
	l.since, l.reason, l.broken = time.Now(), "", true
	if l.target.Boot <= s.peer.Boot {
		addr := l.target.Addr
		l.target = s.peer
		if l.wanted && addr.IsValid() {
			l.target.Addr = addr // what Connect was told stays the address to dial
		}
	}
}

// idle reports that nobody keeps the link. l.mu is held.
func (l *link) idle() bool { return !l.wanted && l.offered == nil && l.guests == 0 }

// vanish removes the link unless somebody has begun to keep it.
func (l *link) vanish() bool {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.e.ctx.Err() == nil && !l.idle() {
		return false
	}
	delete(l.e.links, l.id)
	return true
}

// dialled notes how an attempt ended, and returns its session if it is to be used.
func (l *link) dialled(ctx context.Context, s *session, err error) *session {
	l.mu.Lock()
	abandoned := ctx.Err() != nil
	l.abandon()
	l.abandon, l.engaged = nil, false
	switch {
	case err != nil && !abandoned:
		if !l.broken {
			l.e.log.Warn("no link yet", "peer", l.id, "name", l.target.Name, "addr", l.target.Addr, "cause", err)
		}
		l.broken, l.reason = true, err.Error()
		l.pause()
	case err == nil && l.offered == nil && l.wanted:
		l.use(s)
		l.mu.Unlock()
		return s
	}
	l.mu.Unlock()
	if err == nil {
		s.end(codeDuplicate, "another connection was made meanwhile, or none is wanted")
		s.shut()
	}
	return nil
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

// dial makes the control connection and the first lane of a session.
func (l *link) dial(ctx context.Context, p peer.Peer) (*session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	id := rand.Text()
	var lane dialed
	var laneErr error
	done := make(chan struct{})
	l.e.wg.Go(func() {
		defer close(done)
		if lane, laneErr = l.greet(ctx, p, l.e.laneHello(id, 0), nil); laneErr != nil {
			cancel(laneErr)
		}
	})
	control, err := l.greet(ctx, p, l.e.hello(roleControl, id), func() error { return l.engage(ctx) })
	if err != nil {
		cancel(err)
	}
	<-done
	if first := context.Cause(ctx); first != nil {
		if err == nil {
			l.e.shut(control.conn, codeDone, "the lane's connection failed")
		}
		if laneErr == nil {
			l.e.shut(lane.conn, codeDone, "the control connection failed")
		}
		return nil, first
	}
	s := newSession(l, id, control.theirs, true)
	s.control, s.ctl = control.conn, control.stream
	s.first.conn, s.first.stream = lane.conn, lane.stream
	return s, nil
}

// greet dials p, whom ours is for.
func (l *link) greet(ctx context.Context, p peer.Peer, ours Hello, engage func() error) (dialed, error) {
	ours.For = p.ID
	d, err := l.e.greet(ctx, p.Addr, ours, linkConfig, engage)
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
