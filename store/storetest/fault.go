package storetest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
)

// Crash lets the power fail: of what was written and not synced, each write is
// kept, lost, or kept in some of its sectors; each name that was made, changed
// or removed since its directory was synced is as it was or as it became. What
// was hanging or about to fail does so no more. The disk is off until Start.
func (d *Disk) Crash(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crash(rng)
}

// CrashAfter lets the power fail in the midst of the n-th operation from now
// that changes or syncs something, 1 being the next. That one fails with
// ErrGone. The caller may go on using rng.
func (d *Disk) CrashAfter(n int, rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power, d.rng = countdown{n, ErrGone}, rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
}

// crash is Crash with the lock held.
func (d *Disk) crash(rng *rand.Rand) {
	// A name whose change is lost is what it was before it. Going backwards, a
	// later change that was kept wins over an earlier one.
	before := make(map[string]*inode) // what names were durably
	for _, c := range slices.Backward(d.changes) {
		before[c.name] = c.old
		if c.with != "" {
			before[c.with] = c.to
		}
	}
	names := make(map[string]*inode)
	for name, node := range d.names {
		if _, changed := before[name]; !changed {
			names[name] = node
		}
	}
	for name, node := range before {
		if node != nil {
			names[name] = node
		}
	}
	for _, c := range d.changes {
		if rng.IntN(2) == 0 {
			continue
		}
		if c.with != "" {
			if names[c.with] != c.to {
				continue // it was not there to be renamed
			}
			delete(names, c.with)
		}
		delete(names, c.name)
		if c.to != nil {
			names[c.name] = c.to
		}
	}
	d.names = names
	d.changes = nil
	for name := range names { // of a directory that was renamed
		d.dirs[path.Dir(name)] = true
	}
	for _, name := range sorted(names) { // in an order that a seed repeats
		names[name].crash(rng)
	}
	d.turnOff()
}

// crash leaves what a power failure leaves of a file.
func (n *inode) crash(rng *rand.Rand) {
	on := slices.Clone(n.durable)
	for _, w := range n.pending {
		switch rng.IntN(3) {
		case 0: // lost
		case 1:
			on = w.apply(on)
		case 2:
			if w.data == nil {
				continue
			}
			for at := w.at; at < w.at+int64(len(w.data)); {
				next := min((at/SectorSize+1)*SectorSize, w.at+int64(len(w.data)))
				if rng.IntN(2) == 0 {
					on = write{at, w.data[at-w.at : next-w.at]}.apply(on)
				}
				at = next
			}
		}
	}
	n.data, n.durable, n.pending = on, slices.Clone(on), nil
}

// Kill ends the process that uses the disk: all that it wrote stays. The disk is
// off until Start, for what is left of the process.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turnOff()
}

// Start lets the disk work again after a crash.
func (d *Disk) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = false
}

// turnOff makes open files useless and ends what was to fail. The lock is held.
func (d *Disk) turnOff() {
	d.age++
	d.off = true
	d.syncs, d.writes, d.power = countdown{}, countdown{}, countdown{}
	if d.hang != nil {
		close(d.hang)
		d.hang = nil
	}
}

// FailSync lets the n-th Sync or SyncDir from now fail with err, 1 being the
// next.
func (d *Disk) FailSync(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs = countdown{n, err}
}

// FailWrite lets the n-th WriteAt from now fail with err, 1 being the next: half
// of it is written.
func (d *Disk) FailWrite(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes = countdown{n, err}
}

// Limit makes the disk full when its files have so many bytes; 0 is no limit.
func (d *Disk) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = bytes
}

// Used is the number of bytes in the disk's files.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

// Counts says what was asked of the disk so far.
func (d *Disk) Counts() Count {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// Hang lets everything that is asked of the disk wait until release is called,
// or until the disk crashes. Release may be called more than once.
func (d *Disk) Hang() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hang := make(chan struct{})
	d.hang = hang
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.hang == hang {
			d.hang = nil
			close(hang)
		}
	}
}

// Flip changes one bit of a file, on the disk and as it is read. Bits count
// from the lowest of the first byte.
func (d *Disk) Flip(name string, bit int64) error {
	return d.damage("flip", name, func(b []byte) ([]byte, error) {
		if bit/8 >= int64(len(b)) {
			return b, io.EOF
		}
		b[bit/8] ^= 1 << (bit % 8)
		return b, nil
	})
}

// Cut takes from a file, on the disk and as it is read, what lies beyond size.
func (d *Disk) Cut(name string, size int64) error {
	return d.damage("cut", name, func(b []byte) ([]byte, error) {
		if size > int64(len(b)) {
			return b, io.EOF
		}
		return b[:size:size], nil
	})
}

// Put makes a file hold these bytes, on the disk and as it is read.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[path.Clean(name)] = &inode{data: slices.Clone(data), durable: slices.Clone(data)}
}

// Bytes is a copy of what a file reads as; nil if there is none.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	node := d.names[path.Clean(name)]
	if node == nil {
		return nil
	}
	return slices.Clone(node.data)
}

// damage changes a file behind the back of those who use it. What was written
// and not synced counts as synced.
func (d *Disk) damage(op, name string, do func([]byte) ([]byte, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	node := d.names[path.Clean(name)]
	if node == nil {
		return &os.PathError{Op: op, Path: name, Err: os.ErrNotExist}
	}
	var err error
	if node.data, err = do(node.data); err != nil {
		return fmt.Errorf("storetest: %s %s: beyond its end: %w", op, name, err)
	}
	node.durable, node.pending = slices.Clone(node.data), nil
	return nil
}

// Clone is an image of the disk as it is read now, all of it synced.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	image := NewDisk()
	for dir := range d.dirs {
		image.dirs[dir] = true
	}
	for name, node := range d.names {
		image.names[name] = &inode{data: slices.Clone(node.data), durable: slices.Clone(node.data)}
	}
	return image
}

// sorted lists the names of a disk in order.
func sorted(names map[string]*inode) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func readAt(data, p []byte, off int64) (int, error) {
	if off >= int64(len(data)) {
		return 0, io.EOF
	}
	n := copy(p, data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
