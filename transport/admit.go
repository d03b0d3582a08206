package transport

import (
	"context"
	"time"

	"github.com/quic-go/quic-go"
)

// admit decides whether the peer's attempt is accepted, and puts s up as the
// next session if so. The node with the higher ID always yields; the other
// stands by its own attempt once engaged, and by its session while that lives,
// unless the peer has restarted since.
func (l *link) admit(s *session) error {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// admitControl takes the first connection of a session that the peer dials,
// and waits for the second.
func (e *Endpoint) admitControl(conn *quic.Conn, stream *quic.Stream, theirs Hello) error {
	l, err := e.enter(theirs.Peer)
	if err != nil {
		return refuse(codeLeaving, "the node stops")
	}
	defer l.leave()
	s := newSession(l, theirs.Session, theirs, false)
	s.control, s.ctl = conn, stream
	if err := l.admit(s); err != nil {
		return err
	}
	err = writeHello(stream, e.hello(roleControl, s.id))
	if err == nil {
		l.mu.Lock()
		s.greeted = true
		l.notify()
		l.mu.Unlock()
		err = l.await(s, conn.Context())
	}
	if err != nil {
		l.withdraw(s, err)
		return err
	}
	return nil
}

// admitLane takes a lane of a session that the peer dials: its second connection,
// or one more later on.
func (e *Endpoint) admitLane(conn *quic.Conn, stream *quic.Stream, theirs Hello) error {
	l, err := e.enter(theirs.Peer)
	if err != nil {
		return refuse(codeLeaving, "the node stops")
	}
	defer l.leave()
	if theirs.Lane > 0 {
		return l.admitMore(conn, stream, theirs)
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

// await waits until an offered session, once it has both connections, is
// served: until then it may still be replaced.
func (l *link) await(s *session, ctx context.Context) error {
	timer := time.NewTimer(helloWait)
	defer timer.Stop()
	for {
		l.mu.Lock()
		taken, offered, late, changed := s.taken, l.offered == s && !s.ended(), timer.C, l.changed
		if s.ready {
			late = nil
		}
		l.mu.Unlock()
		switch {
		case taken:
			return nil
		case !offered:
			return refuse(codeDuplicate, "replaced by a newer connection")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.e.ctx.Done():
			return refuse(codeLeaving, "the node stops")
		case <-late:
			return refuse(codeRefused, "the lane's connection did not come")
		}
	}
}

// admitMore takes a further lane of the session in use.
func (l *link) admitMore(conn *quic.Conn, stream *quic.Stream, theirs Hello) error {
	l.mu.Lock()
	s := l.cur
	l.mu.Unlock()
	if s == nil || s.id != theirs.Session || s.dialled {
		return refuse(codeRefused, "a lane of a link that there is not")
	}
	select {
	case <-s.started:
	case <-s.done:
		return refuse(codeDuplicate, "the link has ended meanwhile")
	}
	s.mu.Lock()
	err := s.free(theirs.Lane)
	s.mu.Unlock()
	if err == nil {
		err = writeHello(stream, l.e.hello(roleLane, s.id))
	}
	if err != nil {
		return err
	}
	return s.join(theirs.Lane, conn, stream)
}

// attach gives the session of that name its first lane. The connection may be here
// before the control connection, and waits for it and its hello then.
func (l *link) attach(conn *quic.Conn, stream *quic.Stream, id string) (*session, error) {
	timer := time.NewTimer(helloWait)
	defer timer.Stop()
	for {
		l.mu.Lock()
		s, changed := l.offered, l.changed
		if s != nil && s.id == id && s.greeted && s.first.conn == nil && !s.ended() {
			s.first.conn, s.first.stream = conn, stream
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

// withdraw drops an offered session that is not to be served, with what it has
// of connections.
func (l *link) withdraw(s *session, err error) {
	if ref, ok := err.(*refusal); ok {
		s.end(ref.code, ref.reason)
	}
	s.end(codeDone, "the session did not get ready")
	l.mu.Lock()
	if l.offered == s {
		l.offered = nil
	}
	l.notify()
	l.mu.Unlock()
	s.shut()
}
