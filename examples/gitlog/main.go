// Command gitlog prints every commit of a git repository as a CloudEvent in
// JSON, one a line, oldest first, for `skein pub --ndjson -`.
//
// The commit's hash is the event's id, so a commit that is published twice is
// the same event twice. The repository is the source, which is also what Skein
// keeps in order: subscribers see commits in the order of the history.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gitlog:", err)
		os.Exit(1)
	}
}

// run prints the commits of the repository that args name, or of the current
// directory's. Further arguments go to git log: a range, --since, paths.
func run(ctx context.Context, args []string, out io.Writer) error {
	dir := "."
	if len(args) > 0 {
		dir, args = args[0], args[1:]
	}
	source, err := sourceOf(ctx, dir)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	err = commits(ctx, dir, args, func(c commit) error {
		e, err := c.event(source)
		if err != nil {
			return err
		}
		line, err := e.MarshalJSON()
		if err != nil {
			return fmt.Errorf("commit %s: %w", c.Hash, err)
		}
		_, err = w.Write(append(line, '\n'))
		return err
	})
	return errors.Join(err, w.Flush())
}

// commit is a commit as the events tell of it.
type commit struct {
	Hash      string    `json:"hash"`
	Parents   []string  `json:"parents"`
	Author    string    `json:"author"`
	Email     string    `json:"email"`
	Committed time.Time `json:"committed"`
	Subject   string    `json:"subject"`
	Body      string    `json:"body,omitempty"`
	Files     []change  `json:"files"`
}

// change is what a commit did to a file, in lines; both are -1 for binary
// files.
type change struct {
	Path    string `json:"path"`
	Added   int    `json:"added"`
	Deleted int    `json:"deleted"`
}

// event is the commit as a CloudEvent. The extension "files" lets subscribers
// choose by size: --filter "files > 100".
func (c commit) event(source string) (cloudevents.Event, error) {
	e := cloudevents.NewEvent()
	e.SetID(c.Hash)
	e.SetSource(source)
	e.SetType("git.commit")
	e.SetSubject(c.Subject)
	if c.Subject == "" { // which git allows, and CloudEvents does not
		e.SetSubject(c.Hash)
	}
	e.SetTime(c.Committed)
	e.SetExtension("files", len(c.Files))
	e.SetExtension("merge", len(c.Parents) > 1)
	if err := e.SetData(cloudevents.ApplicationJSON, c); err != nil {
		return e, fmt.Errorf("commit %s: %w", c.Hash, err)
	}
	if err := e.Validate(); err != nil {
		return e, fmt.Errorf("commit %s: %w", c.Hash, err)
	}
	return e, nil
}

// Commits are told apart by a record separator, fields by a unit separator:
// characters that no commit's text should have, and git refuses in names.
const (
	recordMark = "\x1e"
	fieldMark  = "\x1f"
	format     = recordMark + "%H" + fieldMark + "%P" + fieldMark + "%aN" + fieldMark + "%aE" + fieldMark + "%cI" + fieldMark + "%s" + fieldMark + "%b" + fieldMark
)

// commits calls each for every commit, oldest first.
func commits(ctx context.Context, dir string, args []string, each func(commit) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args = append([]string{"-C", dir, "-c", "core.quotePath=false", "log", "--reverse", "--numstat", "--encoding=UTF-8", "--format=" + format}, args...)
	cmd := exec.CommandContext(ctx, "git", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("git log: %w", err)
	}
	records := bufio.NewScanner(out)
	records.Buffer(nil, 64<<20) // a commit that touches everything
	records.Split(splitAt(recordMark[0]))
	var failed error
	for failed == nil && records.Scan() {
		if len(records.Bytes()) == 0 {
			continue
		}
		var c commit
		if c, failed = parse(records.Text()); failed == nil {
			failed = each(c)
		}
	}
	if failed == nil {
		failed = records.Err()
	}
	if failed != nil {
		cancel() // git has more to say, and nobody to hear it
	}
	if err := cmd.Wait(); err != nil && failed == nil {
		return fmt.Errorf("git log: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return failed
}

func splitAt(mark byte) bufio.SplitFunc {
	return func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, mark); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	}
}

// parse reads one commit as the format writes it, numstat lines at its end.
func parse(text string) (c commit, err error) {
	fields := strings.SplitN(text, fieldMark, 8)
	if len(fields) != 8 {
		return c, fmt.Errorf("git log said %.80q: %d fields, want 8", text, len(fields))
	}
	c = commit{
		Hash: fields[0], Parents: strings.Fields(fields[1]), Author: fields[2], Email: fields[3],
		Subject: strings.ToValidUTF8(fields[5], "\ufffd"), Body: strings.TrimSpace(fields[6]), Files: []change{},
	}
	if c.Committed, err = time.Parse(time.RFC3339, fields[4]); err != nil {
		return c, fmt.Errorf("commit %s: %w", c.Hash, err)
	}
	for line := range strings.Lines(fields[7]) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), "\t", 3)
		if len(parts) == 3 {
			c.Files = append(c.Files, change{Path: parts[2], Added: lines(parts[0]), Deleted: lines(parts[1])})
		}
	}
	return c, nil
}

// lines is a count of numstat's, which has "-" for binary files.
func lines(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// sourceOf names a repository: where it was cloned from, else where it is.
func sourceOf(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "config", "--get", "remote.origin.url").Output()
	if origin := strings.TrimSpace(string(out)); err == nil && origin != "" {
		u, err := url.Parse(origin)
		if err == nil && u.Host != "" {
			u.User = nil // an event is no place for a password
			return u.String(), nil
		}
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: path}).String(), nil
}
