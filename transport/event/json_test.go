package event_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/transport/event"
)

const core = `"specversion":"1.0","id":"1","source":"/s","type":"t"`

func fromJSON(body string) (event.Event, error) {
	var e event.Event
	raw, err := event.AppendFromJSON(nil, []byte(body))
	if err == nil {
		err = e.Scan(raw)
	}
	if err == nil {
		err = e.Check()
	}
	return e, err
}

func TestE39ToE50InvalidJSONIsRefused(t *testing.T) {
	for what, body := range map[string]string{
		"E39 empty":                 "",
		"E39 array":                 "[{" + core + "}]",
		"E39 string":                `"x"`,
		"E39 null":                  `null`,
		"E39 two objects":           "{" + core + "}{" + core + "}",
		"E39 trailing bytes":        "{" + core + "} x",
		"E39 trailing comma":        "{" + core + ",}",
		"E39 cut":                   "{" + core,
		"E39 cut in a string":       `{"id`,
		"E39 no colon":              `{"id" "1"}`,
		"E39 byte order mark":       "\ufeff{" + core + "}",
		"E40 Id":                    `{"specversion":"1.0","Id":"1","source":"/s","type":"t"}`,
		"E40 upper-case extension":  "{" + core + `,"Ext":"x"}`,
		"E40 null upper-case":       "{" + core + `,"Ext":null}`,
		"E40 data_base65":           "{" + core + `,"data_base65":"x"}`,
		"E40 empty name":            "{" + core + `,"":"x"}`,
		"E41 null id":               `{"specversion":"1.0","id":null,"source":"/s","type":"t"}`,
		"E41 object":                "{" + core + `,"ext":{}}`,
		"E41 array":                 "{" + core + `,"ext":[1]}`,
		"E41 fraction":              "{" + core + `,"ext":1.5}`,
		"E41 1.0":                   "{" + core + `,"ext":1.0}`,
		"E41 1e2":                   "{" + core + `,"ext":1e2}`,
		"A11 above 32 bits":         "{" + core + `,"ext":2147483648}`,
		"A11 below 32 bits":         "{" + core + `,"ext":-2147483649}`,
		"E41 far above":             "{" + core + `,"ext":99999999999999999999999999}`,
		"E41 leading zero":          "{" + core + `,"ext":01}`,
		"E41 integer id":            `{"specversion":"1.0","id":25,"source":"/s","type":"t"}`,
		"E41 number specversion":    `{"specversion":1.0,"id":"1","source":"/s","type":"t"}`,
		"E41 boolean time":          "{" + core + `,"time":true}`,
		"E41 integer subject":       "{" + core + `,"subject":1}`,
		"E41 integer content type":  "{" + core + `,"datacontenttype":1}`,
		"E41 integer dataschema":    "{" + core + `,"dataschema":1}`,
		"E43 id twice":              "{" + core + `,"id":"1"}`,
		"E43 escaped id":            "{" + core + `,"\u0069d":"1"}`,
		"E43 extension twice":       "{" + core + `,"a":1,"a":1}`,
		"E43 twice, once null":      "{" + core + `,"a":1,"a":null}`,
		"E43 data twice":            "{" + core + `,"data":1,"data":1}`,
		"E44 both":                  "{" + core + `,"data":1,"data_base64":"YQ=="}`,
		"E44 not Base64":            "{" + core + `,"data_base64":"%"}`,
		"E44 not padded":            "{" + core + `,"data_base64":"YQ"}`,
		"E44 line end in Base64":    "{" + core + `,"data_base64":"YQ==\n"}`,
		"E44 URL Base64":            "{" + core + `,"data_base64":"_-8="}`,
		"E44 number":                "{" + core + `,"data_base64":1}`,
		"E48 object as text":        "{" + core + `,"datacontenttype":"text/plain","data":{}}`,
		"A2 0.3":                    `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`,
		"A2 1.0.2":                  `{"specversion":"1.0.2","id":"1","source":"/s","type":"t"}`,
		"A1 no type":                `{"specversion":"1.0","id":"1","source":"/s"}`,
		"A1 empty id":               `{"specversion":"1.0","id":"","source":"/s","type":"t"}`,
		"A5 invalid UTF-8":          "{" + core + ",\"ext\":\"\xff\"}",
		"A5 invalid UTF-8 in data":  "{" + core + ",\"data\":\"\xff\"}",
		"A5 lone surrogate":         "{" + core + `,"ext":"\ud800"}`,
		"A5 low surrogate":          "{" + core + `,"ext":"\udc00\ud800"}`,
		"A5 lone surrogate in data": "{" + core + `,"data":"\ud800x"}`,
		"A5 escaped control":        "{" + core + `,"ext":"\u0000"}`,
		"A5 raw control":            "{" + core + ",\"ext\":\"\n\"}",
		"A5 bad escape":             "{" + core + `,"ext":"\x"}`,
		"A5 short escape":           "{" + core + `,"ext":"\u12"}`,
		"E50 nested 5000 deep":      "{" + core + `,"data":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}",
		"E50 objects 5000 deep":     "{" + core + `,"data":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000) + "}",
	} {
		if _, err := fromJSON(body); !errors.As(err, new(*event.InvalidError)) {
			t.Errorf("%s: error is %v", what, err)
		}
	}
}

func TestE41ToE49DataAndAttributesAreReadAndWrittenAs(t *testing.T) {
	for _, c := range []struct{ what, in, data, out string }{
		{"E41 null is absent", `,"ext":null`, "", ""},
		{"E42 types are kept", `,"a":true,"b":-5,"c":"5","d":""`, "", ""},
		{"E44 null is absent", `,"data_base64":null`, "", ""},
		{"E44 null beside data", `,"data_base64":null,"data":1`, "1", `,"datacontenttype":"application/json","data":1`},
		{"E45 no media type", `,"data_base64":"YQ=="`, "a", ""},
		{"E46 text is kept", `,"datacontenttype":"a/b+json","data":{"b":1.0,"a":1e2,"a":12345678901234567890}`, `{"b":1.0,"a":1e2,"a":12345678901234567890}`, ""},
		{"E46 string keeps its quotes", `,"datacontenttype":"text/JSON; charset=utf-8","data":"x\u00e9"`, `"x\u00e9"`, ""},
		{"E46 null is data", `,"datacontenttype":"application/json","data":null`, "null", ""},
		{"E47 made explicit", `,"data": [1] `, "[1]", `,"datacontenttype":"application/json","data":[1]`},
		{"E47 null media type", `,"datacontenttype":null,"data":[1]`, "[1]", `,"datacontenttype":"application/json","data":[1]`},
		{"E48 text", `,"datacontenttype":"text/plain","data":"a\n\u20ac\ud83d\ude00\u0000"`, "a\n€😀\x00", `,"datacontenttype":"text/plain","data":"a\n€😀\u0000"`},
		{"E49 invalid JSON", `,"datacontenttype":"application/json","data_base64":"ew=="`, "{", ""},
		{"E49 JSON in Base64", `,"datacontenttype":"application/json","data_base64":"e30="`, "{}", `,"datacontenttype":"application/json","data":{}`},
		{"E49 bytes", `,"datacontenttype":"application/octet-stream","data_base64":"/w=="`, "\xff", ""},
		{"E49 text that is bytes", `,"datacontenttype":"text/plain","data_base64":"/w=="`, "\xff", ""},
	} {
		e, err := fromJSON("{" + core + c.in + "}")
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if data, _ := e.Data(); string(data) != c.data {
			t.Errorf("%s: data is %q, want %q", c.what, data, c.data)
		}
		want := c.out
		if want == "" && !strings.Contains(c.in, "null") || c.what == "E46 null is data" {
			want = c.in
		}
		if got := string(e.AppendJSON(nil)); got != "{"+core+want+"}" {
			t.Errorf("%s: written as %s", c.what, got)
		}
	}
}

func TestJSONLineHasNoLineEnds(t *testing.T) {
	e, err := fromJSON("{" + core + ",\"data\":{\n\"a\":\r\n\"x\\n\"}}")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(e.AppendJSONLine(nil)); strings.ContainsAny(got, "\r\n") || !strings.HasSuffix(got, `"data":{ "a":  "x\n"}}`) {
		t.Errorf("written as %q", got)
	}
	if data, _ := e.Data(); string(data) != "{\n\"a\":\r\n\"x\\n\"}" {
		t.Errorf("the data changed to %q", data)
	}
}

func TestF51ABatchIsAnArrayOfObjects(t *testing.T) {
	one := "{" + core + "}"
	for body, want := range map[string]int{
		"[]": 0, " [ ] ": 0, "[" + one + "]": 1, "[" + one + "," + one + "]": 2,
		"{}": -1, "null": -1, "": -1, "[" + one: -1, "[" + one + ",]": -1, "[[" + one + "]]": -1, "[1]": -1, "[null]": -1, "[" + one + "]x": -1, "[,]": -1,
	} {
		evs, err := event.DecodeJSONBatch([]byte(body))
		if want < 0 && !errors.As(err, new(*event.InvalidError)) || want >= 0 && (err != nil || len(evs) != want) {
			t.Errorf("%s: %d events, %v", body, len(evs), err)
		}
	}
}

func TestF53ABatchIsTakenWholeOrNotAtAllAndEveryBadEventIsNamed(t *testing.T) {
	one := "{" + core + "}"
	evs, err := event.DecodeJSONBatch([]byte(`[` + one + `,{"specversion":"1.0"},` + one + `,7,{"specversion":"0.3","id":"1","source":"a b","type":"t"}]`))
	var bad *event.InvalidBatchError
	if evs != nil || !errors.As(err, &bad) || bad.Total != 3 {
		t.Fatalf("%d events, %v", len(evs), err)
	}
	for i, want := range []int{1, 3, 4} {
		if bad.Events[i].Index != want || len(bad.Events[i].Problems) == 0 {
			t.Errorf("the %dth bad event is %+v", i, bad.Events[i])
		}
	}
	if p := bad.Events[2].Problems; len(p) != 2 {
		t.Errorf("both problems of the last one are to be named: %+v", p)
	}
}

func TestF56TheLimitHoldsForEachEvent(t *testing.T) {
	d := event.Decoder{MaxEvent: 200}
	small, large := "{"+core+"}", "{"+core+`,"ext":"`+strings.Repeat("x", 200)+`"}`
	if _, err := d.DecodeJSONBatch([]byte("[" + strings.Repeat(small+",", 99) + small + "]")); err != nil {
		t.Error(err)
	}
	if _, err := d.DecodeJSONBatch([]byte("[" + small + "," + large + "]")); !errors.Is(err, event.ErrTooLarge) {
		t.Error(err)
	}
	if _, err := d.AppendFromJSON(nil, []byte(large)); !errors.Is(err, event.ErrTooLarge) {
		t.Error(err)
	}
}

func TestBatchedEventsKeepTheirOwnBytes(t *testing.T) {
	var items []string
	for i := range 500 {
		items = append(items, `{"specversion":"1.0","id":"`+strings.Repeat("i", i+1)+`","source":"/s","type":"t","data":"`+strings.Repeat("d", i*7%3000)+`"}`)
	}
	evs, err := event.DecodeJSONBatch([]byte("[" + strings.Join(items, ",") + "]"))
	if err != nil || len(evs) != 500 {
		t.Fatal(len(evs), err)
	}
	for i := range evs {
		data, _ := evs[i].Data()
		if len(evs[i].ID()) != i+1 || len(data) != i*7%3000+2 || evs[i].Check() != nil {
			t.Fatalf("event %d is %d, %d: %v", i, len(evs[i].ID()), len(data), evs[i].Check())
		}
	}
	again, err := event.DecodeJSONBatch(event.AppendJSONBatch(nil, evs))
	if err != nil || len(again) != 500 || string(again[499].Bytes()) != string(evs[499].Bytes()) {
		t.Fatal(len(again), err)
	}
	again, err = event.DecodeProtoBatch(event.AppendProtoBatch(nil, evs))
	if err != nil || len(again) != 500 || string(again[499].Bytes()) != string(evs[499].Bytes()) {
		t.Fatal(len(again), err)
	}
}
