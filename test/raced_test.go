//go:build race

package test

// raced is whether the race detector watches, which has room for 8128 goroutines.
const raced = true
