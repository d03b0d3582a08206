package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node/client"
)

// The types of events. They are the contract between the services.
const (
	typePlaced   = "shipping.order.placed"        // data: order
	typeLoaded   = "shipping.container.loaded"    // data: voyage
	typeReading  = "shipping.container.telemetry" // data: reading
	typeArrived  = "shipping.container.arrived"   // data: voyage
	typeTooWarm  = "shipping.alert.temperature"   // data: alert
	attrKey      = "partitionkey"                 // what order is kept by
	attrDegrees  = "decicelsius"                  // of a reading, an integer for filters
	attrLimit    = "limit"                        // of the same
	tooWarmCESQL = attrDegrees + " > " + attrLimit
)

// order is what a customer wants carried.
type order struct {
	ID       string  `json:"id"`
	Customer string  `json:"customer"`
	Cargo    string  `json:"cargo"`
	From     string  `json:"from"` // UN/LOCODE of the port
	To       string  `json:"to"`
	MaxC     float64 `json:"maxCelsius"` // the cargo spoils above
}

func (o order) check() error {
	switch {
	case o.ID == "" || o.Customer == "" || o.Cargo == "":
		return fmt.Errorf("order %q: id, customer and cargo are needed", o.ID)
	case len(o.From) != 5 || len(o.To) != 5:
		return fmt.Errorf("order %s: from and to are UN/LOCODEs, as NLRTM", o.ID)
	case o.MaxC < -60 || o.MaxC > 60:
		return fmt.Errorf("order %s: no container keeps %.1f °C", o.ID, o.MaxC)
	}
	return nil
}

// voyage is an order in its container.
type voyage struct {
	Container string `json:"container"` // ISO 6346 number
	Order     order  `json:"order"`
	Vessel    string `json:"vessel"`
}

// reading is what a container's sensor says.
type reading struct {
	Container string    `json:"container"`
	Order     string    `json:"order"`
	Celsius   float64   `json:"celsius"`
	Limit     float64   `json:"limitCelsius"`
	At        time.Time `json:"at"`
}

// alert says that a container is too warm.
type alert struct {
	Container string  `json:"container"`
	Order     string  `json:"order"`
	PeakC     float64 `json:"peakCelsius"`
	LimitC    float64 `json:"limitCelsius"`
}

// newEvent makes an event that is kept in order with the others of its key.
func newEvent(source, typ, key string, data any) (cloudevents.Event, error) {
	e := cloudevents.NewEvent()
	e.SetID(rand.Text())
	e.SetSource(source)
	e.SetType(typ)
	e.SetSubject(key)
	e.SetTime(time.Now().UTC())
	e.SetExtension(attrKey, key)
	if err := e.SetData(cloudevents.ApplicationJSON, data); err != nil {
		return e, fmt.Errorf("%s for %s: %w", typ, key, err)
	}
	return e, nil
}

// send makes an event and publishes it.
func send(ctx context.Context, c *client.Client, source, typ, key string, data any) error {
	e, err := newEvent(source, typ, key, data)
	if err == nil {
		err = c.Publish(ctx, e)
	}
	if err != nil {
		return fmt.Errorf("publish %s for %s: %w", typ, key, err)
	}
	return nil
}

// decode reads an event's data.
func decode[T any](e cloudevents.Event) (v T, err error) {
	if err = e.DataAs(&v); err != nil {
		err = fmt.Errorf("%s %s: %w", e.Type(), e.ID(), err)
	}
	return v, err
}

// containerNumber is the n-th container number of the line's owner code.
func containerNumber(n int) string {
	text := fmt.Sprintf("SKNU%06d", n%1_000_000)
	return fmt.Sprintf("%s%d", text, checkDigit(text))
}

// checkDigit is the digit that ISO 6346 wants behind a container number.
func checkDigit(number string) int {
	sum := 0
	for i, r := range number {
		value := int(r - '0')
		if r >= 'A' {
			// Letters count from 10 on; multiples of 11 are left out.
			value = int(r-'A') + 10
			value += (value - 1) / 10
		}
		sum += value << i
	}
	return sum % 11 % 10
}
