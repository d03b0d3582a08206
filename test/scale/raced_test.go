//go:build race

package scale

// raced is whether the race detector watches, for which a whole mesh is too large.
const raced = true
