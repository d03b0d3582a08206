package transport

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// Bulk calls have connections apart from the link's, one for each of a bounded number
// at a time, which are used again.
func TestBulkCallsHaveConnectionsOfTheirOwn(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		if _, err := a.CallBulk(t.Context(), "b", 0x30, nil); !errors.Is(err, ErrLinkDown) {
			t.Errorf("without a link: %v", err)
		}
		linkUp(a, b)
		conns := func() int {
			a.Endpoint.mu.Lock()
			defer a.Endpoint.mu.Unlock()
			return len(a.conns)
		}
		link := conns()
		var at, most atomic.Int64
		b.onCall = func(_ context.Context, _ peer.Peer, _ wire.Kind, body []byte) ([]byte, error) {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			time.Sleep(time.Second) // simulated
			if string(body) == "fail" {
				return nil, errors.New("as you wish")
			}
			return slices.Concat(body, make([]byte, 1<<19)), nil
		}
		many := func(n int) {
			t.Helper()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					if reply, err := a.CallBulk(t.Context(), "b", 0x30, []byte("x")); err != nil || len(reply) != 1<<19+1 {
						t.Errorf("%d bytes, %v", len(reply), err)
					}
				})
			}
			wg.Wait()
		}
		many(3)
		if got := conns() - link; got != 3 {
			t.Errorf("%d connections for three calls at a time", got)
		}
		many(1)
		if got := conns() - link; got != 3 {
			t.Errorf("%d connections after another one", got)
		}
		many(3 * maxBulk)
		if got := conns() - link; got != maxBulk || most.Load() != maxBulk {
			t.Errorf("%d connections, %d calls at a time, want %d", got, most.Load(), maxBulk)
		}
		var said *CallError
		if _, err := a.CallBulk(t.Context(), "b", 0x30, []byte("fail")); !errors.As(err, &said) || said.Peer != "b" {
			t.Errorf("refused: %v", err)
		}
		time.Sleep(time.Minute) // simulated
		if got := conns() - link; got != 0 {
			t.Errorf("%d connections are left after a minute", got)
		}
		many(1)
	})
}

// A bulk call ends with the link, and a caller need not wait.
func TestABulkCallEndsWithItsLink(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		b.onCall = func(ctx context.Context, _ peer.Peer, _ wire.Kind, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		errs := make(chan error)
		for range maxBulk + 1 { // one waits for its turn
			go func() {
				_, err := a.CallBulk(t.Context(), "b", 0x30, nil)
				errs <- err
			}()
		}
		time.Sleep(time.Second) // simulated
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.CallBulk(ctx, "b", 0x30, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		began := time.Now()
		w.setBoth(a.peer.Addr, b.peer.Addr, true)
		for range maxBulk + 1 {
			if err := <-errs; !errors.Is(err, ErrLinkDown) {
				t.Errorf("over a link that breaks: %v", err)
			}
		}
		if took := time.Since(began); took > silence+beatEvery {
			t.Errorf("it took %v", took)
		}
	})
}
