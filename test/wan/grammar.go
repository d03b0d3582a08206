package wan

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// words is what is left of a line.
type words []string

// next takes the next word, which what describes.
func (w *words) next(what string) (string, error) {
	if len(*w) == 0 {
		return "", fmt.Errorf("the line ends where %s is expected", what)
	}
	word := (*w)[0]
	*w = (*w)[1:]
	return word, nil
}

// literal takes a word that must be there.
func (w *words) literal(want string) error {
	word, err := w.next(strconv.Quote(want))
	if err == nil && word != want {
		err = fmt.Errorf("%q where %q is expected", word, want)
	}
	return err
}

// option takes a word if it is there.
func (w *words) option(name string) bool {
	if len(*w) == 0 || (*w)[0] != name {
		return false
	}
	*w = (*w)[1:]
	return true
}

func parseStep(line words) (st step, err error) {
	w := &line
	if err := w.literal("at"); err != nil {
		return st, err
	}
	if st.at, err = w.duration(); err != nil {
		return st, err
	}
	command, err := w.next("a command")
	if err != nil {
		return st, err
	}
	parse, known := map[string]func(*words) (func(*Conditions), error){
		"cut":       func(*words) (func(*Conditions), error) { return func(c *Conditions) { c.Cut = true }, nil },
		"heal":      func(*words) (func(*Conditions), error) { return func(c *Conditions) { c.Cut = false }, nil },
		"delay":     parseDelay,
		"loss":      parseLoss,
		"burst":     parseBurst,
		"reorder":   parseReorder,
		"bandwidth": parseBandwidth,
	}[command]
	if !known {
		return st, fmt.Errorf("%q is no command: cut, heal, delay, loss, burst, reorder and bandwidth are", command)
	}
	if err := w.ways(&st); err != nil {
		return st, fmt.Errorf("%s: %w", command, err)
	}
	if st.change, err = parse(w); err != nil {
		return st, fmt.Errorf("%s: %w", command, err)
	}
	if len(line) > 0 {
		return st, fmt.Errorf("%s: nothing is expected at %q", command, line[0])
	}
	return st, nil
}

// ways takes the places whose ways a line changes.
func (w *words) ways(st *step) (err error) {
	if st.from, err = w.next("a place"); err != nil {
		return err
	}
	st.oneWay = w.option("->")
	if st.to, err = w.next("another place"); err != nil {
		return err
	}
	for _, place := range []string{st.from, st.to} {
		if place == "->" {
			return fmt.Errorf("%q where a place is expected", place)
		}
	}
	return nil
}

func parseDelay(w *words) (func(*Conditions), error) {
	delay, err := w.duration()
	if err != nil {
		return nil, err
	}
	var jitter time.Duration
	if w.option("jitter") {
		if jitter, err = w.duration(); err != nil {
			return nil, err
		}
	}
	return func(c *Conditions) { c.Delay, c.Jitter = delay, jitter }, nil
}

func parseLoss(w *words) (func(*Conditions), error) {
	share, err := w.share()
	return func(c *Conditions) { c.Loss = share }, err
}

func parseReorder(w *words) (func(*Conditions), error) {
	share, err := w.share()
	return func(c *Conditions) { c.Reorder = share }, err
}

func parseBurst(w *words) (func(*Conditions), error) {
	var b Burst
	for _, part := range []struct {
		name string
		to   *float64
	}{{"enter", &b.Enter}, {"leave", &b.Leave}, {"loss", &b.Loss}} {
		err := w.literal(part.name)
		if err == nil {
			*part.to, err = w.share()
		}
		if err != nil {
			return nil, err
		}
	}
	return func(c *Conditions) { c.Burst = b }, nil
}

func parseBandwidth(w *words) (func(*Conditions), error) {
	rate, err := w.rate()
	if err != nil {
		return nil, err
	}
	queue := 0
	if w.option("queue") {
		if queue, err = w.size(); err != nil {
			return nil, err
		}
	}
	return func(c *Conditions) { c.Bandwidth, c.Queue = rate, queue }, nil
}

func (w *words) duration() (time.Duration, error) {
	word, err := w.next("a time")
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(word)
	if err != nil || d < 0 || d > maxScriptTime {
		return 0, fmt.Errorf("%q is no time from 0s to 24h", word)
	}
	return d, nil
}

func (w *words) share() (float64, error) {
	word, err := w.next("a share")
	if err != nil {
		return 0, err
	}
	percent, ok := quantity(word, "%")
	if !ok || percent > 100 {
		return 0, fmt.Errorf("%q is no share from 0%% to 100%%", word)
	}
	return percent / 100, nil
}

// rate takes a rate in bits per second and returns bytes per second.
func (w *words) rate() (int, error) {
	word, err := w.next("a rate")
	if err != nil || word == "unlimited" {
		return 0, err
	}
	for _, unit := range []struct {
		name string
		bits float64
	}{{"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}} {
		if n, ok := quantity(word, unit.name); ok && n*unit.bits >= 8 && n*unit.bits <= maxBandwidth {
			return int(n * unit.bits / 8), nil
		}
	}
	return 0, fmt.Errorf("%q is no rate such as 10kbit, 1.5Mbit or 1Gbit, and not unlimited", word)
}

func (w *words) size() (int, error) {
	word, err := w.next("a size")
	if err != nil {
		return 0, err
	}
	for _, unit := range []struct {
		name  string
		bytes float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"B", 1}} {
		if n, ok := quantity(word, unit.name); ok && n*unit.bytes >= 1 && n*unit.bytes <= maxQueue {
			return int(n * unit.bytes), nil
		}
	}
	return 0, fmt.Errorf("%q is no size such as 1500B, 256KiB or 1MiB", word)
}

// quantity reads a number with its unit.
func quantity(word, unit string) (float64, bool) {
	digits, has := strings.CutSuffix(word, unit)
	n, err := strconv.ParseFloat(digits, 64)
	return n, has && err == nil && n >= 0 && !math.IsInf(n, 0)
}
