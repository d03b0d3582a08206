package event_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	protobuf "github.com/cloudevents/sdk-go/binding/format/protobuf/v2"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	sdk "github.com/cloudevents/sdk-go/v2/event"
	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/event"
)

// face is an encoding there and back.
type face struct {
	name  string
	typed bool // keeps the types of extensions
	cross func(e event.Event) (event.Event, error)
}

func faces() []face {
	return []face{
		{"JSON", false, func(e event.Event) (event.Event, error) { return fromJSON(string(e.AppendJSON(nil))) }},
		{"HTTP", false, func(e event.Event) (event.Event, error) {
			h := http.Header{}
			return fromHTTP(h, string(e.SetHTTP(h)))
		}},
		{"protobuf", true, func(e event.Event) (event.Event, error) { return fromProto(e.AppendProto(nil)) }},
	}
}

// anyEvent draws a valid event.
func anyEvent(t *rapid.T, forSDK bool) event.Event {
	var b event.Builder
	printable := rapid.StringOf(rapid.OneOf(rapid.RuneFrom([]rune(` "%\,;:<>{}'€é😀`+"\u00a0")), rapid.RuneFrom([]rune("abcXYZ0189-_.~!"))))
	word, tz := `[ -~]{1,20}`, `[Tt]1[0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,12})?([Zz]`
	if forSDK { // it trims strings, and takes upper case and nanoseconds only
		word, tz = `[!-~]{1,20}`, `T1[0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z`
	}
	b.SetString("id", rapid.StringMatching(word).Draw(t, "id"))
	b.SetString("source", rapid.StringMatching(`(https://h/|urn:|/|)[a-z0-9]{1,20}(\?[a-z=&]{1,9})?(#[a-z]{1,3})?`).Draw(t, "source"))
	b.SetString("type", rapid.StringMatching(word).Draw(t, "type"))
	for i, n := 0, rapid.IntRange(0, 6).Draw(t, "extensions"); i < n; i++ {
		name := rapid.StringMatching(`x[a-z0-9]{0,12}`).Draw(t, "name")
		b.Set(name, rapid.OneOf(
			rapid.Map(printable, event.StringValue), rapid.Map(rapid.Bool(), event.BooleanValue), rapid.Map(rapid.Int32(), event.IntegerValue),
			rapid.Map(rapid.SliceOf(rapid.Byte()), event.BinaryValue),
			rapid.Map(rapid.StringMatching(`[a-z]{1,5}:[a-z]{1,9}`), event.URIValue), rapid.Map(rapid.StringMatching(`/[a-z]{1,9}`), event.URIRefValue),
			rapid.Map(rapid.Int64Range(-62135596800, 253402300799), func(s int64) event.Value { return event.TimestampValue(time.Unix(s, s&0xffff)) }),
		).Draw(t, "value"))
	}
	if rapid.Bool().Draw(t, "has a time") {
		b.SetString("time", rapid.StringMatching(`20[0-9]{2}-0[1-9]-[12][0-8]`+tz+`|[+-]0[0-9]:[0-5][0-9])`).Draw(t, "time"))
	}
	if rapid.Bool().Draw(t, "has a subject") {
		b.SetString("subject", rapid.StringMatching(word).Draw(t, "subject"))
	}
	if rapid.Bool().Draw(t, "has a schema") {
		b.Set("dataschema", event.URIValue(rapid.StringMatching(`https://[a-z]{1,9}(/[a-z]{0,9})?`).Draw(t, "schema")))
	}
	media := rapid.SampledFrom([]string{"", "application/json", "text/plain", "image/png", "application/x+JSON; a=b", "text/xml"}).Draw(t, "media type")
	if forSDK && strings.Contains(media, "+") { // it takes only application/json and text/json for JSON throughout
		media = "application/json"
	}
	if media != "" {
		b.SetString("datacontenttype", media)
	}
	switch rapid.IntRange(0, 3).Draw(t, "data") {
	case 1:
		b.SetData(event.BinaryData, rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "bytes"))
	case 2:
		form := event.TextData
		if forSDK { // it encodes protobuf text anew, or not at all
			form = event.BinaryData
		}
		b.SetData(form, []byte("x"+printable.Draw(t, "text")))
	case 3:
		b.SetData(event.BinaryData, []byte(rapid.SampledFrom([]string{`{"b":1.0,"a":1e2, "a":"\u20ac"}`, `"x"`, `[ ]`, `-0`, `null`, `{`, "{\n}"}).Draw(t, "JSON")))
	}
	e, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestIssue2AttributesAndDataSurviveEveryPairOfFaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t, false)
		if err := e.Check(); err != nil {
			t.Fatalf("%v", err)
		}
		for _, first := range faces() {
			for _, second := range faces() {
				mid, err := first.cross(e)
				if err != nil {
					t.Fatalf("%s refuses %q: %v", first.name, e.Bytes(), err)
				}
				end, err := second.cross(mid)
				if err != nil {
					t.Fatalf("%s after %s refuses %q: %v", second.name, first.name, mid.Bytes(), err)
				}
				same(t, first.name+" and "+second.name, e, end, first.typed && second.typed)
			}
		}
	})
}

// same says that b is a behind two faces.
func same(t *rapid.T, how string, a, b event.Event, typed bool) {
	n := 0
	for name, v := range a.Attrs {
		n++
		w, ok := b.Attr(name)
		switch {
		case !ok:
			t.Fatalf("%s: %s is lost", how, name)
		case name == "time":
			if !instant(t, v).Equal(instant(t, w)) {
				t.Fatalf("%s: time %s is %s", how, v, w)
			}
		case v.String() != w.String(), typed && v.Kind() != w.Kind():
			t.Fatalf("%s: %s %v %q is %v %q", how, name, v.Kind(), v, w.Kind(), w)
		}
	}
	for range b.Attrs {
		n--
	}
	da, _ := a.Data()
	db, _ := b.Data()
	if white := string(da); n != 0 || a.ID() != b.ID() || a.Source() != b.Source() || a.Type() != b.Type() || string(db) != white && trimmed(white) != string(db) {
		t.Fatalf("%s: %q is %q", how, a.Bytes(), b.Bytes())
	}
}

// trimmed is JSON text as JSON keeps it.
func trimmed(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\n' || s[0] == '\t' || s[0] == '\r') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\n' || s[len(s)-1] == '\t' || s[len(s)-1] == '\r') {
		s = s[:len(s)-1]
	}
	return s
}

func instant(t *rapid.T, v event.Value) time.Time {
	if v.Kind() == event.Timestamp {
		return v.Time()
	}
	s := []byte(v.String())
	for i, c := range s {
		if c == 't' || c == 'z' {
			s[i] = c - 0x20
		}
	}
	at, err := time.Parse(time.RFC3339Nano, string(s))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// The Go SDK as the judge: what it writes we read, and what we write it reads,
// and both see the same event.
func TestTheGoSDKAgreesInBothDirections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t, true)
		for _, f := range []struct {
			format format.Format
			write  func(e *event.Event, dst []byte) []byte
			read   func(string) (event.Event, error)
		}{
			{format.JSON, (*event.Event).AppendJSON, fromJSON},
			{protobuf.Protobuf, (*event.Event).AppendProto, func(s string) (event.Event, error) { return fromProto([]byte(s)) }},
		} {
			out := f.write(&e, nil)
			var theirs sdk.Event
			if err := f.format.Unmarshal(out, &theirs); err != nil {
				t.Fatalf("the SDK does not read %q: %v", out, err)
			}
			data, form := e.Data()
			if theirs.ID() != e.ID() || theirs.Source() != e.Source() || theirs.Type() != e.Type() || form == event.BinaryData && string(theirs.Data()) != trimmed(string(data)) && string(theirs.Data()) != string(data) {
				t.Fatalf("the SDK reads %q as %v", out, theirs)
			}
			again, err := f.format.Marshal(&theirs)
			if err != nil {
				t.Fatalf("the SDK does not write %v: %v", theirs, err)
			}
			ours, err := f.read(string(again))
			if err != nil {
				t.Fatalf("what the SDK writes is refused: %s: %v", again, err)
			}
			if ours.ID() != e.ID() || ours.Source() != e.Source() || ours.Type() != e.Type() {
				t.Fatalf("%s is read as %q", again, ours.Bytes())
			}
			for name, v := range e.Attrs {
				w, ok := ours.Attr(name)
				if name == "time" {
					if d := instant(t, v).Sub(instant(t, w)); d != 0 {
						t.Fatalf("time %s is %s behind the SDK", v, w)
					}
				} else if !ok || v.String() != w.String() {
					t.Fatalf("%s %q is %q behind the SDK: %s", name, v, w, again)
				}
			}
		}
	})
}
