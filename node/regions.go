package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/store"
)

// regionsFile has the regions that this node has seen. The book of peers forgets who
// left; what a region keeps of a stream is there all the same, while none of its nodes
// runs, and a reader must be told that it is missing.
const (
	regionsFile = "seen.json" // regions.json was the register of regions of an older version
	// regionForgotten is after how long a region is forgotten of which nobody was seen.
	regionForgotten = 30 * 24 * time.Hour
)

// regions are those that this node has seen, and when last, in seconds since 1970.
type regions struct {
	path string

	mu      sync.Mutex // guards the fields below
	seen    map[string]int64
	changed bool
}

// openRegions reads what was written down.
func openRegions(path string, now time.Time) (*regions, error) {
	r := &regions{path: path, seen: map[string]int64{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r.seen)
	}
	if err != nil {
		return r, fmt.Errorf("node: the regions that were seen: %w", err)
	}
	r.forget(now)
	return r, nil
}

// forget forgets what has not been seen for long. r.mu is held.
func (r *regions) forget(now time.Time) {
	maps.DeleteFunc(r.seen, func(_ string, at int64) bool { return now.Unix()-at > int64(regionForgotten/time.Second) })
}

// see notes a region of which there is a node. It is to be called again while there is.
func (r *regions) see(region string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, known := r.seen[region]
	if !known || now.Unix()-at > 24*60*60 {
		r.seen[region], r.changed = now.Unix(), true
	}
}

// all are the regions, sorted.
func (r *regions) all(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	return slices.Sorted(maps.Keys(r.seen))
}

// save writes them down if that is due; it stays so if it fails. It is called by one
// goroutine at a time.
func (r *regions) save() error {
	r.mu.Lock()
	b, err := json.Marshal(r.seen)
	due := r.changed
	r.changed = false
	r.mu.Unlock()
	if err != nil || !due {
		return err
	}
	if err = store.ReplaceFile(r.path, b); err != nil {
		r.mu.Lock()
		r.changed = true
		r.mu.Unlock()
	}
	return err
}
