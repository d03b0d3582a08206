package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// body is that of the only frame in b.
func body(t testing.TB, b []byte, want Kind) []byte {
	t.Helper()
	kind, body, err := NewReader(bytes.NewReader(b), 64).Next()
	if err != nil || kind != want {
		t.Fatalf("frame of kind %#x, %v; want %#x", kind, err, want)
	}
	return body
}

func TestPublishAndEventsFramesComeBack(t *testing.T) {
	for _, ns := range []string{DefaultNamespace, "tenant"} {
		buf := append([]byte("before"), 0)
		start := len(buf)
		buf = BeginPublish(buf, 1<<40, ns)
		for _, e := range []string{"one", "", strings.Repeat("x", 70_000)} {
			buf = AppendEvent(buf, []byte(e))
			EndEvents(buf, start) // a frame may be ended more than once
		}
		first, namespace, rest, err := ReadPublish(body(t, buf[start:], Publish))
		if err != nil || first != 1<<40 || namespace != ns {
			t.Fatalf("publish: first %d, namespace %q, %v", first, namespace, err)
		}
		for _, want := range []string{"one", "", strings.Repeat("x", 70_000)} {
			var envelope []byte
			if envelope, rest, err = NextEvent(rest); err != nil || string(envelope) != want {
				t.Fatalf("an event of %d bytes came as %d bytes, %v", len(want), len(envelope), err)
			}
		}
		if len(rest) != 0 {
			t.Errorf("%d bytes are left", len(rest))
		}
	}
	buf := AppendEvent(BeginEvents(nil, 7), []byte("e"))
	size := EndEvents(buf, 0)
	b := body(t, buf, Events)
	if sid, rest, err := ReadEvents(b); sid != 7 || err != nil || string(rest) != "\x01e" || len(b) != size {
		t.Errorf("events: sid %d, %q, %v, size %d", sid, rest, err, size)
	}
}

func TestControlFramesComeBack(t *testing.T) {
	g := Greeting{Version: 1, Agent: "a", Node: "n", Name: "m", Region: "r", MaxEvent: 5}
	if got, err := ReadGreeting(body(t, AppendGreeting(nil, g), Greet)); got != g || err != nil {
		t.Errorf("greeting %+v, %v", got, err)
	}
	if n, err := ReadNumber(body(t, AppendAck(nil, 1<<50), Ack)); n != 1<<50 || err != nil {
		t.Errorf("ack %d, %v", n, err)
	}
	if n, err := ReadNumber(body(t, AppendUnsubscribe(nil, 3), Unsubscribe)); n != 3 || err != nil {
		t.Errorf("unsubscribe %d, %v", n, err)
	}
	if sid, n, err := ReadCredit(body(t, AppendCredit(nil, 3, 1<<20), Credit)); sid != 3 || n != 1<<20 || err != nil {
		t.Errorf("credit %d, %d, %v", sid, n, err)
	}
	why := &Refusal{Code: CodeInvalid, Reason: "no id"}
	if first, count, got, err := ReadNack(body(t, AppendNack(nil, 9, 2, why), Nack)); first != 9 || count != 2 || *got != *why || err != nil {
		t.Errorf("nack %d, %d, %v, %v", first, count, got, err)
	}
	if sid, got, err := ReadEnded(body(t, AppendEnded(nil, 4, why), Ended)); sid != 4 || *got != *why || err != nil {
		t.Errorf("ended %d, %v, %v", sid, got, err)
	}
	if got, err := ReadBye(body(t, AppendBye(nil, why), Bye)); *got != *why || err != nil {
		t.Errorf("bye %v, %v", got, err)
	}
	req := Request{Namespace: "n", Filter: json.RawMessage(`{"sql":"TRUE"}`), Barrier: "mesh", WaitMs: 5, QueueBytes: 6, Label: "l", Credit: 7}
	if sid, got, err := ReadSubscribe(body(t, AppendSubscribe(nil, 5, &req), Subscribe)); sid != 5 || !reflect.DeepEqual(got, req) || err != nil {
		t.Errorf("subscribe %d, %+v, %v", sid, got, err)
	}
	for _, missing := range [][]string{nil, {"eu", "us/west"}} {
		if sid, got, err := ReadSubscribed(body(t, AppendSubscribed(nil, 5, missing), Subscribed)); sid != 5 || !reflect.DeepEqual(got, missing) || err != nil {
			t.Errorf("subscribed %d, %q, %v", sid, got, err)
		}
	}
	for _, loss := range []Loss{{}, {Count: 3, From: time.Unix(5, 7), To: time.Unix(-6, 0), Cause: "slow"}} {
		if sid, got, err := ReadGap(body(t, AppendGap(nil, 5, &loss), Gap)); sid != 5 || got != loss || err != nil {
			t.Errorf("gap %d, %+v, %v", sid, got, err)
		}
	}
}

func TestALongReasonIsCutAtACharacter(t *testing.T) {
	long := &Refusal{Code: CodeFilter, Reason: strings.Repeat("é", MaxReason)}
	got, err := ReadBye(body(t, AppendBye(nil, long), Bye))
	if err != nil || len(got.Reason) > MaxReason || got.Reason != strings.Repeat("é", MaxReason/2) {
		t.Errorf("a reason of %d bytes came as %d bytes, %v", len(long.Reason), len(got.Reason), err)
	}
}

func TestFlushWritesEverythingOnceAndInOrder(t *testing.T) {
	o, end := NewOutbox(1<<10), &countingWriter{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				o.Append(func(dst []byte) []byte {
					end.said++ // under the outbox's lock
					return binary.BigEndian.AppendUint32(dst, end.said)
				})
				if err := o.Flush(end); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if end.heard != 8*500 || end.wrong != 0 {
		t.Errorf("%d of %d numbers were written, %d out of order", end.heard, 8*500, end.wrong)
	}
}

// countingWriter expects the numbers from 1 on.
type countingWriter struct{ said, heard, wrong uint32 }

func (w *countingWriter) Write(b []byte) (int, error) {
	for n := b; len(n) > 0; n = n[4:] {
		if w.heard++; binary.BigEndian.Uint32(n) != w.heard {
			w.wrong++
		}
	}
	return len(b), nil
}

func TestTheOutboxKeepsOrderAndWaitsForRoom(t *testing.T) {
	o := NewOutbox(4)
	add := func(s string) func([]byte) []byte { return func(b []byte) []byte { return append(b, s...) } }
	o.Append(add("abcd"))
	appended := make(chan bool)
	go func() { appended <- o.Append(add("e")) }()
	<-o.Ready()
	o.AppendNow(add("now"))
	if got := string(o.Take()); got != "abcdnow" {
		t.Errorf("taken %q", got)
	}
	if !<-appended {
		t.Error("refused, although there is room")
	}
	if got := string(o.Take()); got != "e" {
		t.Errorf("taken %q", got)
	}
	o.Append(add("full"))
	go func() { appended <- o.Append(add("!")) }()
	o.Close()
	if <-appended || o.AppendNow(add("!")) {
		t.Error("a closed outbox takes frames")
	}
	if got := string(o.Take()); got != "full" {
		t.Errorf("taken %q after the close", got)
	}
}

// FuzzClientFrames reads arbitrary bodies as every kind of frame: nothing
// panics, errors are typed, and what is read can be written and read again.
func FuzzClientFrames(f *testing.F) {
	f.Add([]byte{1, 0, 1, 'x'})
	f.Add([]byte("\x01{\"credit\":1}"))
	f.Add(body(f, AppendGap(nil, 1, &Loss{Count: 1, From: time.Unix(1, 1), Cause: "slow"}), Gap))
	f.Add(body(f, AppendNack(nil, 1, 2, &Refusal{"busy", "later"}), Nack))
	f.Add(body(f, AppendSubscribed(nil, 1, []string{"eu"}), Subscribed))
	f.Add(bytes.Repeat([]byte{0xff}, 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		typed := func(err error) bool {
			if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTruncated) {
				t.Fatalf("an error without a type: %v", err)
			}
			return err == nil
		}
		same := func(again []byte, kind Kind, read func([]byte) (any, error), want any) {
			if got, err := read(body(t, again, kind)); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v came back as %+v, %v", want, got, err)
			}
		}
		if _, _, rest, err := ReadPublish(data); typed(err) {
			for len(rest) > 0 && err == nil {
				_, rest, err = NextEvent(rest)
			}
			typed(err)
		}
		_, _, err := ReadEvents(data)
		typed(err)
		_, err = ReadGreeting(data)
		typed(err)
		_, _, err = ReadSubscribe(data)
		typed(err)
		_, _, err = ReadCredit(data)
		typed(err)
		_, _, err = ReadEnded(data)
		typed(err)
		if _, loss, err := ReadGap(data); typed(err) {
			same(AppendGap(nil, 1, &loss), Gap, func(b []byte) (any, error) { _, l, err := ReadGap(b); return l, err }, loss)
		}
		if _, _, why, err := ReadNack(data); typed(err) {
			same(AppendNack(nil, 1, 1, why), Nack, func(b []byte) (any, error) { _, _, w, err := ReadNack(b); return w, err }, why)
		}
		if _, missing, err := ReadSubscribed(data); typed(err) {
			same(AppendSubscribed(nil, 1, missing), Subscribed, func(b []byte) (any, error) { _, m, err := ReadSubscribed(b); return m, err }, missing)
		}
	})
}
