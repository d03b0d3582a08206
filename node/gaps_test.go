package node

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/skeinmesh/skein/routing/flow"
)

// linesOf counts the lines of a log that tell of something.
type linesOf struct {
	mu   sync.Mutex
	what string
	n    int
}

func (l *linesOf) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += strings.Count(string(b), l.what)
	return len(b), nil
}

func (l *linesOf) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func TestTheLogTellsOfLossesForAsLongAsTheyLast(t *testing.T) {
	told := &linesOf{what: "events were lost"}
	n := open(t, Config{Region: "eu", Log: slog.New(slog.NewTextHandler(told, nil))})
	losses := 0
	until(t, "a second line", func() bool {
		for range 100 {
			n.flows.tell(&flow.Gap{Cause: flow.Missed, From: 1, To: 2, Labels: flow.Labels{Any: true}})
			losses++
		}
		return told.count() > 1
	})
	if told.count() > losses/100 {
		t.Errorf("%d lines tell of %d losses", told.count(), losses)
	}
}
