package cesql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	sql "github.com/cloudevents/sdk-go/sql/v2"
	sdk "github.com/cloudevents/sdk-go/sql/v2/parser"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"pgregory.net/rapid"
)

// asciiExpressions draws expressions of ASCII characters, each operation in brackets.
type asciiExpressions struct{ t *rapid.T }

func (g asciiExpressions) pick(name string, from ...string) string {
	return rapid.SampledFrom(from).Draw(g.t, name)
}

func (g asciiExpressions) leaf() string {
	return g.pick("leaf",
		"id", "source", "type", "subject", "count", "flag", "text", "word", "missing",
		"TRUE", "false", "0", "1", "5", "-7", "2147483647", "-2147483648", "'5'", "'true'", "'abc'", `"a.b"`, "''", "' x '", "'-3'")
}

func (g asciiExpressions) of(depth int) string {
	if depth == 0 {
		return g.leaf()
	}
	next := func() string { return g.of(rapid.IntRange(0, depth-1).Draw(g.t, "depth")) }
	switch rapid.IntRange(0, 10).Draw(g.t, "what") {
	case 0:
		return g.leaf()
	case 1, 2:
		op := g.pick("op", "+", "-", "*", "/", "%", "=", "!=", "<>", "<", "<=", ">", ">=", "AND", "OR", "XOR")
		return "(" + next() + ") " + op + " (" + next() + ")"
	case 3:
		return "NOT (" + next() + ")"
	case 4:
		return "-(" + next() + ")"
	case 5:
		not := g.pick("not", "", "NOT ")
		return "(" + next() + ") " + not + "LIKE " + g.pick("pattern", "'a%'", "'_'", "'%.b'", "''", "'%'", `'a\_%'`, "'5'")
	case 6:
		not := g.pick("not", "", "NOT ")
		set := make([]string, rapid.IntRange(1, 3).Draw(g.t, "set"))
		for i := range set {
			set[i] = g.leaf()
		}
		return "(" + next() + ") " + not + "IN (" + strings.Join(set, ", ") + ")"
	case 7:
		return "EXISTS " + g.pick("attribute", "id", "subject", "count", "missing")
	case 8:
		return g.pick("function", "LENGTH", "LOWER", "UPPER", "TRIM", "ABS", "INT", "BOOL", "STRING", "IS_INT", "IS_BOOL", "NONE") + "(" + next() + ")"
	case 9:
		return g.pick("function", "LEFT", "RIGHT", "SUBSTRING", "CONCAT") + "(" + next() + ", " + next() + ")"
	default:
		return g.pick("function", "SUBSTRING", "CONCAT", "CONCAT_WS") + "(" + next() + ", " + next() + ", " + next() + ")"
	}
}

// judge evaluates with the SDK, which panics on some values: LEFT and RIGHT of
// a negative length for one.
func judge(x sql.Expression, ev cloudevents.Event) (v any, err error, sane bool) {
	defer func() { sane = recover() == nil }()
	v, err = x.Evaluate(ev)
	return v, err, true
}

// TestP136TheSDKsInterpreterAgrees compares with the Go SDK's interpreter where
// that can be relied on: on valid expressions of ASCII characters. Which of
// two errors is told, and what stands beside it, is left to the kit.
func TestP136TheSDKsInterpreterAgrees(t *testing.T) {
	attributes := map[string]any{
		"id": "1", "source": "/s", "type": "a.b", "subject": "abc d", "count": 5, "flag": true, "text": "7", "word": "TRUE",
	}
	ours := eventOf(t, attributes)
	theirs := cloudevents.NewEvent()
	theirs.SetID("1")
	theirs.SetSource("/s")
	theirs.SetType("a.b")
	theirs.SetSubject("abc d")
	for _, name := range []string{"count", "flag", "text", "word"} {
		theirs.SetExtension(name, attributes[name])
	}
	rapid.Check(t, func(r *rapid.T) {
		text := asciiExpressions{r}.of(rapid.IntRange(1, 4).Draw(r, "deep"))
		x, err := Parse(text)
		if err != nil {
			r.Fatalf("%s: %v", text, err)
		}
		y, err := sdk.Parse(text)
		if err != nil {
			r.Fatalf("%s: the SDK says %v", text, err)
		}
		got, err := x.Eval(&ours)
		var e *EvalError
		class := Class("")
		if errors.As(err, &e) {
			class = e.Class
		}
		want, err, sane := judge(y, theirs)
		if !sane {
			return
		}
		if class == MathError {
			return // the SDK does not notice that a sum overflows
		}
		if (class == "") != (err == nil) || err == nil && fmt.Sprint(got.Any()) != fmt.Sprint(want) {
			r.Fatalf("%s is %T %v %s, to the SDK %T %v %v", text, got.Any(), got.Any(), class, want, want, err)
		}
	})
}
