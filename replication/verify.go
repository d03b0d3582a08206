package replication

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/skeinmesh/skein/replication/away"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/store/segment"
)

// Report is what VerifyDir found in a Member's directory.
type Report struct {
	Mesh       string   `json:"mesh"`
	Node       string   `json:"node"` // whose it is
	LogStore   LogStore `json:"logStore"`
	Closed     bool     `json:"closed"`   // it was closed, and not left by a crash; of a journal
	Segments   int      `json:"segments"` // files of the log store
	Entries    uint64   `json:"entries"`  // in the log store
	Groups     int      `json:"groups"`
	Partitions int      `json:"partitions"`
	Logs       int      `json:"logs"`
	Records    int64    `json:"records"` // in the logs
	Bytes      int64    `json:"bytes"`   // of the logs
	Waiting    int64    `json:"waiting"` // records in the outbox towards other regions
	// Notes is what a crash explains, and the node mends when it starts.
	Notes []string `json:"notes,omitempty"`
	// Damage is what is wrong and where. The node gives up replicas that need what
	// is damaged, and has them rebuilt from others.
	Damage []string `json:"damage,omitempty"`

	newer []error // files of a later version
}

// damaged notes what errors.Join has joined, each on its own.
func (r *Report) damaged(errs ...error) {
	for _, err := range errs {
		if all, joined := err.(interface{ Unwrap() []error }); joined && err != nil {
			if _, is := err.(*store.CorruptError); !is {
				r.damaged(all.Unwrap()...)
				continue
			}
		}
		if errors.Is(err, store.ErrNewer) || errors.Is(err, meta.ErrTooNew) {
			r.newer = append(r.newer, err)
		} else if err != nil {
			r.Damage = append(r.Damage, err.Error())
		}
	}
}

func (r *Report) explained(notes []error) {
	for _, n := range notes {
		r.Notes = append(r.Notes, n.Error())
	}
}

// VerifyDir reads all that a Member keeps in a directory that no process has open:
// the journal, the snapshots, the logs with what the snapshots say of them, and what
// waits for other regions. It changes nothing. The error says why it could not be read, which may be that a
// later version wrote it (store.ErrNewer); what is wrong with it is in the report. A
// nil fs is the operating system's.
func VerifyDir(fs store.FS, dir string) (r Report, err error) {
	if fs == nil {
		fs = store.OS{}
	}
	if r.LogStore, err = madeWith(fs, dir); err != nil {
		return r, fmt.Errorf("replication: %w", err)
	}
	if r.LogStore == Bolt {
		err = verifyBolt(&r, filepath.Join(dir, string(Bolt)), io.Discard)
	} else {
		err = verifyJournal(&r, fs, filepath.Join(dir, string(Journal)))
	}
	if err != nil {
		return r, err
	}
	r.damaged(verifyMeta(fs, filepath.Join(dir, "meta")))
	replicas, err := replicaDirs(fs, dir)
	if err != nil {
		return r, err
	}
	for _, name := range replicas {
		p, err := partition.Verify(fs, filepath.Join(dir, "partitions", name))
		if err != nil {
			return r, fmt.Errorf("replication: %w", err)
		}
		r.Partitions++
		r.Logs += p.Logs
		r.Records += p.Records
		r.Bytes += p.Bytes
		r.explained(p.Notes)
		r.damaged(p.Damage...)
	}
	box, err := away.Verify(fs, filepath.Join(dir, "outbox"))
	if err != nil {
		return r, fmt.Errorf("replication: %w", err)
	}
	r.Waiting = box.Waiting
	r.explained(box.Notes)
	r.damaged(box.Damage...)
	if len(r.newer) > 0 {
		return r, fmt.Errorf("replication: %w: %w", store.ErrNewer, errors.Join(r.newer...))
	}
	return r, nil
}

func verifyJournal(r *Report, fs store.FS, dir string) error {
	j, err := journal.Verify(fs, dir)
	if err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	r.Mesh, r.Node, r.Closed, r.Segments, r.Entries, r.Groups = j.Mesh, j.Node, j.Closed, j.Segments, j.Entries, j.Groups
	if j.Torn != nil {
		r.Notes = append(r.Notes, j.Torn.String())
	}
	for _, f := range j.Findings {
		r.Damage = append(r.Damage, f.String())
	}
	for _, c := range j.Corrupt {
		r.Damage = append(r.Damage, c.Error())
	}
	return nil
}

// verifyMeta checks the snapshots of the region's metadata: of each replica that
// the node has begun, if it has one.
func verifyMeta(fs store.FS, dir string) error {
	epochs, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, epoch := range epochs {
		path := filepath.Join(dir, epoch)
		snaps, openErr := multiraft.OpenSnapshots(fs, path)
		if openErr != nil {
			err = errors.Join(err, openErr)
			continue
		}
		if _, data := snaps.Latest(); data != nil {
			if checkErr := meta.Check(data); checkErr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", path, checkErr))
			}
		}
	}
	return err
}

// replicaDirs names the directories of the replicas.
func replicaDirs(fs store.FS, dir string) ([]string, error) {
	names, err := fs.List(filepath.Join(dir, "partitions"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("replication: %w", err)
	}
	return names, nil
}

// Dumped is a record of a log.
type Dumped struct {
	Replica string // its directory: partition and epoch
	Log     string // the stream's ID, and a number that tells logs of it apart
	Offset  int64
	Time    time.Time
	Data    []byte
}

// DumpDir writes what a Member keeps in a directory that no process has open: a
// line for each record of the journal to w, and each record of the logs, which fn
// gets, until it fails. What cannot be read is in the error. The last records of a log
// may be in the journal alone if the node was ended without being closed.
func DumpDir(fs store.FS, dir string, w io.Writer, fn func(Dumped) error) error {
	if fs == nil {
		fs = store.OS{}
	}
	kind, err := madeWith(fs, dir)
	if err == nil && kind == Bolt {
		err = verifyBolt(&Report{}, filepath.Join(dir, string(Bolt)), w)
	} else if err == nil {
		_, err = journal.Dump(fs, filepath.Join(dir, string(Journal)), w)
	}
	if err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	replicas, err := replicaDirs(fs, dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range replicas {
		err := partition.Dump(fs, filepath.Join(dir, "partitions", name), func(log string, offset int64, r segment.Record) error {
			return fn(Dumped{name, log, offset, time.Unix(0, r.Time).UTC(), r.Data})
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
