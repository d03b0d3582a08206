package queue

// memory is the chunks that a queue's events lie in. The zero memory is ready.
type memory struct {
	last  *chunk // where the next event goes, if it has room
	spare *chunk // empty, for the next turn
}

// chunk is a piece of memory for the events that came one after the other.
type chunk struct {
	buf    []byte
	events int // still in use
}

// Bounds of a chunk, in bytes: small for a queue that is nearly empty, as most
// are, and large for one that fills. A larger event has a chunk to itself.
const (
	minChunk = 1 << 10
	maxChunk = 16 << 10
)

// chunk is one with room for size bytes, for a queue that holds the given
// number of bytes.
func (m *memory) chunk(size, held int) *chunk {
	if m.last != nil && size <= cap(m.last.buf)-len(m.last.buf) {
		return m.last
	}
	if m.spare != nil && size <= cap(m.spare.buf) {
		m.last, m.spare = m.spare, nil
		return m.last
	}
	m.last = &chunk{buf: make([]byte, 0, max(size, min(max(held, minChunk), maxChunk)))}
	return m.last
}

// release gives back the place of one event.
func (m *memory) release(c *chunk) {
	if c.events--; c.events > 0 {
		return
	}
	c.buf = c.buf[:0]
	if c == m.last || cap(c.buf) > maxChunk {
		return
	}
	if m.spare == nil || cap(m.spare.buf) < cap(c.buf) {
		m.spare = c
	}
}
