package main

import "fmt"

// didYouMean names the nearest of the valid words, as the end of an error's
// sentence; it is empty when there are none.
func didYouMean(typed, prefix string, valid []string) string {
	near := nearest(typed, valid)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; the nearest is %s%s", prefix, near)
}

// nearest is the word with the smallest edit distance to the typed one, the
// first of equals; empty only when there are no words.
func nearest(typed string, valid []string) string {
	best, least := "", 0
	for _, v := range valid {
		if d := distance(typed, v); best == "" || d < least {
			best, least = v, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, substitutions and swaps of
// neighbours between two words (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	var before []int
	last := make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row := make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}
