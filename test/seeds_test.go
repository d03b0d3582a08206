package test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

// seeds is how many seeds a test runs with: few by default, SKEIN_SOAK times
// as many in a soak.
func seeds(n int) int {
	if factor, err := strconv.Atoi(os.Getenv("SKEIN_SOAK")); err == nil && factor > 1 {
		return n * factor
	}
	return n
}

// trials runs a test with that many seeds, or with SKEIN_TRIALS; from SKEIN_SEED on,
// or from 1.
func trials(t *testing.T, n int, trial func(t *testing.T, seed uint64)) {
	count, first := seeds(n), uint64(1)
	if s := os.Getenv("SKEIN_TRIALS"); s != "" {
		var err error
		if count, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("SKEIN_SEED"); s != "" {
		var err error
		if first, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for seed := first; seed < first+uint64(count); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { trial(t, seed) })
	}
	t.Logf("%d trials", count)
}
