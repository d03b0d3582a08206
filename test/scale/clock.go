package scale

import "time"

// clock is virtual time: what is to happen, in order.
type clock struct {
	now  time.Time
	seq  uint64
	heap []happening
}

// happening is something that happens at a time; of two at the same time the
// one that was arranged first comes first.
type happening struct {
	at  time.Time
	seq uint64
	do  func()
}

func (h *happening) before(o *happening) bool {
	return h.at.Before(o.at) || h.at.Equal(o.at) && h.seq < o.seq
}

// after arranges something.
func (c *clock) after(d time.Duration, do func()) {
	c.seq++
	c.heap = append(c.heap, happening{c.now.Add(d), c.seq, do})
	for i := len(c.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !c.heap[i].before(&c.heap[up]) {
			break
		}
		c.heap[i], c.heap[up] = c.heap[up], c.heap[i]
		i = up
	}
}

// every arranges something again and again, until it returns false.
func (c *clock) every(d, first time.Duration, do func() bool) {
	var again func()
	again = func() {
		if do() {
			c.after(d, again)
		}
	}
	c.after(first, again)
}

// run lets time pass.
func (c *clock) run(d time.Duration) {
	end := c.now.Add(d)
	for len(c.heap) > 0 && !c.heap[0].at.After(end) {
		h := c.pop()
		c.now = h.at
		h.do()
	}
	c.now = end
}

func (c *clock) pop() happening {
	first, last := c.heap[0], len(c.heap)-1
	c.heap[0] = c.heap[last]
	c.heap[last] = happening{}
	c.heap = c.heap[:last]
	for i := 0; ; {
		least := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < last && c.heap[down].before(&c.heap[least]) {
				least = down
			}
		}
		if least == i {
			return first
		}
		c.heap[i], c.heap[least] = c.heap[least], c.heap[i]
		i = least
	}
}
