package multiraft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/skeinmesh/skein/store"
)

// A file of bbolt begins with two pages that say where the rest is:
//
//	page header (16) | magic (4) | version (4) | page size (4) | flags (4) | root (16) |
//	freelist (8) | pages (8) | transaction (8) | FNV-1a of all since the magic (8)
//
// bbolt takes the newer one that is sound. A transaction writes one of them, within
// a sector: if one is not sound that is damage, and bbolt would go on with what was
// before the last transaction, which somebody may have been told of.
const (
	boltHead        = 16
	boltMeta        = 64
	boltMagic       = 0xED0CDAED
	boltVersion     = 2
	boltPageSize    = 8 // in the meta, and so are those below
	boltRoot        = 16
	boltPages       = 40
	boltTransaction = 48
	boltSum         = 56
)

// CheckBolt reads a replica's file that is not open, and returns how many entries it
// has; fn gets each of them. It changes nothing. The error is store.ErrCorrupt if the
// file is damaged, store.ErrNewer if a later version of bbolt wrote it,
// os.ErrNotExist if it is not there.
func CheckBolt(path string, fn func(store.Entry)) (entries uint64, err error) {
	if err := checkBoltPages(path); err != nil {
		return 0, err
	}
	if err := walkBolt(path); err != nil {
		return 0, err
	}
	if err := checkBoltContents(path); err != nil {
		return 0, err
	}
	options := boltOptions()
	options.ReadOnly = true
	db, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: options})
	if err != nil {
		return 0, err
	}
	b := &Bolt{path: path, db: db}
	defer func() { err = errors.Join(err, b.Close()) }()
	first, err := b.FirstIndex()
	if err != nil || first == 0 {
		return 0, err
	}
	last, err := b.LastIndex()
	for index := first; index <= last && err == nil; index++ {
		var e store.Entry
		if err = b.Get(index, &e); errors.Is(err, store.ErrNotFound) {
			err = b.corrupt(fmt.Sprintf("entry %d of %d to %d is missing", index, first, last))
		}
		if err == nil && fn != nil {
			fn(e)
		}
	}
	return last - first + 1, err
}

// checkBoltPages checks that both meta pages are sound, and that the file has all
// the pages that they speak of.
func checkBoltPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	pageSize := int64(os.Getpagesize())
	for page := range int64(2) {
		m := make([]byte, boltMeta)
		if _, err := f.ReadAt(m, page*pageSize+boltHead); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		h := fnv.New64a()
		h.Write(m[:boltSum])
		switch {
		case binary.NativeEndian.Uint32(m) != boltMagic || binary.NativeEndian.Uint64(m[boltSum:]) != h.Sum64():
			return &store.CorruptError{File: path, Offset: page * pageSize, What: "a page that says where the others are is damaged"}
		case binary.NativeEndian.Uint32(m[4:]) != boltVersion:
			return fmt.Errorf("%s: version %d of bbolt, this one knows %d: %w", path, binary.NativeEndian.Uint32(m[4:]), boltVersion, store.ErrNewer)
		}
		pageSize = int64(binary.NativeEndian.Uint32(m[boltPageSize:]))
		if want := int64(binary.NativeEndian.Uint64(m[boltPages:])) * pageSize; info.Size() < want {
			return &store.CorruptError{File: path, Offset: info.Size(), What: fmt.Sprintf("the file ends early: it should have %d bytes", want)}
		}
	}
	return nil
}

// checkBoltContents checks that the entries follow each other, and the values.
func checkBoltContents(path string) (err error) {
	b := &Bolt{path: path}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return b.corrupt(err.Error())
	}
	defer func() {
		if closeErr := db.Close(); err == nil {
			err = closeErr
		}
	}()
	defer b.guard(&err)()
	return db.View(func(tx *bbolt.Tx) error {
		var before uint64
		err := tx.Bucket([]byte("logs")).ForEach(func(k, v []byte) error {
			if len(k) != 8 {
				return b.corrupt(fmt.Sprintf("an index of %d bytes", len(k)))
			}
			index := binary.BigEndian.Uint64(k)
			if before != 0 && index != before+1 {
				return b.corrupt(fmt.Sprintf("entry %d follows entry %d", index, before))
			}
			before = index
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket([]byte("conf")).ForEach(func(k, v []byte) error {
			if sealed := v; !unseal(&sealed, valueSum(string(k))) {
				return b.corrupt(fmt.Sprintf("the checksum of value %q is wrong", k))
			}
			return nil
		})
	})
}
