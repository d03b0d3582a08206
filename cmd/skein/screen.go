package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is an output and what it can show: colours only on a terminal, and
// none where NO_COLOR is set or TERM is dumb. Any number of goroutines may
// write; a call's bytes stay together.
type screen struct {
	mu    sync.Mutex // guards w
	w     io.Writer
	file  *os.File // non-nil on a terminal
	color bool
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.file = f
		s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

// terminal reports whether a person is likely to be reading along.
func (s *screen) terminal() bool { return s.file != nil }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func (s *screen) printf(format string, args ...any) { fmt.Fprintf(s, format, args...) }

// json prints a value as one line of JSON, or indented on a terminal.
func (s *screen) json(v any) error {
	var data []byte
	var err error
	if s.terminal() {
		data, err = json.MarshalIndent(v, "", "  ")
	} else {
		data, err = json.Marshal(v)
	}
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	_, err = s.Write(append(data, '\n'))
	return err
}

// style is a way to draw text, as the parameter of the terminal's SGR sequence.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// paint draws text in a style where the screen has colours.
func (s *screen) paint(st style, text string) string {
	if !s.color || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// cell is a piece of a table's row.
type cell struct {
	text  string
	style style
}

// table prints rows in columns as wide as their widest cell, two blanks apart.
// Columns whose heading begins with '>' are set to the right.
func (s *screen) table(head []string, rows [][]cell) {
	var b strings.Builder
	right := make([]bool, len(head))
	widths := make([]int, len(head))
	top := make([]cell, len(head))
	for i, h := range head {
		h, right[i] = strings.CutPrefix(h, ">")
		top[i] = cell{h, dim}
		widths[i] = utf8.RuneCountInString(h)
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	for _, row := range append([][]cell{top}, rows...) {
		line := ""
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			if right[i] {
				line += pad + s.paint(c.style, c.text)
			} else {
				line += s.paint(c.style, c.text) + pad
			}
			if i < len(row)-1 {
				line += "  "
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	io.WriteString(s, b.String())
}

// printable is text from outside without anything that would steer a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, steers) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if steers(r) {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError
}

// count is a number with thousands set apart.
func count[N ~int | ~int64 | ~uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// size is a number of bytes for a person, in powers of 1000.
func size(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB"} {
		if v /= 1000; v < 999.95 {
			break
		}
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
}

// millis is a time in milliseconds for a person; nothing was measured at 0.
func millis(ms float64) string {
	switch {
	case ms <= 0:
		return "-"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
}
