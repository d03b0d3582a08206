package event_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/transport/event"
)

// with is an otherwise valid event with one attribute set.
func with(t *testing.T, name string, v event.Value) event.Event {
	t.Helper()
	var b event.Builder
	b.SetString("id", "1").SetString("source", "/s").SetString("type", "t").Set(name, v)
	e, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// checkAll says for every text whether it is valid for the attribute.
func checkAll(t *testing.T, name string, make func(string) event.Value, valid, invalid []string) {
	t.Helper()
	for _, s := range valid {
		if e := with(t, name, make(s)); e.Check() != nil {
			t.Errorf("%s %q is refused: %v", name, s, e.Check())
		}
	}
	for _, s := range invalid {
		e := with(t, name, make(s))
		var bad *event.InvalidError
		if err := e.Check(); !errors.As(err, &bad) {
			t.Errorf("%s %q is taken: %v", name, s, err)
		} else if len(bad.Problems) != 1 || bad.Problems[0].Attr != name && len(name) < 40 || bad.Index != -1 {
			t.Errorf("%s %q: %+v", name, s, bad)
		}
	}
}

func TestA3AttributeNamesAreLowerCaseLettersAndDigits(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "9": true, "0abc": true, strings.Repeat("x", 200): true, "comexampleextension1": true,
		"A": false, "my-ext": false, "my_ext": false, "é": false, "a b": false, "data": false, "": false, "\u212a": false,
	} {
		e := with(t, name, event.StringValue("v"))
		if got := e.Check() == nil; got != want {
			t.Errorf("name %q: valid is %v, want %v (%v)", name, got, want, e.Check())
		}
	}
}

func TestA5StringsHoldNoControlCharacters(t *testing.T) {
	checkAll(t, "ext", event.StringValue,
		[]string{"", "x", "Euro € 😀", " leading", "\u00a0", "\ufffd", "\ufdcf", "\ufdf0", "12345678\u00e9", "~~~~~~~~"},
		[]string{
			"\x00", "a\nb", "\t", "\x1f", "\x7f", "\u0080", "\u009f", "\ufdd0", "\ufdef", "\ufffe", "\uffff",
			"\U0001fffe", "\U0010ffff", "\xff", "\xed\xa0\x80", "\xc0\xa0", "\xe2", "\x82", "12345678\x7f", "12345678\x1f9",
			"1234567\x00", "\x7f1234567",
		})
}

func TestA6SourceIsAURIReference(t *testing.T) {
	good := []string{
		"/s", "s", "https://example.com/a?b=c#d", "urn:event:from:myapi/resource/123", "mailto:cncf@example.org",
		"//host:80/p", "http://[::1]:8080/", "http://[v7.a:b]/", "a/b:c", "?q", "#f", "./a:b", "%20", "http://u:p@h/", "a?b?c#d?e", "1-555-123-4567",
		"http://h:/", "file:///x", "a@b",
	}
	bad := []string{
		"a b", "<a>", `a\b`, `"a"`, "a^b", "`a`", "{a}", "a|b", "1a:b", ":a", "a_b:c", "%", "%2", "%zz", "é", "a#b#c", "http://h:x/",
		"http://[::1/", "http://[1.2.3.4]/", "http://[fe80::1%25eth0]/", "http://a[b]/", "a[b]", "http://a@b@c/", "\n",
	}
	checkAll(t, "source", event.StringValue, good, bad)
	checkAll(t, "ref", event.URIRefValue, append(good, ""), bad)
}

func TestA7DataschemaIsAnAbsoluteURI(t *testing.T) {
	checkAll(t, "dataschema", event.URIValue,
		[]string{"https://example.com/schema", "urn:x:y", "https://example.com/schema#f", "a:"},
		[]string{"", "/s", "//host/s", "schema", "http://a b", "1:x"})
}

func TestA8SubjectIsNotEmpty(t *testing.T) {
	checkAll(t, "subject", event.StringValue, []string{"x", " "}, []string{"", "\n"})
}

func TestA9TimeIsRFC3339(t *testing.T) {
	checkAll(t, "time", event.StringValue,
		[]string{
			"2018-04-05T17:31:00Z", "2018-04-05t17:31:00z", "2018-04-05T17:31:00.123456789123Z", "2018-04-05T17:31:00+23:59",
			"2018-04-05T17:31:00-00:00", "2016-12-31T23:59:60Z", "2000-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "0000-01-01T00:00:00Z",
		},
		[]string{
			"", "2018-04-05", "2018-04-05T17:31Z", "2018-04-05T17:31:00", "2018-04-05T17:31:00+05", "2018-04-05T17:31:00+0500",
			"2018-04-05T17:31:00+24:00", "2018-04-05T17:31:00,5Z", "2018-04-05T7:31:00Z", "2018-02-30T00:00:00Z", "2018-04-05T24:00:00Z",
			"2018-04-05 17:31:00Z", "2018-04-05T17:31:00.Z", "2018-04-05T17:31:61Z", "2018-13-01T00:00:00Z", "2018-00-01T00:00:00Z",
			"2018-04-00T00:00:00Z", "2018-04-31T00:00:00Z", "1900-02-29T00:00:00Z", "2018-04-05T17:31:00Zx", "2018-04-05T17:60:00Z",
			"+018-04-05T17:31:00Z", "2018-04-05T17:31:00+05:60", "2018-04-05T17:31:00 01:00", "2018-04-05T17:31:00.1",
		})
}

func TestA10DatacontenttypeIsAMediaType(t *testing.T) {
	checkAll(t, "datacontenttype", event.StringValue,
		[]string{
			"text/plain", "application/json; charset=utf-8", "a/b;c=d;e=\"f;g\"", "application/cloudevents+json", "text/plain ; a=b",
			"text/plain;", `a/b; c="\""`, "TEXT/XML",
		},
		[]string{"", "xyz", "/json", "text/", "text/plain,x", "text plain/x", "a/b; c", "a/b; c=", `a/b; c="d`, "a/b c", " a/b", "a/b;c=\x7f", "a/b;é=x"})
}

func TestA13EmptyExtensionsAreKept(t *testing.T) {
	e := with(t, "ext", event.StringValue(""))
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	if v, ok := e.Attr("ext"); !ok || v.Kind() != event.String || v.String() != "" {
		t.Fatalf("ext is %v, %v", v, ok)
	}
}

func TestV155RefusalsEchoAtMost120Characters(t *testing.T) {
	long := strings.Repeat("Ä\n", 5000)
	for _, body := range []string{`{"` + strings.Repeat("Ä", 5000) + `":1}`, `{"source":"` + strings.Repeat("<", 9000) + `"}`} {
		_, err := event.AppendFromJSON(nil, []byte(body))
		if err == nil || len(err.Error()) > 500 || strings.Count(err.Error(), "Ä") > 120 || strings.Count(err.Error(), "<") > 120 {
			t.Errorf("the error has %d bytes: %.100s", len(err.Error()), err)
		}
	}
	e := with(t, long, event.StringValue("x"))
	if err := e.Check(); err == nil || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %v", err)
	}
}

func TestCheckRefusesEnvelopesThatAreNotCanonical(t *testing.T) {
	good := with(t, "ext", event.StringValue("v"))
	var e event.Event
	raw := append(append([]byte{}, good.Bytes()...), 0x7a, 1, 'x') // an unknown field
	if err := e.Scan(raw); err != nil {
		t.Fatal(err)
	}
	if err := e.Check(); err == nil {
		t.Error("an unknown field passes")
	}
	out, err := event.AppendFromProto(nil, raw)
	if err != nil || string(out) != string(good.Bytes()) {
		t.Errorf("AppendFromProto does not make it canonical: %v", err)
	}
}
