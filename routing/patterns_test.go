package routing

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
)

func somePattern(t *rapid.T, label string) string {
	if rapid.IntRange(0, 9).Draw(t, label) == 0 {
		return ""
	}
	tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, label)
	if len(tokens) == 0 || rapid.IntRange(0, 2).Draw(t, label) == 0 {
		tokens = append(tokens, ">")
	}
	return strings.Join(tokens, ".")
}

// Among any patterns, those that cover one, and those that it covers, are found:
// all and no others.
func TestPatternsThatCoverEachOtherAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p patterns
		names := map[*group]string{}
		have := map[string]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			one := somePattern(t, "pattern")
			if have[one] && rapid.Bool().Draw(t, "remove") {
				p.remove(one)
				delete(have, one)
			} else if at := p.at(one, true); *at == nil {
				*at = new(group)
				names[*at], have[one] = one, true
			}
			of := somePattern(t, "of")
			var covering, covered, wantCovering, wantCovered []string
			for g := range p.covering(of) {
				covering = append(covering, names[g])
			}
			for g := range p.covered(of) {
				covered = append(covered, names[g])
			}
			for other := range have {
				if filter.PatternCovers(other, of) {
					wantCovering = append(wantCovering, other)
				}
				if filter.PatternCovers(of, other) {
					wantCovered = append(wantCovered, other)
				}
			}
			for _, list := range [][]string{covering, covered, wantCovering, wantCovered} {
				slices.Sort(list)
			}
			if !slices.Equal(covering, wantCovering) || !slices.Equal(covered, wantCovered) {
				t.Fatalf("of %q among %v: covering %q, want %q; covered %q, want %q", of, have, covering, wantCovering, covered, wantCovered)
			}
		}
		for one := range have {
			p.remove(one)
		}
		if p.any != nil || !p.root.empty() {
			t.Fatal("something is left")
		}
	})
}
