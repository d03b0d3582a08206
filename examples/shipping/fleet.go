package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node/client"
)

// readingsPerVoyage is how many readings a container sends before it arrives.
const readingsPerVoyage = 12

// fleet loads orders into containers and carries them. One goroutine runs it.
type fleet struct {
	client *client.Client
	log    *slog.Logger
	every  time.Duration
	sea    map[string]*underway // by order
	loaded int                  // containers so far
}

// underway is a container at sea.
type underway struct {
	voyage
	sensor sensor
	sent   int
}

func newFleet(c *client.Client, log *slog.Logger, every time.Duration) *fleet {
	return &fleet{client: c, log: log, every: every, sea: map[string]*underway{}}
}

// run carries what is ordered until ctx ends.
func (f *fleet) run(ctx context.Context) error {
	news := make(chan client.Delivery)
	sub, err := f.client.SubscribeChan(ctx, client.ByType(typePlaced), news)
	if err != nil {
		return err
	}
	defer sub.Close()
	clock := time.NewTicker(f.every)
	defer clock.Stop()
	f.log.Info("waiting for orders")
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.Done():
			return fmt.Errorf("subscription ended: %w", sub.Err())
		case now := <-clock.C:
			err = f.report(ctx, now)
		case n := <-news:
			if n.Gap != nil {
				f.log.Warn("orders were missed: the office must place them again", "count", n.Gap.Count, "cause", n.Gap.Cause)
				continue
			}
			err = f.load(ctx, n.Event)
		}
		if err != nil {
			f.log.Error("passed over", "err", err)
		}
	}
}

// load puts an order into a container. An order that comes twice is loaded once.
func (f *fleet) load(ctx context.Context, e cloudevents.Event) error {
	o, err := decode[order](e)
	if err == nil {
		err = o.check()
	}
	if err != nil || f.sea[o.ID] != nil {
		return err
	}
	f.loaded++
	u := &underway{
		voyage: voyage{Container: containerNumber(f.loaded), Order: o, Vessel: "MV Greylag"},
		sensor: newSensor(o),
	}
	f.sea[o.ID] = u
	f.log.Info("loaded", "order", o.ID, "container", u.Container, "cargo", o.Cargo)
	return send(ctx, f.client, "/shipping/fleet", typeLoaded, u.Container, u.voyage)
}

// report sends a reading of every container at sea, and the arrival of those
// that have sent their last.
func (f *fleet) report(ctx context.Context, now time.Time) error {
	for id, u := range f.sea {
		if u.sent == readingsPerVoyage {
			continue // unloaded; the order stays known
		}
		u.sent++
		celsius := u.sensor.next()
		r := reading{Container: u.Container, Order: id, Celsius: celsius, Limit: u.Order.MaxC, At: now.UTC()}
		e, err := newEvent("/shipping/fleet", typeReading, u.Container, r)
		if err != nil {
			return err
		}
		// Filters compare integers: tenths of a degree, rounded up.
		e.SetExtension(attrDegrees, int32(math.Ceil(celsius*10)))
		e.SetExtension(attrLimit, int32(math.Floor(u.Order.MaxC*10)))
		// Readings are many and small: they go without waiting for each answer.
		if _, err := f.client.PublishAsync(ctx, e); err != nil {
			return fmt.Errorf("publish a reading of %s: %w", u.Container, err)
		}
		if u.sent == readingsPerVoyage {
			f.log.Info("arrived", "order", id, "container", u.Container, "port", u.Order.To)
			if err := send(ctx, f.client, "/shipping/fleet", typeArrived, u.Container, u.voyage); err != nil {
				return err
			}
		}
	}
	return nil
}

// sensor is a container's thermometer: the cargo is kept well below its limit,
// unless the cooling fails half-way, as it does for one cargo in three.
type sensor struct {
	celsius, target, ambient float64
	fails                    bool
	n                        int
}

const ambientC = 31 // at sea, in the tropics

func newSensor(o order) sensor {
	h := fnv.New32a()
	h.Write([]byte(o.ID)) // never fails, says package hash
	start := o.MaxC - 3
	return sensor{celsius: start, target: start, ambient: ambientC, fails: h.Sum32()%3 == 0}
}

// next is the next reading: without cooling the box warms towards the air
// around it, with it the box stays within a third of a degree.
func (s *sensor) next() float64 {
	s.n++
	if s.fails && s.n > readingsPerVoyage/2 {
		s.celsius += (s.ambient - s.celsius) * 0.15
	} else {
		s.celsius = s.target + 0.3*math.Sin(float64(s.n))
	}
	return math.Round(s.celsius*10) / 10
}
