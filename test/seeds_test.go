package test

import (
	"os"
	"strconv"
)

// seeds is how many seeds a test runs with: few by default, SKEIN_SOAK times
// as many in a soak.
func seeds(n int) int {
	if factor, err := strconv.Atoi(os.Getenv("SKEIN_SOAK")); err == nil && factor > 1 {
		return n * factor
	}
	return n
}
