package journal

// place is where a record lies: 12 bytes for each entry that is kept. The zero
// place is that of an entry which has been lost.
type place struct {
	segment uint32
	at      uint32 // bytes from the start of the file
	size    uint32 // bytes of head and body, without padding
}

// places are those of a group's entries, oldest first: a ring, so that entries
// come and go at both ends without moving the others. The zero value is empty.
type places struct {
	ring  []place // its length is 0 or a power of two
	start int
	count int
}

// minRing is the smallest ring, in places.
const minRing = 16

// get is the i-th place from the oldest.
func (p *places) get(i int) place { return p.ring[(p.start+i)&(len(p.ring)-1)] }

// push adds a place after the newest.
func (p *places) push(at place) {
	if p.count == len(p.ring) {
		p.resize(max(minRing, 2*len(p.ring)))
	}
	p.ring[(p.start+p.count)&(len(p.ring)-1)] = at
	p.count++
}

// dropOldest forgets the n oldest, dropNewest the n newest.
func (p *places) dropOldest(n int) {
	if n > 0 {
		p.start = (p.start + n) & (len(p.ring) - 1)
		p.drop(n)
	}
}

func (p *places) dropNewest(n int) {
	if n > 0 {
		p.drop(n)
	}
}

// drop counts n places less and gives memory back when most of it is unused.
func (p *places) drop(n int) {
	p.count -= n
	if size := len(p.ring); size > minRing && p.count <= size/8 {
		size /= 2
		for size > minRing && p.count <= size/4 {
			size /= 2
		}
		p.resize(size)
	}
}

// resize moves the places to a ring of another size, which holds them.
func (p *places) resize(size int) {
	ring := make([]place, size)
	for i := range p.count {
		ring[i] = p.get(i)
	}
	p.ring, p.start = ring, 0
}
