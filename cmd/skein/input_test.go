package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node/httpapi"
	"github.com/skeinmesh/skein/transport/event"
)

func TestLinesBecomeEventsAndErrorsNameTheLine(t *testing.T) {
	const good = `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}`
	l := newLineReader(strings.NewReader(good + "\n\n  \n" + strings.ReplaceAll(good, `"1"`, `"2"`) + "\r\n{\"id\":}\n"))
	for _, id := range []string{"1", "2"} {
		ev, err := l.next()
		if err != nil || ev.ID() != id {
			t.Fatalf("got %q, %v; want event %s", ev.ID(), err, id)
		}
	}
	if _, err := l.next(); err == nil || !strings.HasPrefix(err.Error(), "line 5: ") {
		t.Fatalf("got %v, want an error about line 5", err)
	}
	if _, err := l.next(); err != io.EOF {
		t.Fatalf("got %v, want the end", err)
	}
}

func TestLastLineNeedsNoLineEnd(t *testing.T) {
	l := newLineReader(strings.NewReader(`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`))
	if ev, err := l.next(); err != nil || ev.Type() != "t" {
		t.Fatalf("got %v", err)
	}
	if _, err := l.next(); err != io.EOF {
		t.Fatalf("got %v, want the end", err)
	}
}

func TestLinesLongerThanTheBufferAreOneLine(t *testing.T) {
	long := strings.Repeat("x", 600<<10)
	l := newLineReader(strings.NewReader(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"` + long + "\"}\n"))
	ev, err := l.next()
	if err != nil {
		t.Fatal(err)
	}
	if data, _ := ev.Data(); string(data) != long {
		t.Fatalf("got %d bytes of data, want %d", len(data), len(long))
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t"}` + "\n{}\n"))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLineReader(bytes.NewReader(text))
		for range bytes.Count(text, []byte("\n")) + 2 {
			ev, err := l.next()
			if err == io.EOF {
				if l.offset != int64(len(text)) {
					t.Fatalf("ended at byte %d of %d", l.offset, len(text))
				}
				return
			}
			if err == nil && ev.Check() != nil {
				t.Fatalf("line %d: an invalid event came through: %v", l.line, ev.Check())
			}
		}
		t.Fatal("more events than lines")
	})
}

func TestDataSaysWhatItIs(t *testing.T) {
	for _, c := range []struct {
		data, media string
		form        event.DataForm
	}{
		{`{"a":1}`, "application/json", event.TextData},
		{"hello", "text/plain; charset=utf-8", event.TextData},
		{"\xff\x00", "application/octet-stream", event.BinaryData},
	} {
		at := attributes{typ: "t", source: "/s"}
		ev, err := at.event([]byte(c.data), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		media, _ := ev.Attr("datacontenttype")
		if _, form := ev.Data(); media.String() != c.media || form != c.form {
			t.Errorf("%q: %s as form %d, want %s as %d", c.data, media.String(), form, c.media, c.form)
		}
	}
}

func TestAttributesThatAreNoneAreWrongUsage(t *testing.T) {
	for _, at := range []attributes{
		{typ: "t", source: "/s", ext: []string{"novalue"}},
		{typ: "t", source: "/s", ext: []string{"type=x"}},
		{typ: "t", source: "/s", ext: []string{"Not_Lower=x"}},
		{typ: "t", source: "http://%zz"},
	} {
		if _, err := at.event(nil, time.Now()); err == nil {
			t.Errorf("%+v: taken", at)
		}
	}
}

func TestTokensAreReadWithRightsAndNamespaces(t *testing.T) {
	got, err := parseTokens([]byte("# who\n\n" +
		"0123456789abcdef\n0123456789abcdeg publish,inspect\n0123456789abcdeh all orders,billing\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []httpapi.Token{
		{Secret: "0123456789abcdef"},
		{Secret: "0123456789abcdeg", Rights: httpapi.Publish | httpapi.Inspect},
		{Secret: "0123456789abcdeh", Namespaces: []string{"orders", "billing"}},
	}
	if !slices.EqualFunc(got, want, func(x, y httpapi.Token) bool {
		return x.Secret == y.Secret && x.Rights == y.Rights && slices.Equal(x.Namespaces, y.Namespaces)
	}) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBadTokensNameTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "no token",
		"short":                                "line 1: a secret of 5 characters",
		"0123456789abcdef pubish":              `line 1: unknown right "pubish"; the nearest is publish`,
		"0123456789abcdef all no/pe":           "line 1: namespace",
		"0123456789abcdef a b c":               "line 1: 4 words",
		"0123456789abcdef\n0123456789abcdef\n": "line 2: a token that an earlier line has",
		"0123456789abcdefé":                    "printable ASCII",
	} {
		if _, err := parseTokens([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzTokens(f *testing.F) {
	f.Add([]byte("0123456789abcdef publish orders\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, err := parseTokens(text)
		if err == nil && len(tokens) == 0 {
			t.Error("no tokens and no error: the port would be open")
		}
		for _, tok := range tokens {
			if len(tok.Secret) < minSecret {
				t.Errorf("a secret of %d characters", len(tok.Secret))
			}
		}
	})
}
