package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
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
		b.onCall = func(_ context.Context, _ peer.Peer, _ wire.Kind, body []byte) ([]byte, error) {
			time.Sleep(15 * time.Second) // simulated: longer than a connection lives without a packet
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
		if got := conns() - link; got != 1 {
			t.Errorf("%d connections after another one, which takes one of them and lets the others end", got)
		}
		many(maxBulk)
		if got := conns() - link; got != maxBulk {
			t.Errorf("%d connections, want %d", got, maxBulk)
		}
		var said *CallError
		if _, err := a.CallBulk(t.Context(), "b", 0x30, []byte("fail")); !errors.As(err, &said) || said.Peer != "b" {
			t.Errorf("refused: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.CallBulk(ctx, "b", 0x30, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		if got := conns() - link; got == 0 {
			t.Error("a call that was given up took its connection along")
		}
		time.Sleep(time.Minute) // simulated
		if got := conns() - link; got != 0 {
			t.Errorf("%d connections are left after a minute", got)
		}
		many(1)
	})
}

// To close a stream that was dialled to a peer leaves nothing behind.
func TestALayersConnectionEndsWithItsStream(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		conns := func(n *node) int {
			n.Endpoint.mu.Lock()
			defer n.Endpoint.mu.Unlock()
			return len(n.conns)
		}
		there := b.Layer("x")
		defer there.Close()
		before, at := conns(a), conns(b)
		for range 10 {
			c, err := a.Dialer("x").Dial(t.Context(), "b")
			if err != nil {
				t.Fatal(err)
			}
			other, err := there.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			other.Close()
		}
		time.Sleep(time.Minute) // simulated
		if conns(a) != before || conns(b) != at {
			t.Errorf("%d and %d connections are left", conns(a)-before, conns(b)-at)
		}
	})
}

// Who writes to a peer that does not read is let go by Close at either end, and the peer
// does not take what it got for all.
func TestToCloseAStreamEndsItsWrite(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		there := b.Layer("x")
		defer there.Close()
		writing := func(size int) (near, far net.Conn, wrote chan error) {
			near, err := a.Dialer("x").Dial(t.Context(), "b")
			if err != nil {
				t.Fatal(err)
			}
			if far, err = there.Accept(); err != nil {
				t.Fatal(err)
			}
			wrote = make(chan error, 1)
			go func() {
				for b := make([]byte, size); err == nil; {
					_, err = near.Write(b)
				}
				wrote <- err
			}()
			time.Sleep(time.Minute) // simulated: what is under way has no room any more
			if len(wrote) > 0 {
				t.Fatalf("to a peer that does not read: %v", <-wrote)
			}
			return near, far, wrote
		}
		ended := func(wrote chan error) {
			t.Helper()
			select {
			case err := <-wrote:
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the write ends with %v", err)
				}
			case <-time.After(time.Minute): // simulated
				t.Fatal("the write goes on")
			}
		}

		for _, size := range []int{1 << 20, 1000} {
			near, far, wrote := writing(size)
			near.Close()
			near.SetWriteDeadline(time.Time{}) // which changes nothing any more
			ended(wrote)
			if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("to write after Close: %v", err)
			}
			if _, err := io.Copy(io.Discard, far); err == nil {
				t.Error("the peer takes what it has for all that was written")
			}
			far.Close()
		}

		near, far, wrote := writing(1 << 20)
		far.Close()
		ended(wrote)
		near.Close()
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
		for range maxBulk {
			go func() {
				_, err := a.CallBulk(t.Context(), "b", 0x30, nil)
				errs <- err
			}()
		}
		time.Sleep(time.Second) // simulated
		if _, err := a.CallBulk(t.Context(), "b", 0x30, nil); !errors.Is(err, ErrBusy) {
			t.Errorf("one more at a time: %v", err)
		}
		began := time.Now()
		w.setBoth(a.peer.Addr, b.peer.Addr, true)
		for range maxBulk {
			if err := <-errs; !errors.Is(err, ErrLinkDown) {
				t.Errorf("over a link that breaks: %v", err)
			}
		}
		if took := time.Since(began); took > silence+beatEvery {
			t.Errorf("it took %v", took)
		}
	})
}
