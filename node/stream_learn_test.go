package node

import (
	"testing"
	"time"
)

// However long the region's metadata took: what was heard of streams is routed
// before the node is ready.
func TestWhatWasHeardIsRoutedAfterASlowStart(t *testing.T) {
	n := open(t, Config{Region: "eu"})
	until(t, "ready", func() bool { return n.Ready() == nil })
	ended := func() uint64 {
		n.streams.mu.Lock()
		defer n.streams.mu.Unlock()
		return n.streams.rounds.ended
	}
	before := ended()
	n.learnStreams(time.Now().Add(-2 * learnGrace))
	if ended() == before {
		t.Error("no round has routed what was heard")
	}
}

func TestANodeThatIsClosedLearnsNothing(t *testing.T) {
	n := open(t, Config{Region: "eu"})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.learnStreams(time.Now()) // it neither waits nor fails for the lack of a register
}
