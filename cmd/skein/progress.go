package main

import (
	"fmt"
	"strings"
	"time"
)

// progress draws how far a long publish is, on a terminal only: a bar when the
// end is known, the count and the rate in any case. One goroutine uses it.
type progress struct {
	s     *screen
	total int64 // bytes; 0 when the end is not known
	began time.Time
	last  time.Time // when it was drawn last
	drawn bool
}

const (
	progressAfter = 300 * time.Millisecond // what takes no longer draws nothing
	progressEvery = 100 * time.Millisecond
	progressWidth = 30 // columns of the bar
)

func newProgress(s *screen, total int64) *progress {
	now := time.Now()
	return &progress{s: s, total: total, began: now, last: now.Add(progressAfter - progressEvery)}
}

// at says that so many events and bytes of the input are done.
func (p *progress) at(now time.Time, events int, bytes int64) {
	if !p.s.terminal() || now.Sub(p.last) < progressEvery {
		return
	}
	p.last, p.drawn = now, true
	p.s.printf("\r%s\x1b[K", p.line(now.Sub(p.began), events, bytes))
}

func (p *progress) line(took time.Duration, events int, bytes int64) string {
	rate := float64(events) / max(took.Seconds(), 1e-3)
	text := fmt.Sprintf("%s events, %s/s", count(events), count(int(rate)))
	if p.total <= 0 {
		return text
	}
	part := min(1, float64(bytes)/float64(p.total))
	full := int(part * progressWidth)
	bar := strings.Repeat("█", full) + strings.Repeat("░", progressWidth-full)
	left := ""
	if part > 0 && part < 1 {
		left = fmt.Sprintf(", %s left", time.Duration(float64(took)/part*(1-part)).Round(time.Second))
	}
	return fmt.Sprintf("%s %3.0f %%  %s%s", p.s.paint(cyan, bar), part*100, text, left)
}

// done wipes the bar away.
func (p *progress) done() {
	if p.drawn {
		p.s.printf("\r\x1b[K")
	}
}
