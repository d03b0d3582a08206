package replication

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/journal"
)

// LogStore says where groups keep their logs, terms and votes.
type LogStore string

const (
	// Journal is one log for all groups of the node; see package journal.
	Journal LogStore = "journal"
	// Bolt is a file of raft-boltdb for each replica: slower, as each syncs for
	// itself, and long in use elsewhere.
	Bolt LogStore = "bolt"
)

// ParseLogStore reads a LogStore; an empty text is Journal.
func ParseLogStore(text string) (LogStore, error) {
	switch s := LogStore(text); s {
	case "":
		return Journal, nil
	case Journal, Bolt:
		return s, nil
	}
	return "", fmt.Errorf("log store %.40q: must be %s or %s", text, Journal, Bolt)
}

// logs is where the node's groups keep what they must not forget. Its methods may
// be called concurrently.
type logs interface {
	// Replica is what one replica keeps; it is there from its first use on.
	Replica(id journal.ID) replicaLog
	// Err is why nothing can be kept any more, or nil.
	Err() error
	// Pending is how long the oldest write has been waiting for the disk.
	Pending() time.Duration
	Close() error
}

// replicaLog is what one replica keeps.
type replicaLog interface {
	store.Replica
	// Err is why the replica has lost something for good, or nil.
	Err() error
	// Forget deletes it.
	Forget() error
}

// openLogs opens the store that the directory was made with, which must be the one
// that is configured.
func (r *Member) openLogs() error {
	if r.cfg.LogStore == "" {
		r.cfg.LogStore = Journal
	}
	names, err := r.cfg.FS.List(r.cfg.Dir)
	if err != nil {
		return err
	}
	for _, other := range []LogStore{Journal, Bolt} {
		for _, name := range names {
			if other != r.cfg.LogStore && name == string(other) {
				return fmt.Errorf("%s was made with the log store %s, and cannot be opened with %s: start with --log-store %[2]s, or with another data directory, as a new node",
					r.cfg.Dir, other, r.cfg.LogStore)
			}
		}
	}
	dir := filepath.Join(r.cfg.Dir, string(r.cfg.LogStore))
	if r.cfg.LogStore == Bolt {
		l, err := openBoltLogs(dir, r.cfg.Mesh, string(r.cfg.Self.ID))
		if err == nil {
			r.logs = l
		}
		return err
	}
	j, err := journal.Open(journal.Config{
		FS: r.cfg.FS, Dir: dir, Mesh: r.cfg.Mesh, Node: string(r.cfg.Self.ID),
		SegmentBytes: r.cfg.JournalBytes, HoldSegments: heldSegments, OnHeldBack: r.heldBack,
	})
	if err != nil {
		return err
	}
	r.logs = journalLogs{j}
	return nil
}

// journalLogs is a journal as logs.
type journalLogs struct{ *journal.Journal }

func (j journalLogs) Replica(id journal.ID) replicaLog { return j.Group(id) }

// madeWith is the log store of a Member's directory that no process has open.
func madeWith(fs store.FS, dir string) (LogStore, error) {
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, name := range names {
		if name == string(Bolt) {
			return Bolt, nil
		}
	}
	return Journal, nil
}
