//go:build race

package multiraft

// raced is whether the race detector watches.
const raced = true
