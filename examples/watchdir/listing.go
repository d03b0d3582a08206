package main

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The types of events.
const (
	typeChanged = "watchdir.entry.changed" // subject is the entry's path, escaped; data is its state
	typeRemoved = "watchdir.entry.removed" // the same; of the state only the path says something
	typeListing = "watchdir.listing"       // data is all entries, of a directory that is the source
	typeWanted  = "watchdir.wanted"        // a mirror asks for listings
)

// entry is a file or directory as events tell of it.
type entry struct {
	Path     string    `json:"path"` // below the directory that is watched, with slashes
	Dir      bool      `json:"dir,omitempty"`
	Size     int64     `json:"size"` // in bytes; 0 for directories
	Modified time.Time `json:"modified"`
}

// look reads an entry's state. The error is fs.ErrNotExist for one that is gone.
func look(root, path string) (entry, error) {
	info, err := os.Lstat(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		return entry{}, err
	}
	e := entry{Path: path, Dir: info.IsDir(), Modified: info.ModTime().UTC()}
	if !e.Dir {
		e.Size = info.Size()
	}
	return e, nil
}

// walk lists everything below a directory. What goes away meanwhile is left out.
func walk(root string) ([]entry, error) {
	all := []entry{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p != root && os.IsNotExist(err) {
				return nil
			}
			return err
		}
		if p == root {
			return nil
		}
		e, err := look(root, relative(root, p))
		if err == nil {
			all = append(all, e)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", root, err)
	}
	return all, nil
}

// relative is a path below root, with slashes.
func relative(root, path string) string {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return filepath.ToSlash(path)
	}
	return filepath.ToSlash(rel)
}

// listing is what a mirror knows: by source, the entries by their path.
type listing map[string]map[string]entry

func (l listing) set(source string, e entry) {
	if l[source] == nil {
		l[source] = map[string]entry{}
	}
	l[source][e.Path] = e
}

// remove takes an entry away, and what was below it.
func (l listing) remove(source, path string) {
	maps.DeleteFunc(l[source], func(p string, _ entry) bool {
		return p == path || len(p) > len(path) && p[:len(path)] == path && p[len(path)] == '/'
	})
}

func (l listing) replace(source string, all []entry) {
	l[source] = map[string]entry{}
	for _, e := range all {
		l[source][e.Path] = e
	}
}

func (l listing) print(w io.Writer) {
	for _, source := range slices.Sorted(maps.Keys(l)) {
		fmt.Fprintf(w, "%s, %d entries\n", source, len(l[source]))
		for _, path := range slices.Sorted(maps.Keys(l[source])) {
			e := l[source][path]
			kind := fmt.Sprintf("%10d", e.Size)
			if e.Dir {
				kind = "       dir"
			}
			fmt.Fprintf(w, "  %s  %s  %q\n", e.Modified.Format(time.DateTime), kind, path)
		}
	}
}
