package store

import (
	"errors"
	"os"
	"syscall"
)

// Space counts what is kept for the superuser neither as size nor as free.
func (OS) Space(dir string) (size, free int64, err error) {
	var fs syscall.Statfs_t
	for {
		err = syscall.Statfs(dir, &fs)
		if err == nil {
			break
		}
		if err != syscall.EINTR {
			return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
	}
	used := fs.Blocks - fs.Bfree
	return int64(used+fs.Bavail) * fs.Bsize, int64(fs.Bavail) * fs.Bsize, nil
}

// Sync leaves out what reading the file back does not need, such as the time of
// the last change: that would be one more write of the file system's journal.
func (f osFile) Sync() error {
	return f.retry("fdatasync", func(fd int) error { return syscall.Fdatasync(fd) })
}

func (f osFile) Allocate(size int64) error {
	err := f.retry("fallocate", func(fd int) error { return syscall.Fallocate(fd, 0, 0, size) })
	if !errors.Is(err, syscall.EOPNOTSUPP) {
		return err
	}
	return f.grow(size)
}

// retry makes a system call until no signal interrupts it.
func (f osFile) retry(name string, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = call(int(fd)); failed != syscall.EINTR {
				return
			}
		}
	})
	if err == nil && failed != nil {
		err = &os.PathError{Op: name, Path: f.Name(), Err: failed}
	}
	return err
}
