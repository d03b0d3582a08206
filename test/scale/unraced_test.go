//go:build !race

package scale

// raced is whether the race detector watches.
const raced = false
