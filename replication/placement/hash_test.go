package placement

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The values are those that a second implementation of the format gives.
func TestPartitionOfAKeyNeverChanges(t *testing.T) {
	for _, c := range []struct {
		key  string
		n    int
		want int
	}{
		{"", 1, 0}, {"", 8, 1}, {"a", 8, 5}, {"b", 8, 6}, {"/orders/eu", 8, 4}, {"/orders/eu", 64, 34},
		{"urn:uuid:7f1c", 16, 12}, {"x", 0, 0}, {"x", -3, 0},
	} {
		if got := Partition([]byte(c.key), c.n); got != c.want {
			t.Errorf("Partition(%q, %d) = %d, want %d", c.key, c.n, got, c.want)
		}
	}
}

// The values are those that other implementations of the paper give.
func TestJumpHashIsThePapers(t *testing.T) {
	for _, c := range []struct {
		key     uint64
		n, want int
	}{{1, 1, 0}, {42, 57, 43}, {0xdead10cc, 1, 0}, {0xdead10cc, 666, 361}, {256, 1024, 520}} {
		if got := jump(c.key, c.n); got != c.want {
			t.Errorf("jump(%#x, %d) = %d, want %d", c.key, c.n, got, c.want)
		}
	}
}

func TestKeysSpreadEvenlyAndMoveOnlyToAddedPartitions(t *testing.T) {
	const keys, n = 20_000, 8
	var counts [n]int
	for i := range keys {
		key := fmt.Appendf(nil, "/sensors/%d", i)
		at, then := Partition(key, n), Partition(key, n+1)
		counts[at]++
		if then != at && then != n {
			t.Fatalf("%s moves from %d to %d when %d is added", key, at, then, n)
		}
	}
	for p, c := range counts {
		if c < keys/n*9/10 || c > keys/n*11/10 {
			t.Errorf("partition %d has %d of %d keys", p, c, keys)
		}
	}
}

func TestSpreadNeverChanges(t *testing.T) {
	numbers := []uint32{0, 1, 2, 3, 4, 5, 6, 7}
	if got, want := Spread([16]byte{1, 2, 3}, numbers, 3), []uint32{7, 4, 6}; !slices.Equal(got, want) {
		t.Errorf("Spread = %v, want %v", got, want)
	}
}

func TestStreamsSpreadEvenlyAndGiveWayOnlyToAddedPartitions(t *testing.T) {
	numbers := []uint32{0, 1, 2, 3, 4, 5, 6, 7}
	const streams = 8000
	counts := map[uint32]int{}
	for i := range streams {
		var uuid [16]byte
		binary.BigEndian.PutUint64(uuid[8:], uint64(i))
		chosen := Spread(uuid, numbers, 2)
		for _, p := range chosen {
			counts[p]++
		}
		for _, p := range Spread(uuid, append(slices.Clone(numbers), 8), 2) {
			if p != 8 && !slices.Contains(chosen, p) {
				t.Fatalf("stream %d goes to %d when 8 is added", i, p)
			}
		}
	}
	for _, p := range numbers {
		if c := counts[p]; c < streams/4*9/10 || c > streams/4*11/10 {
			t.Errorf("partition %d keeps %d streams, %d are even", p, c, streams/4)
		}
	}
}

func TestSpreadTakesEachPartitionOnceAndNoMoreThanThereAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfN(rapid.Uint32Range(0, 9), 0, 12).Draw(t, "numbers")
		n := rapid.IntRange(-1, 12).Draw(t, "n")
		chosen := Spread([16]byte{7}, numbers, n)
		distinct := slices.Compact(slices.Sorted(slices.Values(numbers)))
		if len(chosen) != max(0, min(n, len(distinct))) {
			t.Fatalf("%d of %v are %v", n, numbers, chosen)
		}
		if again := slices.Compact(slices.Sorted(slices.Values(chosen))); len(again) != len(chosen) {
			t.Fatalf("%v has one twice", chosen)
		}
	})
}

func TestSharedPartitionsGrowWithTheRegionAndNeverShrink(t *testing.T) {
	for _, c := range []struct{ have, nodes, want int }{
		{0, 1, 8}, {8, 8, 8}, {8, 9, 9}, {9, 4, 9}, {8, 1000, 64}, {80, 3, 80},
	} {
		if got := Shared(c.have, c.nodes); got != c.want {
			t.Errorf("Shared(%d, %d) = %d, want %d", c.have, c.nodes, got, c.want)
		}
	}
}

func TestPartitionOfAKeyDoesNotAllocate(t *testing.T) {
	key := []byte("/sensors/4711")
	if n := testing.AllocsPerRun(100, func() { Partition(key, 64) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
