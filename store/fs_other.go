//go:build !linux

package store

func (f osFile) Allocate(size int64) error { return f.grow(size) }
