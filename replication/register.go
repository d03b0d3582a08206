package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/peer"
)

// ErrNoRegister: the region's metadata does not keep the register of regions, or
// not yet.
var ErrNoRegister = errors.New("replication: the region's metadata does not keep the register of regions")

// RegisterRegion has the register note who founds a region, if nobody has founded
// it, and returns its entry either way: whoever FoundedBy names founds it. Any node
// of the founding region answers. A new entry takes a quorum of the region; one that
// is known here takes none, since it never changes. Errors are those of Propose, and
// ErrNoRegister.
func (r *Member) RegisterRegion(ctx context.Context, name string, by peer.ID) (meta.Region, error) {
	if err := r.Fenced(); err != nil {
		return meta.Region{}, err
	}
	if entry, known := r.meta.state().FoundedRegion(name); known {
		return entry, nil
	}
	if !r.KeepsRegister() {
		return meta.Region{}, fmt.Errorf("%w: region %s", ErrNoRegister, r.cfg.Self.Region)
	}
	return r.foundRegion(ctx, &meta.FoundRegion{Name: name, By: by})
}

// KeepsRegister reports whether the region's metadata keeps the register, as far
// as is known here: whether the region is itself in it. See BeginRegister.
func (r *Member) KeepsRegister() bool {
	_, begun := r.meta.state().FoundedRegion(r.cfg.Self.Region)
	return begun
}

// BeginRegister makes the region the one that keeps the register, which is the one
// that founded the mesh, and takes over what was registered elsewhere before. The
// region's own entry is the last to be written, and nothing else is registered
// before it is there: so a register that was taken over in part founds no region a
// second time. It may be called again, and by's name counts if no entry names the
// region's founder.
func (r *Member) BeginRegister(ctx context.Context, by peer.ID, before []meta.Region) error {
	own := meta.FoundRegion{Name: r.cfg.Self.Region, By: by}
	for _, entry := range before {
		c := meta.FoundRegion{Name: entry.Name, By: entry.FoundedBy, At: entry.FoundedAt}
		if entry.Name == own.Name {
			own = c
			continue
		}
		if err := r.takeOver(ctx, &c); err != nil {
			return err
		}
	}
	return r.takeOver(ctx, &own)
}

// takeOver writes an entry that must be as it is.
func (r *Member) takeOver(ctx context.Context, c *meta.FoundRegion) error {
	entry, err := r.foundRegion(ctx, c)
	if err == nil && entry.FoundedBy != c.By {
		err = fmt.Errorf("replication: the register has region %s founded by %s, and should have it by %s", c.Name, entry.FoundedBy.Short(), c.By.Short())
	}
	return err
}

func (r *Member) foundRegion(ctx context.Context, c *meta.FoundRegion) (meta.Region, error) {
	err := r.Propose(ctx, c)
	entry, known := r.meta.state().FoundedRegion(c.Name)
	if err == nil && !known {
		err = cmp.Or(r.Fenced(), fmt.Errorf("replication: region %s was registered and is not in the register", c.Name))
	}
	return entry, err
}
