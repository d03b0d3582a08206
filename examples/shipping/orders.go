package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node/client"
)

// status is how far an order has come.
type status string

const (
	placed  status = "placed"
	loaded  status = "loaded"
	arrived status = "arrived"
)

// followed is an order as its customer would be told of it.
type followed struct {
	order
	status    status
	container string
	peakC     float64 // highest temperature an alert told of
	alerts    int
}

// orders takes orders and follows them. One goroutine runs it; another reads
// the orders.
type orders struct {
	client *client.Client
	log    *slog.Logger
	known  map[string]*followed
	update func(followed) // called after each change, by the goroutine that runs
}

func newOrders(c *client.Client, log *slog.Logger) *orders {
	o := &orders{client: c, log: log, known: map[string]*followed{}}
	o.update = func(f followed) {
		o.log.Info("order", "id", f.ID, "customer", f.Customer, "status", f.status, "container", f.container, "alerts", f.alerts)
	}
	return o
}

// run takes orders, one JSON object a line, and follows them until ctx ends.
// The end of in is the end of new orders only.
func (o *orders) run(ctx context.Context, in io.Reader) error {
	news := make(chan client.Delivery)
	sub, err := o.client.SubscribeChan(ctx, client.Any(
		client.ByType("shipping.container.loaded"),
		client.ByType("shipping.container.arrived"),
		client.ByType("shipping.alert.>"),
	), news)
	if err != nil {
		return err
	}
	defer sub.Close()
	taken := make(chan order)
	ended := make(chan error, 1)
	go func() { ended <- read(ctx, in, taken) }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.Done():
			return fmt.Errorf("subscription ended: %w", sub.Err())
		case err := <-ended:
			if err != nil {
				return err
			}
			ended = nil
		case next := <-taken:
			err = o.place(ctx, next)
		case n := <-news:
			if n.Gap != nil {
				o.log.Warn("news of orders were missed", "count", n.Gap.Count, "cause", n.Gap.Cause)
				continue
			}
			err = o.hear(n.Event)
		}
		if err != nil {
			// One bad order or event is no reason to leave the others alone.
			o.log.Error("passed over", "err", err)
		}
	}
}

// read sends the orders of in to taken.
func read(ctx context.Context, in io.Reader, taken chan<- order) error {
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		var next order
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		select {
		case taken <- next:
		case <-ctx.Done():
			return nil
		}
	}
	return lines.Err()
}

func (o *orders) place(ctx context.Context, next order) error {
	if err := next.check(); err != nil {
		return err
	}
	if o.known[next.ID] != nil {
		return fmt.Errorf("order %s is known already", next.ID)
	}
	f := &followed{order: next, status: placed}
	o.known[next.ID] = f
	o.update(*f)
	return send(ctx, o.client, "/shipping/orders", typePlaced, next.ID, next)
}

func (o *orders) hear(e cloudevents.Event) error {
	var id string
	var change func(*followed)
	switch e.Type() {
	case typeLoaded, typeArrived:
		v, err := decode[voyage](e)
		if err != nil {
			return err
		}
		now := map[string]status{typeLoaded: loaded, typeArrived: arrived}[e.Type()]
		id, change = v.Order.ID, func(f *followed) { f.status, f.container = now, v.Container }
	case typeTooWarm:
		a, err := decode[alert](e)
		if err != nil {
			return err
		}
		id, change = a.Order, func(f *followed) { f.alerts++; f.peakC = max(f.peakC, a.PeakC) }
	default:
		return nil // a kind of alert that is younger than this service
	}
	f := o.known[id]
	if f == nil {
		return nil // taken by another office
	}
	change(f)
	o.update(*f)
	return nil
}
