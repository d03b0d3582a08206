package realmesh

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Older builds the skein command as an earlier commit had it, and returns its path,
// which is good until the test ends, and the commit. The commit is what revision
// says, as git understands it. The error says why there is none to be had: no git, no
// repository, or one that has not that commit.
func Older(t testing.TB, revision string) (path, commit string, err error) {
	t.Helper()
	root, err := git("", "rev-parse", "--show-toplevel")
	if err != nil {
		return "", "", err
	}
	dir := strings.TrimSpace(string(root))
	id, err := git(dir, "rev-parse", "--verify", "--quiet", "--short", revision+"^{commit}")
	if err != nil {
		return "", "", fmt.Errorf("the repository has no commit %s (a shallow clone?): %w", revision, err)
	}
	commit = strings.TrimSpace(string(id))
	source := t.TempDir()
	files, err := git(dir, "archive", "--format=tar", commit)
	if err == nil {
		err = unpack(files, source)
	}
	if err != nil {
		return "", "", err
	}
	path = filepath.Join(source, "skein-"+commit)
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/skein")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("build skein of commit %s: %w\n%s", commit, err, out)
	}
	return path, commit, nil
}

func git(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out, nil
}

// unpack writes the files of an archive below a directory.
func unpack(archive []byte, dir string) error {
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the files of a commit: %w", err)
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		name := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			return err
		}
	}
}
