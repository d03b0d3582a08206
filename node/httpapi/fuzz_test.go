package httpapi

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzPublish sends any request through the handler: no input gets a 500, ends
// the process, or publishes and is refused.
func FuzzPublish(f *testing.F) {
	f.Add(uint8(0), "ce-id: 1\nce-source: /s\nce-type: t\nce-specversion: 1.0", []byte("data"))
	f.Add(uint8(1), "Content-Type: "+mediaJSON, []byte(okJSON))
	f.Add(uint8(2), "content-type: "+mediaJSONBatch+"; x", []byte("["+okJSON+"]"))
	f.Add(uint8(1), "Content-Type: "+mediaProto, []byte("\x0a\x011\x12\x02/s\x1a\x031.0\x22\x01t"))
	f.Add(uint8(1), "Content-Type: "+mediaProtoBatch, []byte("\x0a\x0f\x0a\x011\x12\x02/s\x1a\x031.0\x22\x01t"))
	f.Add(uint8(0), "ce-: x\nce-data: y\nce-a-b: \x80%zz\"", []byte{})
	f.Add(uint8(3), "Upgrade: websocket\nConnection: upgrade\nSec-WebSocket-Protocol: cloudevents.json", []byte{})
	f.Add(uint8(4), "Accept: "+mediaJSONBatch, []byte("poll=x.1&wait=1"))
	b := &recorder{got: nil}
	api := New(Config{Broker: b, Inspector: b, MaxEvent: 4096, MaxBatch: 8192})
	f.Cleanup(func() { api.Close() })
	f.Fuzz(func(t *testing.T, target uint8, headers string, body []byte) {
		b.take()
		r := httptest.NewRequest("POST", "/events", bytes.NewReader(body))
		switch target % 6 {
		case 1:
			r.URL.Path = "/"
		case 2:
			r.URL.Path = "/namespaces/" + string(body[:min(len(body), 10)]) + "/events"
		case 3:
			r.Method = "GET"
		case 4:
			r.Method, r.URL.RawQuery = "GET", string(body)
		case 5:
			r.Method, r.URL.Path, r.URL.RawQuery = "GET", "/mesh/route", string(body)
		}
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, ":")
			r.Header.Add(name, strings.TrimSpace(value))
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		published := len(b.take()) > 0
		switch {
		case w.Code == 500:
			t.Fatalf("500: %s", w.Body)
		case published && w.Code != 202:
			t.Fatalf("published, and answered %d: %s", w.Code, w.Body)
		case w.Code == 202 && w.Body.Len() > 0:
			t.Fatalf("202 with a body: %s", w.Body)
		case w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json":
			t.Fatalf("%d without a problem document: %s", w.Code, w.Body)
		}
	})
}
