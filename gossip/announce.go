package gossip

import (
	"sync"

	"github.com/skeinmesh/skein/transport/peer"
)

// announcer calls the observer in order, on its own goroutine, so that
// memberlist and its locks never wait for it.
type announcer struct {
	obs Observer

	mu      sync.Mutex // guards the fields below
	queue   []func(Observer)
	rumors  int // in the queue
	dropped uint64
	closed  bool
	wake    chan struct{} // has room for one
}

// maxRumorsWaiting bounds the rumors that wait for the observer. What else
// waits is bounded by what happens to the members.
const maxRumorsWaiting = 1024

func newAnnouncer(obs Observer) *announcer {
	return &announcer{obs: obs, wake: make(chan struct{}, 1)}
}

func (a *announcer) alive(p peer.Peer)          { a.add(func(o Observer) { o.PeerAlive(p) }) }
func (a *announcer) gone(id peer.ID, left bool) { a.add(func(o Observer) { o.PeerGone(id, left) }) }

func (a *announcer) rumor(from peer.ID, body []byte) {
	a.mu.Lock()
	if a.rumors >= maxRumorsWaiting {
		a.dropped++
		a.mu.Unlock()
		return
	}
	a.rumors++
	a.mu.Unlock()
	a.add(func(o Observer) {
		a.mu.Lock()
		a.rumors--
		a.mu.Unlock()
		o.Rumor(from, body)
	})
}

func (a *announcer) add(call func(Observer)) {
	a.mu.Lock()
	a.queue = append(a.queue, call)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *announcer) lost() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dropped
}

// run calls the observer until stop; what still waits then is not told.
func (a *announcer) run() {
	for range a.wake {
		for {
			a.mu.Lock()
			calls, closed := a.queue, a.closed
			a.queue = nil
			a.mu.Unlock()
			if closed {
				return
			}
			if len(calls) == 0 {
				break
			}
			for _, call := range calls {
				call(a.obs)
			}
		}
	}
}

func (a *announcer) stop() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
