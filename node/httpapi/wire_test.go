package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The tests of this file speak HTTP with their own bytes: what clients'
// libraries would not send.

// rawEvent is a POST in binary mode whose headers the caller ends.
const rawEvent = "POST /events HTTP/1.1\nHost: x\nce-specversion: 1.0\nce-id: 1\nce-source: /s\nce-type: t\n"

func TestA4_AHeaderTwiceIsRefusedInAnyCase(t *testing.T) {
	f := serveRecorder(t)
	for _, again := range []string{"ce-id: 1", "CE-ID: 1", "Ce-Id: 2", "ce-specversion: 1.0"} {
		a := f.raw(rawEvent + again + "\n\n")
		f.wantStatus(a, 400)
		a.wantError(t, strings.ToLower(again[3:strings.Index(again, ":")]))
	}
}

func TestB19_BadAttributeNamesAreRefused(t *testing.T) {
	f := serveRecorder(t)
	for _, h := range []string{"ce-: x", "ce-my-ext: x", "ce-my_ext: x", "ce-data: x", "ce-data_base64: x", "ce-a.b: x", "ce-a!b: x", "CE-: x"} {
		f.wantStatus(f.raw(rawEvent+h+"\n\n"), 400)
	}
	f.wantStatus(f.raw("POST /events HTTP/1.1\nHost: x\nce-: x\n\n"), 400)
	f.wantStatus(f.raw(rawEvent+"ce-Ext1: x\n\n"), 202)
}

func TestB20_TwoContentTypesAreRefused(t *testing.T) {
	f := serveRecorder(t)
	a := f.raw(rawEvent + "Content-Type: text/plain\ncontent-type: text/plain\n\n")
	f.wantStatus(a, 400)
	a.wantError(t, "datacontenttype")
	f.wantStatus(f.raw("POST /events HTTP/1.1\nHost: x\nContent-Type: "+mediaJSON+"\nContent-Type: "+mediaJSON+fmt.Sprintf("\nContent-Length: %d\n\n", len(okJSON))+okJSON), 400)
}

func TestB23_ChunkedBodiesWork(t *testing.T) {
	f := serveRecorder(t)
	ev := f.one(f.raw(rawEvent + "Transfer-Encoding: chunked\n\n" + "3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n"))
	if data, _ := ev.Data(); string(data) != "abcdefg" {
		t.Errorf("data %q", data)
	}
	f.wantStatus(f.raw(rawEvent+"Transfer-Encoding: chunked\n\nzz\r\nabc\r\n0\r\n\r\n"), 400)
}

func TestB23_Expect100ContinueWorks(t *testing.T) {
	f := serveRecorder(t)
	c := f.dial()
	defer c.Close()
	br := bufio.NewReader(c)
	f.write(c, strings.ReplaceAll(rawEvent, "\n", "\r\n")+"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	line, err := br.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	f.write(c, "body")
	ev := f.one(f.read(c, br))
	if data, _ := ev.Data(); string(data) != "body" {
		t.Errorf("data %q", data)
	}
}

func TestB23_UnknownUpgradesAreIgnored(t *testing.T) {
	f := serveRecorder(t)
	f.wantStatus(f.raw(rawEvent+"Connection: Upgrade\nUpgrade: made-up/3\n\n"), 202)
}

func TestB26_HTTP2BehavesAlike(t *testing.T) {
	f := serveRecorder(t)
	var tr http.Transport
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	for _, tc := range []struct {
		headers []string
		body    string
		want    int
	}{
		{ceHeaders("ce-ext", "x"), "data", 202},
		{ceHeaders("ce-id", "again"), "", 400},
		{ceHeaders("ce-my_ext", "x"), "", 400},
		{[]string{"Content-Type", mediaJSON}, okJSON, 202},
		{[]string{"Content-Type", mediaJSONBatch}, "[]", 202},
		{[]string{"Content-Type", "text/plain"}, "x", 415},
		{ceHeaders("ce-long", strings.Repeat("x", 60<<10)), "", 202},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.url+"/events", strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(tc.headers); i += 2 {
			req.Header.Add(tc.headers[i], tc.headers[i+1])
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.ProtoMajor != 2 {
			t.Errorf("spoke %s", res.Proto)
		}
		f.wantStatus(readReply(t, res), tc.want)
	}
}

func TestC28_408ABodyThatDoesNotCome(t *testing.T) {
	f := serveRecorder(t, func(_ *Config, s *ServerConfig) { s.BodyTimeout = 100 * time.Millisecond })
	c := f.dial()
	defer c.Close()
	f.write(c, strings.ReplaceAll(rawEvent, "\n", "\r\n")+"Content-Length: 10\r\n\r\nabc")
	br := bufio.NewReader(c)
	a := f.read(c, br)
	f.wantStatus(a, 408)
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("the connection stays open: %v", err)
	}
}

func TestC28_413AtOnceByContentLength(t *testing.T) {
	f := serveRecorder(t)
	c := f.dial()
	defer c.Close()
	f.write(c, strings.ReplaceAll(rawEvent, "\n", "\r\n")+"Expect: 100-continue\r\nContent-Length: 9000000000\r\n\r\n") // and no byte of it
	f.wantStatus(f.read(c, bufio.NewReader(c)), 413)
}

func TestC28_413WhileReadingAChunkedBody(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) { c.MaxEvent = 10_000 })
	var body strings.Builder
	for range 11 {
		fmt.Fprintf(&body, "3e8\r\n%s\r\n", strings.Repeat("x", 1000))
	}
	f.wantStatus(f.raw(rawEvent+"Transfer-Encoding: chunked\n\n"+body.String()), 413) // without the last chunk
}

func TestC28_431HeadersOverOneMiB(t *testing.T) {
	f := serveRecorder(t)
	c := f.dial()
	defer c.Close()
	go io.WriteString(c, "POST /events HTTP/1.1\r\nHost: x\r\nce-long: "+strings.Repeat("x", 2<<20)+"\r\n\r\n") //nolint:errcheck // cut by the server
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 431 {
		t.Errorf("got %d", res.StatusCode)
	}
}

func TestD31ToD38_HeaderValues(t *testing.T) {
	f := serveRecorder(t)
	for value, want := range map[string]string{
		"Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀",
		"%2525":                           "%25",
		"%e2%82%ac":                       "€",
		"%41":                             "A",
		`"a b"`:                           "a b",
		`x"a\"b"y`:                        `xa"by`,
		"100%":                            "100%",
		"50%zz":                           "50%zz",
		"raw €":                           "raw €",
	} {
		ev := f.one(f.raw(rawEvent + "ce-ext: " + value + "\n\n"))
		wantAttr(t, ev, "ext", want)
	}
	for _, value := range []string{"%C0%A0", "%ED%A0%80", "%E2", "%82", "%F4%90%80%80", "%0A", "%00", "%7F", "%C2%80", "raw \xe9", `"open`, "%EF%BF%BE"} {
		a := f.raw(rawEvent + "ce-ext: " + value + "\n\n")
		f.wantStatus(a, 400)
		a.wantError(t, "ext")
	}
	ev := f.one(f.raw(rawEvent + "Content-Type: text/%70lain\n\n"))
	wantAttr(t, ev, "datacontenttype", "text/%70lain")
}

func TestG57_60KiBInOneHeaderAnd200AttributesPass(t *testing.T) {
	f := serveRecorder(t)
	long := strings.Repeat("x", 60<<10)
	wantAttr(t, f.one(f.raw(rawEvent+"ce-long: "+long+"\n\n")), "long", long)
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "ce-a%d: %d\n", i, i)
	}
	wantAttr(t, f.one(f.raw(rawEvent+many.String()+"\n")), "a199", "199")
}

func TestV154_500HeadersOf128KiBPass(t *testing.T) {
	f := serveRecorder(t)
	var many strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, "ce-a%d: %s\n", i, strings.Repeat("v", 260))
	}
	wantAttr(t, f.one(f.raw(rawEvent+many.String()+"\n")), "a499", strings.Repeat("v", 260))
}

func TestV153_ATruncatedBodyIsNoEvent(t *testing.T) {
	f := serveRecorder(t)
	c := f.dial()
	defer c.Close()
	f.write(c, strings.ReplaceAll(rawEvent, "\n", "\r\n")+"Content-Length: 10\r\n\r\nabc")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	f.wantStatus(f.read(c, bufio.NewReader(c)), 400)
}

func TestV153_SlowHeadersAreCut(t *testing.T) {
	f := serveRecorder(t, func(_ *Config, s *ServerConfig) { s.BodyTimeout = 100 * time.Millisecond })
	c := f.dial()
	defer c.Close()
	f.write(c, "POST /events HTTP/1.1\r\nHost: x\r\nce-id")
	if b, err := io.ReadAll(c); err != nil || bytes.Contains(b, []byte(" 202 ")) {
		t.Errorf("%q, %v", b, err)
	}
}

func TestV153_GarbageEndsItsConnectionOnly(t *testing.T) {
	f := serveRecorder(t)
	for _, s := range []string{"\x00\x01\x02\r\n\r\n", "GET\r\n\r\n", "POST /events HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage!", "\x16\x03\x01\x02\x00\x01\x00"} {
		c := f.dial()
		f.write(c, s)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Logf("%q: %v", s, err)
		}
		c.Close()
	}
	f.wantStatus(f.raw(rawEvent+"\n"), 202)
}

func TestV155_RefusalsEchoLittle(t *testing.T) {
	f := serveRecorder(t)
	long := strings.Repeat("z", 50_000)
	for _, a := range []*reply{
		f.raw(rawEvent + "ce-" + long + "-: x\n\n"),
		f.raw(rawEvent + "ce-time: " + long + "\n\n"),
		f.do("POST", "/events", "", "Content-Type", "application/cloudevents+"+long),
		f.do("POST", "/events", "", ceHeaders("Content-Encoding", long)...),
		f.do("GET", "/events?"+long+"=1", ""),
		f.do("GET", "/events?wait="+long, ""),
	} {
		if n := strings.Count(a.body, "z"); a.StatusCode < 400 || n > 3*120 {
			t.Errorf("%d echoes %d characters: %.300s", a.StatusCode, n, a.body)
		}
		for _, e := range a.problem.Errors {
			if n := strings.Count(e.Attribute+e.Reason, "z"); n > 120 {
				t.Errorf("an error echoes %d characters", n)
			}
		}
	}
}

func TestShutdownFinishesRequestsUnderWay(t *testing.T) {
	f := serveRecorder(t)
	c := f.dial()
	defer c.Close()
	br := bufio.NewReader(c)
	f.write(c, strings.ReplaceAll(rawEvent, "\n", "\r\n")+"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if _, err := br.ReadString('\n'); err != nil { // the handler is reading
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.server.Shutdown(context.Background()) }()
	<-f.api.ctx.Done()
	f.write(c, "abc")
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	f.wantStatus(f.read(c, br), 202)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", f.addr); err == nil {
		t.Error("still listening")
	}
}
