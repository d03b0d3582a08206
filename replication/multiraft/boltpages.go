package multiraft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/skeinmesh/skein/store"
)

// A page of bbolt, and what is in it:
//
//	page    id (8) | flags (2) | elements (2) | further pages (4) | elements | keys and values
//	branch  key's place (4) | its size (4) | page (8)
//	leaf    flags (4) | key's place (4) | its size (4) | value's size (4)
//
// Places count from the element. A value that is a bucket is the number of its root
// page (8), a sequence (8) and, if the number is 0, the root page itself.
const (
	boltElement    = 16
	boltBranch     = 1
	boltLeaf       = 2
	boltIsBucket   = 1
	boltBucketHead = 16
)

// boltWalk goes through the pages of a file and checks all that bbolt believes of
// them: it reads places and sizes without a look at whether they lie in the file, in
// goroutines of its own, so that damage there ends the process.
type boltWalk struct {
	path  string
	file  io.ReaderAt
	page  int64 // bytes of a page
	pages uint64
	seen  map[uint64]bool
	depth int
}

// boltDepth is more than any tree has.
const boltDepth = 64

// walkBolt checks a file whose meta pages are sound: that it has the buckets of a
// replica and nothing else.
func walkBolt(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &boltWalk{path: path, file: f, page: int64(os.Getpagesize()), seen: map[uint64]bool{0: true, 1: true}}
	root, err := w.root()
	if err != nil {
		return err
	}
	var names []string
	err = w.tree(root, nil, nil, func(at int64, flags uint32, key, value []byte) error {
		if names = append(names, string(key)); flags != boltIsBucket || len(value) < boltBucketHead {
			return w.damage(at, fmt.Sprintf("%q is not a bucket", key))
		}
		if root := binary.NativeEndian.Uint64(value); root != 0 {
			return w.tree(root, nil, nil, w.plain)
		}
		inline := value[boltBucketHead:]
		if len(inline) < boltHead || binary.NativeEndian.Uint16(inline[8:]) != boltLeaf {
			return w.damage(at, fmt.Sprintf("the page inside of bucket %q is damaged", key))
		}
		return w.elements(at, inline, nil, nil, w.plain)
	})
	if err == nil && (len(names) != 2 || names[0] != "conf" || names[1] != "logs") {
		err = w.damage(0, fmt.Sprintf("it should have the buckets conf and logs, and has %q", names))
	}
	return err
}

// root is the page of the newer meta page's root bucket.
func (w *boltWalk) root() (root uint64, err error) {
	var newest uint64
	for page := range int64(2) {
		m := make([]byte, boltMeta)
		if _, err := w.file.ReadAt(m, page*w.page+boltHead); err != nil {
			return 0, w.damage(page*w.page, err.Error())
		}
		w.page = int64(binary.NativeEndian.Uint32(m[boltPageSize:]))
		if transaction := binary.NativeEndian.Uint64(m[boltTransaction:]); page == 0 || transaction > newest {
			newest, root, w.pages = transaction, binary.NativeEndian.Uint64(m[boltRoot:]), binary.NativeEndian.Uint64(m[boltPages:])
		}
	}
	return root, nil
}

// plain takes what is in a bucket: no further buckets.
func (w *boltWalk) plain(at int64, flags uint32, key, _ []byte) error {
	if flags != 0 {
		return w.damage(at, fmt.Sprintf("key %x is marked with %x", key, flags))
	}
	return nil
}

// tree checks a page and those below it, whose keys are at least least and less than
// most, unless that is nil. fn gets what the leaves have.
func (w *boltWalk) tree(id uint64, least, most []byte, fn func(at int64, flags uint32, key, value []byte) error) error {
	at := int64(id) * w.page
	if w.depth++; id >= w.pages || w.seen[id] || w.depth > boltDepth {
		return w.damage(at, fmt.Sprintf("page %d of %d is beyond the end, or used twice", id, w.pages))
	}
	defer func() { w.depth-- }()
	head := make([]byte, boltHead)
	if _, err := w.file.ReadAt(head, at); err != nil {
		return w.unread(at, err)
	}
	further := uint64(binary.NativeEndian.Uint32(head[12:]))
	if got := binary.NativeEndian.Uint64(head); got != id || further >= w.pages-id {
		return w.damage(at, fmt.Sprintf("page %d says that it is page %d, with %d more", id, got, further))
	}
	for i := range further + 1 {
		if w.seen[id+i] {
			return w.damage(at, fmt.Sprintf("page %d is used twice", id+i))
		}
		w.seen[id+i] = true
	}
	page := make([]byte, int64(further+1)*w.page)
	if _, err := w.file.ReadAt(page, at); err != nil {
		return w.unread(at, err)
	}
	return w.elements(at, page, least, most, fn)
}

// elements checks what is in a page.
func (w *boltWalk) elements(at int64, page, least, most []byte, fn func(at int64, flags uint32, key, value []byte) error) error {
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	if flags != boltBranch && flags != boltLeaf || flags == boltBranch && count == 0 || boltHead+count*boltElement > len(page) {
		return w.damage(at, fmt.Sprintf("a page with %d elements of kind %x", count, flags))
	}
	key := func(i int) (key []byte, end int, err error) {
		e := boltHead + i*boltElement
		place, size := page[e:], page[e+4:]
		if flags == boltLeaf {
			place, size = page[e+4:], page[e+8:]
		}
		from := int64(e) + int64(binary.NativeEndian.Uint32(place))
		to := from + int64(binary.NativeEndian.Uint32(size))
		if from < int64(boltHead+count*boltElement) || to <= from || to > int64(len(page)) {
			return nil, 0, w.damage(at, fmt.Sprintf("key %d of %d lies outside of its page", i, count))
		}
		return page[from:to], int(to), nil
	}
	before := least
	for i := range count {
		k, end, err := key(i)
		if err != nil {
			return err
		}
		if c := bytes.Compare(before, k); c > 0 || c == 0 && i > 0 || most != nil && bytes.Compare(k, most) >= 0 {
			return w.damage(at, fmt.Sprintf("key %d of %d is out of order", i, count))
		}
		before = k
		e := page[boltHead+i*boltElement:]
		if flags == boltBranch {
			next := most
			if i+1 < count {
				if next, _, err = key(i + 1); err != nil {
					return err
				}
			}
			if err := w.tree(binary.NativeEndian.Uint64(e[8:]), k, next, fn); err != nil {
				return err
			}
			continue
		}
		size := int64(binary.NativeEndian.Uint32(e[12:]))
		if size > int64(len(page)-end) {
			return w.damage(at, fmt.Sprintf("value %d of %d lies outside of its page", i, count))
		}
		if err := fn(at, binary.NativeEndian.Uint32(e), k, page[end:end+int(size)]); err != nil {
			return err
		}
	}
	return nil
}

func (w *boltWalk) damage(at int64, what string) error {
	return &store.CorruptError{File: w.path, Offset: at, What: what}
}

// unread is why a page could not be read.
func (w *boltWalk) unread(at int64, err error) error {
	if errors.Is(err, io.EOF) {
		return w.damage(at, "the file ends early")
	}
	return err
}
