package event_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/transport/event"
)

// ordinary is a request as a service would send it: 8 attributes and 250 bytes.
func ordinary() (http.Header, []byte) {
	h := http.Header{}
	for k, v := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "A234-1234-1234", "Ce-Source": "https://example.com/shipping/orders",
		"Ce-Type": "com.example.shipping.created", "Ce-Time": "2026-04-05T17:31:00Z", "Ce-Subject": "orders/4711",
		"Ce-Partitionkey": "customer-42", "Ce-Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"Content-Type": "application/json", "User-Agent": "curl/8", "Accept": "*/*", "Content-Length": "250",
	} {
		h.Set(k, v)
	}
	body := make([]byte, 250)
	for i := range body {
		body[i] = 'x'
	}
	return h, body
}

func BenchmarkAppendHTTP(b *testing.B) {
	h, body := ordinary()
	dst, err := event.AppendHTTP(nil, h, body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = event.AppendHTTP(dst[:0], h, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	h, body := ordinary()
	raw, err := event.AppendHTTP(nil, h, body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		var e event.Event
		if err := e.Scan(raw); err != nil {
			b.Fatal(err)
		}
		n += len(e.ID()) + len(e.Source()) + len(e.Type())
		for name, v := range e.Attrs {
			n += len(name) + int(v.Kind())
		}
	}
	_ = n
}

func headers(kv ...string) http.Header {
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}}
	for i := 0; i < len(kv); i += 2 {
		h[kv[i]] = append(h[kv[i]], kv[i+1])
	}
	return h
}

func fromHTTP(h http.Header, body string) (event.Event, error) {
	var e event.Event
	raw, err := event.AppendHTTP(nil, h, []byte(body))
	if err == nil {
		err = e.Scan(raw)
	}
	if err == nil {
		err = e.Check()
	}
	return e, err
}

func TestD32To36HeaderValuesAreDecoded(t *testing.T) {
	for in, want := range map[string]string{
		"Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀",
		"%2525":                           "%25",
		"%e2%82%ac":                       "€",
		"%41":                             "A",
		`"quoted \"x\" \\ y"`:             `quoted "x" \ y`,
		`a"b c"d`:                         "ab cd",
		`a\b`:                             `a\b`,
		`"%20"`:                           " ",
		"100%":                            "100%",
		"%zz":                             "%zz",
		"a%2":                             "a%2",
		"€ raw":                           "€ raw",
		"":                                "",
	} {
		e, err := fromHTTP(headers("Ce-Ext", in), "")
		if v, _ := e.Attr("ext"); err != nil || v.String() != want {
			t.Errorf("%q is %q, want %q (%v)", in, v, want, err)
		}
	}
}

func TestB17To22AndD33To37BadHeadersAreRefused(t *testing.T) {
	for what, h := range map[string]http.Header{
		"B18 ce-datacontenttype":    headers("Ce-Datacontenttype", "text/plain"),
		"B19 ce-my-ext":             headers("Ce-My-Ext", "x"),
		"B19 ce-my_ext":             headers("Ce-My_ext", "x"),
		"B19 ce-data":               headers("Ce-Data", "x"),
		"B19 ce-":                   headers("Ce-", "x"),
		"B19 Kelvin sign":           headers("Ce-\u212a", "x"),
		"B20 two Content-Types":     headers("Content-Type", "a/b", "Content-Type", "a/b"),
		"A4 twice":                  headers("Ce-Ext", "x", "Ce-Ext", "x"),
		"A4 twice in another case":  headers("Ce-Ext", "x", "ce-ext", "x"),
		"A4 id in another case":     headers("ce-id", "1"),
		"A10 Content-Type":          headers("Content-Type", "xyz"),
		"D33 overlong":              headers("Ce-Ext", "%C0%A0"),
		"D33 surrogate":             headers("Ce-Ext", "%ED%A0%80"),
		"D33 cut":                   headers("Ce-Ext", "%E2"),
		"D33 stray":                 headers("Ce-Ext", "%82"),
		"D33 over U+10FFFF":         headers("Ce-Ext", "%F4%90%80%80"),
		"D34 control":               headers("Ce-Ext", "%0A"),
		"D36 Latin-1":               headers("Ce-Ext", "\xe9"),
		"D37 open quote":            headers("Ce-Ext", `"x`),
		"D37 open quote, backslash": headers("Ce-Ext", `"x\`),
		"A1 nothing":                {},
		"A1 only an id":             {"Ce-Id": {"1"}},
		"A2 0.3":                    {"Ce-Specversion": {"0.3"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}},
		"A6 source":                 {"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"a b"}, "Ce-Type": {"t"}},
		"A8 empty subject":          headers("Ce-Subject", ""),
		"A9 time":                   headers("Ce-Time", "2018-04-05"),
	} {
		if _, err := fromHTTP(h, ""); !errors.As(err, new(*event.InvalidError)) {
			t.Errorf("%s: error is %v", what, err)
		}
	}
}

func TestB21NeitherBodyNorContentTypeIsNeeded(t *testing.T) {
	e, err := fromHTTP(headers(), "")
	if data, form := e.Data(); err != nil || data != nil || form != event.NoData {
		t.Errorf("%q %v %v", data, form, err)
	}
	e, err = fromHTTP(headers(), "x")
	if data, _ := e.Data(); err != nil || string(data) != "x" {
		t.Errorf("%q %v", data, err)
	}
	if _, ok := e.Attr("datacontenttype"); ok {
		t.Error("a media type appears")
	}
}

func TestD31HeaderValuesAreEncoded(t *testing.T) {
	e := with(t, "ext", event.StringValue(`Euro € 😀 "%"~!`))
	h := http.Header{"Content-Type": {"stale"}}
	e.SetHTTP(h)
	if got, want := h.Get("ce-ext"), "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22%25%22~!"; got != want {
		t.Errorf("written as %s, want %s", got, want)
	}
	if h.Get("Content-Type") != "" || !event.HasHTTP(h) || event.HasHTTP(http.Header{"Cee-Id": {""}}) {
		t.Error(h)
	}
	e = with(t, "0digit", event.BooleanValue(true))
	e.SetHTTP(h)
	if h.Get("ce-0digit") != "true" {
		t.Error(h)
	}
}

func TestG57ManyAndLongAttributesPass(t *testing.T) {
	h := headers("Ce-Long", strings.Repeat("x", 60<<10))
	for i := range 200 {
		h.Set(fmt.Sprintf("ce-ext%d", i), "v")
	}
	e, err := fromHTTP(h, "")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range e.Attrs {
		n++
	}
	if n != 201 {
		t.Errorf("%d attributes", n)
	}
}

func TestAppendHTTPAllocatesNothing(t *testing.T) {
	h, body := ordinary()
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { _, _ = event.AppendHTTP(dst, h, body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
