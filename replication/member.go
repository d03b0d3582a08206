package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/replication/away"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/transport/peer"
)

// Network reaches the other nodes of the region. Its methods may be called
// concurrently.
type Network interface {
	// Ask asks a linked node; the Member there answers with Answer.
	Ask(ctx context.Context, to peer.ID, question []byte) ([]byte, error)
	// Dial opens a stream to a linked node, whose Member gets the other end with
	// ServeBulk.
	Dial(ctx context.Context, to peer.ID) (net.Conn, error)
	// Linked are the nodes of the region that can be reached now.
	Linked() []peer.ID
}

// Config is one node's part in its region. Fields without a default are required.
type Config struct {
	Self peer.Peer // ID, name, region and boot counter
	Mesh string
	Net  Network

	FS  store.FS // default: the operating system's; Bolt has no other
	Dir string   // the node's own, made if it is not there
	// LogStore is where groups keep their logs. Default Journal. A directory is
	// opened with the one that it was made with.
	LogStore LogStore
	// Found says that this node founded the region and has not begun its metadata
	// yet, as far as is noted outside Dir: it alone begins them, once. A founder
	// whose Dir is gone must not found again, but join as others do.
	Found bool
	// Partitions is how many shared partitions the region has at least. Default 8.
	Partitions int
	// Replicas is how many replicas a shared partition has, nodes permitting.
	// Default 3.
	Replicas int
	// SegmentBytes is the size of files of logs, the same on all nodes of the
	// region. Default segment.DefaultFileBytes.
	SegmentBytes int64
	// JournalBytes is the size of the journal's files. Default 64 MiB.
	JournalBytes int64
	// ScrubRate is how many bytes a second are read to find out whether logs are
	// still on the disk as they were written. Default 8 MiB.
	ScrubRate int64
	// FetchRate is how many bytes a second of logs' files are fetched from other nodes
	// when replicas begin here, are far behind or are repaired, and how many this node
	// gives to others. More are, if a log grows faster than that. Default 8 MiB.
	FetchRate int64
	// SendAway brings records that were PutAway to the region that keeps their
	// stream; see away.Config.Send. Without it, nothing can be put away.
	SendAway func(ctx context.Context, stream meta.ID, records []Away) error
	// Changed is called when the region's metadata has changed. It must not block.
	Changed func()
	Log     *slog.Logger // default: nothing is logged
}

const (
	openFiles       = 1024            // of logs
	openOutboxes    = 64              // files of them; each event is synced, so that nothing of it waits for more
	unwrittenBytes  = 16 << 20        // of logs, that the journal has and no file of theirs
	heldSegments    = 4               // of the journal, from which on groups are told to let go
	releaseWithin   = 5 * time.Second // of each group, to let go
	controlEvery    = 500 * time.Millisecond
	defaultReplicas = 3
)

// Member is one node's part in its region's metadata and partitions. Its methods
// may be called concurrently.
type Member struct {
	cfg      Config
	log      *slog.Logger
	logs     logs
	files    *segment.Files
	away     *away.Outbox  // nil without SendAway
	opened   chan struct{} // closed when Open is through
	host     *multiraft.Host
	meta     *metadata
	instance meta.ID // of this start
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	wake     chan struct{} // holds a token when the controller has something to look at
	reach    reach
	asked    atomic.Uint64 // replicas, one after the other: see anyReplica
	leads    leads
	asking   asking
	paces    paces

	suspects chan struct{} // holds a token when somebody has read what is damaged
	rounds   atomic.Uint64 // of the scrubber
	disk     diskLevel

	leaving atomic.Bool   // this node is to lead nothing any more
	handing chan struct{} // holds a token while handOverAll runs

	trusted    atomic.Bool // others say that no later start of this node is known
	registered atomic.Bool // the region knows of this start

	turns turns // of what others append here

	mu       sync.Mutex // guards the fields below
	replicas map[multiraft.GroupID]*replica
	couriers map[uint32]*courier
	leaders  map[uint32]peer.ID        // of partitions, as others said
	older    map[peer.ID]bool          // nodes that do not know turns
	slots    map[peer.ID]chan struct{} // for batches on their way to a node
	foreign  map[meta.ID]meta.Stream   // of other regions, that may have to be taken over
	closed   bool
	fenced   error // why the node takes part in nothing
	setBack  bool  // the disk is known to be an old image
	failure  error // of the disk
	// condemned are replicas that are damaged and must not be opened again.
	condemned map[journal.ID]error
	// outdated are replicas of which a later version has written what this one
	// cannot read. They stay closed, and as they are.
	outdated map[journal.ID]bool
}

// Open opens what the node keeps for its region, and takes part in it from then
// on. It does not wait for other nodes.
func Open(cfg Config) (_ *Member, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.FS == nil {
		cfg.FS = store.OS{}
	}
	if cfg.Replicas <= 0 {
		cfg.Replicas = defaultReplicas
	}
	if cfg.ScrubRate <= 0 {
		cfg.ScrubRate = defaultScrubRate
	}
	if cfg.FetchRate <= 0 {
		cfg.FetchRate = defaultFetchRate
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	r := &Member{
		cfg: cfg, log: cfg.Log, instance: newID(), wake: make(chan struct{}, 1),
		replicas: map[multiraft.GroupID]*replica{}, couriers: map[uint32]*courier{}, leaders: map[uint32]peer.ID{}, foreign: map[meta.ID]meta.Stream{}, older: map[peer.ID]bool{}, slots: map[peer.ID]chan struct{}{},
		condemned: map[journal.ID]error{}, outdated: map[journal.ID]bool{}, suspects: make(chan struct{}, 1), opened: make(chan struct{}), handing: make(chan struct{}, 1),
		paces: newPaces(cfg.FetchRate),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.reach.seen = map[peer.ID]time.Time{}
	r.leads.said = map[peer.ID]said{}
	defer func() {
		if err != nil {
			r.cancel()
			err = errors.Join(fmt.Errorf("replication: %w", err), r.close())
		}
	}()
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, err
	}
	if err := r.openLogs(); err != nil {
		return nil, err
	}
	r.files = segment.NewFiles(cfg.FS, openFiles, unwrittenBytes)
	if err = r.openAway(); err != nil {
		return nil, err
	}
	r.host, err = multiraft.Open(multiraft.Config{
		Node: cfg.Self.ID, Dial: cfg.Net.Dial, Health: r.Health, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	if r.meta, err = openMetadata(r); err != nil {
		return nil, err
	}
	r.wg.Go(r.register)
	r.wg.Go(r.steer)
	r.wg.Go(r.scrub)
	r.wg.Go(r.watchDisk)
	close(r.opened)
	return r, nil
}

// Close leaves the groups to the others and returns when nothing of the region
// runs here any more. Whether what was on its way is kept is unknown.
func (r *Member) Close() error {
	r.cancel()
	return r.close()
}

// close ends in the opposite order of Open: whoever opens replicas goes first,
// then the replicas, which use the host, which uses the journal.
func (r *Member) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wg.Wait()
	var errs []error
	if r.away != nil {
		errs = append(errs, r.away.Close())
	}
	r.mu.Lock()
	replicas := r.replicas
	r.replicas = map[multiraft.GroupID]*replica{}
	r.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards errs
	for _, p := range replicas {
		wg.Go(func() {
			err := p.part.Close()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	if r.host != nil {
		errs = append(errs, r.host.Close())
	}
	if r.logs != nil {
		errs = append(errs, r.logs.Close())
	}
	return errors.Join(errs...)
}

// heldBack has groups keep a snapshot, and let go of the log before it, whose entries
// hold the journal's oldest file back.
func (r *Member) heldBack(groups []journal.ID) {
	select {
	case <-r.opened: // the journal is there before the groups are
	case <-r.ctx.Done():
		return
	}

	held := map[journal.ID]bool{}
	for _, id := range groups {
		held[id] = true
	}
	for _, g := range r.host.Groups() {
		self := g.Self()
		if !held[journalID(g.ID(), self.Epoch)] {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, releaseWithin)
		err := g.Release(ctx)
		cancel()
		if err != nil && r.ctx.Err() == nil {
			r.log.Warn("a group holds the journal back", "group", g.ID(), "err", err)
		}
	}
}

// Attach makes conn the way to a linked node. The region owns it.
func (r *Member) Attach(id peer.ID, conn net.Conn) <-chan struct{} {
	r.reach.up(id)
	over := r.host.Attach(id, conn)
	r.poke()
	return over
}

// PeerDown says that a node of the region cannot be reached any more.
func (r *Member) PeerDown(id peer.ID) {
	r.mu.Lock()
	delete(r.older, id) // it may come back as a later version
	r.mu.Unlock()
	r.reach.down(id, time.Now())
	r.host.PeerDown(id)
}

// ServeBulk takes a stream that another node's Member has opened with
// Network.Dial, and closes it.
func (r *Member) ServeBulk(from peer.ID, conn net.Conn) {
	if err := r.host.ServeBulk(from, conn); err != nil && r.ctx.Err() == nil {
		r.log.Warn("a snapshot was not taken over", "from", from, "err", err)
	}
}

// begin runs f beside the others unless the region is left already.
func (r *Member) begin(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.wg.Go(f)
	}
	return !r.closed
}

// poke has the controller look.
func (r *Member) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Meta is the region's metadata as this node knows it.
func (r *Member) Meta() *meta.State { return r.meta.state() }

// reach remembers since when nodes cannot be reached.
type reach struct {
	mu   sync.Mutex // guards the map
	seen map[peer.ID]time.Time
}

func (h *reach) up(id peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[id] = time.Time{}
}

func (h *reach) down(id peer.ID, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[id] = now
}

// forget forgets nodes.
func (h *reach) forget(which func(peer.ID) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.seen, func(id peer.ID, _ time.Time) bool { return which(id) })
}

// of says whether a node can be reached, or for how long it could not. A node
// that was never reached counts from when that was first asked.
func (h *reach) of(id peer.ID, now time.Time) (alive bool, down time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, known := h.seen[id]
	switch {
	case known && at.IsZero():
		return true, 0
	case !known:
		h.seen[id] = now
		return false, 0
	}
	return false, now.Sub(at)
}
