package node

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

// state is what a node must remember of itself: node.json in its data
// directory, held under a lock while the node runs.
//
//	lock        one process at a time
//	node.json   the fields below
//	mesh.key    the mesh key, if this node founded the mesh without one
//	peers.json  peers seen, to find the mesh again
//	seen.json   regions seen, so that those that are away are known to be missing
//	streams.notes  the streams that the node knows, so that it keeps their events from its start on
//	streams/    the node's part of what its region keeps; see package replication
type state struct {
	dir  string
	lock *os.File

	Format int     `json:"format"` // of this file and of the directory
	ID     peer.ID `json:"id"`
	Boot   uint64  `json:"boot"`
	Mesh   string  `json:"mesh,omitempty"`   // empty until a mesh is founded or joined
	Region string  `json:"region,omitempty"` // as registered
	// Register says in which region's metadata regions are registered. With an ID,
	// it is that of the node that kept the register in a file, as versions before
	// the format did.
	Register  peer.Peer `json:"registrar"`
	Registers bool      `json:"registers,omitempty"` // this node founded the mesh and has begun the register
	Founder   bool      `json:"founder,omitempty"`   // of its region
	Begun     bool      `json:"begun,omitempty"`     // its part in the region's metadata has begun, and must not begin again
	Since     time.Time `json:"since"`
}

const stateFile = "node.json"

// stateFormat is the format of data directories. A directory without one is of the
// versions before, and is taken over.
const stateFormat = 1

// openState locks a data directory, makes it if need be, reads or begins the
// state, and counts this start.
func openState(dir string, now time.Time) (_ *state, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("node: data directory %s cannot be made; choose another with --data-dir: %w", dir, err)
	}
	s := &state{dir: dir}
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	data, err := os.ReadFile(s.path(stateFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.ID, s.Since = peer.ID(randomHex(8)), now.UTC()
	case err != nil:
		return nil, fmt.Errorf("node: data directory %s cannot be read: %w", dir, err)
	default:
		if err := s.parse(data); err != nil {
			return nil, err
		}
	}
	s.Format = stateFormat
	s.Boot++
	return s, s.save()
}

func (s *state) parse(data []byte) error {
	err := json.Unmarshal(data, s)
	if err == nil && s.ID == "" {
		err = errors.New("no id")
	}
	var version struct{ Format int } // may be readable where the rest is not
	if json.Unmarshal(data, &version) == nil && version.Format > stateFormat {
		return fmt.Errorf("node: data directory %s: format %d, this one knows up to %d: %w", s.dir, version.Format, stateFormat, store.ErrNewer)
	}
	if err != nil {
		return fmt.Errorf("node: %s is damaged (restore it, or start with another data directory, as a new node): %w", s.path(stateFile), err)
	}
	return nil
}

// lockDir takes the directory for this process until the file closes.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("node: data directory %s is not writable; choose another with --data-dir: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("node: data directory %s is in use by another process: give each node one of its own with --data-dir", dir)
	}
	return f, nil
}

// HoldData takes a data directory for this process, so that no node opens it until
// release is called. The error says that one has it open.
func HoldData(dir string) (release func() error, err error) {
	f, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// save writes node.json so that a crash leaves the old one or the new one.
func (s *state) save() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("node: encode state: %w", err)
	}
	return store.ReplaceFile(s.path(stateFile), data)
}

func (s *state) close() error { return s.lock.Close() }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: see crypto/rand
	return hex.EncodeToString(b)
}
