package flow

import (
	"sync"
	"sync/atomic"
)

// Budget is the room that the origins of a node's lanes share. A lane is sure of
// a part of its region's half; the other half goes to whoever needs it, so that
// one busy key does not starve the others and may still use most of the room.
// Any number of origins may share one, each in a goroutine of its own: together
// they may exceed it by one event each.
type Budget struct {
	total, region int // bytes
	sure          int // of region, for each lane
	used          atomic.Int64

	mu      sync.Mutex // guards the map
	regions map[string]*atomic.Int64
}

// Defaults of NewBudget, in bytes.
const (
	DefaultRegionBytes = 64 << 20
	DefaultTotalBytes  = 1 << 30
)

// NewBudget is a budget for a number of lanes: so many bytes of events for each
// region, and for all of them. 0 means the default. Besides, each flow holds up
// to 64 KiB of memory that is not full.
func NewBudget(regionBytes, totalBytes, lanes int) *Budget {
	if regionBytes == 0 {
		regionBytes = DefaultRegionBytes
	}
	if totalBytes == 0 {
		totalBytes = DefaultTotalBytes
	}
	return &Budget{total: totalBytes, region: regionBytes, sure: regionBytes / 2 / lanes, regions: map[string]*atomic.Int64{}}
}

// Used is how many bytes are held for all regions now.
func (b *Budget) Used() int { return int(b.used.Load()) }

// most is the largest event that there can ever be room for.
func (b *Budget) most() int { return min(b.total, b.sure+b.common()) }

// common is what the lanes of a region share, in bytes.
func (b *Budget) common() int { return b.region - b.region/2 }

// pool counts what the lanes of a region use in common.
func (b *Budget) pool(region string) *atomic.Int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.regions[region]
	if p == nil {
		p = new(atomic.Int64)
		b.regions[region] = p
	}
	return p
}

// fits reports whether a flow may hold size bytes more.
func (b *Budget) fits(f *outflow, size int) bool {
	more := max(0, f.bytes+size-b.sure) - f.common
	return int(f.target.pool.Load())+more <= b.common() && b.Used()+size <= b.total
}

// account notes what a flow holds now.
func (b *Budget) account(f *outflow) {
	if d := f.bytes - f.counted; d != 0 {
		b.used.Add(int64(d))
		f.counted = f.bytes
	}
	if common := max(0, f.bytes-b.sure); common != f.common {
		f.target.pool.Add(int64(common - f.common))
		f.common = common
	}
}
