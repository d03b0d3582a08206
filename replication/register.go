package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

// Region is a region's entry in the register. Once made it never changes.
type Region struct {
	Name      string    `json:"name"`
	FoundedBy peer.ID   `json:"foundedBy"`
	FoundedAt time.Time `json:"foundedAt"`
}

// MaxRegions bounds the register: the mesh's routing is made for fewer.
const MaxRegions = 1024

// ErrRegister is wrapped by every refusal of the register.
var ErrRegister = errors.New("replication: register of regions")

// Register is the register of regions on the node that keeps it. Its methods
// may be called concurrently.
type Register struct {
	path string

	mu      sync.Mutex // guards the fields below
	regions map[string]Region
}

// OpenRegister reads the register from a directory, or begins an empty one.
func OpenRegister(dir string) (*Register, error) {
	r := &Register{path: filepath.Join(dir, "regions.json"), regions: map[string]Region{}}
	data, err := os.ReadFile(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRegister, err)
	}
	var list []Region
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%w: %s is damaged: %w", ErrRegister, r.path, err)
	}
	for _, g := range list {
		r.regions[g.Name] = g
	}
	return r, nil
}

// Found registers a region if nobody has, and returns its entry either way:
// whoever FoundedBy names has founded it. The entry is on disk before Found
// returns.
func (r *Register) Found(name string, by peer.ID, now time.Time) (Region, error) {
	if !peer.ValidRegion(name) {
		return Region{}, fmt.Errorf("%w: %.80q is no name for a region", ErrRegister, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if g, ok := r.regions[name]; ok {
		return g, nil
	}
	if len(r.regions) >= MaxRegions {
		return Region{}, fmt.Errorf("%w: it is full with %d regions", ErrRegister, MaxRegions)
	}
	g := Region{Name: name, FoundedBy: by, FoundedAt: now.UTC()}
	r.regions[name] = g
	if err := r.save(); err != nil {
		delete(r.regions, name)
		return Region{}, err
	}
	return g, nil
}

// Regions lists the register by name.
func (r *Register) Regions() []Region {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list()
}

func (r *Register) list() []Region {
	list := make([]Region, 0, len(r.regions))
	for _, g := range r.regions {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Region) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// save replaces the file: a crash leaves the old one or the new one.
func (r *Register) save() error {
	data, err := json.MarshalIndent(r.list(), "", "  ")
	if err == nil {
		err = store.ReplaceFile(r.path, data)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRegister, err)
	}
	return nil
}
