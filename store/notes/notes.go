// Package notes remembers small values by key, in one file to which changes are
// appended: so that one change costs as much among ten thousand values as among
// ten, and many changes at once cost one sync.
//
// A file is lines of text:
//
//	skein notes 1
//	<crc> <key> <value>      the key has the value from here on
//	<crc> <key>              the key has no value from here on
//
// The sum is the CRC32C of what follows it and its blank, as eight hexadecimal
// digits. A last line without its end was not synced, and is cut off. A damaged line
// before it costs that line alone: those after it are read. When more than half of
// a file is out of date it is replaced by one that is not.
package notes

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/skeinmesh/skein/store"
)

// Note is a key and its value. A key is not empty and has neither blanks nor ends
// of lines; a value has no ends of lines, as JSON has none. Without a value the key
// is forgotten.
type Note struct {
	Key   string
	Value []byte
}

// Book is an open file of notes. It is for one goroutine at a time.
type Book struct {
	fs      store.FS
	path    string
	file    store.File
	size    int64 // of what is synced, in bytes
	live    int64 // of that, bytes of lines that still say something
	values  map[string][]byte
	damaged []error
	failed  error
}

const (
	magic   = "skein notes "
	version = 1
	// slack is how many bytes may be out of date, in the smallest file.
	slack   = 64 << 10
	maxLine = 16 << 20
)

func header() string { return magic + strconv.Itoa(version) + "\n" }

// Open reads a file of notes, or begins one: its directory must exist. The error is
// store.ErrNewer for a file of a later version, and store.ErrCorrupt for one that is
// none; either is left as it is.
func Open(fs store.FS, path string) (*Book, error) {
	b := &Book{fs: fs, path: path, values: map[string][]byte{}}
	err := b.open()
	if err != nil {
		return nil, fmt.Errorf("store: notes %s: %w", path, errors.Join(err, b.Close()))
	}
	return b, nil
}

func (b *Book) open() (err error) {
	if b.file, err = b.fs.Open(b.path, false); errors.Is(err, os.ErrNotExist) {
		return b.rewrite()
	}
	if err != nil {
		return err
	}
	data, err := readAll(b.file)
	if err == nil {
		err = b.load(data)
	}
	if err != nil {
		return err
	}
	if b.size < int64(len(data)) {
		return b.file.Truncate(b.size)
	}
	return nil
}

func readAll(f store.File) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// load reads what a file has.
func (b *Book) load(data []byte) error {
	first, rest, whole := bytes.Cut(data, []byte("\n"))
	if err := checkHeader(string(first), whole); err != nil {
		return err
	}
	b.size = int64(len(first)) + 1
	b.live = b.size
	for {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		if !whole {
			return nil // it was being written when the power went
		}
		if n, err := read(line); err != nil {
			b.damaged = append(b.damaged, &store.CorruptError{File: b.path, Offset: b.size, What: err.Error()})
		} else {
			b.apply(n)
		}
		rest, b.size = after, b.size+int64(len(line))+1
	}
}

// Verify says what is damaged in a file of notes, and changes nothing. Without a file
// nothing is. The error says why it cannot be read, as that of Open.
func Verify(fs store.FS, path string) (damage []error, err error) {
	b := &Book{fs: fs, path: path, values: map[string][]byte{}}
	b.file, err = fs.Open(path, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		var data []byte
		if data, err = readAll(b.file); err == nil {
			err = b.load(data)
		}
		err = errors.Join(err, b.Close())
	}
	if errors.Is(err, store.ErrCorrupt) {
		return []error{&store.CorruptError{File: path, What: err.Error()}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: notes %s: %w", path, err)
	}
	return b.damaged, nil
}

func checkHeader(line string, whole bool) error {
	number, is := strings.CutPrefix(line, magic)
	v, err := strconv.Atoi(number)
	switch {
	case !is || err != nil || !whole:
		return fmt.Errorf("%w: it is no file of notes", store.ErrCorrupt)
	case v > version:
		return fmt.Errorf("%w: its format is %d, this one knows %d", store.ErrNewer, v, version)
	}
	return nil
}

func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// read reads a line without its end.
func read(line []byte) (n Note, err error) {
	sum, text, _ := bytes.Cut(line, []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || len(sum) != 8 || uint32(want) != crc32.Checksum(text, table()) {
		return n, errors.New("a note's sum does not fit")
	}
	key, value, has := bytes.Cut(text, []byte(" "))
	if n.Key = string(key); n.Key == "" {
		return n, errors.New("a note without a key")
	}
	if has {
		n.Value = bytes.Clone(value)
	}
	return n, nil
}

// appendTo writes a note as a line.
func (n *Note) appendTo(b []byte) []byte {
	text := n.Key
	if n.Value != nil {
		text += " " + string(n.Value)
	}
	return fmt.Appendf(b, "%08x %s\n", crc32.Checksum([]byte(text), table()), text)
}

// lineSize is the length of a note's line.
func (n *Note) lineSize() int64 {
	size := int64(8 + 1 + len(n.Key) + 1)
	if n.Value != nil {
		size += int64(1 + len(n.Value))
	}
	return size
}

func (n *Note) check() error {
	if n.Key == "" || strings.ContainsAny(n.Key, " \n") || bytes.ContainsRune(n.Value, '\n') || n.lineSize() > maxLine {
		return fmt.Errorf("store: %.80q is no note: blanks and ends of lines have no place in it", n.Key)
	}
	return nil
}

func (b *Book) apply(n Note) {
	if old, there := b.values[n.Key]; there {
		was := Note{n.Key, old}
		b.live -= was.lineSize()
	}
	if n.Value == nil {
		delete(b.values, n.Key)
		return
	}
	b.values[n.Key] = n.Value
	b.live += n.lineSize()
}

// All are the values by key; they are not to be changed.
func (b *Book) All() map[string][]byte { return b.values }

// Damaged says what could not be read when the file was opened.
func (b *Book) Damaged() error { return errors.Join(b.damaged...) }

// Write puts notes on the disk, in their order. When it returns nil they are there
// for certain; else none counts, and it may be tried again, unless the error is
// store.ErrFailed, which stays.
func (b *Book) Write(notes []Note) error {
	if len(notes) == 0 || b.failed != nil {
		return b.failed
	}
	var lines []byte
	for i := range notes {
		if err := notes[i].check(); err != nil {
			return err
		}
		lines = notes[i].appendTo(lines)
	}
	if _, err := b.file.WriteAt(lines, b.size); err != nil {
		return b.undo(err)
	}
	if err := b.file.Sync(); err != nil {
		return b.fail(err)
	}
	b.size += int64(len(lines))
	for _, n := range notes {
		b.apply(Note{n.Key, bytes.Clone(n.Value)})
	}
	if b.size-b.live > max(slack, b.live) {
		_ = b.rewrite() // the old one is still good, unless b has failed; the next Write tries again
	}
	return b.failed
}

// undo takes back what was written in part.
func (b *Book) undo(err error) error {
	if cut := b.file.Truncate(b.size); cut != nil {
		return b.fail(errors.Join(err, cut))
	}
	if store.IsFull(err) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return fmt.Errorf("store: notes %s: %w", b.path, err)
}

func (b *Book) fail(err error) error {
	b.failed = fmt.Errorf("store: notes %s: %w: %w", b.path, store.ErrFailed, err)
	return b.failed
}

// rewrite replaces the file by one that has what is known and nothing else.
func (b *Book) rewrite() error {
	data := []byte(header())
	for _, key := range slices.SortedFunc(maps.Keys(b.values), cmp.Compare[string]) {
		n := Note{key, b.values[key]}
		data = n.appendTo(data)
	}
	if err := store.Replace(b.fs, b.path, data); err != nil {
		if !store.IsFull(err) && b.file != nil {
			return b.fail(err) // b.file may have no name any more
		}
		return err
	}
	file, err := b.fs.Open(b.path, false)
	if err != nil {
		return b.fail(err)
	}
	old := b.file
	b.file, b.size, b.live = file, int64(len(data)), int64(len(data))
	if old != nil {
		old.Close() //nolint:errcheck // it has no name any more
	}
	return nil
}

// Close closes the file.
func (b *Book) Close() error {
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}
