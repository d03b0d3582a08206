package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// visit comes and goes until it is told to stop: it subscribes for what nobody
// hears but other visitors, so that interests spread and end all the time, and
// before it goes it hears all that was said since its barrier was passed.
func (w *witness) visit(ctx context.Context, rng *rand.Rand) {
	const barrier = 5 * time.Second
	for visit := 1; w.pause(ctx, rng, 3*time.Second); visit++ {
		l := w.acct.listen(fmt.Sprintf("visitor %d at %s boot %s", visit, w.at.Name, w.boot), func(s stream) bool { return s.key == secret })
		calm := w.acct.unlinked.Load() == 0
		s, err := w.subscribe(ctx, "whispered", l, barrier)
		if err != nil { // its node is gone, or it shall stop
			l.end()
			continue
		}
		// A barrier speaks for the nodes that are linked: one that is frozen takes
		// publishes before it has heard of the visitor.
		if len(s.Missing()) == 0 && calm && w.acct.unlinked.Load() == 0 { // else it comes again
			l.heed()
			w.pause(ctx, rng, 3*time.Second)
			w.listened(ctx, l)
		}
		l.end()
		s.Close()
	}
}

// visitorPatience is how long a visitor may wait for what was said just before an
// ordeal: the longest one is a cut of more than ten minutes.
const visitorPatience = 12*time.Minute + soakPatience

// listened waits until a visitor has heard all that is said by now.
func (w *witness) listened(ctx context.Context, l *listener) {
	upto, deadline := w.acct.mark(), time.Now().Add(visitorPatience)
	for ctx.Err() == nil && !l.over() {
		owed := l.owes(upto)
		if len(owed) == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Errorf("not within %v: %q", visitorPatience, owed)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pause waits for a while, and reports whether to go on.
func (w *witness) pause(ctx context.Context, rng *rand.Rand, most time.Duration) bool {
	select {
	case <-time.After(time.Duration(rng.Int64N(int64(most)))):
		return true
	case <-ctx.Done():
		return false
	}
}
