package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/skeinmesh/skein/routing/match"
	"github.com/skeinmesh/skein/transport/peer"
)

// Scope says whose an interest is.
type Scope string

const (
	OfSubscription Scope = "subscription" // of this node
	OfNode         Scope = "node"         // of this region
	OfRegion       Scope = "region"       // another one, or where the summary is wider than the truth this one
)

// Interest is one interest, for people.
type Interest struct {
	Scope     Scope
	Namespace string
	Filter    string
	Region    string  // of OfRegion
	Node      peer.ID // of the other two
	Label     string  // of a subscription, or how a summary came to say it
	Count     int     // subscriptions with this filter and label, or interests that it is said for
	Unwanted  uint64  // events that came here because of it and nobody in this region wanted; of this region's summary
}

// Stats are counters since New, and what this node's summary is now.
type Stats struct {
	SummaryBytes int    // what it takes to say the summary, as estimated
	Widened      int    // interests said in place of several, to keep to the budget
	Fingerprints int    // said in place of values
	Unwanted     uint64 // events from other regions that nobody in this one wanted
	Strays       uint64 // those of them that nothing the summary says now explains: it lingered, or another gateway says it
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := Stats{
		SummaryBytes: t.summary.size, Widened: len(t.summary.widened),
		Unwanted: t.unwanted.Load(), Strays: t.strays.Load(),
	}
	for _, sh := range t.summary.shapes {
		if sh.prints != nil {
			s.Fingerprints += sh.prints.live
		}
	}
	return s
}

// Sizes counts the interests that the table knows, by whose they are: those of
// subscriptions, and what nodes and regions say they want, which sums up. Of
// fingerprints, each counts.
func (t *Table) Sizes() map[Scope]int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	sizes := map[Scope]int{OfSubscription: len(t.subs), OfNode: 0, OfRegion: 0}
	for _, entries := range t.nodes {
		sizes[OfNode] += len(entries)
	}
	for _, n := range t.sizes {
		sizes[OfRegion] += n
	}
	return sizes
}

// Interests lists all that the table knows, sorted.
func (t *Table) Interests() []Interest {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []Interest
	counts := map[Interest]int{}
	for s := range t.subs {
		counts[Interest{Scope: OfSubscription, Namespace: s.ns, Filter: s.filter.String(), Node: t.self, Label: s.label}]++
	}
	for in, n := range counts {
		in.Count = n
		list = append(list, in)
	}
	for id, entries := range t.nodes {
		for e := range entries {
			if ns, c, err := DecodeEntry(e); err == nil { // read before
				list = append(list, Interest{Scope: OfNode, Namespace: ns, Filter: c.String(), Node: id})
			}
		}
	}
	for region, gateways := range t.regions {
		list = append(list, regionInterests(region, gateways)...)
	}
	list = append(list, t.summary.interests(t.region)...)
	slices.SortFunc(list, func(a, b Interest) int {
		return cmp.Or(cmp.Compare(b.Scope, a.Scope), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Filter, b.Filter), cmp.Compare(a.Label, b.Label))
	})
	return list
}

// What labels say of a summary's interests.
const (
	labelWidened = "widened: said in place of narrower ones"
	labelPrints  = "fingerprints in place of values"
	labelShort   = "short fingerprints in place of values" // more than one in a few billion of other values seem to be among them
)

// printsLabel says what fingerprints are.
func printsLabel(p *match.Prints) string {
	if p.Cut > 0 {
		return labelShort
	}
	return labelPrints
}

// regionInterests lists what the gateways of another region say.
func regionInterests(region string, gateways map[peer.ID]map[string]bool) (list []Interest) {
	seen := map[string]bool{}            // entries
	prints := map[string]*match.Prints{} // by all but the fingerprints
	sets := map[string]map[uint32]struct{}{}
	namespaces := map[string]string{}
	for _, entries := range gateways {
		for s := range entries {
			e, err := readEntry(s)
			if err != nil || seen[s] { // read before
				continue
			}
			seen[s] = true
			if e.prints == nil {
				in := Interest{Scope: OfRegion, Namespace: e.ns, Filter: e.conjunct.String(), Region: region}
				if e.widened {
					in.Label = labelWidened
				}
				list = append(list, in)
				continue
			}
			set := e.prints.Set
			e.prints.Set = nil
			key := encodePrints(e.ns, *e.prints)
			if prints[key] == nil {
				prints[key], sets[key], namespaces[key] = e.prints, map[uint32]struct{}{}, e.ns
			}
			for _, fp := range set {
				sets[key][fp] = struct{}{}
			}
		}
	}
	for key, p := range prints {
		list = append(list, Interest{
			Scope: OfRegion, Namespace: namespaces[key], Filter: describePrints(p, len(sets[key])), Region: region,
			Label: printsLabel(p), Count: len(sets[key]),
		})
	}
	return list
}

// interests lists what of a summary is not what the region's nodes say, and what
// that costs.
func (s *summary) interests(region string) (list []Interest) {
	cost := func(label string, o *offender) string {
		return fmt.Sprintf("%s; %d events came for nobody", label, o.unwanted.Load())
	}
	for _, w := range s.widened {
		in := Interest{
			Scope: OfRegion, Namespace: w.ns, Filter: w.conjunct.String(), Region: region,
			Label: cost(labelWidened, w.blame), Count: s.standsFor(w), Unwanted: w.blame.unwanted.Load(),
		}
		list = append(list, in)
	}
	for _, sh := range s.shapes {
		if sh.prints != nil {
			list = append(list, Interest{
				Scope: OfRegion, Namespace: sh.ns, Filter: describePrints(&sh.prints.proto, sh.members.len()), Region: region,
				Label: cost(printsLabel(&sh.prints.proto), sh.blame), Count: sh.members.len(), Unwanted: sh.blame.unwanted.Load(),
			})
		}
	}
	return list
}

// describePrints is a set of n fingerprints for people.
func describePrints(p *match.Prints, n int) string {
	what := fmt.Sprintf("%s is one of %d values", p.Attrs[0], n)
	if last := len(p.Attrs) - 1; last > 0 {
		what = fmt.Sprintf("%s and %s are one of %d combinations", strings.Join(p.Attrs[:last], ", "), p.Attrs[last], n)
	}
	if p.Base.Type == "" && len(p.Base.Preds) == 0 {
		return what
	}
	return p.Base.String() + " and " + what
}
