package multiraft

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// queueRoom is how many bytes may wait for a connection before appends wait
	// for room, and queueLimit before the connection is given up: its peer does
	// not read.
	queueRoom  = 1 << 20
	queueLimit = 6 << 20

	readBuffer = 64 << 10
)

// session is one connection to a peer: requests and answers of all groups. The
// writer takes what waits as one frame, so what comes while it writes shares
// the next.
type session struct {
	peer  *link
	conn  net.Conn
	stats *counters

	mu    sync.Mutex // guards the fields below
	out   []byte     // the next frame, four bytes left for its length; nil when empty
	spare []byte
	calls map[uint64]func(*message, error)
	next  uint64
	room  chan struct{} // closed when out has been taken; nil if nobody waits
	err   error         // why the session is over

	wake chan struct{} // that out is not empty
	over chan struct{} // closed with err
}

func newSession(p *link, conn net.Conn, stats *counters) *session {
	return &session{
		peer: p, conn: conn, stats: stats,
		calls: map[uint64]func(*message, error){},
		wake:  make(chan struct{}, 1),
		over:  make(chan struct{}),
	}
}

// ask sends a request. done is called once with the answer, from the reader, or
// with the error that ends the session; it must not block. If ask fails, done
// is not called. cancel forgets the request; done may have been called.
func (s *session) ask(m *message, done func(*message, error)) (cancel func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.err; err != nil {
		return nil, err
	}
	s.next++
	call := s.next
	m.call = call
	if err := s.put(m); err != nil {
		return nil, err
	}
	s.calls[call] = done
	return func() {
		s.mu.Lock()
		delete(s.calls, call)
		s.mu.Unlock()
	}, nil
}

// tell sends messages that are not answered, or are answers, in one frame.
func (s *session) tell(list ...message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		if s.err != nil {
			return
		}
		if err := s.put(&list[i]); err != nil {
			s.fail(err)
		}
	}
}

// put appends to the next frame. The caller holds mu.
func (s *session) put(m *message) error {
	if len(s.out) > queueLimit {
		s.fail(errors.New("multiraft: the peer does not read"))
		return s.err
	}
	if s.out == nil {
		if s.out, s.spare = s.spare, nil; s.out == nil {
			s.out = make([]byte, 4, 4<<10)
		}
	}
	out, err := encode(s.out, m)
	s.out = out
	if err != nil {
		return err
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// hasRoom reports whether the queue has room for an append.
func (s *session) hasRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && len(s.out) < queueRoom
}

// awaitRoom returns when the queue has room for an append.
func (s *session) awaitRoom(timeout time.Duration, closing <-chan struct{}) error {
	var expired <-chan time.Time
	for {
		s.mu.Lock()
		if s.err != nil || len(s.out) < queueRoom {
			err := s.err
			s.mu.Unlock()
			return err
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		if expired == nil {
			timer := time.NewTimer(timeout)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-room:
		case <-expired:
			return errTimeout
		case <-closing:
			return ErrClosed
		}
	}
}

// end ends the session for a reason and closes its connection. Requests that
// were not answered fail.
func (s *session) end(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(reason)
}

// fail is end for a caller that holds mu.
func (s *session) fail(reason error) {
	if s.err != nil {
		return
	}
	s.err = fmt.Errorf("%w: %w", errDetached, reason)
	close(s.over)
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	s.conn.Close()
}

// abandon fails what was asked and not answered. The reader calls it last.
func (s *session) abandon() {
	s.mu.Lock()
	calls := s.calls
	s.calls = nil
	err := s.err
	s.mu.Unlock()
	for _, done := range calls {
		done(nil, err)
	}
}

// write is the writer.
func (s *session) write() {
	if _, err := s.conn.Write(preface(useMessage)); err != nil {
		s.end(err)
		return
	}
	for {
		select {
		case <-s.wake:
		case <-s.over:
			return
		}
		s.mu.Lock()
		frame := s.out
		s.out = nil
		if s.room != nil {
			close(s.room)
			s.room = nil
		}
		s.mu.Unlock()
		if len(frame) <= 4 {
			continue
		}
		binary.LittleEndian.PutUint32(frame, uint32(len(frame)-4))
		if _, err := s.conn.Write(frame); err != nil {
			s.end(err)
			return
		}
		s.stats.framesSent.Add(1)
		s.stats.bytesSent.Add(uint64(len(frame)))
		if cap(frame) <= 2*queueRoom { // one burst must not hold its memory for ever
			s.mu.Lock()
			s.spare = frame[:4]
			s.mu.Unlock()
		}
	}
}

// read is the reader: it hands each message on in the order of arrival. handle
// must not block; the answers it returns leave in one frame.
func (s *session) read(handle func(*session, *message) (answer message, ok bool)) {
	defer s.abandon()
	err := s.readFrames(handle)
	s.end(err)
}

func (s *session) readFrames(handle func(*session, *message) (message, bool)) error {
	r := bufio.NewReaderSize(s.conn, readBuffer)
	head := make([]byte, prefaceLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	if err := checkPreface(head, useMessage); err != nil {
		return err
	}
	var body []byte
	var answers []message
	var m message
	for {
		if _, err := io.ReadFull(r, head[:4]); err != nil {
			return err
		}
		size := int(binary.LittleEndian.Uint32(head))
		if size > maxFrame {
			return errOversize
		}
		if cap(body) < size || cap(body) > 2*queueRoom && size < queueRoom {
			body = make([]byte, size)
		}
		body = body[:size]
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		s.stats.framesReceived.Add(1)
		s.stats.bytesReceived.Add(uint64(size) + 4)
		answers = answers[:0]
		for rest := body; len(rest) > 0; {
			var err error
			if rest, err = decode(rest, &m); err != nil {
				return err
			}
			if m.kind == kindAnswer {
				s.answered(&m)
				continue
			}
			if answer, ok := handle(s, &m); ok {
				answers = append(answers, answer)
			}
		}
		if len(answers) > 0 {
			s.tell(answers...)
		}
	}
}

func (s *session) answered(m *message) {
	s.mu.Lock()
	done := s.calls[m.call]
	delete(s.calls, m.call)
	s.mu.Unlock()
	if done != nil {
		done(m, m.status.err(string(m.text)))
	}
}
