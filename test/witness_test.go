package test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/test/realmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// witness is a client of a node's process: it publishes all the time, hears what
// everybody hears all the time, and now and then what else there is; and gives
// account of it.
//
// Goroutines: one speaks, one waits for acknowledgements, one is the visitor; and
// the client's own. close waits for all.
type witness struct {
	t    *testing.T
	at   *realmesh.Node
	boot string
	acct *account
	c    *client.Client
	l    *listener
	data []byte

	stop   context.CancelFunc // of speaking and visiting
	wg     sync.WaitGroup
	spoken chan spoken

	mu   sync.Mutex // guards lost
	lost bool       // its connection broke, and with it the listener's promise
}

// spoken is an event that is on its way.
type spoken struct {
	stream
	number int
	ack    client.Ack
}

// Load of a witness.
const (
	soakKeys  = 5                     // that everybody hears
	secret    = "secret"              // that only visitors hear
	soakPause = 10 * time.Millisecond // between events, on average
	soakData  = 200                   // bytes
)

// newWitness connects to a node, and returns once all regions that are there
// know that it listens.
func newWitness(t *testing.T, acct *account, at *realmesh.Node, seed uint64) *witness {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soakPatience)
	defer cancel()
	w := &witness{
		t: t, at: at, boot: fmt.Sprint(at.Boot), acct: acct,
		data: make([]byte, soakData), spoken: make(chan spoken, client.DefaultWindowEvents),
	}
	for i := range w.data {
		w.data[i] = 'a' + byte(i%26)
	}
	var err error
	if w.c, err = client.Dial(ctx, at.HTTP, client.WithLogger(slog.New(slog.DiscardHandler))); err != nil {
		t.Fatalf("dial %s: %v", at.Name, err)
	}
	w.listen(ctx)
	speaking, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.wg.Go(func() { w.speak(speaking, rand.New(rand.NewPCG(seed, at.Boot))) })
	w.wg.Go(w.settle)
	w.wg.Go(func() { w.visit(speaking, rand.New(rand.NewPCG(seed, ^at.Boot))) })
	return w
}

// listen subscribes until the barrier is passed: some link may just break.
func (w *witness) listen(ctx context.Context) {
	w.t.Helper()
	for {
		l := w.acct.listen(fmt.Sprintf("listener at %s boot %s", w.at.Name, w.boot), func(s stream) bool { return s.key != secret })
		s, err := w.subscribe(ctx, "said", l, realmesh.Patience/2)
		if err != nil {
			w.t.Fatalf("subscribe at %s: %v", w.at.Name, err)
		}
		if len(s.Missing()) == 0 {
			l.heed()
			w.l = l
			return
		}
		w.t.Logf("%s: the barrier misses %v, once more", w.at.Name, s.Missing())
		l.end()
		s.Close()
	}
}

// subscribe lets a listener hear the events of a type.
func (w *witness) subscribe(ctx context.Context, typ string, l *listener, wait time.Duration) (*client.Subscription, error) {
	hear := func(ev event.Event) {
		source := strings.Split(ev.Source(), "/") // "/node/key"
		boot, id, _ := strings.Cut(ev.ID(), "/")
		number, err := strconv.Atoi(id)
		if err != nil || len(source) != 3 {
			w.t.Errorf("%s: an event of %s with the ID %q", w.at.Name, ev.Source(), ev.ID())
			return
		}
		l.hear(stream{strings.Clone(source[1]), strings.Clone(boot), strings.Clone(source[2])}, number)
	}
	return w.c.SubscribeRaw(ctx, client.ByType(typ), hear, client.OnGap(func(g client.Gap) { w.miss(l, g) }),
		client.WithBarrier(client.BarrierMesh), client.WithBarrierWait(wait))
}

// miss hears of a gap. After a broken connection the subscription is made anew,
// and what is missing until then is nobody's fault; when then is, is not known.
func (w *witness) miss(l *listener, g client.Gap) {
	l.gap(g.Origin, g.Cause, int(g.Count))
	if g.Cause == client.Reconnect {
		l.end()
		w.mu.Lock()
		w.lost = true
		w.mu.Unlock()
	}
}

// broken reports whether the connection broke at any time.
func (w *witness) broken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// speak publishes until it is told to stop.
func (w *witness) speak(ctx context.Context, rng *rand.Rand) {
	defer close(w.spoken)
	for ctx.Err() == nil {
		s, typ := stream{w.at.Name, w.boot, fmt.Sprint(rng.IntN(soakKeys))}, "said"
		if rng.IntN(soakKeys+1) == 0 {
			s.key, typ = secret, "whispered"
		}
		number := w.acct.say(s)
		var b event.Builder
		b.SetString("id", fmt.Sprint(s.boot, "/", number)).SetString("source", "/"+s.node+"/"+s.key).SetString("type", typ)
		b.SetData(event.TextData, w.data)
		ack, err := w.c.PublishEnvelope(ctx, b.Append(nil))
		if err != nil { // it was not even sent
			w.acct.settle(s, number, refused)
		} else {
			w.spoken <- spoken{s, number, ack}
		}
		time.Sleep(time.Duration(rng.Int64N(int64(2 * soakPause)))) // a load, not a wait
	}
}

// settle tells what became of what was said.
func (w *witness) settle() {
	for one := range w.spoken {
		<-one.ack.Done() // at the latest when the client is closed
		switch err := one.ack.Err(); {
		case err == nil:
			w.acct.settle(one.stream, one.number, taken)
		case !errors.Is(err, client.ErrUnknownOutcome):
			w.acct.settle(one.stream, one.number, refused)
		}
	}
}

// quiet stops speaking and returns once the outcome of everything is known.
func (w *witness) quiet() {
	w.t.Helper()
	w.stop()
	w.wg.Wait()
}

// close ends the witness, before or after its node.
func (w *witness) close() {
	w.l.end()
	w.stop()
	w.c.Close() // its node may have gone before
	w.wg.Wait()
}
