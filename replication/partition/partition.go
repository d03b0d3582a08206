package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// Config is what a replica needs. Fields without a default are required.
type Config struct {
	Host      *multiraft.Host
	ID        multiraft.GroupID
	Epoch     uint64              // of this replica
	Bootstrap []multiraft.Replica // as in multiraft.GroupConfig
	Store     store.Replica       // the replica's own in the node's journal

	FS    store.FS
	Dir   string         // the replica's own, made if it is not there
	Files *segment.Files // the node's
	// FileBytes is the size of segment files, the same on all replicas. Default
	// segment.DefaultFileBytes.
	FileBytes int64

	// Fetch reads a part of a file of a log from another node's replica; see
	// Partition.Chunk, which answers it. It returns at least one byte or an error, and
	// takes its time if it is to keep to a pace, which haste says how often to double:
	// 0 unless more comes to the log than is fetched of it.
	Fetch func(ctx context.Context, from multiraft.Replica, log LogID, file segment.FileInfo, position int64, haste uint) ([]byte, error)
	// OnLeader and OnFailure are as in multiraft.GroupConfig.
	OnLeader  func(leader multiraft.Replica, term uint64)
	OnFailure func(err error)
	Log       *slog.Logger // default: nothing is logged
}

// SnapshotBytes is after how many bytes of entries a replica keeps a snapshot, so
// that the journal can let go of them.
const SnapshotBytes = 64 << 20

// Partition is one replica. Its methods may be called concurrently.
type Partition struct {
	cfg   Config
	log   *slog.Logger
	snaps *multiraft.Snapshots
	group *multiraft.Group
	ctx   context.Context // until Close
	stop  context.CancelFunc
	wg    sync.WaitGroup
	queue queue

	// Apply's alone.
	now     int64  // the last entry's time
	births  uint64 // of logs, so far
	since   int64  // bytes of entries since the last snapshot
	freed   bool   // entries that are being applied have let files go
	command command
	touched []*Log
	// unwritten are the logs with records that no file has yet.
	unwritten []*Log

	due     atomic.Bool   // a snapshot has been asked for
	spare   chan struct{} // holds a token while there are files that the next snapshot does without
	staging chan struct{} // holds a token while files are fetched
	haste   haste

	sweeping sync.Mutex // held while files are removed that nothing needs

	mu     sync.RWMutex // guards the fields below
	logs   map[LogID]*Log
	failed error
}

// Open opens a replica as it was closed, or crashed, and lets it take part in its
// group.
func Open(cfg Config) (_ *Partition, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Partition{cfg: cfg, log: cfg.Log, logs: map[LogID]*Log{}, staging: make(chan struct{}, 1), spare: make(chan struct{}, 1)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.queue.init()
	defer func() {
		if err != nil {
			p.stop()
			p.closeLogs()
		}
	}()
	if err := cfg.FS.MkdirAll(p.dir()); err != nil {
		return nil, fmt.Errorf("partition %s: %w", cfg.ID, err)
	}
	if p.snaps, err = multiraft.OpenSnapshots(cfg.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("partition %s: %w", cfg.ID, err)
	}
	if _, data := p.snaps.Latest(); data != nil {
		if err := p.adopt(data); err != nil {
			return nil, fmt.Errorf("partition %s: %w", cfg.ID, err)
		}
		p.tidy() // the process may have ended between the snapshot and the files' end
	}
	p.group, err = cfg.Host.Start(multiraft.GroupConfig{
		ID: cfg.ID, Epoch: cfg.Epoch, Store: cfg.Store, Snapshots: p.snaps,
		FSM: (*machine)(p), FSMKeeps: true, Prepare: p.prepare, Bootstrap: cfg.Bootstrap,
		SnapshotThreshold: 1 << 20, TrailingLogs: trailing, // by bytes instead, see applied
		OnLeader: cfg.OnLeader, OnFailure: p.fail,
	})
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", cfg.ID, err)
	}
	p.wg.Go(p.free)
	return p, nil
}

// trailing is how many entries stay for followers that are a little behind.
const trailing = 256

// Close ends the replica. What was proposed gets its outcome first.
func (p *Partition) Close() error {
	p.stop()
	p.queue.close()
	err := p.group.Close()
	p.wg.Wait()
	if p.Failed() == nil {
		for _, l := range p.Logs() { // the journal has it all, but who looks at the files would miss it
			if err := l.segment().Flush(); err != nil {
				p.log.Warn("the end of a log is in the journal only", "partition", p.cfg.ID, "log", l.id, "err", err)
			}
		}
	}
	return errors.Join(err, p.closeLogs())
}

func (p *Partition) closeLogs() error {
	p.mu.Lock()
	logs := p.logs
	p.logs = map[LogID]*Log{}
	p.mu.Unlock()
	var errs []error
	for _, l := range logs {
		errs = append(errs, l.end())
	}
	return errors.Join(errs...)
}

// Group is the replica's Raft group.
func (p *Partition) Group() *multiraft.Group { return p.group }

// Log is what the partition keeps of a stream; ErrGone if that is nothing yet.
func (p *Partition) Log(id LogID) (*Log, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if l := p.logs[id]; l != nil {
		return l, nil
	}
	return nil, ErrGone
}

// Logs are all logs, in the order of their IDs.
func (p *Partition) Logs() []*Log {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list := make([]*Log, 0, len(p.logs))
	for _, l := range p.logs {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *Log) int { return slices.Compare(a.id[:], b.id[:]) })
	return list
}

func (p *Partition) dir() string { return filepath.Join(p.cfg.Dir, "logs") }

// config says where a log is. A log that is dropped and made again is another
// one: the snapshot on the disk may still need the first one's files.
func (p *Partition) config(id LogID, birth uint64) segment.Config {
	return segment.Config{Files: p.cfg.Files, Dir: filepath.Join(p.dir(), dirName(id, birth)), ID: id, FileBytes: p.cfg.FileBytes}
}

func dirName(id LogID, birth uint64) string { return fmt.Sprintf("%s-%d", id, birth) }

// birthOf is the birth that a name of dirName ends with.
func birthOf(dir string) (birth uint64, ok bool) {
	_, digits, _ := strings.Cut(dir, "-")
	birth, err := strconv.ParseUint(digits, 10, 64)
	return birth, err == nil
}

// open opens a log that is new here.
func (p *Partition) open(k kept) (*Log, error) {
	seg, err := segment.Open(p.config(k.id, k.birth), &k.manifest)
	if err != nil {
		return nil, err
	}
	l := &Log{id: k.id, birth: k.birth, seg: seg}
	p.mu.Lock()
	p.logs[k.id] = l
	p.mu.Unlock()
	return l, nil
}

// fail ends the replica's work: what it has on disk is not what it should be.
func (p *Partition) fail(err error) {
	p.mu.Lock()
	first := p.failed == nil
	if first {
		p.failed = err
	}
	p.mu.Unlock()
	if first {
		p.log.Error("a replica has failed", "partition", p.cfg.ID, "epoch", p.cfg.Epoch, "err", err)
		if p.cfg.OnFailure != nil {
			p.cfg.OnFailure(err)
		}
	}
}

// Failed is why the replica has failed, or nil.
func (p *Partition) Failed() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.failed
}

// Chunk reads a part of a file for another node's replica, at most len(buf) bytes;
// see segment.Log.ReadChunk.
func (p *Partition) Chunk(log LogID, file segment.FileInfo, position int64, buf []byte) (int, error) {
	l, err := p.Log(log)
	if err != nil {
		return 0, err
	}
	return l.segment().ReadChunk(file, position, buf)
}
