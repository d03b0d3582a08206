package httpapi

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// upgrade is a WebSocket's handshake as bytes, without a subprotocol.
const upgrade = "GET /events HTTP/1.1\nHost: x\nConnection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"

func TestH61_TheServerAnswersWithOneSubprotocolItKnows(t *testing.T) {
	f := serveNode(t)
	for offer, want := range map[string]string{
		"cloudevents.json":                            subJSON,
		"cloudevents.proto":                           subProto,
		"cloudevents.avro, cloudevents.proto":         subProto,
		"cloudevents.proto,cloudevents.json":          subJSON,
		"x\nSec-WebSocket-Protocol: cloudevents.json": subJSON,
	} {
		c, res := f.handshake(upgrade + "Sec-WebSocket-Protocol: " + offer + "\n\n")
		c.Close()
		if got := res.Header.Values("Sec-WebSocket-Protocol"); res.StatusCode != 101 || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %d %q, want %q", offer, res.StatusCode, got, want)
		}
	}
}

func TestH62_NoKnownSubprotocolIsRefused(t *testing.T) {
	f := serveNode(t)
	for _, offer := range []string{"", "Sec-WebSocket-Protocol: cloudevents.avro\n", "Sec-WebSocket-Protocol: json\n"} {
		a := f.raw(upgrade + offer + "\n")
		f.wantStatus(a, 400)
		if a.Header.Get("Sec-WebSocket-Protocol") != "" {
			t.Error("a subprotocol in a refusal")
		}
	}
}

func TestH61_BadHandshakesAreProblems(t *testing.T) {
	f := serveNode(t)
	const sub = "Sec-WebSocket-Protocol: cloudevents.json\n"
	f.wantStatus(f.raw(strings.Replace(upgrade, "Version: 13", "Version: 8", 1)+sub+"\n"), 400)
	f.wantStatus(f.raw(strings.Replace(upgrade, "dGhl", "", 1)+sub+"\n"), 400)
	f.wantStatus(f.raw(upgrade+sub+"Origin: http://evil.example\n\n"), 403)
}

func TestH63_OneEventAMessageInBothDirections(t *testing.T) {
	f := serveNode(t)
	j, p := f.openWS("/events", "", subJSON), f.openWS("/events", "", subProto)
	defer j.close()
	defer p.close()
	if err := j.Write(j.ctx, websocket.MessageText, []byte(okJSON)); err != nil {
		t.Fatal(err)
	}
	ev := fromJSON(t, strings.Replace(okJSON, `"1"`, `"2"`, 1))
	if a, b := j.next(t), p.next(t); a.ID() != "1" || b.ID() != "1" {
		t.Errorf("%s and %s came, want 1", a.ID(), b.ID())
	}
	if err := p.Write(p.ctx, websocket.MessageBinary, ev.AppendProto(nil)); err != nil {
		t.Fatal(err)
	}
	if a, b := j.next(t), p.next(t); a.ID() != "2" || b.ID() != "2" {
		t.Errorf("%s and %s came, want 2", a.ID(), b.ID())
	}
}

func TestH63_ModesSayWhoPublishesAndWhoSubscribes(t *testing.T) {
	f := serveNode(t)
	pub, sub := f.openWS("/events", "mode=publish", subJSON), f.openWS("/events", "mode=subscribe", subJSON)
	defer pub.close()
	defer sub.close()
	if err := pub.Write(pub.ctx, websocket.MessageText, []byte(okJSON)); err != nil {
		t.Fatal(err)
	}
	if ev := sub.next(t); ev.ID() != "1" {
		t.Errorf("id %s", ev.ID())
	}
	if n := f.api.inspect.Stats().Subscribers; n > 1 {
		t.Errorf("%d subscribers", n)
	}
	if err := sub.Write(sub.ctx, websocket.MessageText, []byte(okJSON)); err != nil {
		t.Fatal(err)
	}
	if code, reason := sub.closeStatus(t); code != 1008 {
		t.Errorf("closed with %d %s", code, reason)
	}
}

// handshake upgrades with bytes of the caller's.
func (f *face) handshake(request string) (net.Conn, *http.Response) {
	f.t.Helper()
	c := f.dial()
	f.write(c, strings.ReplaceAll(request, "\n", "\r\n"))
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return c, res
}

// frame is a WebSocket frame: masked with zeros, or unmasked.
func frame(fin bool, opcode byte, masked bool, payload string) string {
	b := []byte{opcode, 0}
	if fin {
		b[0] |= 0x80
	}
	if len(payload) < 126 {
		b[1] = byte(len(payload))
	} else {
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	return string(b) + payload
}

// readFrame reads a short frame of the server.
func readFrame(t *testing.T, c net.Conn) (opcode byte, payload string) {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	if head[1] >= 126 {
		t.Fatalf("a long frame")
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return head[0] & 15, string(body)
}

func TestH64_FragmentsAndControlFramesBetweenThemWork(t *testing.T) {
	f := serveNode(t)
	w := f.openWS("/events", "", subJSON)
	defer w.close()
	c, _ := f.handshake(strings.Replace(upgrade, "/events", "/events?mode=publish", 1) + "Sec-WebSocket-Protocol: cloudevents.json\n\n")
	defer c.Close()
	f.write(c, frame(false, 1, true, okJSON[:10])+frame(true, 9, true, "hi")+frame(false, 0, true, okJSON[10:20])+frame(true, 0, true, okJSON[20:]))
	if op, payload := readFrame(t, c); op != 10 || payload != "hi" {
		t.Errorf("frame %d %q, want the pong", op, payload)
	}
	if ev := w.next(t); ev.ID() != "1" {
		t.Errorf("id %s", ev.ID())
	}
}

func TestH64_UnmaskedFramesClose1002AndBadUTF8Closes1007(t *testing.T) {
	f := serveNode(t)
	for what, tc := range map[string]struct {
		bytes string
		want  uint16
	}{
		"unmasked":  {frame(true, 1, false, okJSON), 1002},
		"bad UTF-8": {frame(true, 1, true, strings.Replace(okJSON, `"1"`, "\"\xff\"", 1)), 1007},
		"reserved":  {frame(true, 3, true, ""), 1002},
	} {
		c, _ := f.handshake(strings.Replace(upgrade, "/events", "/events?mode=publish", 1) + "Sec-WebSocket-Protocol: cloudevents.json\n\n")
		f.write(c, tc.bytes)
		op, payload := readFrame(t, c)
		if op != 8 || len(payload) < 2 || binary.BigEndian.Uint16([]byte(payload)) != tc.want {
			t.Errorf("%s: frame %d %q, want close %d", what, op, payload, tc.want)
		}
		c.Close()
	}
}

func TestH65_CloseCodes(t *testing.T) {
	f := serveNode(t, func(c *Config, _ *ServerConfig) { c.MaxEvent = 10_000 })
	long := strings.Repeat("x", 11_000)
	for _, tc := range []struct {
		name, sub string
		kind      websocket.MessageType
		message   string
		want      websocket.StatusCode
		reason    string
	}{
		{"invalid event", subJSON, websocket.MessageText, `{"id":"1"}`, 1007, "specversion"},
		{"batch", subJSON, websocket.MessageText, "[" + okJSON + "]", 1007, ""},
		{"no event", subProto, websocket.MessageBinary, "x", 1007, ""},
		{"empty", subJSON, websocket.MessageText, "", 1007, ""},
		{"binary for JSON", subJSON, websocket.MessageBinary, okJSON, 1003, "text"},
		{"text for protobuf", subProto, websocket.MessageText, okJSON, 1003, ""},
		{"event too large", subJSON, websocket.MessageText, strings.Replace(okJSON, "{", `{"data":"`+long+`",`, 1), 1009, ""},
		{"message too large", subJSON, websocket.MessageText, strings.Repeat(" ", 100_000), 1009, ""},
		{"long reason", subJSON, websocket.MessageText, `{"id":5,"type":5,"source":5,"subject":5,"time":5}`, 1007, ""},
	} {
		w := f.openWS("/events", "mode=publish", tc.sub)
		if err := w.Write(w.ctx, tc.kind, []byte(tc.message)); err != nil {
			if tc.name == "message too large" { // refused before it was written whole
				w.close()
				continue
			}
			t.Fatal(err)
		}
		code, reason := w.closeStatus(t)
		if code != tc.want || !strings.Contains(reason, tc.reason) || reason == "" {
			t.Errorf("%s: closed with %d %q, want %d", tc.name, code, reason, tc.want)
		}
		w.close()
	}
}

func TestH65_1013WhileTheNodeCannotAnd1008WithoutTheRight(t *testing.T) {
	f := serveRecorder(t)
	f.broker.failWith(fmt.Errorf("%w: no room", node.ErrClosed), nil)
	w := f.openWS("/events", "mode=publish", subJSON)
	defer w.close()
	if err := w.Write(w.ctx, websocket.MessageText, []byte(okJSON)); err != nil {
		t.Fatal(err)
	}
	if code, _ := w.closeStatus(t); code != 1013 {
		t.Errorf("closed with %d", code)
	}

	f = serveNode(t, func(c *Config, _ *ServerConfig) { c.Tokens = []Token{{Secret: "s", Rights: Subscribe}} })
	c, res := f.handshake(upgrade + "Authorization: Bearer s\nSec-WebSocket-Protocol: cloudevents.json\n\n")
	defer c.Close()
	if res.StatusCode != 101 {
		t.Fatalf("answered %d", res.StatusCode)
	}
	f.write(c, frame(true, 1, true, okJSON))
	if op, payload := readFrame(t, c); op != 8 || binary.BigEndian.Uint16([]byte(payload)) != 1008 {
		t.Errorf("frame %d %q, want close 1008", op, payload)
	}
}

func TestH65_APanicEndsItsWebSocketOnly(t *testing.T) {
	f := serveRecorder(t)
	f.broker.failWith(nil, "a bug")
	w := f.openWS("/events", "mode=publish", subJSON)
	defer w.close()
	if err := w.Write(w.ctx, websocket.MessageText, []byte(okJSON)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Read(w.ctx); err == nil {
		t.Error("it goes on")
	}
	f.broker.failWith(nil, nil)
	f.wantStatus(f.do("POST", "/events", "", ceHeaders()...), 202)
}

func TestH66_TheReasonOfACloseIsAlwaysTheGapsJSON(t *testing.T) {
	now := time.Now()
	for origin, told := range map[string]bool{"": true, "n1": true, strings.Repeat("n", 63): false} {
		g := queue.Gap{Count: math.MaxUint64, Cause: "origin_lost", Origin: origin, From: now, To: now}
		reason := gapReason(&g)
		got := gapOf(t, string(reason))
		if len(reason) > 123 || got.Count != g.Count || got.Cause != "origin_lost" || told && got.Origin != origin {
			t.Errorf("of an origin of %d letters: %q, %d bytes", len(origin), reason, len(reason))
		}
	}
}

func TestH66_SlowWebSocketsAreToldThatTheyMissedEvents(t *testing.T) {
	f := serveNode(t, smallQueue)
	w := f.openWS("/events", "mode=subscribe", subJSON)
	defer w.close()
	overflow(f, 300)
	code, reason := w.closeStatus(t)
	if g := gapOf(t, reason); code != 1013 || g.Count == 0 || g.Cause != "overflow" {
		t.Errorf("closed with %d %q", code, reason)
	}

	w = f.openWS("/events", "mode=subscribe&gaps=events", subJSON)
	defer w.close()
	overflow(f, 300)
	seen, missed := 0, 0
	for seen+missed < 300 {
		ev := w.next(t)
		if ev.Type() != GapType {
			seen++
			continue
		}
		data, form := ev.Data()
		if form == event.NoData {
			t.Fatal("a gap without data")
		}
		missed += int(gapOf(t, string(data)).Count)
	}
	if seen+missed != 300 || missed == 0 {
		t.Errorf("%d seen, %d missed", seen, missed)
	}
}
