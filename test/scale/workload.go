package scale

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/event"
)

const namespace = "default"

// What is wanted and published: two thousand types, few of them used much, about
// subjects of which some are popular. Half of what a region wants and publishes
// is about its own subjects.
const (
	typesInUse   = 2000
	areas        = 40
	payloadBytes = 1024
)

// workload draws interests and events from the same distributions.
type workload struct {
	rng      *rand.Rand
	types    *rand.Zipf
	subjects *rand.Zipf
	regions  int
	payload  []byte
	builder  event.Builder
	number   int
}

// newWorkload makes the workload of a mesh with so many subscriptions in a
// region.
func newWorkload(rng *rand.Rand, regions, perRegion int) *workload {
	w := &workload{
		rng: rng, regions: regions, types: rand.NewZipf(rng, 1.1, 1, typesInUse-1),
		subjects: rand.NewZipf(rng, 1.05, 20, uint64(10*perRegion)), payload: make([]byte, payloadBytes),
	}
	for i := range w.payload {
		w.payload[i] = '0' + byte(i%10)
	}
	return w
}

// draw is what an interest or an event of a region is about.
func (w *workload) draw(region int) (kind uint64, subject, source, tier string) {
	about := region
	if w.rng.IntN(2) == 0 {
		about = w.rng.IntN(w.regions)
	}
	kind = w.types.Uint64()
	subject = fmt.Sprintf("r%02d/%d", about, w.subjects.Uint64())
	source = fmt.Sprintf("/r%02d/service/%d", about, w.subjects.Uint64())
	return kind, subject, source, fmt.Sprint(w.rng.IntN(5))
}

func typeName(kind uint64) string { return fmt.Sprintf("shop.area%d.type%d", kind%areas, kind) }

// interest is what one more subscriber of a region wants: mostly a type about a
// subject, a quarter of them from one source at one tier; some a type in all
// areas; few all subjects that end alike.
func (w *workload) interest(region int) filter.Filter {
	kind, subject, source, tier := w.draw(region)
	c := filter.Conjunct{Type: typeName(kind), Preds: []filter.Pred{in("subject", subject)}}
	switch share := w.rng.IntN(1000); {
	case share >= 999:
		c.Preds = []filter.Pred{{Attr: "subject", Op: filter.Suffix, Values: []string{fmt.Sprint("/", 1+w.rng.IntN(1000))}}}
	case share >= 950:
		c.Type = fmt.Sprintf("shop.*.type%d", kind)
	case share >= 700:
		c.Preds = []filter.Pred{in("source", source), in("tier", tier)}
	}
	return filter.Filter{Conjuncts: []filter.Conjunct{c}}
}

func in(attr, value string) filter.Pred {
	return filter.Pred{Attr: attr, Op: filter.In, Values: []string{value}}
}

// publish makes an event of 1 KiB of data that a service of a region publishes,
// and returns its number, which is its ID. Half of the events are about just what
// somebody wants.
func (w *workload) publish(region int, somebody filter.Filter, into *event.Event) int {
	kind, subject, source, tier := w.draw(region)
	typ := typeName(kind)
	if w.rng.IntN(2) == 0 {
		c := somebody.Conjuncts[0]
		typ = strings.Replace(c.Type, "*", "area0", 1)
		for _, p := range c.Preds {
			switch p.Attr {
			case "source":
				source = p.Values[0]
			case "tier":
				tier = p.Values[0]
			case "subject":
				subject = p.Values[0]
				if p.Op == filter.Suffix {
					subject = "r00" + subject
				}
			}
		}
	}
	w.number++
	w.builder.Reset()
	w.builder.SetString("id", fmt.Sprint(w.number)).SetString("source", source).SetString("type", typ).
		SetString("subject", subject).SetString("tier", tier).SetString("datacontenttype", "application/json").
		SetData(event.TextData, w.payload)
	if err := into.Scan(w.builder.Append(nil)); err != nil {
		panic(fmt.Sprintf("scale: the workload makes an event that cannot be read: %v", err))
	}
	return w.number
}
