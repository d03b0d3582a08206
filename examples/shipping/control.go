package main

import (
	"context"
	"fmt"
	"log/slog"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node/client"
)

// worse is how much warmer a container must get, in degrees, before it is
// alerted again.
const worse = 2

// control watches the temperatures of all containers. One goroutine runs it.
type control struct {
	client *client.Client
	log    *slog.Logger
	peaks  map[string]float64 // by container, as alerted last
	heard  int                // readings
}

func newControl(c *client.Client, log *slog.Logger) *control {
	return &control{client: c, log: log, peaks: map[string]float64{}}
}

// run raises alerts until ctx ends. It asks the mesh for readings above their
// limit only: the others never leave the region where they were measured.
func (c *control) run(ctx context.Context) error {
	news := make(chan client.Delivery)
	warm := client.ByType(typeReading).And(client.Where(tooWarmCESQL))
	sub, err := c.client.SubscribeChan(ctx, warm, news)
	if err != nil {
		return err
	}
	defer sub.Close()
	c.log.Info("watching", "filter", warm)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.Done():
			return fmt.Errorf("subscription ended: %w", sub.Err())
		case n := <-news:
			if n.Gap != nil {
				c.log.Warn("readings were missed; the next that is too warm tells", "count", n.Gap.Count, "cause", n.Gap.Cause)
				continue
			}
			if err := c.hear(ctx, n.Event); err != nil {
				c.log.Error("passed over", "err", err)
			}
		}
	}
}

func (c *control) hear(ctx context.Context, e cloudevents.Event) error {
	r, err := decode[reading](e)
	if err != nil {
		return err
	}
	c.heard++
	if peak, alerted := c.peaks[r.Container]; alerted && r.Celsius < peak+worse {
		return nil
	}
	c.peaks[r.Container] = r.Celsius
	c.log.Warn("too warm", "container", r.Container, "celsius", r.Celsius, "limit", r.Limit)
	return send(ctx, c.client, "/shipping/control", typeTooWarm, r.Container,
		alert{Container: r.Container, Order: r.Order, PeakC: r.Celsius, LimitC: r.Limit})
}
