package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node/client"
)

// askAgain is how long a mirror that knows nothing waits before it asks again:
// the publisher may have come later than the mirror.
const askAgain = 2 * time.Second

// mirror keeps the listings of all publishers and calls show after each
// change, until ctx ends.
func mirror(ctx context.Context, server string, show func(listing)) error {
	c, err := client.Dial(ctx, server, client.WithAgent("watchdir mirror"))
	if err != nil {
		return err
	}
	defer c.Close()
	// What the handler gets goes through a channel, so that one goroutine owns
	// the listing. The channel may be short: what it has no room for waits in
	// the subscription's queue at the node.
	news := make(chan client.Delivery)
	sub, err := c.SubscribeChan(ctx, client.ByType("watchdir.>"), news)
	if err != nil {
		return err
	}
	defer sub.Close()
	if err := ask(ctx, c); err != nil {
		return err
	}
	known := listing{}
	clock := time.NewTicker(askAgain)
	defer clock.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-sub.Done():
			return fmt.Errorf("subscription ended: %w", sub.Err())
		case <-clock.C:
			if len(known) == 0 {
				err = ask(ctx, c)
			}
		case n := <-news:
			if n.Gap != nil {
				err = ask(ctx, c) // something was missed: start from the whole again
				break
			}
			var changed bool
			if changed, err = known.apply(n.Event); changed && err == nil {
				show(known)
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// apply takes in an event, and says whether the listing may look different.
func (l listing) apply(e cloudevents.Event) (bool, error) {
	switch e.Type() {
	case typeListing:
		var all []entry
		if err := e.DataAs(&all); err != nil {
			return false, fmt.Errorf("listing of %s: %w", e.Source(), err)
		}
		l.replace(e.Source(), all)
	case typeChanged, typeRemoved:
		var one entry
		if err := e.DataAs(&one); err != nil {
			return false, fmt.Errorf("entry of %s: %w", e.Source(), err)
		}
		switch {
		case l[e.Source()] == nil:
			return false, nil // the listing comes first: it was asked for
		case e.Type() == typeRemoved:
			l.remove(e.Source(), one.Path)
		default:
			l.set(e.Source(), one)
		}
	default:
		return false, nil
	}
	return true, nil
}

// ask asks every publisher for its listing.
func ask(ctx context.Context, c *client.Client) error {
	e := cloudevents.NewEvent()
	e.SetID(rand.Text())
	e.SetSource("/watchdir/mirror")
	e.SetType(typeWanted)
	if err := c.Publish(ctx, e); err != nil {
		return fmt.Errorf("ask for the listing: %w", err)
	}
	return nil
}
