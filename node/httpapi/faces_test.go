package httpapi

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/event"
)

// inlet publishes an event in one way.
type inlet func(t testing.TB, ev *event.Event)

// TestEventsSurviveEveryPairOfFacesBitForBit publishes events of all kinds in
// every way there is and compares what every way out makes of them.
func TestEventsSurviveEveryPairOfFacesBitForBit(t *testing.T) {
	f := serveNode(t)
	pubJSON, pubProto := f.openWS("/events", "mode=publish", subJSON), f.openWS("/events", "mode=publish", subProto)
	defer pubJSON.close()
	defer pubProto.close()
	post := func(media string, body []byte) {
		if a := f.do("POST", "/events", string(body), "Content-Type", media); a.StatusCode != 202 {
			t.Fatalf("%s: %d %s: %q", media, a.StatusCode, a.body, body)
		}
	}
	inlets := map[string]inlet{
		"HTTP binary":   f.postBinary,
		"HTTP JSON":     func(_ testing.TB, ev *event.Event) { post(mediaJSON, ev.AppendJSON(nil)) },
		"HTTP protobuf": func(_ testing.TB, ev *event.Event) { post(mediaProto, ev.AppendProto(nil)) },
		"HTTP JSON batch": func(_ testing.TB, ev *event.Event) {
			post(mediaJSONBatch, event.AppendJSONBatch(nil, []event.Event{*ev}))
		},
		"HTTP protobuf batch": func(_ testing.TB, ev *event.Event) {
			post(mediaProtoBatch, event.AppendProtoBatch(nil, []event.Event{*ev}))
		},
		"WebSocket JSON": func(t testing.TB, ev *event.Event) {
			if err := pubJSON.Write(pubJSON.ctx, websocket.MessageText, ev.AppendJSON(nil)); err != nil {
				t.Fatal(err)
			}
		},
		"WebSocket protobuf": func(t testing.TB, ev *event.Event) {
			if err := pubProto.Write(pubProto.ctx, websocket.MessageBinary, ev.AppendProto(nil)); err != nil {
				t.Fatal(err)
			}
		},
	}
	outlets := map[string]outlet{
		"SSE":                f.openSSE("/events", ""),
		"WebSocket JSON":     f.openWS("/events", "mode=subscribe", subJSON),
		"WebSocket protobuf": f.openWS("/events", "mode=subscribe", subProto),
		"poll JSON":          f.openPoll("/events", "", mediaJSONBatch),
		"poll protobuf":      f.openPoll("/events", "", mediaProtoBatch),
	}
	for _, out := range outlets {
		defer out.close()
	}
	rapid.Check(t, func(rt *rapid.T) {
		ev := genEvent(rt)
		for in, publish := range inlets {
			publish(t, ev)
			for out, o := range outlets {
				if diff := difference(ev, o.next(t)); diff != "" {
					rt.Fatalf("from %s to %s: %s", in, out, diff)
				}
			}
		}
	})
}

// postBinary posts an event in binary mode.
func (f *face) postBinary(t testing.TB, ev *event.Event) {
	h := http.Header{}
	body := ev.SetHTTP(h)
	req, err := http.NewRequestWithContext(t.Context(), "POST", f.url+"/events", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if a := readReply(t, res); a.StatusCode != 202 {
		t.Fatalf("binary: %d %s", a.StatusCode, a.body)
	}
}

// difference says what differs between two events in attributes, as canonical
// text since headers know no other type, or in data.
func difference(want, got *event.Event) string {
	a, b := attrsOf(want), attrsOf(got)
	for name, v := range a {
		if b[name] != v {
			return fmt.Sprintf("%s is %q, was %q", name, b[name], v)
		}
	}
	for name, v := range b {
		if _, ok := a[name]; !ok {
			return fmt.Sprintf("%s appeared: %q", name, v)
		}
	}
	x, xf := want.Data()
	y, yf := got.Data()
	if !bytes.Equal(x, y) || (xf == event.NoData) != (yf == event.NoData) {
		return fmt.Sprintf("data is %q (%d), was %q (%d)", y, yf, x, xf)
	}
	return ""
}

func attrsOf(ev *event.Event) map[string]string {
	m := map[string]string{"id": ev.ID(), "source": ev.Source(), "type": ev.Type()}
	for name, v := range ev.Attrs {
		m[name] = v.String()
	}
	return m
}

// genEvent makes a valid event: text of any script in attributes, all types of
// extension values, and data that is JSON, text, bytes or nothing.
func genEvent(rt *rapid.T) *event.Event {
	text := rapid.StringMatching(`[ -~]{0,5}[À-ӿ\x{1F300}-\x{1F6FF}]{0,3}["%\\;, ]{0,3}[!-~]`)
	var b event.Builder
	b.SetString("id", text.Draw(rt, "id"))
	b.Set("source", event.URIRefValue(rapid.StringMatching(`(/[a-z0-9%]{0}[a-z0-9]{1,5}){1,3}(\?q=[a-z]+)?`).Draw(rt, "source")))
	b.SetString("type", text.Draw(rt, "type"))
	if rapid.Bool().Draw(rt, "subject?") {
		b.SetString("subject", text.Draw(rt, "subject"))
	}
	if rapid.Bool().Draw(rt, "time?") {
		b.SetString("time", rapid.StringMatching(`20[0-9]{2}-0[1-9]-[12][0-8]T1[0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{5}[1-9])?Z`).Draw(rt, "time"))
	}
	for name, v := range rapid.MapOfN(rapid.StringMatching(`x[a-z0-9]{1,20}`), text, 0, 4).Draw(rt, "strings") {
		b.SetString(name, v)
	}
	b.Set("yinteger", event.IntegerValue(rapid.Int32().Draw(rt, "integer")))
	b.Set("zboolean", event.BooleanValue(rapid.Bool().Draw(rt, "boolean")))
	switch rapid.SampledFrom([]string{"json", "text", "bytes", "none"}).Draw(rt, "data") {
	case "json":
		b.SetString("datacontenttype", rapid.SampledFrom([]string{"application/json", "application/x+json; charset=utf-8"}).Draw(rt, "media"))
		b.SetData(event.BinaryData, []byte(rapid.SampledFrom([]string{
			"null", "0", `"s"`, "1.50e+3", "{}", "{ \"b\" : [1,\n\t2.0],\r\n\"a\":\"\\u00e9é\" }", "[\r1\r]", `{"a":1,"a":2}`, "12345678901234567890.10", "not JSON", "\xff",
		}).Draw(rt, "json")))
	case "text":
		b.SetString("datacontenttype", "text/plain")
		b.SetData(event.BinaryData, []byte("x"+rapid.String().Draw(rt, "text")))
	case "bytes":
		b.SetString("datacontenttype", "application/octet-stream")
		b.SetData(event.BinaryData, append(rapid.SliceOf(rapid.Byte()).Draw(rt, "bytes"), 0))
	}
	ev, err := b.Event()
	if err != nil {
		rt.Fatal(err)
	}
	return &ev
}
