package conformance

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

const goType = "org.example.go"

// goEvent is an event with all that the SDK can set.
func goEvent(t *testing.T, id string) event.Event {
	t.Helper()
	ev := cloudevents.NewEvent()
	ev.SetID(id)
	ev.SetSource("/go/sdk")
	ev.SetType(goType)
	ev.SetSubject("a subject with € in it")
	ev.SetTime(time.Date(2026, 7, 23, 10, 11, 12, 345678000, time.UTC))
	ev.SetDataSchema("https://example.org/schema")
	ev.SetExtension("partitionkey", "k 1")
	if err := ev.SetData(cloudevents.ApplicationJSON, map[string]any{"n": 1.5, "s": "käse"}); err != nil {
		t.Fatal(err)
	}
	return ev
}

// The SDK's client sends in binary and in structured mode, its HTTP protocol
// makes requests of batches; in the other region its HTTP protocol reads the
// batches of a long poll.
func TestTheGoSDKPublishesAndReceives(t *testing.T) {
	_, eu, us := twoRegions(t)
	ctx := bounded(t)
	poll := subscribePoll(ctx, t, us.HTTP)
	awaitInterest(ctx, t, eu.HTTP, us.Region, goType)
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(eu.HTTP + "/events"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode string
		send func(event.Event) error
	}{
		{"binary", func(ev event.Event) error { return client.Send(binding.WithForceBinary(ctx), ev) }},
		{"structured", func(ev event.Event) error { return client.Send(binding.WithForceStructured(ctx), ev) }},
		{"batch", func(ev event.Event) error { return sendBatch(ctx, eu.HTTP+"/events", ev) }},
	} {
		want := goEvent(t, c.mode)
		if err := c.send(want); !cloudevents.IsACK(err) {
			t.Fatalf("%s: %v", c.mode, err)
		}
		got := poll.next(ctx, t)
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", c.mode, err)
		}
		if got.String() != want.String() {
			t.Errorf("%s: got\n%s\nwant\n%s", c.mode, got, want)
		}
	}
}

func sendBatch(ctx context.Context, target string, events ...event.Event) error {
	req, err := cehttp.NewHTTPRequestFromEvents(ctx, target, events)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		return cehttp.NewResult(res.StatusCode, "the batch was not accepted")
	}
	return nil
}

// longPoll is a subscription whose answers the SDK reads.
type longPoll struct {
	url    string
	cursor string
	ahead  []event.Event
}

// subscribePoll subscribes to goType.
func subscribePoll(ctx context.Context, t *testing.T, node string) *longPoll {
	t.Helper()
	p := &longPoll{url: node + "/events"}
	p.ask(ctx, t, url.Values{"type": {goType}, "wait": {"50ms"}})
	if len(p.ahead) > 0 {
		t.Fatalf("%d events before any was published", len(p.ahead))
	}
	return p
}

// ask asks once; what comes is added to ahead.
func (p *longPoll) ask(ctx context.Context, t *testing.T, query url.Values) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"?"+query.Encode(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", event.ApplicationCloudEventsBatchJSON)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	events, err := cehttp.NewEventsFromHTTPResponse(res)
	if err != nil {
		t.Fatalf("%s: %v", res.Status, err)
	}
	p.ahead = append(p.ahead, events...)
	p.cursor = res.Header.Get("Skein-Poll")
}

func (p *longPoll) next(ctx context.Context, t *testing.T) event.Event {
	t.Helper()
	for len(p.ahead) == 0 {
		p.ask(ctx, t, url.Values{"poll": {p.cursor}, "wait": {"5s"}})
	}
	ev := p.ahead[0]
	p.ahead = p.ahead[1:]
	return ev
}
