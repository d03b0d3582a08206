package cesql

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/skeinmesh/skein/transport/event"
)

// signature is what a function takes and does.
type signature struct {
	kinds    []Kind // of the arguments; 0 takes any
	variadic bool   // the last kind may come any number of times, also none
	result   Value  // beside an error in an argument
	call     func(args []Value) (Value, Class)
}

// builtin finds a function by its name in upper case and its arguments' number.
func builtin(name string, args int) (signature, bool) {
	for _, s := range builtins(name) {
		if len(s.kinds) == args || s.variadic && args >= len(s.kinds)-1 {
			return s, true
		}
	}
	return signature{}, false
}

func builtins(name string) []signature {
	one := func(k Kind, result Value, call func(v Value) (Value, Class)) []signature {
		return []signature{{kinds: []Kind{k}, result: result, call: func(a []Value) (Value, Class) { return call(a[0]) }}}
	}
	onText := func(do func(string) string) []signature {
		return one(String, text(""), func(v Value) (Value, Class) { return text(do(v.s)), "" })
	}
	switch name {
	case "LENGTH":
		return one(String, number(0), func(v Value) (Value, Class) { return number(int32(utf8.RuneCountInString(v.s))), "" })
	case "LOWER":
		return onText(strings.ToLower)
	case "UPPER":
		return onText(strings.ToUpper)
	case "TRIM":
		return onText(strings.TrimSpace)
	case "CONCAT":
		return []signature{{kinds: []Kind{String}, variadic: true, result: text(""), call: concat}}
	case "CONCAT_WS":
		return []signature{{kinds: []Kind{String, String}, variadic: true, result: text(""), call: concatWith}}
	case "LEFT", "RIGHT":
		return []signature{{kinds: []Kind{String, Integer}, result: text(""), call: func(a []Value) (Value, Class) {
			return end(a[0].s, int(a[1].n), name == "LEFT")
		}}}
	case "SUBSTRING":
		return []signature{
			{kinds: []Kind{String, Integer}, result: text(""), call: func(a []Value) (Value, Class) {
				return substring(a[0].s, int(a[1].n), math.MaxInt32)
			}},
			{kinds: []Kind{String, Integer, Integer}, result: text(""), call: func(a []Value) (Value, Class) {
				return substring(a[0].s, int(a[1].n), int(a[2].n))
			}},
		}
	case "ABS":
		return one(Integer, number(0), func(v Value) (Value, Class) {
			if v.n == math.MinInt32 {
				return number(math.MaxInt32), MathError
			}
			return number(max(v.n, -v.n)), ""
		})
	case "INT":
		return one(0, number(0), Value.toInteger)
	case "BOOL":
		return one(0, boolean(false), Value.toBoolean)
	case "STRING":
		return one(0, text(""), func(v Value) (Value, Class) { return v.to(String) })
	case "IS_INT":
		return one(0, boolean(false), func(v Value) (Value, Class) {
			_, class := v.toInteger()
			return boolean(class == ""), ""
		})
	case "IS_BOOL":
		return one(0, boolean(false), func(v Value) (Value, Class) {
			_, class := v.toBoolean()
			return boolean(class == ""), ""
		})
	}
	return nil
}

// function compiles a call. One that does not exist is an error of evaluation,
// as the specification has it, and false.
func function(name string, args []evaluator) evaluator {
	s, ok := builtin(name, len(args))
	if !ok {
		return func(*event.Event) (Value, Class) { return boolean(false), MissingFunction }
	}
	return func(ev *event.Event) (Value, Class) {
		var few [4]Value
		values := few[:0]
		for i, a := range args {
			v, class := a(ev)
			if class == "" {
				if k := s.kinds[min(i, len(s.kinds)-1)]; k != 0 {
					v, class = v.to(k)
				}
			}
			if class != "" {
				return s.result, class
			}
			values = append(values, v)
		}
		return s.call(values)
	}
}

// maxText bounds what CONCAT and CONCAT_WS make, in bytes: an expression may
// name a large attribute many times.
const maxText = 1 << 20

func concat(args []Value) (Value, Class) { return join("", args) }

func concatWith(args []Value) (Value, Class) { return join(args[0].s, args[1:]) }

func join(separator string, args []Value) (Value, Class) {
	var b strings.Builder
	for i, a := range args {
		if b.Len()+len(separator)+len(a.s) > maxText {
			return text(""), FunctionEvaluation
		}
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(a.s)
	}
	return text(b.String()), ""
}

// end is the first or the last n code points.
func end(s string, n int, left bool) (Value, Class) {
	if n < 0 {
		return text(s), FunctionEvaluation
	}
	length := utf8.RuneCountInString(s)
	if n >= length {
		return text(s), ""
	}
	if left {
		return text(s[:offset(s, n)]), ""
	}
	return text(s[offset(s, length-n):]), ""
}

// substring is n code points from the pos-th on, counted from 1 or, when pos is
// negative, from the end. At position 0 there is nothing.
func substring(s string, pos, n int) (Value, Class) {
	length := utf8.RuneCountInString(s)
	switch {
	case pos == 0:
		return text(""), ""
	case pos > length || pos < -length || n < 0:
		return text(""), FunctionEvaluation
	case pos < 0:
		pos += length + 1
	}
	from := pos - 1
	to := min(length, from+n)
	return text(s[offset(s, from):offset(s, to)]), ""
}

// offset is where the n-th code point begins, from 0.
func offset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}
