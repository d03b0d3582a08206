package meta

import (
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Region is a region's entry in the register of the mesh's regions. Once made
// it never changes. Only the founding region keeps the register.
type Region struct {
	Name      string    `json:"name"`
	FoundedBy peer.ID   `json:"foundedBy"`
	FoundedAt time.Time `json:"foundedAt"`
}

func byName(a, b Region) int { return strings.Compare(a.Name, b.Name) }

// FoundedRegion returns a region's entry in the register.
func (s *State) FoundedRegion(name string) (Region, bool) { return pick(s, s.regions, name) }

// Regions lists the register by name.
func (s *State) Regions() []Region {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.regions, byName)
}

// FoundRegion registers a region if nobody has; its outcome is the entry either
// way, and whoever FoundedBy names has founded it.
type FoundRegion struct {
	Name string    `json:"name"`
	By   peer.ID   `json:"by"`
	At   time.Time `json:"at,omitzero"` // for entries of a register kept before; else now
}

func (*FoundRegion) kind() string { return "region.found" }

func (c *FoundRegion) apply(s *State, _ uint64) (Outcome, error) {
	switch r, ok := s.regions[c.Name]; {
	case ok:
		return Outcome{Result: r}, nil
	case !peer.ValidRegion(c.Name):
		return Outcome{}, refuse(ErrInvalid, "%.80q is no name for a region: 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.', in parts joined by '/' that begin with a letter or a digit", c.Name)
	case c.By == "" || len(c.By) > maxText:
		return Outcome{}, refuse(ErrInvalid, "region %s: the founder's id must have 1 to %d bytes", c.Name, maxText)
	case len(s.regions) >= MaxRegions:
		return Outcome{}, refuse(ErrLimit, "the mesh has %d regions, and that is as many as it can have", MaxRegions)
	}
	at := c.At.UTC()
	if at.IsZero() || at.Year() < 1970 || at.Year() > 9998 {
		at = s.clock
	}
	r := Region{c.Name, c.By, at}
	s.regions[r.Name] = r
	return Outcome{r, Regions}, nil
}
