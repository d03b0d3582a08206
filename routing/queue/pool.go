package queue

import "sync"

// Pool is memory that queues share: what one has used up, another uses again,
// and what none uses is left to the garbage collector. NewPool makes one; any
// number of goroutines may use it.
type Pool struct {
	small, large sync.Pool // of *chunk
}

// chunk is a piece of memory for events that came one after the other. It
// belongs to one queue until all of them are gone.
type chunk struct {
	buf    []byte
	events int // still in use
}

// Sizes of chunks, in bytes: small for a queue that is nearly empty, as most
// are, and large for one that fills. A larger event has a chunk to itself, which
// is not used again.
const (
	smallChunk = 2 << 10
	largeChunk = 16 << 10
)

// NewPool makes an empty pool.
func NewPool() *Pool {
	p := &Pool{}
	p.small.New = func() any { return &chunk{buf: make([]byte, 0, smallChunk)} }
	p.large.New = func() any { return &chunk{buf: make([]byte, 0, largeChunk)} }
	return p
}

// get is an empty chunk with room for size bytes, for a queue that holds the
// given number of bytes already.
func (p *Pool) get(size, held int) *chunk {
	switch {
	case size > largeChunk:
		return &chunk{buf: make([]byte, 0, size)}
	case size > smallChunk || held > smallChunk:
		return p.large.Get().(*chunk)
	}
	return p.small.Get().(*chunk)
}

// put takes back a chunk without events.
func (p *Pool) put(c *chunk) {
	c.buf = c.buf[:0]
	switch cap(c.buf) {
	case smallChunk:
		p.small.Put(c)
	case largeChunk:
		p.large.Put(c)
	}
}
