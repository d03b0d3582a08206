package transport

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestAllOfAMeshLinkWithEachOtherAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		_, conns := newNetwork(t, latency, n)
		var nodes []*node
		for i, conn := range conns {
			nodes = append(nodes, open(t, conn, peer.ID(fmt.Sprintf("n%02d", i))))
		}
		start := time.Now()
		for _, a := range nodes {
			for _, b := range nodes {
				if a != b {
					a.Connect(b.peer)
				}
			}
		}
		for _, a := range nodes {
			a.wait("links to all others", func() bool { return len(a.up) == n-1 })
		}
		// Two round trips, unless a connection is refused and dialled again:
		// quic-go lets 32 wait to be accepted, and the last node is dialled by 38
		// in the same instant.
		if took := time.Since(start); took > 4*latency+10*minBackoff {
			t.Errorf("took %v, want two round trips and at most a few pauses", took)
		}
		time.Sleep(10 * time.Second)
		for _, a := range nodes {
			if log := a.history(); len(log) != n-1 {
				t.Errorf("history of %s: %q", a.peer.ID, log)
			}
			if st := a.Stats(); st.Connections != 2*(n-1) || st.Handshakes != 0 {
				t.Errorf("%s has %d connections and %d handshakes", a.peer.ID, st.Connections, st.Handshakes)
			}
		}
	})
}
