package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/examples/exampletest"
	"github.com/skeinmesh/skein/node/client"
)

const threeOrders = `{"id":"A-1","customer":"Nordfrukt","cargo":"bananas","from":"ECGYE","to":"SEHEL","maxCelsius":14}
{"id":"A-2","customer":"Pharmax","cargo":"insulin","from":"DKCPH","to":"SGSIN","maxCelsius":8}
{"id":"A-4","customer":"Hanse Fisch","cargo":"salmon","from":"NOAES","to":"CNSHA","maxCelsius":-18}
`

// failing are those of the orders whose cooling fails.
func failing() map[string]bool {
	cold := map[string]bool{}
	for _, id := range []string{"A-1", "A-2", "A-4"} {
		cold[id] = newSensor(order{ID: id}).fails
	}
	return cold
}

// dial connects a service to its node for the length of the test.
func dial(t *testing.T, url string) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// background runs a service until the test ends.
func background(t *testing.T, service func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("a service ended with %v", err)
		}
	})
}

// log writes what a service says to the test's log.
func log(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func TestOrdersArriveAndOnlyTheWarmOnesAreAlerted(t *testing.T) {
	urls := exampletest.Mesh(t, exampletest.Binary(t), "eu", "ap", "us")
	office := newOrders(dial(t, urls[0]), log(t))
	vessels := newFleet(dial(t, urls[1]), log(t), 30*time.Millisecond)
	tower := newControl(dial(t, urls[2]), log(t))

	// The test listens beside the services, at control's node: which readings
	// come that far, and whether a container's story is in order.
	var mu sync.Mutex // guards the fields below
	story := map[string][]string{}
	cold := 0
	_, err := dial(t, urls[2]).Subscribe(t.Context(), client.ByType("shipping.>").And(
		client.Any(client.Where(tooWarmCESQL), client.Not(client.ByType(typeReading)))), func(e cloudevents.Event) {
		mu.Lock()
		defer mu.Unlock()
		story[e.Subject()] = append(story[e.Subject()], e.Type())
		if r, err := decode[reading](e); e.Type() == typeReading && (err != nil || r.Celsius <= r.Limit) {
			cold++
		}
	})
	if err != nil {
		t.Fatal(err)
	}

	final := make(chan followed, 100)
	office.update = func(f followed) { final <- f }
	background(t, vessels.run)
	background(t, tower.run)
	awaitInterest(t, urls[0], typePlaced)
	awaitInterest(t, urls[1], typeReading)
	background(t, func(ctx context.Context) error { return office.run(ctx, strings.NewReader(threeOrders)) })

	warm := failing()
	now := map[string]followed{}
	late := time.After(30 * time.Second)
	for !settled(now, warm) {
		select {
		case f := <-final:
			now[f.ID] = f
		case <-late:
			t.Fatalf("orders are at %+v; warm are %v", now, warm)
		}
	}
	for id, f := range now {
		if !warm[id] && f.alerts > 0 {
			t.Errorf("%s was alerted, its cooling works", id)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if cold > 0 {
		t.Errorf("%d readings within their limit left the region", cold)
	}
	for container, types := range story {
		if strings.HasPrefix(container, "SKNU") && types[0] != typeLoaded {
			t.Errorf("%s begins with %s: %v", container, types[0], types)
		}
	}
}

// awaitInterest waits until a node knows that somebody elsewhere wants events
// of a type: the services subscribe on their own, and the test must not begin
// before they have.
func awaitInterest(t *testing.T, url, typ string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		var route struct{ Targets []struct{ Region string } }
		exampletest.Get(t, url+"/mesh/route?source=/&type="+typ+"&ext="+attrDegrees+"%3D2&ext="+attrLimit+"%3D1", &route)
		if len(route.Targets) > 0 {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatalf("nobody wants %s", typ)
		}
	}
}

// settled says whether all orders have arrived, the warm ones with an alert.
func settled(now map[string]followed, warm map[string]bool) bool {
	for id, isWarm := range warm {
		f, known := now[id]
		if !known || f.status != arrived || isWarm && f.alerts == 0 {
			return false
		}
	}
	return true
}

func TestSensorsWarmOnlyWhenTheCoolingFails(t *testing.T) {
	some := map[bool]int{}
	for _, id := range []string{"A-1", "A-2", "A-3", "A-4", "A-5", "A-6"} {
		s := newSensor(order{ID: id, MaxC: 5})
		peak := -100.0
		for range readingsPerVoyage {
			peak = max(peak, s.next())
		}
		if s.fails != (peak > 5) {
			t.Errorf("%s: cooling fails: %v, peak %.1f", id, s.fails, peak)
		}
		some[s.fails]++
	}
	if some[true] == 0 || some[false] == 0 {
		t.Errorf("the sample shows one case only: %v", some)
	}
}

func TestContainerNumbersHaveTheirCheckDigit(t *testing.T) {
	// CSQU3054383 is the standard's own example.
	if got := containerNumber(1); len(got) != 11 || got[:10] != "SKNU000001" {
		t.Errorf("got %s", got)
	}
	if got := checkDigit("CSQU305438"); got != 3 {
		t.Errorf("check digit of CSQU305438 is %d, want 3", got)
	}
}

func TestOrdersThatMakeNoSenseAreRefused(t *testing.T) {
	good := order{ID: "1", Customer: "c", Cargo: "x", From: "NLRTM", To: "SGSIN", MaxC: 5}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*order){
		func(o *order) { o.ID = "" }, func(o *order) { o.From = "Rotterdam" }, func(o *order) { o.MaxC = 100 },
	} {
		bad := good
		spoil(&bad)
		if bad.check() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestWrongArgumentsAreSaid(t *testing.T) {
	for _, args := range [][]string{nil, {"orders", "x"}, {"fleet", "--reading-every", "0s"}} {
		if err := run(t.Context(), args, strings.NewReader(""), log(t)); err == nil {
			t.Errorf("%v: taken", args)
		}
	}
}
