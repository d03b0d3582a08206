package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/skeinmesh/skein/transport/event"
)

// scratch is the memory that one request works in: pooled, so that an ordinary
// publish makes no garbage.
type scratch struct {
	body     []byte
	envelope []byte
	events   [1]event.Event
}

// Sizes of scratch memory, in bytes.
const (
	firstRead   = 4 << 10   // read at once, before the sender has shown more
	keepScratch = 256 << 10 // larger buffers are not pooled
)

// release gives s back. Nothing in it may be used any more.
func (a *API) release(s *scratch) {
	s.events[0] = event.Event{}
	if cap(s.body) > keepScratch {
		s.body = nil
	}
	if cap(s.envelope) > keepScratch {
		s.envelope = nil
	}
	a.scratch.Put(s)
}

// single makes the event of s.envelope.
func (s *scratch) single() ([]event.Event, error) {
	if err := s.events[0].Scan(s.envelope); err != nil {
		return nil, err
	}
	return s.events[:], nil
}

// read reads a request's body into s.body, limit bytes at most. A length that
// is announced is refused at once when it is too large, but gets no memory
// before the bytes are there.
func (s *scratch) read(r *http.Request, limit int) ([]byte, error) {
	s.body = s.body[:0]
	if r.ContentLength > int64(limit) {
		return nil, tooLarge(r, limit)
	}
	if r.ContentLength == 0 {
		return s.body, nil
	}
	for {
		if len(s.body) == cap(s.body) {
			size := max(firstRead, 2*cap(s.body))
			if n := r.ContentLength; n > 0 {
				size = min(size, int(n))
			}
			size = max(size, len(s.body)+512)
			s.body = append(make([]byte, 0, size), s.body...)
		}
		n, err := r.Body.Read(s.body[len(s.body):cap(s.body)])
		s.body = s.body[:len(s.body)+n]
		if len(s.body) > limit {
			return nil, tooLarge(r, limit)
		}
		if err == io.EOF {
			return s.body, nil
		}
		if err != nil {
			return nil, unread(r, err)
		}
		if int64(len(s.body)) == r.ContentLength {
			return s.body, nil
		}
	}
}

func tooLarge(r *http.Request, limit int) *Problem {
	return closing(r, problemf(http.StatusRequestEntityTooLarge, "the body is too large: at most %d bytes are taken", limit))
}

// unread says why a body did not come.
func unread(r *http.Request, err error) *Problem {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return closing(r, problemf(http.StatusRequestTimeout, "the body did not come in time"))
	}
	return closing(r, problemf(http.StatusBadRequest, "the body is not whole, or not as its headers announce it"))
}

// closing ends an HTTP/1 connection on which the rest of a body may still come.
func closing(r *http.Request, p *Problem) *Problem {
	if r.ProtoMajor == 1 {
		return p.with("Connection", "close")
	}
	return p
}
