package gossip

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Book is the file in which a node keeps the peers it has seen, so that it
// finds the mesh again when its seeds are gone: peers.json in the data
// directory, {"format": 1, "peers": [{"peer": …, "seen": time}, …]} in JSON. Before
// there was a format, it was the list alone.
//
// Its methods may be called concurrently.
type Book struct {
	path string

	mu      sync.Mutex // guards the fields below
	pages   map[peer.ID]page
	changed bool // since the last Save
}

type page struct {
	Peer peer.Peer `json:"peer"`
	Seen time.Time `json:"seen"`
	// Start names the peer's start that Peer.Boot counts; see Book.Start.
	Start string `json:"start,omitempty"`
}

// bookFile is the file.
type bookFile struct {
	Format int    `json:"format"`
	Peers  []page `json:"peers"`
}

const bookFormat = 1

// parseBook reads a file.
func parseBook(data []byte) (pages []page, err error) {
	if bytes.HasPrefix(data, []byte("[")) {
		err = json.Unmarshal(data, &pages)
		return pages, err
	}
	var b bookFile
	if err = json.Unmarshal(data, &b); err == nil && b.Format > bookFormat {
		err = fmt.Errorf("format %d, this one knows up to %d", b.Format, bookFormat)
	}
	if err != nil {
		return nil, err
	}
	return b.Peers, nil
}

// Bounds of a book.
const (
	MaxBook = 10_000
	BookAge = 24 * time.Hour // after which a peer that was not seen is left out
)

// OpenBook reads the book of a data directory. A book that is missing is empty;
// one that is damaged is empty, too, and the error says so: it is only a memory.
func OpenBook(dir string) (*Book, error) {
	b := &Book{path: filepath.Join(dir, "peers.json"), pages: map[peer.ID]page{}}
	data, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	var pages []page
	if err == nil {
		pages, err = parseBook(data)
	}
	if err != nil {
		return b, fmt.Errorf("gossip: read %s: %w", b.path, err)
	}
	for _, p := range pages[:min(len(pages), MaxBook)] {
		if p.Peer.ID != "" && p.Peer.Addr.IsValid() {
			b.pages[p.Peer.ID] = p
		}
	}
	return b, nil
}

// See notes that a peer was seen alive. The number of its latest start that is known
// does not go back.
func (b *Book) See(p peer.Peer, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	start := b.pages[p.ID].Start
	if known := b.pages[p.ID].Peer.Boot; p.Boot < known {
		p.Boot = known
	} else if p.Boot > known {
		start = ""
	}
	b.changed = b.changed || b.pages[p.ID].Peer != p
	b.pages[p.ID] = page{p, at.UTC(), start}
}

// Start notes which start of a known peer has its number: each has a name of its own.
// It returns the latest number that is known, and whether this start is not the one
// of it, or an earlier one: then the peer's disk was set back to an old image, or
// copied.
func (b *Book) Start(id peer.ID, boot uint64, name string) (latest uint64, setBack bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	page, known := b.pages[id]
	switch {
	case !known:
		return boot, false
	case boot < page.Peer.Boot, boot == page.Peer.Boot && page.Start != "" && page.Start != name:
		return page.Peer.Boot, true
	}
	b.changed = b.changed || page.Start != name
	page.Peer.Boot, page.Start = boot, name
	b.pages[id] = page
	return boot, false
}

// Changed reports whether other peers were seen or dropped than Save wrote.
func (b *Book) Changed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Drop forgets a peer, because it left.
func (b *Book) Drop(id peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, has := b.pages[id]; has {
		delete(b.pages, id)
		b.changed = true
	}
}

// Peer returns one as it was last seen.
func (b *Book) Peer(id peer.ID) (peer.Peer, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	page, known := b.pages[id]
	return page.Peer, known
}

// Peers returns those seen in the last BookAge, the latest first.
func (b *Book) Peers(now time.Time) []peer.Peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []peer.Peer
	for _, p := range b.current(now) {
		list = append(list, p.Peer)
	}
	return list
}

// Save writes the book so that a crash leaves the old one or the new one.
func (b *Book) Save(now time.Time) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.changed = b.changed && err != nil }()
	data, err := json.MarshalIndent(bookFile{bookFormat, b.current(now)}, "", "  ")
	if err != nil {
		return fmt.Errorf("gossip: save peers: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(b.path), "peers.json.*")
	if err != nil {
		return fmt.Errorf("gossip: save peers: %w", err)
	}
	defer os.Remove(f.Name()) // gone already after a successful rename
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), b.path)
	}
	if err != nil {
		return fmt.Errorf("gossip: save peers: %w", err)
	}
	return nil
}

// current is what is worth keeping, the latest first.
func (b *Book) current(now time.Time) []page {
	list := make([]page, 0, len(b.pages))
	for id, p := range b.pages {
		if now.Sub(p.Seen) > BookAge {
			delete(b.pages, id)
			continue
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y page) int {
		return cmp.Or(y.Seen.Compare(x.Seen), cmp.Compare(x.Peer.ID, y.Peer.ID))
	})
	return list[:min(len(list), MaxBook)]
}
