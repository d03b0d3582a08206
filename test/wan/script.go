package wan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Script changes the conditions of a network by the clock. It is a text of one
// change a line:
//
//	# the ocean is far, and the cable worn
//	at 0s  delay eu us 40ms jitter 2ms
//	at 0s  loss eu us 1%
//	at 0s  burst us -> eu enter 0.5% leave 20% loss 50%
//	at 5s  cut ap *
//	at 15s heal ap *
//
// The words after the time:
//
//	cut WAYS                                   nothing passes
//	heal WAYS                                  undoes cut
//	delay WAYS TIME [jitter TIME]              one way; jitter is nothing unless given
//	loss WAYS SHARE                            of packets, independently
//	burst WAYS enter SHARE leave SHARE loss SHARE   bad times: see Burst
//	reorder WAYS SHARE                         of packets, which overtake
//	bandwidth WAYS RATE [queue SIZE]           10kbit, 1.5Mbit, 1Gbit a second, or unlimited; 256KiB queue unless given
//
// WAYS is "a b" for both directions between two places, "a -> b" for one; "*"
// is every other place that is known when the line is due. TIME is as Go writes
// it (1m30s), SHARE a percentage from 0% to 100%, SIZE bytes (B, KiB, MiB).
// Lines are in the order of their times. Empty lines, and what follows a '#',
// are for readers.
type Script struct {
	steps []step
}

// step is a line of a script.
type step struct {
	at       time.Duration
	line     int // from 1
	text     string
	from, to string
	oneWay   bool
	change   func(*Conditions)
}

// Limits of scripts.
const (
	maxScriptTime = 24 * time.Hour
	maxBandwidth  = 1e12 // bits per second
	maxQueue      = 1 << 40
)

// Parse reads a script. An error names the line and what was expected there.
func Parse(text string) (Script, error) {
	var s Script
	var last time.Duration
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		st, err := parseStep(words)
		if err != nil {
			return Script{}, fmt.Errorf("wan: script, line %d: %w", number, err)
		}
		if st.at < last {
			return Script{}, fmt.Errorf("wan: script, line %d: %v is before the line above, at %v", number, st.at, last)
		}
		last = st.at
		st.line, st.text = number, strings.Join(words, " ")
		s.steps = append(s.steps, st)
	}
	return s, nil
}

// String is the script without what is for readers.
func (s Script) String() string {
	var b strings.Builder
	for _, st := range s.steps {
		b.WriteString(st.text + "\n")
	}
	return b.String()
}

// Run changes the network as a script says, from now on, and returns after its
// last line; or, with an error and the rest undone, when ctx ends. A place that
// is not known is an error before anything is changed.
func (e *Emulator) Run(ctx context.Context, s Script) error {
	for _, st := range s.steps {
		for _, place := range []string{st.from, st.to} {
			if place != "*" && !e.knows(place) {
				return fmt.Errorf("wan: script, line %d: there is no place %q", st.line, place)
			}
		}
	}
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for _, st := range s.steps {
		timer.Reset(time.Until(begin.Add(st.at)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("wan: script, before line %d: %w", st.line, context.Cause(ctx))
		}
		e.apply(st)
	}
	return nil
}

func (e *Emulator) knows(place string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, known := slices.BinarySearch(e.places, place)
	return known
}

func (e *Emulator) apply(st step) {
	e.mu.Lock()
	defer e.mu.Unlock()
	named := func(word string) []string {
		if word == "*" {
			return e.places
		}
		return []string{word}
	}
	wild := st.from == "*" || st.to == "*"
	for _, from := range named(st.from) {
		for _, to := range named(st.to) {
			if wild && from == to {
				continue // "*" is every other place
			}
			st.change(&e.way(from, to).Conditions)
			if !st.oneWay {
				st.change(&e.way(to, from).Conditions)
			}
		}
	}
}
