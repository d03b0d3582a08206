package event_test

import (
	"net/http"
	"testing"

	"github.com/skeinmesh/skein/transport/event"
)

// accepted is what every accepted event promises: it passes Check, and each
// encoding of it is accepted again and is then written as itself.
func accepted(t *testing.T, raw []byte) {
	t.Helper()
	var e event.Event
	if err := e.Scan(raw); err != nil {
		t.Fatalf("accepted, but %v: %q", err, raw)
	}
	if err := e.Check(); err != nil {
		t.Fatalf("accepted, but %v: %q", err, raw)
	}
	again := func(how string, raw []byte, err error) event.Event {
		t.Helper()
		var e event.Event
		if err == nil {
			err = e.Scan(raw)
		}
		if err != nil {
			t.Fatalf("%s does not read what it wrote: %v", how, err)
		}
		return e
	}
	if kept, err := event.AppendFromProto(nil, raw); err != nil || string(kept) != string(raw) {
		t.Fatalf("the canonical envelope is rewritten: %q, %q, %v", raw, kept, err)
	}
	text := e.AppendJSON(nil)
	kept, err := event.AppendFromJSON(nil, text)
	j := again("JSON", kept, err)
	_, form := e.Data() // of an Any, implied attributes stand last the first time
	if twice := j.AppendJSON(nil); string(twice) != string(text) && form != event.ProtoData {
		t.Fatalf("%s is written as %s", text, twice)
	}
	h := http.Header{}
	body := e.SetHTTP(h)
	kept, err = event.AppendHTTP(nil, h, body)
	p := again("HTTP", kept, err)
	if p.ID() != e.ID() || p.Source() != e.Source() || p.Type() != e.Type() {
		t.Fatalf("HTTP changes %q to %q", raw, kept)
	}
	out := e.AppendProto(nil)
	kept, err = event.AppendFromProto(nil, out)
	q := again("protobuf", kept, err)
	if string(q.AppendProto(nil)) != string(kept) {
		t.Fatalf("%q is written as %q", kept, q.AppendProto(nil))
	}
}

func FuzzScan(f *testing.F) {
	h, body := ordinary()
	raw, _ := event.AppendHTTP(nil, h, body)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e event.Event
		if e.Scan(raw) != nil {
			return
		}
		for name, v := range e.Attrs {
			_, _ = name, v.String()
		}
		_, _ = e.Attr("time")
		_ = e.AppendJSON(nil)
		_ = e.AppendProto(nil)
		_ = e.Key()
		if e.Check() == nil {
			accepted(t, raw)
		}
	})
}

func FuzzAppendFromProto(f *testing.F) {
	h, body := ordinary()
	raw, _ := event.AppendHTTP(nil, h, body)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, body []byte) {
		if raw, err := event.AppendFromProto(nil, body); err == nil {
			accepted(t, raw)
		}
		if evs, err := event.DecodeProtoBatch(body); err == nil {
			for i := range evs {
				accepted(t, evs[i].Bytes())
			}
		}
	})
}

func FuzzAppendFromJSON(f *testing.F) {
	f.Add([]byte("{" + core + `,"a":true,"b":-1,"c":"\ud83d\ude00","time":"2018-04-05T17:31:00Z","data":{"a":[1.0,null]}}`))
	f.Add([]byte("{" + core + `,"datacontenttype":"text/plain","data":"x"}`))
	f.Add([]byte("{" + core + `,"data_base64":"YQ=="}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if raw, err := event.AppendFromJSON(nil, body); err == nil {
			accepted(t, raw)
		}
	})
}

func FuzzDecodeJSONBatch(f *testing.F) {
	f.Add([]byte("[{" + core + `,"a":null},{` + core + `,"data":"x"}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		evs, err := event.DecodeJSONBatch(body)
		if err != nil && evs != nil {
			t.Fatal("some of a bad batch is returned")
		}
		for i := range evs {
			accepted(t, evs[i].Bytes())
		}
	})
}

func FuzzAppendHTTP(f *testing.F) {
	f.Add("Ce-Ext", `a"b"%20`, "Ce-Time", "2018-04-05T17:31:00Z", "text/plain", []byte("x"))
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, media string, body []byte) {
		h := headers("Content-Type", media, k1, v1)
		h[k2] = append(h[k2], v2)
		if raw, err := event.AppendHTTP(nil, h, body); err == nil {
			accepted(t, raw)
		}
	})
}
