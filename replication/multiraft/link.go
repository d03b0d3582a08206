package multiraft

import (
	"net"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// collectFor is how long a heartbeat may wait for those of other groups.
const collectFor = 20 * time.Millisecond

// link is a peer as this host sees it, connected or not.
type link struct {
	id   peer.ID
	host *Host

	mu       sync.Mutex // guards the fields below
	session  *session   // nil while detached
	attached chan struct{}
	beats    []beat
	timer    *time.Timer // flushes beats
}

// beat is a heartbeat that waits for its frame.
type beat struct {
	group *Group
	m     message
	done  func(*message, error)
}

func newLink(h *Host, id peer.ID) *link {
	return &link{id: id, host: h, attached: make(chan struct{})}
}

// attach makes conn the link's connection, in place of the one it had.
func (p *link) attach(conn net.Conn) *session {
	s := newSession(p, conn, &p.host.stats)
	p.mu.Lock()
	old := p.session
	p.session = s
	if old == nil {
		close(p.attached)
	}
	p.mu.Unlock()
	if old != nil {
		old.end(errReplaced)
	}
	return s
}

// detach forgets a session that is over.
func (p *link) detach(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == s {
		p.session = nil
		p.attached = make(chan struct{})
	}
}

// now is the session, or nil.
func (p *link) now() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// await is the session as soon as there is one.
func (p *link) await(until <-chan time.Time, closing <-chan struct{}) (*session, error) {
	for {
		p.mu.Lock()
		s, attached := p.session, p.attached
		p.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-attached:
		case <-until:
			return nil, errDetached
		case <-closing:
			return nil, ErrClosed
		}
	}
}

// heartbeat asks with the heartbeats of other groups.
func (p *link) heartbeat(b beat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, b)
	if len(p.beats) > 1 {
		return
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(collectFor, p.flush)
	} else {
		p.timer.Reset(collectFor)
	}
}

// flush sends the heartbeats that were collected, in one frame.
func (p *link) flush() {
	p.mu.Lock()
	beats, s := p.beats, p.session
	p.beats = nil
	p.mu.Unlock()
	if s == nil {
		for _, b := range beats {
			b.done(nil, errDetached)
		}
		return
	}
	sent := 0
	for i := range beats {
		b := &beats[i]
		err := b.group.well() // the gate may have shut while it waited
		if err == nil {
			_, err = s.ask(&b.m, b.done)
			sent++
		}
		if err != nil {
			b.done(nil, err)
		}
	}
	if sent > 0 {
		p.host.stats.heartbeatFrames.Add(1)
		p.host.stats.heartbeats.Add(uint64(sent))
	}
}

// stop fails what waits; for Close.
func (p *link) stop() {
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
	}
	s := p.session
	p.mu.Unlock()
	p.flush()
	if s != nil {
		s.end(ErrClosed)
	}
}
