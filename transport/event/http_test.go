package event_test

import (
	"net/http"
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
