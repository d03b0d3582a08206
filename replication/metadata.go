package replication

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
)

// metadata is what this node knows of its region's metadata, by its replica of their
// group. Every node of the region has one; three or five of them vote.
type metadata struct {
	// shown is the state of the replica or, while that has not caught up, of the one
	// before it.
	shown   atomic.Pointer[meta.State]
	replica atomic.Pointer[metaReplica]
	// changed is called after each change.
	changed func()
	// outdated is called once, when others have decided what this program cannot
	// read. It must not block.
	outdated func(error)

	mu    sync.Mutex // guards moved
	moved chan struct{}
}

func (m *metadata) state() *meta.State      { return m.shown.Load() }
func (m *metadata) group() *multiraft.Group { return m.replica.Load().group }
func (m *metadata) log() store.Log          { return m.replica.Load().log }

// show has a replica's state be what is known, unless one before it knew more, and
// wakes whoever waits for a command to be applied. It reports whether it was another's.
func (m *metadata) show(s *meta.State) (news bool) {
	if was := m.shown.Load(); was != s && s.Applied() >= was.Applied() {
		s.Succeed(was)
		m.shown.Store(s)
		news = true
	}
	m.stir()
	return news
}

// metaGroup is the ID of a region's metadata group.
func metaGroup(mesh, region string) (id multiraft.GroupID) {
	sum := sha256.Sum256([]byte("skein: metadata of region " + region + " of mesh " + mesh))
	copy(id[:], sum[:])
	return id
}

func newID() (id meta.ID) {
	rand.Read(id[:])
	return id
}

// openMetadata opens the replica that this node has, or begins one. The founder
// begins the group with itself alone; all others wait to be let in. A replica
// that has lost something never votes again: this start begins another, under
// its own number as the epoch, and what is left of the old one stays until the
// region has let the new one in.
func openMetadata(r *Member) (*metadata, error) {
	if err := r.cfg.FS.MkdirAll(r.metaDir()); err != nil {
		return nil, err
	}
	epochs, err := r.metaEpochs()
	if err != nil {
		return nil, err
	}
	m := r.newMetadata()
	epoch := r.cfg.Self.Boot
	if len(epochs) == 1 {
		epoch = epochs[0]
	}
	var first []multiraft.Replica
	if r.cfg.Found { // which may have begun, and ended halfway
		first = []multiraft.Replica{{Node: r.cfg.Self.ID, Epoch: epoch}}
	}
	var rep *metaReplica
	switch n := len(epochs); n {
	case 0:
		rep, err = startMetadata(r, m, epoch, first)
	case 1:
		rep, err = r.resumeMetadata(m, epoch, first, nil)
	default:
		rep, err = r.resumeMetadata(m, epochs[n-1], nil, nil)
	}
	if err != nil {
		return nil, err
	}
	m.replica.Store(rep)
	m.show(rep.state)
	return m, nil
}

// resumeMetadata starts the replica that began under an epoch, or another one if it
// is damaged, which damage may be known already. It is the first of its group if it was
// to be.
func (r *Member) resumeMetadata(m *metadata, epoch uint64, first []multiraft.Replica, damage error) (*metaReplica, error) {
	if damage == nil {
		rep, err := startMetadata(r, m, epoch, first)
		if err == nil || !errors.Is(err, store.ErrCorrupt) {
			return rep, err
		}
		damage = err
	}
	r.log.Error("what this node knew of its region's metadata is damaged or gone: it begins anew", "epoch", epoch, "err", damage)
	return startMetadata(r, m, max(r.cfg.Self.Boot, epoch+1), nil)
}

// renewMetadata starts the replica again that has failed while this node runs: under
// another epoch if it is damaged, which the region lets in as it does at a start. What
// it knew is known here until the new one knows as much. The region's only voter stays
// as it is until the node starts again: nobody could tell another replica anything; so
// does one that began in this start.
func (r *Member) renewMetadata() {
	old := r.meta.replica.Load()
	cause := old.failed.Load()
	if cause == nil || r.broken() != nil {
		return
	}
	others := func(m multiraft.Member) bool { return m.Voter && m.Node != r.cfg.Self.ID }
	if !slices.ContainsFunc(old.group.Members(), others) {
		return
	}
	damaged := errors.Is(*cause, store.ErrCorrupt)
	if damaged && old.group.Self().Epoch >= r.cfg.Self.Boot {
		return // the next epoch is the next start's: should that find nothing, it would be taken for this one
	}
	if err := old.group.Close(); err != nil {
		r.log.Warn("the metadata's replica was closed with an error", "err", err)
	}
	var damage error
	if damaged {
		damage = *cause
	}
	rep, err := r.resumeMetadata(r.meta, old.group.Self().Epoch, nil, damage)
	if err != nil {
		r.log.Warn("the region's metadata cannot be kept here yet", "err", err)
		return
	}
	r.meta.replica.Store(rep)
	if r.Fenced() != nil { // meanwhile: it has closed the one before
		if err := rep.group.Close(); err != nil {
			r.log.Warn("the metadata's replica was closed with an error", "err", err)
		}
	}
}

// newMetadata is what is known before there is a replica: nothing.
func (r *Member) newMetadata() *metadata {
	m := &metadata{moved: make(chan struct{})}
	m.shown.Store(meta.New(r.cfg.Self.Region))
	m.changed = func() {
		r.poke()
		r.cfg.Changed()
	}
	m.outdated = func(err error) {
		r.begin(func() {
			select {
			case <-r.opened:
				r.fence(err)
			case <-r.ctx.Done():
			}
		})
	}
	return m
}

func (r *Member) metaDir() string { return filepath.Join(r.cfg.Dir, "meta") }

// metaEpochs are those under which this node has begun replicas of the metadata.
func (r *Member) metaEpochs() (epochs []uint64, err error) {
	names, err := r.cfg.FS.List(r.metaDir())
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 64); err == nil {
			epochs = append(epochs, n)
		}
	}
	slices.Sort(epochs)
	return epochs, err
}
