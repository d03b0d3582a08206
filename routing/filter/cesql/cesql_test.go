package cesql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/event"
)

// check evaluates expressions on one event; want is a value, or a class of
// error behind it, as in "false missingAttribute".
func check(t *testing.T, want map[string]string) {
	t.Helper()
	ev := eventOf(t, map[string]any{
		"id": "1", "source": "/s", "type": "a.b", "subject": "größe€😀", "count": 5, "flag": true, "text": "7", "word": "TRUE",
	})
	for expression, result := range want {
		x, err := Parse(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		v, err := x.Eval(&ev)
		got := fmt.Sprint(v.Any())
		var e *EvalError
		if errors.As(err, &e) {
			got += " " + string(e.Class)
		}
		if got != result {
			t.Errorf("%s is %s, want %s", expression, got, result)
		}
		if x.Match(&ev) != (result == "true") && v.Kind() == Boolean {
			t.Errorf("%s: Match says %v, Eval %s", expression, x.Match(&ev), got)
		}
	}
}

func TestP126TypesAreThree(t *testing.T) {
	check(t, map[string]string{"count": "5", "flag": "true", "source = '/s'": "true", "2147483647": "2147483647", "-2147483648": "-2147483648"})
	if _, err := Parse("2147483648"); err == nil {
		t.Error("an integer of more than 32 bits parses")
	}
}

func TestP127CharactersAreCodePoints(t *testing.T) {
	check(t, map[string]string{
		"LENGTH(subject)": "7", "LEFT(subject, 3)": "grö", "RIGHT(subject, 2)": "€😀",
		"SUBSTRING(subject, 3, 2)": "öß", "subject LIKE 'gr__e__'": "true", "subject LIKE '%_😀'": "true",
	})
}

func TestP128Precedence(t *testing.T) {
	check(t, map[string]string{
		"NOT flag = FALSE":             "true", // (NOT flag) = FALSE
		"2 + 3 * 4":                    "14",
		"10 - 2 - 3":                   "5",
		"TRUE OR FALSE AND FALSE":      "false", // one level, left to right
		"TRUE XOR TRUE OR TRUE":        "true",
		"-count + 1":                   "-4",
		"1 + 1 = 2 AND 3 > 2":          "true",
		"count IN (4 + 1)":             "true",
		"NOT EXISTS nothing":           "true",
		"count NOT IN (1, 2)":          "true",
		"type NOT LIKE 'b%'":           "true",
		"EXISTS subject AND flag":      "true",
		"NOT 'TRUE' LIKE 'fal%'":       "true", // (NOT 'TRUE') LIKE 'fal%'
		"4-1":                          "3",
		"(count) * (count)":            "25",
		"TRUE = (1 = 1)":               "true",
		"count * 2 IN (10) = FALSE":    "true", // (count * (2 IN (10))) = FALSE
		"(1 < 2) = (2 > 1) AND TRUE":   "true",
		"LENGTH('a') + LENGTH('b')":    "2",
		"'abc' LIKE 'a%' AND 1 <> 2":   "true",
		"flag AND (FALSE OR NOT flag)": "false",
	})
}

func TestP129OnlyAndOrShortCircuit(t *testing.T) {
	check(t, map[string]string{
		"FALSE AND nothing": "false", "TRUE OR nothing": "true",
		"TRUE AND nothing": "false missingAttribute", "nothing OR TRUE": "false missingAttribute",
		"TRUE XOR nothing": "false missingAttribute",
	})
}

func TestP130Casts(t *testing.T) {
	check(t, map[string]string{
		"text = 7": "true", "7 = text": "true", "word = TRUE": "true", "TRUE = word": "false",
		"count = '5'": "true", "'x' = 5": "false cast", "'6' > count": "true", "flag > 0": "true",
		"'5' IN (count)": "true", "count IN ('5', '6')": "true", "count IN ('x')": "false cast",
	})
}

func TestP131MissingAttributesAreErrors(t *testing.T) {
	check(t, map[string]string{
		"nothing = 'x'": "false missingAttribute", "nothing + 1": "0 missingAttribute", "EXISTS nothing": "false",
		"LENGTH(nothing)": "0 missingAttribute", "UPPER(nothing)": " missingAttribute", "NOT nothing": "false missingAttribute",
	})
}

func TestP132ErrorClasses(t *testing.T) {
	check(t, map[string]string{
		"1 / 0": "0 math", "1 % 0": "0 math", "2147483647 + 1": "0 math", "INT('x')": "0 cast",
		"NOFUNCTION(1)": "false missingFunction", "LEFT('a', -1)": "a functionEvaluation",
	})
}

func TestP133LikePatternsAreLiterals(t *testing.T) {
	check(t, map[string]string{
		`'a%b' LIKE 'a\%b'`: "true", `'axb' LIKE 'a\%b'`: "false", `'a.b' LIKE 'a.b'`: "true", "'axb' LIKE 'a.b'": "false",
		"'' LIKE '%'": "true", "'' LIKE ''": "true", "'ab' LIKE 'a'": "false", "'aXbXc' LIKE '%X%c'": "true",
	})
	for _, bad := range []string{"id LIKE type", "id LIKE 1", "id LIKE ('a')"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s parses", bad)
		}
	}
}

func TestP134JunkIsRefusedWithItsPlace(t *testing.T) {
	for text, pos := range map[string]int{
		"TRUE -- c": 5, "TRUE TRUE": 5, "`id` = 1": 0, "id == 'a'": 4, "TRUE && FALSE": 5, "(1": 2, "1 +": 3, "'x": 0,
		"id IN ()": 8, "NOT": 3, "a_b = 1": 0, "": 0, "EXISTS 'x'": 7, "id = 'a')": 8, "\x00": 0, "id NOT 'x'": 7,
	} {
		_, err := Parse(text)
		var e *SyntaxError
		if !errors.As(err, &e) || e.Pos != pos {
			t.Errorf("%q: %v, want an error at byte %d", text, err, pos)
		}
	}
}

func TestDeepAndLongExpressionsAreRefused(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), strings.Repeat("NOT ", 4000) + "TRUE",
		strings.Repeat("-", 5000) + "1", "TRUE" + strings.Repeat(" OR TRUE", 1500), strings.Repeat("1", MaxLength+1),
		strings.Repeat("ABS(", 3000),
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%.20s… of %d bytes parses", text, len(text))
		}
	}
}

// slowLike is LIKE by its definition.
func slowLike(p []string, s []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	switch p[0] {
	case "%":
		return slowLike(p[1:], s) || len(s) > 0 && slowLike(p, s[1:])
	case "_":
		return len(s) > 0 && slowLike(p[1:], s[1:])
	}
	return len(s) > 0 && s[0] == []rune(p[0])[0] && slowLike(p[1:], s[1:])
}

func TestLikeIsWhatItsDefinitionSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"%", "_", "a", "b", "ö"}), 0, 8).Draw(t, "pattern")
		s := rapid.StringOfN(rapid.SampledFrom([]rune("abö")), 0, 10, -1).Draw(t, "text")
		p, err := parsePattern(strings.Join(parts, ""))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := p.match(s), slowLike(parts, []rune(s)); got != want {
			t.Fatalf("%q LIKE %q is %v, want %v", s, strings.Join(parts, ""), got, want)
		}
	})
}

func TestP123LikeAndConcatAreBounded(t *testing.T) {
	ev := eventOf(t, map[string]any{"id": "1", "source": "/s", "type": "t", "big": strings.Repeat("a", 128<<10)})
	x, err := Parse("big LIKE '%" + strings.Repeat("a", 16000) + "b%'")
	if err != nil {
		t.Fatal(err)
	}
	if x.Match(&ev) { // seconds, where it is not linear
		t.Error("it matches")
	}
	if x, err = Parse("LENGTH(CONCAT(big" + strings.Repeat(",big", 3000) + ")) > 0"); err != nil || x.Match(&ev) {
		t.Errorf("a text of 400 MB was made (%v)", err)
	}
	if _, err := Parse("big LIKE '%" + strings.Repeat("_", maxWild+1) + "%'"); err == nil {
		t.Error("a wide part with _ parses")
	}
}

// naive is what a shape says by itself.
func naive(s Shape, ev *event.Event) bool {
	v, ok := ev.Attr(s.Attr)
	switch s.Op {
	case And:
		return naive(s.Args[0], ev) && naive(s.Args[1], ev)
	case Or:
		return naive(s.Args[0], ev) || naive(s.Args[1], ev)
	case Not:
		return !naive(s.Args[0], ev)
	case In:
		return ok && slices.Contains(s.Values, v.String())
	case Prefix:
		return ok && strings.HasPrefix(v.String(), s.Values[0])
	case Exists:
		return ok
	case Const:
		return s.Values[0] == "true"
	}
	return s.Match(ev)
}

// expressions draws expressions that mean something more often than not.
func expressions() *rapid.Generator[string] {
	leaf := rapid.SampledFrom([]string{
		"TRUE", "FALSE", "1", "'a'", "'5'", "id", "type", "subject", "ext", "num", "flag", "EXISTS ext", "EXISTS num",
		"type = 'a'", "subject = 'a'", "ext = '5'", "num = '5'", "num = 5", "ext IN ('a', '5')", "num IN ('a', '5')", "type IN ('a', 'b')",
		"ext LIKE 'a%'", "num LIKE '5%'", "type LIKE '%a'", "num > 3", "ext > 3",
	})
	return rapid.Custom(func(t *rapid.T) string {
		var draw func(depth int) string
		draw = func(depth int) string {
			if depth == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
				return leaf.Draw(t, "e")
			}
			if rapid.IntRange(0, 4).Draw(t, "not") == 0 {
				return "NOT (" + draw(depth-1) + ")"
			}
			op := rapid.SampledFrom([]string{"AND", "OR", "XOR", "=", "!=", "AND", "OR"}).Draw(t, "op")
			return "(" + draw(depth-1) + ") " + op + " (" + draw(depth-1) + ")"
		}
		return draw(3)
	})
}

func events(t *rapid.T) event.Event {
	var b event.Builder
	value := rapid.SampledFrom([]string{"a", "b", "5", "ab", "TRUE"})
	b.SetString("id", "1").SetString("source", "/s").SetString("type", value.Draw(t, "type"))
	for _, name := range []string{"subject", "ext"} {
		if rapid.Bool().Draw(t, name) {
			b.SetString(name, value.Draw(t, "value"))
		}
	}
	if rapid.Bool().Draw(t, "num") {
		b.Set("num", event.IntegerValue(rapid.Int32Range(3, 6).Draw(t, "n")))
	}
	if rapid.Bool().Draw(t, "flag") {
		b.Set("flag", event.BooleanValue(rapid.Bool().Draw(t, "f")))
	}
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestAShapeMeansWhatTheExpressionMeans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, err := Parse(expressions().Draw(t, "expression"))
		if err != nil {
			t.Fatal(err)
		}
		ev := events(t)
		if s := x.Shape(); naive(s, &ev) != x.Match(&ev) {
			t.Fatalf("%s: its shape says %v, it is %v", x, naive(s, &ev), x.Match(&ev))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"id = 'a' AND NOT EXISTS b", "LEFT(a, 2) LIKE 'x\\%_%'", "-1 IN (2, '3')", "TRUE XOR 1 <> 2", "\"q\\\"\""} {
		f.Add(s)
	}
	ev := eventOf(f, map[string]any{"id": "1", "source": "/s", "type": "a.b", "n": 5})
	f.Fuzz(func(t *testing.T, s string) {
		x, err := Parse(s)
		if err != nil {
			return
		}
		x.Match(&ev)
		again, err := Parse(x.String())
		var e *SyntaxError
		if errors.As(err, &e) && (strings.Contains(e.Reason, "deep") || strings.Contains(e.Reason, "at most")) {
			return // the canonical text has more brackets
		}
		if err != nil || again.String() != x.String() || again.Match(&ev) != x.Match(&ev) {
			t.Fatalf("%q is %s, and that is %v, %v", s, x, again, err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	ev := eventOf(b, map[string]any{"id": "1", "source": "/s", "type": "order.created", "subject": "orders/eu/17", "tier": "gold"})
	x, err := Parse("subject LIKE 'orders/%' AND tier = 'gold'")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !x.Match(&ev) {
			b.Fatal("no match")
		}
	}
}

func TestP135ThereAreNoFunctionsOfUsers(t *testing.T) {
	check(t, map[string]string{"MINE(1)": "false missingFunction", "LENGTH(id, 2)": "false missingFunction", "NOT MINE()": "false missingFunction"})
}
