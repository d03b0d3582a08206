package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// sdkEvent is an event with all that the SDK can set.
func sdkEvent(t *testing.T, id string) cloudevents.Event {
	t.Helper()
	ev := cloudevents.NewEvent()
	ev.SetID(id)
	ev.SetSource("/sdk/source")
	ev.SetType("org.example.sdk")
	ev.SetSubject("a subject")
	ev.SetTime(time.Date(2026, 7, 23, 10, 11, 12, 345678000, time.UTC))
	ev.SetDataSchema("https://example.org/schema")
	ev.SetExtension("partitionkey", "k 1")
	if err := ev.SetData("application/json", map[string]any{"n": 1.5, "s": "x"}); err != nil {
		t.Fatal(err)
	}
	return ev
}

func wantSDK(t *testing.T, got, want cloudevents.Event) {
	t.Helper()
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	if got.String() != want.String() {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheGoSDKPublishesAndItsEventsComeOut(t *testing.T) {
	f := serveNode(t)
	s := f.openSSE("/events", "")
	defer s.close()
	p := f.openPoll("/events", "", mediaJSONBatch)
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(f.url))
	if err != nil {
		t.Fatal(err)
	}
	for name, encode := range map[string]func() cloudevents.Result{
		"binary": func() cloudevents.Result {
			return client.Send(binding.WithForceBinary(t.Context()), sdkEvent(t, "binary"))
		},
		"structured": func() cloudevents.Result {
			return client.Send(binding.WithForceStructured(t.Context()), sdkEvent(t, "structured"))
		},
		"batch": func() cloudevents.Result {
			req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), f.url+"/events", []event.Event{sdkEvent(t, "batch")})
			if err != nil {
				return err
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if a := readReply(t, res); a.StatusCode != http.StatusAccepted {
				return errors.New(a.body)
			}
			return nil
		},
	} {
		if result := encode(); !cloudevents.IsACK(result) {
			t.Fatalf("%s: %v", name, result)
		}
		_, data, err := s.message()
		if err != nil {
			t.Fatal(err)
		}
		var got cloudevents.Event
		if err := json.Unmarshal([]byte(data), &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantSDK(t, got, sdkEvent(t, name))

		a := p.poll(t)
		res := http.Response{Header: a.Header, Body: http.NoBody, StatusCode: a.StatusCode}
		res.Body = readCloser{bytes.NewReader([]byte(a.body))}
		batch, err := cehttp.NewEventsFromHTTPResponse(&res)
		if err != nil || len(batch) != 1 {
			t.Fatalf("%s: a batch of %d: %v", name, len(batch), err)
		}
		wantSDK(t, batch[0], sdkEvent(t, name))
	}
}

func TestTheGoSDKIsToldWhatIsWrong(t *testing.T) {
	f := serveNode(t)
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(f.url + "/namespaces/-/events"))
	if err != nil {
		t.Fatal(err)
	}
	var result *cehttp.Result
	if got := client.Send(t.Context(), sdkEvent(t, "1")); !cloudevents.ResultAs(got, &result) || result.StatusCode != 404 {
		t.Errorf("got %v", got)
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
