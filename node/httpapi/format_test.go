package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/transport/event"
)

// with is a valid event in JSON with members added.
func with(members string) string {
	return `{"specversion":"1.0","id":"1","source":"/s","type":"t",` + members + `}`
}

// TestA_AttributesAreChecked goes through section A by both content modes: the
// JSON member and the header hold the same value.
func TestA_AttributesAreChecked(t *testing.T) {
	f := serveRecorder(t)
	for _, tc := range []struct {
		item, name, value string
		ok                bool
	}{
		{"A1", "id", "", false}, {"A1", "type", "", false}, {"A1", "source", "", false},
		{"A2", "specversion", "0.3", false}, {"A2", "specversion", "1", false}, {"A2", "specversion", "v1.0", false}, {"A2", "specversion", "1.0.2", false},
		{"A3", "a123456789012345678901234567890", "x", true}, {"A3", "1st", "x", true}, {"A3", "data", "x", false},
		{"A6", "source", "a b", false}, {"A6", "source", "a<b>", false}, {"A6", "source", "1a:b", false}, {"A6", "source", "/é", false}, {"A6", "source", "urn:x:y", true}, {"A6", "source", "./a:b", true},
		{"A7", "dataschema", "/relative", false}, {"A7", "dataschema", "", false}, {"A7", "dataschema", "http://x/y#z", true},
		{"A8", "subject", "", false}, {"A8", "subject", "s", true},
		{"A9", "time", "2026-07-23T10:00:00Z", true}, {"A9", "time", "2026-07-23t10:00:00z", true}, {"A9", "time", "2016-12-31T23:59:60Z", true},
		{"A9", "time", "2026-07-23", false}, {"A9", "time", "2026-07-23T10:00Z", false}, {"A9", "time", "2026-07-23T10:00:00", false}, {"A9", "time", "2026-07-23T10:00:00+05", false},
		{"A9", "time", "2026-07-23T10:00:00+0500", false}, {"A9", "time", "2026-07-23T10:00:00+24:00", false}, {"A9", "time", "2026-07-23T10:00:00,5Z", false},
		{"A9", "time", "2026-07-23T1:00:00Z", false}, {"A9", "time", "2026-02-30T10:00:00Z", false}, {"A9", "time", "2026-07-23T24:00:00Z", false},
		{"A10", "datacontenttype", "xyz", false}, {"A10", "datacontenttype", "text/plain;a=b", true},
		{"A13", "unknownext", "v", true}, {"A13", "emptyext", "", true},
	} {
		attrs := map[string]string{"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
		attrs[tc.name] = tc.value
		want := 400
		if tc.ok {
			want = 202
		}
		if tc.name != "data" { // which is data in JSON
			body, err := json.Marshal(attrs)
			if err != nil {
				t.Fatal(err)
			}
			if a := f.do("POST", "/events", string(body), "Content-Type", mediaJSON); a.StatusCode != want {
				t.Errorf("%s: %s %q in JSON: %d, want %d: %s", tc.item, tc.name, tc.value, a.StatusCode, want, a.body)
			} else if !tc.ok {
				a.wantError(t, tc.name)
			}
		}
		var h []string
		for name, value := range attrs {
			switch {
			case name == "datacontenttype":
				h = append(h, "Content-Type", value)
			default:
				h = append(h, "ce-"+name, strings.NewReplacer(" ", "%20", `"`, "%22").Replace(value))
			}
		}
		if a := f.do("POST", "/events", "", h...); a.StatusCode != want {
			t.Errorf("%s: %s %q in headers: %d, want %d: %s", tc.item, tc.name, tc.value, a.StatusCode, want, a.body)
		}
	}
}

func TestE39ToE50_JSONEvents(t *testing.T) {
	f := serveRecorder(t)
	for _, tc := range []struct {
		item, body string
		want       int
	}{
		{"E39", okJSON + " \n\t", 202},
		{"E39", okJSON + "]", 400},
		{"E40", `{"specversion":"1.0","Id":"1","source":"/s","type":"t"}`, 400},
		{"E40", with(`"my-ext":"x"`), 400},
		{"E41", with(`"a":true,"b":-2147483648,"c":"x","d":null`), 202},
		{"E41", with(`"a":{}`), 400},
		{"E41", with(`"a":[]`), 400},
		{"E41", with(`"a":1.5`), 400},
		{"E41", with(`"a":2147483648`), 400},
		{"E41", with(`"a":1.0`), 400},
		{"E41", with(`"a":1e2`), 400},
		{"E41", with(`"subject":5`), 400},
		{"E41", strings.Replace(okJSON, `"1"`, "25", 1), 400},
		{"E41", strings.Replace(okJSON, `"1.0"`, "1.0", 1), 400},
		{"E41", strings.Replace(okJSON, `"1"`, "null", 1), 400},
		{"E43", with(`"a":1,"a":1`), 400},
		{"E43", with(`"id":"1"`), 400},
		{"E44", with(`"data":1,"data_base64":"AA=="`), 400},
		{"E44", with(`"data_base64":1`), 400},
		{"E44", with(`"data_base64":"A"`), 400},
		{"E44", with(`"data_base64":"-_8="`), 400},
		{"E44", with(`"data_base64":null`), 202},
		{"E46", with(`"data":null`), 202},
		{"E48", with(`"datacontenttype":"text/plain","data":"x"`), 202},
		{"E48", with(`"datacontenttype":"text/plain","data":{}`), 400},
		{"E50", with(`"data":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), 0},
		{"E50", with(`"data":` + strings.Repeat("[", 500_000)), 400},
		{"A5", with(`"a":"\u0000"`), 400},
		{"A5", with(`"a":"\ud800"`), 400},
		{"A5", with("\"a\":\"\xff\""), 400},
		{"A5", with(`"a":"\uffff"`), 400},
	} {
		a := f.do("POST", "/events", tc.body, "Content-Type", mediaJSON)
		if a.StatusCode != tc.want && (tc.want != 0 || a.StatusCode >= 500) {
			t.Errorf("%s: %.100s: %d, want %d: %s", tc.item, tc.body, a.StatusCode, tc.want, a.body)
		}
	}
}

func TestE42_JSONTypesOfExtensionsAreKept(t *testing.T) {
	f := serveRecorder(t)
	ev := f.one(f.do("POST", "/events", with(`"b":true,"i":-5,"s":"5"`), "Content-Type", mediaJSON))
	for name, kind := range map[string]event.Kind{"b": event.Boolean, "i": event.Integer, "s": event.String} {
		if v, _ := ev.Attr(name); v.Kind() != kind {
			t.Errorf("%s is of kind %d, want %d", name, v.Kind(), kind)
		}
	}
}

func TestE45ToE48_DataInJSON(t *testing.T) {
	f := serveRecorder(t)
	for members, want := range map[string]string{
		`"data_base64":"AP8="`:                        "\x00\xff",
		`"data":{"b":1.50,"a":1e3}`:                   `{"b":1.50,"a":1e3}`,
		`"data":"text"`:                               `"text"`,
		`"data":null`:                                 "null",
		`"datacontenttype":"text/x","data":"a\u00e9"`: "aé",
		`"datacontenttype":"a/b+json","data":"x"`:     `"x"`,
	} {
		ev := f.one(f.do("POST", "/events", with(members), "Content-Type", mediaJSON))
		if data, _ := ev.Data(); string(data) != want {
			t.Errorf("%s: data %q, want %q", members, data, want)
		}
		if v, ok := ev.Attr("datacontenttype"); strings.HasPrefix(members, `"data":`) && v.String() != "application/json" {
			t.Errorf("%s: E47: datacontenttype %q", members, v.String())
		} else if strings.HasPrefix(members, `"data_base64"`) && ok {
			t.Errorf("%s: E45: datacontenttype %q", members, v.String())
		}
	}
}

func TestF51ToF56_Batches(t *testing.T) {
	f := serveRecorder(t)
	for body, want := range map[string]int{
		"[" + okJSON + "," + okJSON + "]":         202, // F52: two copies of one event
		" [ " + okJSON + " , " + okJSON + " ] \n": 202,
		okJSON:               400,
		"null":               400,
		"[[]]":               400,
		"[1]":                400,
		"[" + okJSON + "] x": 400,
		"[" + okJSON + "," + strings.Replace(okJSON, "1.0", "0.3", 1) + "]": 400,
	} {
		f.wantStatus(f.do("POST", "/events", body, "Content-Type", mediaJSONBatch), want)
	}
}

func TestF54_TheOrderOfABatchHolds(t *testing.T) {
	f := serveRecorder(t)
	var items []string
	for i := range 100 {
		items = append(items, strings.Replace(okJSON, `"1"`, fmt.Sprintf(`"%d"`, i), 1))
	}
	f.do("POST", "/events", "["+strings.Join(items, ",")+"]", "Content-Type", mediaJSONBatch)
	got := f.broker.take()[""]
	if len(got) != len(items) {
		t.Fatalf("%d events", len(got))
	}
	for i := range got {
		if got[i].ID() != fmt.Sprint(i) {
			t.Fatalf("event %d has id %s", i, got[i].ID())
		}
	}
}

func TestQ138_ProtobufEvents(t *testing.T) {
	f := serveRecorder(t)
	var b event.Builder
	b.SetString("id", "1").SetString("source", "/s").SetString("type", "t").Set("n", event.IntegerValue(-7)).SetData(event.BinaryData, []byte("\x00x"))
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	got := f.one(f.do("POST", "/events", string(ev.AppendProto(nil)), "Content-Type", mediaProto))
	if string(got.Bytes()) != string(ev.Bytes()) {
		t.Errorf("the envelope changed: %q to %q", ev.Bytes(), got.Bytes())
	}
	a := f.do("POST", "/events", string(event.AppendProtoBatch(nil, []event.Event{ev, ev})), "Content-Type", mediaProtoBatch)
	if n := len(f.broker.take()[""]); a.StatusCode != 202 || n != 2 {
		t.Errorf("a batch of two: %d, %d events: %s", a.StatusCode, n, a.body)
	}
	b.Set("datacontenttype", event.IntegerValue(1))
	f.wantStatus(f.do("POST", "/events", string(b.Append(nil)), "Content-Type", mediaProto), 400)
}
