//go:build !race

package test

// raced is whether the race detector watches.
const raced = false
