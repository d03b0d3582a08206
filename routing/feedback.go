package routing

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// What a widened summary costs shows where events enter the region, which may
// be at a node other than the one that says it. So each node tells its region
// how many events came, because of each widening, that nobody wanted:
//
//	cost: level (1) | entry of the widening, as an interest
//
// Level l means up to 2^l events a minute, and more than half of that. It is
// looked at once in a review, and changes seldom.

const (
	minLevel = 1
	maxLevel = 48
)

// tell says what widenings cost here, as their rates are now.
func (s *summary) tell(list []*widening) {
	now := map[string]struct{}{}
	for _, w := range list {
		if perMinute := uint64(math.Ceil(w.rate * 60)); perMinute > 0 {
			l := min(bits.Len64(perMinute), maxLevel)
			now[string(rune(l))+w.entry] = struct{}{}
		}
	}
	for cost := range s.told {
		if _, still := now[cost]; !still {
			s.feedback.set(cost, false)
		}
	}
	for cost := range now {
		s.feedback.set(cost, true)
	}
	s.told = now
}

// readCost reads what tell says.
func readCost(cost string) (entry string, perSecond float64, err error) {
	if len(cost) < 2 || len(cost) > 1+maxEntry || cost[0] < minLevel || cost[0] > maxLevel || cost[1]&kindMask != kindInterest {
		return "", 0, fmt.Errorf("%w: no cost of a widening", ErrEntry)
	}
	if _, err := readEntry(cost[1:]); err != nil {
		return "", 0, err
	}
	return strings.Clone(cost[1:]), math.Exp2(float64(cost[0])) / 60, nil
}

// FeedbackChanges is what this node must say now, to its region, of what its
// region's summary costs: the difference since the last call. Call
// SummaryChanges first.
func (t *Table) FeedbackChanges(now time.Time) (adds, removes []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.summary.feedback.drain(now)
}

// SetFeedback changes what another node of this region says that the summary
// costs; with full, adds is all it says. What cannot be read is left out, and
// the error names it. DropNode forgets it, too.
func (t *Table) SetFeedback(id peer.ID, adds, removes []string, full bool) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.costs[id]
	if have == nil || full {
		have = map[string]struct{}{}
		t.costs[id] = have
	}
	for _, cost := range removes {
		delete(have, cost)
	}
	for _, cost := range adds {
		if _, _, bad := readCost(cost); bad != nil {
			err = bad
			continue
		}
		have[cost] = struct{}{}
	}
	if len(have) == 0 {
		delete(t.costs, id)
	}
	t.hearCosts()
	return err
}

// hearCosts adds up what the other nodes say.
func (t *Table) hearCosts() {
	clear(t.summary.heard)
	for _, costs := range t.costs {
		for cost := range costs {
			if entry, rate, err := readCost(cost); err == nil { // read before
				t.summary.heard[entry] += rate
			}
		}
	}
}
