package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node/client"
)

// A program that is connected to a node of one region, and to another region
// only through it, keeps its subscription and goes on publishing when that node
// is killed and started again. It is told that it may have missed something.
func TestAClientSurvivesTheRestartOfItsNode(t *testing.T) {
	for _, through := range []string{"HTTP port", "mesh port"} {
		t.Run(through, func(t *testing.T) {
			d := newDesk(t)
			ctx := bounded(t)
			serve := readmeCommands(t)[1:3] // of eu-1 and us-1
			d.run(ctx, readmeCommands(t)[0])
			for _, line := range serve[:1] {
				d.start(ctx, line).await(ctx, "ready: node")
			}
			us := d.start(ctx, serve[1])
			us.await(ctx, "ready: node")

			eu := dial(ctx, t, d.ports.Replace("http://127.0.0.1:8420"))
			address, options := d.ports.Replace("http://127.0.0.1:8421"), []client.Option(nil)
			if through == "mesh port" {
				address = d.ports.Replace("quic://127.0.0.1:7421")
				options = []client.Option{client.WithKeyFile(filepath.Join(d.dir, "mesh.key"))}
			}
			c := dial(ctx, t, address, options...)
			if node := c.Node(); node.Name != "us-1" || node.Region != "us" {
				t.Fatalf("connected to %+v", node)
			}
			inUS, inEU := hear(ctx, t, c, "to.us"), hear(ctx, t, eu, "to.eu")

			say(ctx, t, eu, "to.us", 0, 50)
			inUS.expect(ctx, t, 0, 50)
			say(ctx, t, c, "to.eu", 0, 50)
			inEU.expect(ctx, t, 0, 50)

			us.kill()
			d.start(ctx, serve[1]).await(ctx, "ready: node")
			inUS.expectGap(ctx, t, client.Reconnect)
			inEU.expectGap(ctx, t, "origin_lost")
			inUS.reach(ctx, t, eu)
			say(ctx, t, eu, "to.us", 50, 100)
			inUS.expect(ctx, t, 50, 100)
			say(ctx, t, c, "to.eu", 50, 100)
			inEU.expect(ctx, t, 50, 100)
			if node := c.Node(); node.Name != "us-1" {
				t.Errorf("connected again to %+v", node)
			}
		})
	}
}

func dial(ctx context.Context, t *testing.T, address string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(ctx, address, append(options, client.WithReconnect(200*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the client of %s: %v", address, err)
		}
	})
	return c
}

// inbox is what a subscription brings.
type inbox struct {
	typ  string
	from <-chan client.Delivery
}

// hear subscribes to a type; what is published after that arrives.
func hear(ctx context.Context, t *testing.T, c *client.Client, typ string) *inbox {
	t.Helper()
	in := make(chan client.Delivery, 1024)
	sub, err := c.SubscribeChan(ctx, client.ByType(typ), in, client.WithBarrierWait(patience/4))
	if err != nil {
		t.Fatal(err)
	}
	if missing := sub.Missing(); len(missing) > 0 {
		t.Fatalf("the subscription to %s misses %v", typ, missing)
	}
	return &inbox{typ, in}
}

// say publishes events that are numbered by their ids.
func say(ctx context.Context, t *testing.T, c *client.Client, typ string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := c.Publish(ctx, numbered(typ, fmt.Sprint(i))); err != nil {
			t.Fatalf("publish %s %d: %v", typ, i, err)
		}
	}
}

func numbered(typ, id string) cloudevents.Event {
	ev := cloudevents.NewEvent()
	ev.SetID(id)
	ev.SetSource("/restart")
	ev.SetType(typ)
	return ev
}

// next is what comes next, if anything does before ctx ends.
func (in *inbox) next(ctx context.Context) (client.Delivery, bool) {
	select {
	case d := <-in.from:
		return d, true
	case <-ctx.Done():
		return client.Delivery{}, false
	}
}

// expect wants the events of these numbers, and no others between them.
func (in *inbox) expect(ctx context.Context, t *testing.T, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		d, came := in.next(ctx)
		if !came || d.Gap != nil || d.Event.ID() != fmt.Sprint(i) {
			t.Fatalf("%s: got %v (gap %v), want event %d", in.typ, d.Event.ID(), d.Gap, i)
		}
	}
}

func (in *inbox) expectGap(ctx context.Context, t *testing.T, cause string) {
	t.Helper()
	if d, came := in.next(ctx); !came || d.Gap == nil || d.Gap.Cause != cause {
		t.Fatalf("%s: got %v (gap %v), want the gap %s", in.typ, d.Event.ID(), d.Gap, cause)
	}
}

// reach publishes probes until one arrives, and takes in those that follow it:
// then the interest is known again where they come from.
func (in *inbox) reach(ctx context.Context, t *testing.T, from *client.Client) {
	t.Helper()
	sent := 0
	for came := false; !came; {
		if ctx.Err() != nil {
			t.Fatalf("%s: no probe of %d arrives", in.typ, sent)
		}
		sent++
		if err := from.Publish(ctx, numbered(in.typ, fmt.Sprint("probe ", sent))); err != nil {
			t.Fatal(err)
		}
		soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		for {
			d, more := in.next(soon)
			if !more {
				break
			}
			came = d.Event.ID() == fmt.Sprint("probe ", sent) // the last of them
			if came {
				break
			}
		}
		cancel()
	}
}
