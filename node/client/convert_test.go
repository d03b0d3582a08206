package client

import (
	"bytes"
	"net/url"
	"reflect"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"
	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/event"
)

var (
	genText = rapid.StringMatching(`[ -~äöü€😀]{1,20}`)
	genRef  = rapid.StringMatching(`(urn:[a-z]{2,8}:[a-z0-9]{1,8}|https?://[a-z]{1,8}(:[0-9]{2,4})?/[a-zA-Z0-9._~-]{0,8}(\?[a-z]=%[0-9A-F]{2})?(#[a-z]+)?|/[a-z]{1,5}(/%2[fF])?|\.\./[a-z]+)`)
	genURI  = rapid.StringMatching(`(urn:[a-z]{2,8}:[a-z0-9]{1,8}|https?://[a-z]{1,8}/[a-z]{0,8}(%2f)?)`)
	genTime = rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(-62135596800+86400, 253402300799-86400).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		return at.In(time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "zone")))
	})
)

// genEvent makes valid events with every type of attribute and form of data.
func genEvent(t *rapid.T) event.Event {
	var b event.Builder
	b.SetString("id", genText.Draw(t, "id")).SetString("source", genRef.Draw(t, "source")).SetString("type", genText.Draw(t, "type"))
	if rapid.Bool().Draw(t, "subject?") {
		b.SetString("subject", genText.Draw(t, "subject"))
	}
	if rapid.Bool().Draw(t, "schema?") {
		b.Set("dataschema", event.URIValue(genURI.Draw(t, "schema")))
	}
	if rapid.Bool().Draw(t, "content type?") {
		b.SetString("datacontenttype", rapid.SampledFrom([]string{"application/json", "text/plain; charset=utf-8"}).Draw(t, "content type"))
	}
	if rapid.Bool().Draw(t, "time?") {
		b.SetTime(genTime.Draw(t, "time"))
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`x[a-z0-9]{1,6}`), 0, 6, rapid.ID).Draw(t, "names") {
		b.Set(name, rapid.OneOf(
			rapid.Map(genText, event.StringValue), rapid.Map(rapid.Int32(), event.IntegerValue), rapid.Map(rapid.Bool(), event.BooleanValue),
			rapid.Map(rapid.SliceOf(rapid.Byte()), event.BinaryValue), rapid.Map(genURI, event.URIValue), rapid.Map(genRef, event.URIRefValue),
			rapid.Map(genTime, event.TimestampValue),
		).Draw(t, name))
	}
	switch rapid.IntRange(0, 2).Draw(t, "data") {
	case 1:
		b.SetData(event.BinaryData, rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	case 2:
		b.SetData(event.TextData, []byte(rapid.String().Draw(t, "text")))
	}
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	if err := ev.Check(); err != nil {
		t.Skip(err)
	}
	return ev
}

// An envelope that becomes an event of the SDK and an envelope again is equal
// byte for byte: nothing of any attribute or of the data is lost on the way.
func TestEnvelopesSurviveTheSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ev := genEvent(t)
		e := FromEnvelope(&ev)
		again, err := appendEnvelope(nil, new(event.Builder), &e)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, ev.Bytes()) {
			t.Fatalf("the envelope changed:\n%q\n%q", ev.Bytes(), again)
		}
	})
}

// And events that a program made with the SDK arrive as they were.
func TestSDKEventsSurviveTheEnvelope(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_900_001, time.FixedZone("", 3600))
	link, err := url.Parse("https://example.com/a?b=c#d")
	if err != nil {
		t.Fatal(err)
	}
	e := cloudevents.NewEvent()
	e.SetID("1")
	e.SetSource("https://example.com/a b")
	e.SetType("t")
	e.SetSubject("s")
	e.SetTime(at)
	e.SetDataSchema("https://example.com/schema")
	for name, v := range map[string]any{
		"aint": 42, "abool": true, "astring": "täxt", "abinary": []byte{0, 255}, "auri": types.URI{URL: *link},
		"aref": types.URIRef{URL: url.URL{Path: "x"}}, "atime": types.Timestamp{Time: at.UTC()},
	} {
		e.SetExtension(name, v)
	}
	for _, data := range []any{nil, []byte{0xff, 0}, []byte{}, map[string]any{"a": 1}, "text"} {
		e := e.Clone()
		if data != nil {
			if err := e.SetData("application/json", data); err != nil {
				t.Fatal(err)
			}
		}
		envelope, err := appendEnvelope(nil, new(event.Builder), &e)
		if err != nil {
			t.Fatal(err)
		}
		var ev event.Event
		if err := ev.Scan(envelope); err != nil {
			t.Fatal(err)
		}
		if err := ev.Check(); err != nil {
			t.Errorf("the envelope is not valid: %v", err)
		}
		got := FromEnvelope(&ev)
		if !reflect.DeepEqual(got.Extensions(), e.Extensions()) {
			t.Errorf("extensions %v, want %v", got.Extensions(), e.Extensions())
		}
		if !got.Time().Equal(at) || got.Time().Format(time.RFC3339Nano) != at.Format(time.RFC3339Nano) {
			t.Errorf("time %v, want %v", got.Time(), at)
		}
		if got.Source() != e.Source() || got.DataSchema() != e.DataSchema() || got.Subject() != "s" {
			t.Errorf("attributes changed: %v", got)
		}
		if !bytes.Equal(got.Data(), e.Data()) || (got.Data() == nil) != (e.Data() == nil) || got.DataBase64 != (e.DataBase64 && e.Data() != nil) {
			t.Errorf("data %q (base64 %v), want %q (%v)", got.Data(), got.DataBase64, e.Data(), e.DataBase64)
		}
	}
}

func TestEventsOfAnotherSpecVersionAreRefused(t *testing.T) {
	for _, e := range []cloudevents.Event{{}, cloudevents.NewEvent("0.3")} {
		if _, err := appendEnvelope(nil, new(event.Builder), &e); err == nil {
			t.Errorf("%v was taken", e)
		}
	}
}

func TestFiltersAreWrittenAsTheSubscriptionsAPIHasThem(t *testing.T) {
	parsed, err := ParseFilter([]byte(`[{"exact":{"type":"a"}},{"sql":"TRUE"}]`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, `{"pattern":{"type":"\u003e"}}`},
		{All(), `{"pattern":{"type":"\u003e"}}`},
		{Any(Source("/a"), Everything()), `{"pattern":{"type":"\u003e"}}`},
		{ByType("a.*.>"), `{"pattern":{"type":"a.*.\u003e"}}`},
		{Source("/a"), `{"exact":{"source":"/a"}}`},
		{All(ByType("a"), Everything()), `{"pattern":{"type":"a"}}`},
		{Where("subject = 'x'").And(Prefix("id", "1"), Not(Suffix("id", "2"))), `{"all":[{"sql":"subject = 'x'"},{"prefix":{"id":"1"}},{"not":{"suffix":{"id":"2"}}}]}`},
		{Subject("a").Or(Exact("x", "b")), `{"any":[{"exact":{"subject":"a"}},{"exact":{"x":"b"}}]}`},
		{parsed, `{"all":[{"exact":{"type":"a"}},{"sql":"TRUE"}]}`},
	} {
		if got := c.filter.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	for _, bad := range []string{"", "1", "{", `"x"`, "null"} {
		if _, err := ParseFilter([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a filter", bad)
		}
	}
}

func TestAddressesThatCannotBeAreRefused(t *testing.T) {
	for _, bad := range []string{"", "ftp://x", "http://", "unix://", "quic://host", "http://a,:0x", "http://[::1"} {
		if _, err := parseAddresses(bad); err == nil {
			t.Errorf("%q was taken for an address", bad)
		}
	}
	list, err := parseAddresses("localhost:1, https://b ,unix:///run/s,quic://c:7420")
	if err != nil || len(list) != 4 || list[0].String() != "http://localhost:1" {
		t.Errorf("%v, %v", list, err)
	}
}
