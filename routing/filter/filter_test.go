package filter

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/event"
)

func makeEvent(t testing.TB, attrs map[string]any) event.Event {
	t.Helper()
	var b event.Builder
	b.SetString("id", "1").SetString("source", "/s").SetString("type", "order.created")
	for k, v := range attrs {
		switch v := v.(type) {
		case int:
			b.Set(k, event.IntegerValue(int32(v)))
		case bool:
			b.Set(k, event.BooleanValue(v))
		case string:
			b.SetString(k, v)
		}
	}
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// verdicts checks filters on one event.
func verdicts(t *testing.T, want map[string]bool) {
	t.Helper()
	ev := makeEvent(t, map[string]any{"subject": "a/b", "count": 5, "flag": true, "time": "2020-01-01T00:00:00+01:00"})
	for text, verdict := range want {
		f, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if f.Match(&ev) != verdict {
			t.Errorf("%s (%s) says %v", text, f, !verdict)
		}
	}
}

// refused checks that filters are refused, and that the error names a place.
func refused(t *testing.T, bad map[string]string) {
	t.Helper()
	for text, path := range bad {
		_, err := Parse([]byte(text))
		var e *Error
		if !errors.As(err, &e) || e.Path != path || e.Reason == "" {
			t.Errorf("%.80s: %v, want a refusal at %q", text, err, path)
		}
	}
}

func TestO115FiltersMustAllBeTrue(t *testing.T) {
	verdicts(t, map[string]bool{
		`[]`: true, `[{"exact":{"id":"1"}},{"prefix":{"type":"order"}}]`: true, `[{"exact":{"id":"1"}},{"prefix":{"type":"x"}}]`: false,
	})
	if f, err := ParseDialects([]byte(`[]`)); err != nil || f.Key() != Everything().Key() {
		t.Errorf("no filters: %s, %v", f, err)
	}
}

func TestO116AFilterHasOneDialect(t *testing.T) {
	refused(t, map[string]string{
		`{}`: "", `{"exact":{"id":"1"},"prefix":{"id":"1"}}`: "", `{"near":{"id":"1"}}`: "near", `[{"all":[{"x":1}]}]`: "filters[0].all[0].x",
		`{"not":{"near":1}}`: "not.near", `5`: "", `{"exact":{"id":"1"}} 5`: "", `{"exact":{"id":"1"},"exact":{"id":"1"}}`: "", ``: "", `[5]`: "filters[0]",
	})
}

func TestO117AttributesAreNamesAndNonEmptyStrings(t *testing.T) {
	verdicts(t, map[string]bool{
		`{"exact":{"subject":"a/b","type":"order.created"}}`: true, `{"exact":{"subject":"A/b"}}`: false,
		`{"prefix":{"subject":"a/","id":"1"}}`: true, `{"suffix":{"subject":"/b"}}`: true, `{"suffix":{"subject":"x"}}`: false,
	})
	refused(t, map[string]string{
		`{"exact":{}}`: "exact", `{"exact":{"id":""}}`: "exact.id", `{"exact":{"Id":"1"}}`: "exact.Id", `{"exact":{"id":5}}`: "exact.id",
		`{"prefix":{"data":"x"}}`: "prefix.data", `{"suffix":[]}`: "suffix", `{"exact":{"id":null}}`: "exact.id",
	})
}

func TestO118AttributesCompareByTheirCanonicalString(t *testing.T) {
	verdicts(t, map[string]bool{
		`{"exact":{"count":"5"}}`: true, `{"exact":{"flag":"true"}}`: true, `{"prefix":{"flag":"tr"}}`: true,
		`{"exact":{"time":"2020-01-01T00:00:00+01:00"}}`: true, `{"exact":{"time":"2019-12-31T23:00:00Z"}}`: false, `{"exact":{"specversion":"1.0"}}`: true,
	})
}

func TestO119AnAbsentAttributeIsFalse(t *testing.T) {
	verdicts(t, map[string]bool{
		`{"exact":{"ext":"x"}}`: false, `{"prefix":{"ext":"x"}}`: false, `{"suffix":{"ext":"x"}}`: false, `{"not":{"exact":{"ext":"x"}}}`: true,
	})
}

func TestO120AllAnyNot(t *testing.T) {
	verdicts(t, map[string]bool{
		`{"all":[{"exact":{"id":"1"}},{"exact":{"id":"2"}}]}`: false, `{"any":[{"exact":{"id":"1"}},{"exact":{"id":"2"}}]}`: true,
		`{"not":{"any":[{"exact":{"id":"3"}},{"exact":{"id":"2"}}]}}`: true,
	})
	refused(t, map[string]string{`{"all":[]}`: "all", `{"any":[]}`: "any", `{"not":[]}`: "not", `{"any":{}}`: "any"})
}

func TestO121SQLIsTrueOrNot(t *testing.T) {
	verdicts(t, map[string]bool{
		`{"sql":"count = 5"}`: true, `{"cesql":"subject LIKE 'a/%'"}`: true, `{"sql":"nothing = 'x'"}`: false, `{"sql":"5"}`: false,
		`{"not":{"sql":"nothing = 'x'"}}`: true,
	})
}

func TestO122AnExpressionThatDoesNotParseIsRefusedWithItsPlace(t *testing.T) {
	refused(t, map[string]string{`{"sql":"(1"}`: "sql", `{"sql":5}`: "sql"})
	if _, err := SQL("id = "); err == nil || !strings.Contains(err.Error(), "byte 5") {
		t.Errorf("%v does not say where", err)
	}
}

func TestO123FiltersAreBounded(t *testing.T) {
	deep := strings.Repeat(`{"not":`, 5000) + `{"exact":{"id":"1"}}` + strings.Repeat(`}`, 5000)
	wide := `{"any":[` + strings.Repeat(`{"exact":{"id":"1"}},`, 2000) + `{"exact":{"id":"1"}}]}`
	for _, bad := range []string{deep, wide, `{"exact":{"id":"` + strings.Repeat("x", MaxJSON) + `"}}`} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("a filter of %d bytes is taken", len(bad))
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, typ string
		want         bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a.b", false}, {"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.b.c", false},
		{"a.>", "a", false}, {"a.>", "a.b.c", true}, {">", "a", true}, {"*", "a.b", false}, {"*.b", "a.b", true}, {"", "x", true},
	} {
		if got := MatchType(c.pattern, c.typ); got != c.want {
			t.Errorf("%q and %q: %v", c.pattern, c.typ, got)
		}
	}
	for _, bad := range []string{"", ".", "a.", "a..b", ">.a", "a*", "a.>b", strings.Repeat("a", 2000)} {
		if _, err := Pattern(bad); err == nil {
			t.Errorf("pattern %.20q is taken", bad)
		}
	}
}

// terms draws trees of everything there is.
func terms(depth int) *rapid.Generator[*term] {
	return rapid.Custom(func(t *rapid.T) *term {
		kind := rapid.IntRange(0, 8).Draw(t, "kind")
		if depth == 0 && kind < 4 {
			kind += 4
		}
		switch kind {
		case 0, 1:
			return &term{op: opAll, args: rapid.SliceOfN(terms(depth-1), 0, 4).Draw(t, "all")}
		case 2:
			return &term{op: opAny, args: rapid.SliceOfN(terms(depth-1), 0, 4).Draw(t, "any")}
		case 3:
			return &term{op: opNot, args: []*term{terms(depth-1).Draw(t, "not")}}
		case 4:
			return &term{op: opPattern, text: rapid.SampledFrom([]string{"a", "a.*", "*.b", "a.>", ">", "b"}).Draw(t, "pattern")}
		case 5:
			return &term{op: opOpaque, text: "the id is 1", match: func(ev *event.Event) bool { return ev.ID() == "1" }}
		}
		p := Pred{Attr: rapid.SampledFrom([]string{"type", "ext", "num"}).Draw(t, "attr"), Op: Op(rapid.IntRange(int(In), int(Absent)).Draw(t, "op"))}
		value := rapid.SampledFrom([]string{"a", "a.b", "5", "x", "*", "b"})
		switch p.Op {
		case In:
			p.Values = slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(value, 1, 3).Draw(t, "values"))))
		case Prefix, Suffix:
			p.Values = []string{value.Draw(t, "value")}
		}
		return &term{op: opPred, pred: p}
	})
}

func drawEvent(t *rapid.T) event.Event {
	var b event.Builder
	b.SetString("id", rapid.SampledFrom([]string{"1", "2"}).Draw(t, "id")).SetString("source", "/s")
	b.SetString("type", rapid.SampledFrom([]string{"a", "a.b", "b", "a.b.c", "*"}).Draw(t, "type"))
	if rapid.Bool().Draw(t, "ext") {
		b.SetString("ext", rapid.SampledFrom([]string{"a", "5", "x", "a.b"}).Draw(t, "value"))
	}
	if rapid.Bool().Draw(t, "num") {
		b.Set("num", event.IntegerValue(5))
	}
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestTheNormalFormMeansWhatWasAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := terms(3).Draw(t, "term")
		f := normalise(tree)
		if len(f.Conjuncts) > MaxConjuncts {
			t.Fatalf("%d conjuncts", len(f.Conjuncts))
		}
		for range 5 {
			ev := drawEvent(t)
			if f.Match(&ev) != tree.eval(&ev) {
				t.Fatalf("%s as %s: type %s says %v", tree, f, ev.Type(), f.Match(&ev))
			}
			if again := And(f); again.Match(&ev) != f.Match(&ev) {
				t.Fatalf("%s put together again is %s", f, again)
			}
		}
	})
}

func TestWiderAndCoversAreSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := normalise(terms(2).Draw(t, "a")), normalise(terms(2).Draw(t, "b"))
		ev := drawEvent(t)
		for _, x := range a.Conjuncts {
			wide := x.Wider()
			if x.Match(&ev) && !wide.Match(&ev) {
				t.Fatalf("%s is wider than %s", x, wide)
			}
			for _, y := range b.Conjuncts {
				if Covers(x, y) && y.Match(&ev) && !x.Match(&ev) {
					t.Fatalf("%s does not cover %s", x, y)
				}
			}
			c, err := ReadConjunct(AppendConjunct(nil, wide))
			if err != nil || c.String() != wide.String() {
				t.Fatalf("%s is read back as %s, %v", wide, c, err)
			}
		}
	})
}

func FuzzReadConjunct(f *testing.F) {
	f.Add(AppendConjunct(nil, Conjunct{Type: "a.*", Preds: []Pred{{Attr: "x", Op: In, Values: []string{"1", "2"}}, {Attr: "y", Op: Exists}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ReadConjunct(b); err == nil && string(AppendConjunct(nil, c)) != string(b) {
			t.Fatalf("%x is written otherwise", b)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`[{"exact":{"a":"b"}}]`, `{"any":[{"not":{"sql":"id = 'x'"}},{"pattern":{"type":"a.>"}}]}`, `{"all":[{"suffix":{"x":"y"}}]}`} {
		f.Add([]byte(s))
	}
	ev := makeEvent(f, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := Parse(b); err == nil {
			got.Match(&ev)
		}
	})
}
