package placement

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// Partition is which of n partitions keeps a key, from 0 to n-1; it is 0 for
// n < 2.
//
// It is part of the format of stored streams and of the wire: the 64-bit
// FNV-1a hash of the key's bytes (offset basis 0xcbf29ce484222325, prime
// 0x100000001b3), through the finaliser of MurmurHash3 (fmix64), through jump
// consistent hash (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash
// Algorithm", 2014). The finaliser is there because FNV-1a leaves the high bits
// of short keys much alike, and jump hash begins with them.
func Partition(key []byte, n int) int {
	h := uint64(0xcbf29ce484222325)
	for _, b := range key {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	return jump(mix(h), n)
}

// jump is jump consistent hash. Its two operations on floating-point numbers
// are rounded alike on every machine.
func jump(key uint64, n int) int {
	var b, j int64 = 0, 0
	for j < int64(n) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(int64(1)<<31) / float64((key>>33)+1)))
	}
	return int(b)
}

// mix is the finaliser of MurmurHash3.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Spread chooses n of the region's shared partitions, by number, to keep a
// stream, best first: all of them if there are no more than n. Each stream has
// its own order of preference, so that streams lie evenly; a partition that is
// added takes a stream's place in another only by being preferred to it, and
// not even that for streams that are assigned, since assignments are kept.
//
// A partition's preference is mix(hi ^ mix(lo ^ mix(number+1))) of the two
// little-endian halves of the stream's id; of equal ones the lower number wins.
func Spread(stream [16]byte, partitions []uint32, n int) []uint32 {
	lo, hi := binary.LittleEndian.Uint64(stream[:8]), binary.LittleEndian.Uint64(stream[8:])
	type choice struct {
		score  uint64
		number uint32
	}
	choices := make([]choice, len(partitions))
	for i, p := range partitions {
		choices[i] = choice{mix(hi ^ mix(lo^mix(uint64(p)+1))), p}
	}
	slices.SortFunc(choices, func(a, b choice) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.number, b.number))
	})
	choices = slices.CompactFunc(choices, func(a, b choice) bool { return a.number == b.number })
	chosen := make([]uint32, 0, max(0, min(n, len(choices))))
	for _, c := range choices[:cap(chosen)] {
		chosen = append(chosen, c.number)
	}
	return chosen
}

const (
	minShared = 8
	maxShared = 64
)

// Shared is how many shared partitions a region should have that has some
// already and so many nodes: one a node, at least 8, at most 64, never fewer
// than it has, since logs do not move between partitions.
func Shared(have, nodes int) int {
	return max(have, min(max(nodes, minShared), maxShared))
}

// preference is how much a partition prefers a node: the greatest of as many
// hashes as the node has weight, which makes a node of weight two first among
// the others twice as often.
func preference(partition [16]byte, n Node) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(n.ID) {
		h = (h ^ uint64(n.ID[i])) * 0x100000001b3
	}
	lo, hi := binary.LittleEndian.Uint64(partition[:8]), binary.LittleEndian.Uint64(partition[8:])
	seed := mix(bits.RotateLeft64(mix(lo^h), 31) ^ hi)
	best := uint64(0)
	for i := range n.weight() {
		best = max(best, mix(seed+uint64(i)*0x9e3779b97f4a7c15))
	}
	return best
}
