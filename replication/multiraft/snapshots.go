package multiraft

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store"
)

// Snapshots keeps a replica's last snapshot, in one file that is replaced as a
// whole, so that a crash leaves the one before or the new one. Snapshots are
// small: what is large is fetched apart, see GroupConfig.Prepare.
//
//	"SKSN" | version (1) | zero (3) | CRC32C of all the rest (4) | length of meta (4) | meta, JSON | data
//
// Its methods may be called concurrently.
type Snapshots struct {
	fs   store.FS
	path string

	writing sync.Mutex // held while the file is written or compared; before mu

	mu   sync.Mutex // guards the fields below
	meta *raft.SnapshotMeta
	data []byte
}

var errOvertaken = errors.New("there is one up to entry")

const (
	snapshotMagic   = "SKSN"
	snapshotVersion = 1
	snapshotHead    = 16
	// MaxSnapshot bounds a snapshot, in bytes.
	MaxSnapshot = 256 << 20
)

// OpenSnapshots reads the snapshot that is kept in a directory, which must exist.
// The error is store.ErrCorrupt if it is damaged, store.ErrNewer if a later
// version of Skein wrote it.
func OpenSnapshots(fs store.FS, dir string) (*Snapshots, error) {
	s := &Snapshots{fs: fs, path: filepath.Join(dir, "snapshot")}
	b, err := readFile(fs, s.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("multiraft: snapshot: %w", err)
	}
	if s.meta, s.data, err = parseSnapshot(b); err != nil {
		return nil, fmt.Errorf("multiraft: snapshot %s: %w", s.path, err)
	}
	return s, nil
}

func readFile(fs store.FS, name string) ([]byte, error) {
	f, err := fs.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > MaxSnapshot+1<<20 {
		return nil, fmt.Errorf("%w: a snapshot of %d bytes", store.ErrTooLarge, size)
	}
	b := make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), b)
	return b, err
}

func parseSnapshot(b []byte) (*raft.SnapshotMeta, []byte, error) {
	damaged := func(what string) error { return &store.CorruptError{What: what} }
	if len(b) < snapshotHead || string(b[:4]) != snapshotMagic {
		return nil, nil, damaged("it does not begin as a snapshot does")
	}
	sum, length := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	rest := b[snapshotHead:]
	if checksum(b) != sum {
		return nil, nil, damaged("its checksum is wrong")
	}
	if b[4] != snapshotVersion { // all versions have the checksum there
		return nil, nil, fmt.Errorf("%w: version %d, this one knows %d", store.ErrNewer, b[4], snapshotVersion)
	}
	if int64(length) > int64(len(rest)) {
		return nil, nil, damaged("it ends early")
	}
	var meta raft.SnapshotMeta
	if err := json.Unmarshal(rest[:length], &meta); err != nil {
		return nil, nil, damaged(err.Error())
	}
	return &meta, rest[length:], nil
}

// checksum is that of a snapshot, of all but the checksum itself.
func checksum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(b[:8], table), table, b[12:])
}

// Latest is the index that the snapshot covers and its data, which must not be
// changed; 0 and nil if there is none.
func (s *Snapshots) Latest() (index uint64, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil {
		return 0, nil
	}
	return s.meta.Index, s.data
}

// List implements raft.SnapshotStore.
func (s *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil {
		return nil, nil
	}
	meta := *s.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements raft.SnapshotStore.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil || s.meta.ID != id {
		return nil, nil, fmt.Errorf("multiraft: snapshot %q: %w", id, store.ErrNotFound)
	}
	meta := *s.meta
	return &meta, io.NopCloser(bytes.NewReader(s.data)), nil
}

// Create implements raft.SnapshotStore.
func (s *Snapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration, membersIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("multiraft: snapshot of version %d", version)
	}
	return &sink{of: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index),
		Index: index, Term: term, Configuration: members, ConfigurationIndex: membersIndex,
	}}, nil
}

// sink takes a new snapshot.
type sink struct {
	of   *Snapshots
	meta raft.SnapshotMeta
	data []byte
	over bool
}

func (k *sink) ID() string { return k.meta.ID }

func (k *sink) Write(b []byte) (int, error) {
	if len(k.data)+len(b) > MaxSnapshot {
		return 0, fmt.Errorf("multiraft: snapshot: %w", store.ErrTooLarge)
	}
	k.data = append(k.data, b...)
	return len(b), nil
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	k.over = true
	return nil
}

// Close puts the snapshot in the place of the one before, unless that covers more:
// a leader's may have come while this replica took its own, and Raft would go on
// from the older one, of which it has deleted the entries behind.
func (k *sink) Close() error {
	if k.over {
		return nil
	}
	k.over = true
	k.meta.Size = int64(len(k.data))
	b, err := formatSnapshot(&k.meta, k.data)
	if err != nil {
		return fmt.Errorf("multiraft: snapshot: %w", err)
	}
	s := k.of
	s.writing.Lock()
	defer s.writing.Unlock()
	if now, _ := s.Latest(); now > k.meta.Index {
		return fmt.Errorf("multiraft: a snapshot up to entry %d: %w %d", k.meta.Index, errOvertaken, now)
	}
	if err := store.Replace(s.fs, s.path, b); err != nil {
		return fmt.Errorf("multiraft: snapshot: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meta, s.data = &k.meta, k.data
	return nil
}

func formatSnapshot(meta *raft.SnapshotMeta, data []byte) ([]byte, error) {
	head, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, snapshotHead+len(head)+len(data)), snapshotMagic...)
	b = append(b, snapshotVersion, 0, 0, 0)
	b = append(b, 0, 0, 0, 0) // the sum, below
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	b = append(append(b, head...), data...)
	binary.LittleEndian.PutUint32(b[8:], checksum(b))
	return b, nil
}

// Scrub compares the snapshot on the disk with what was put there, which is still in
// memory, and puts it there again if it is not the same: then found says what was
// wrong. The error says why that could not be done.
func (s *Snapshots) Scrub() (found, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	meta, data := s.meta, s.data
	s.mu.Unlock()
	if meta == nil {
		return nil, nil
	}
	want, err := formatSnapshot(meta, data)
	if err != nil {
		return nil, fmt.Errorf("multiraft: snapshot: %w", err)
	}
	b, err := readFile(s.fs, s.path)
	if err == nil && bytes.Equal(b, want) {
		return nil, nil
	}
	if err == nil {
		err = &store.CorruptError{File: s.path, What: "it is not what was written"}
	}
	return err, store.Replace(s.fs, s.path, want)
}
