package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// A snapshot is the partition's time and the manifests of its logs, which say
// what their directories must hold:
//
//	version (1) | time (8) | births (8) | number of logs | each: id (16) birth (8) manifest
const (
	snapshotVersion = 1
	snapshotHead    = 17
)

// kept is a log as a snapshot has it.
type kept struct {
	id       LogID
	birth    uint64
	manifest segment.Manifest
}

// state is what a snapshot says.
type state struct {
	now    int64
	births uint64
	logs   []kept
}

// bytes is how many the files of all logs have.
// ends are the offsets at which logs end.
func (s *state) ends() map[LogID]int64 {
	ends := make(map[LogID]int64, len(s.logs))
	for _, k := range s.logs {
		ends[k.id] = k.manifest.Next
	}
	return ends
}

// beyond is how many bytes lie behind those ends, as far as they are still there; of a
// file that lies on both sides, its share.
func (s *state) beyond(ends map[LogID]int64) (n int64) {
	for _, k := range s.logs {
		for _, f := range k.manifest.Files {
			if records := f.Next - max(f.First, ends[k.id]); records > 0 {
				n += f.Bytes * records / (f.Next - f.First)
			}
		}
	}
	return n
}

// parseSnapshot reads a snapshot.
func parseSnapshot(b []byte) (s state, err error) {
	if len(b) < snapshotHead {
		return s, fmt.Errorf("partition: a snapshot of %d bytes", len(b))
	}
	if b[0] != snapshotVersion {
		return s, fmt.Errorf("partition: a snapshot of version %d, this one knows %d: %w", b[0], snapshotVersion, store.ErrNewer)
	}
	s.now, s.births = int64(binary.LittleEndian.Uint64(b[1:])), binary.LittleEndian.Uint64(b[9:])
	n, size := binary.Uvarint(b[snapshotHead:])
	if size <= 0 {
		return s, errors.New("partition: a snapshot without logs")
	}
	for b = b[snapshotHead+size:]; n > 0; n-- {
		var k kept
		if len(b) < len(k.id)+8 {
			return s, errors.New("partition: a snapshot that ends early")
		}
		b = b[copy(k.id[:], b):]
		k.birth, b = binary.LittleEndian.Uint64(b), b[8:]
		if k.manifest, b, err = segment.ParseManifest(b); err != nil {
			return s, fmt.Errorf("partition: snapshot: log %s: %w", k.id, err)
		}
		s.logs = append(s.logs, k)
	}
	return s, nil
}

// snapshot is the partition as it was when it was taken.
type snapshot struct {
	p *Partition
	state
	of []*Log // state.logs
}

// syncs is how many files are synced at a time.
const syncs = 8

// Snapshot implements multiraft.FSM.
func (m *machine) Snapshot() (multiraft.Snapshot, error) {
	p := (*Partition)(m)
	if err := p.Failed(); err != nil {
		return nil, err
	}
	s := &snapshot{p: p, state: state{now: p.now, births: p.births}, of: p.Logs()}
	for _, l := range s.of {
		s.logs = append(s.logs, kept{l.id, l.born(), l.seg.Manifest()})
	}
	p.since = 0
	return s, nil
}

// WriteTo implements multiraft.Snapshot.
func (s *snapshot) WriteTo(w io.Writer) (int64, error) {
	segs := make([]*segment.Log, len(s.of))
	for i, l := range s.of {
		segs[i] = l.segment()
	}
	if err := s.p.sync(segs); err != nil { // the next snapshot is another
		return 0, fmt.Errorf("partition %s: snapshot: %w", s.p.cfg.ID, err)
	}
	b := binary.LittleEndian.AppendUint64([]byte{snapshotVersion}, uint64(s.now))
	b = binary.LittleEndian.AppendUint64(b, s.births)
	b = binary.AppendUvarint(b, uint64(len(s.logs)))
	for _, k := range s.logs {
		b = append(b, k.id[:]...)
		b = binary.LittleEndian.AppendUint64(b, k.birth)
		b = k.manifest.AppendTo(b)
	}
	n, err := w.Write(b)
	return int64(n), err
}

// sync puts logs on the disk. One that was dropped or replaced meanwhile cannot be
// synced any more, and a full disk may have room later; any other error ends the
// replica.
func (p *Partition) sync(segs []*segment.Log) error {
	err := segment.SyncAll(segs, syncs)
	passes := errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrFull)
	if err != nil && (!passes || errors.Is(err, store.ErrFailed)) {
		p.fail(fmt.Errorf("partition %s: sync its logs: %w", p.cfg.ID, err))
	}
	return err
}

// Release implements multiraft.Snapshot. If the snapshot is on the disk now, what
// only earlier ones needed is removed.
func (s *snapshot) Release() { s.p.tidy() }

// tidy is sweep for those who go on without.
func (p *Partition) tidy() {
	if err := p.sweep(); err != nil {
		p.log.Warn("files that are not needed any more could not be removed", "partition", p.cfg.ID, "err", err)
	}
}

// sweep removes the files that the snapshot on the disk does not need: of what
// was trimmed, and of logs that were dropped. Logs born since are let alone, since
// Apply may be making one, and prepare fetching one, at this moment.
func (p *Partition) sweep() error {
	p.sweeping.Lock()
	defer p.sweeping.Unlock()
	_, data := p.snaps.Latest()
	if data == nil {
		return nil
	}
	kept, err := parseSnapshot(data)
	if err != nil {
		return err
	}
	var errs []error
	needed := map[string]bool{}
	for _, k := range kept.logs {
		needed[dirName(k.id, k.birth)] = true
		if l, err := p.Log(k.id); err == nil && l.born() == k.birth {
			errs = append(errs, l.segment().Release(k.manifest.Start))
		}
	}
	for _, l := range p.Logs() {
		needed[dirName(l.id, l.born())] = true
	}
	names, err := p.cfg.FS.List(p.dir())
	errs = append(errs, err)
	for _, name := range names {
		if birth, is := birthOf(name); is && birth < kept.births && !needed[name] {
			errs = append(errs, store.RemoveAll(p.cfg.FS, filepath.Join(p.dir(), name)))
		}
	}
	return errors.Join(errs...)
}

// Restore implements multiraft.FSM.
func (m *machine) Restore(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, multiraft.MaxSnapshot))
	if err != nil {
		return err
	}
	p := (*Partition)(m)
	if err := p.adopt(data); err != nil {
		return err
	}
	p.tidy() // it may lack logs that were here
	return nil
}

// adopt makes the partition what a snapshot says, whose files must be here.
func (p *Partition) adopt(data []byte) error {
	s, err := parseSnapshot(data)
	if err != nil {
		return err
	}
	stay := map[LogID]bool{}
	for _, k := range s.logs {
		stay[k.id] = true
		if err := p.adoptLog(k); err != nil {
			return fmt.Errorf("log %s: %w", k.id, err)
		}
	}
	for _, l := range p.Logs() {
		if !stay[l.id] {
			if err := p.drop(l.id); err != nil {
				return err
			}
		}
	}
	p.now, p.births, p.since = s.now, s.births, 0
	return nil
}

func (p *Partition) adoptLog(k kept) error {
	if l, err := p.Log(k.id); err == nil {
		if err := l.seg.Close(); err != nil {
			return err
		}
		seg, err := segment.Open(p.config(k.id, k.birth), &k.manifest)
		if err != nil {
			return err
		}
		l.replace(seg, k.birth)
		return nil
	}
	_, err := p.open(k)
	return err
}
