package transport

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/transport/wire"
)

// press offers so many events of 1 KiB each millisecond, on all slices in turn,
// for some time, as far as there is room. It returns how many bytes of them came
// to b in the second half.
func press(t *testing.T, a, b *node, lasting time.Duration, events int) (came int) {
	t.Helper()
	body := make([]byte, 1024) // that does not shrink
	noise := rand.NewChaCha8([32]byte{})
	half := 0
	for i := range lasting / time.Millisecond {
		if i == lasting/time.Millisecond/2 {
			half = b.size()
		}
		for j := range events {
			noise.Read(body)
			if err := a.Offer("b", uint8(j)%wire.MaxLanes, &wire.Record{How: wire.Deliver, Body: body}, 1); err != nil && err != ErrLinkFull {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	return b.size() - half
}

func TestOneLaneWithRepairIsManyTimesAsFastOnALossyLink(t *testing.T) {
	rate := map[bool]float64{}
	for _, unrepaired := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w, conns := newNetwork(t, 40*time.Millisecond, 2)
			one := func(c *Config) { c.MaxLanes, c.unrepaired = 1, unrepaired }
			a, b := open(t, conns[0], "a", one), open(t, conns[1], "b", one)
			linkUp(a, b)
			w.lose(0.01)
			const lasting = 8 * time.Second
			rate[unrepaired] = float64(press(t, a, b, lasting, 8)) / (lasting / 2).Seconds() / 1e6
			t.Logf("80 ms, 1 %% loss, 8 MB/s offered, repair %v: %.2f MB/s, %d packets rebuilt, loss %.4f",
				!unrepaired, rate[unrepaired], b.Stats().PacketsRebuilt, a.Links()[0].Loss)
		})
	}
	if rate[false] < 5*rate[true] {
		t.Errorf("%.2f MB/s, and %.2f without repair", rate[false], rate[true])
	}
}
