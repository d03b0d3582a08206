package placement

import (
	"bytes"
	"cmp"
	"slices"
)

// Next says which changes of partitions are due in a region: at most one for a
// partition that has none under way, most endangered partitions first, and at
// most so many that no node has more than MaxCatchingUp replicas to catch up.
// No step is proposed for a partition that has no healthy quorum, and none that
// would leave it without one, at any point of the step. When no step is due,
// it is empty; carried out and asked again, it comes to that.
//
// A voter on a node that is dead is only ever replaced, not removed, while the
// partition has no other replica in its stead: if the node comes back, so does
// the redundancy.
func Next(v View) []Step {
	p := newPlan(v)
	byDanger := slices.Clone(p.parts)
	slices.SortStableFunc(byDanger, func(a, b *planned) int {
		return cmp.Or(cmp.Compare(p.margin(a), p.margin(b)), bytes.Compare(a.ID[:], b.ID[:]))
	})
	var steps []Step
	for _, d := range byDanger {
		if s, ok := p.repair(d); ok {
			steps = append(steps, s)
		}
	}
	if len(steps) > 0 {
		return steps // what is broken comes before what is uneven
	}
	for m, ok := p.nextSpread(); ok; m, ok = p.nextSpread() {
		steps = append(steps, p.carry(m, WhyZones))
	}
	if len(steps) > 0 {
		return steps
	}
	for m, ok := p.nextMove(); ok; m, ok = p.nextMove() {
		steps = append(steps, p.carry(m, WhyLoad))
	}
	return steps
}

// carry makes a step of a move.
func (p *plan) carry(m move, why Why) Step {
	s := Step{Partition: m.part.ID, Why: why, Add: p.nodes[m.to].ID}
	for _, r := range m.part.voters {
		if r.Node == p.nodes[m.from].ID {
			s.Remove = r
		}
	}
	p.apply(m.part, m.to, m.from)
	return s
}

// margin is how many healthy voters a partition has beyond its quorum.
func (p *plan) margin(d *planned) int { return p.healthyVoters(d) - quorum(len(d.voters)) }

func (p *plan) healthyVoters(d *planned) (n int) {
	for _, r := range d.voters {
		if p.healthy(r) {
			n++
		}
	}
	return n
}

// repair finds what is wrong with a partition's replicas, and what to do.
func (p *plan) repair(d *planned) (Step, bool) {
	switch {
	case d.Change != nil:
		return p.giveUp(d)
	case p.margin(d) < 0:
		return Step{}, false // nothing can be committed: only its nodes can help
	}
	worst, why := p.worst(d)
	good := len(d.voters) - p.bad(d)
	switch {
	case why != "" && good < d.rf:
		return p.replace(d, worst, why)
	case why != "" && (why != WhyDead || good >= d.Want):
		return p.remove(d, worst, why)
	case why == "" && good < d.rf:
		add, ok := p.choose(d, -1)
		if !ok {
			return Step{}, false
		}
		p.apply(d, add, -1)
		return Step{Partition: d.ID, Why: WhyGrow, Add: p.nodes[add].ID}, true
	case why == "" && good > d.rf:
		return p.remove(d, p.surplus(d), WhySurplus)
	}
	return Step{}, false
}

// giveUp finds a change whose new replica will not come to vote.
func (p *plan) giveUp(d *planned) (Step, bool) {
	add := d.Change.Add
	if add.Node == "" || !d.Change.Undoable || p.margin(d) < 0 {
		return Step{}, false
	}
	i, known := p.at[add.Node]
	if known && !add.Lost && p.nodes[i].eligible() {
		return Step{}, false
	}
	return Step{Partition: d.ID, Why: WhyStuck, Undo: true}, true
}

// fault says why a voter should not stay where it is; it is empty if it should.
func (p *plan) fault(r Replica) Why {
	i, known := p.at[r.Node]
	switch {
	case r.Lost:
		return WhyLost
	case !known || p.nodes[i].State == Gone:
		return WhyGone
	case p.nodes[i].dead():
		return WhyDead
	case p.nodes[i].State == Draining:
		return WhyDraining
	}
	return ""
}

// worst is the voter that should leave first, and why.
func (p *plan) worst(d *planned) (worst Replica, why Why) {
	order := []Why{WhyLost, WhyGone, WhyDead, WhyDraining, ""}
	rank := len(order) - 1
	for _, r := range d.voters {
		if i := slices.Index(order, p.fault(r)); i < rank {
			worst, why, rank = r, order[i], i
		}
	}
	return worst, why
}

// bad is how many voters should not stay.
func (p *plan) bad(d *planned) (n int) {
	for _, r := range d.voters {
		if p.fault(r) != "" {
			n++
		}
	}
	return n
}

// replace finds a node to take a voter's place. A replica that lost what it
// knew begins anew on its own node, which has room for it.
func (p *plan) replace(d *planned, old Replica, why Why) (Step, bool) {
	from, known := p.at[old.Node]
	if !known {
		from = -1
	}
	add, ok := from, known && why == WhyLost && p.takes(from)
	if !ok {
		add, ok = p.choose(d, from)
	}
	if !ok {
		return Step{}, false
	}
	s := Step{Partition: d.ID, Why: why, Add: p.nodes[add].ID, Remove: old}
	// With two voters the other one alone would be left, and with it no
	// redundancy; but then a voter that is down left no quorum anyway.
	s.RemoveFirst = !p.healthy(old) && len(d.voters) > 2
	p.apply(d, add, from)
	return s, true
}

// remove takes a voter away, if those that stay are a healthy quorum.
func (p *plan) remove(d *planned, old Replica, why Why) (Step, bool) {
	left, healthy := len(d.voters)-1, p.healthyVoters(d)
	if p.healthy(old) {
		healthy--
	}
	if left < 1 || healthy < quorum(left) {
		return Step{}, false
	}
	from, known := p.at[old.Node]
	if !known {
		from = -1
	}
	p.apply(d, -1, from)
	return Step{Partition: d.ID, Why: why, Remove: old}, true
}

// surplus is the voter that is needed least: one that is down, then one in the
// most crowded zone, then on the node with the most load beside its share.
func (p *plan) surplus(d *planned) Replica {
	for _, r := range d.voters {
		if !p.healthy(r) {
			return r
		}
	}
	crowded := 0
	for _, i := range d.on {
		crowded = max(crowded, p.inZone(d, p.zone[i]))
	}
	for _, i := range p.byPressure(d.on) {
		if p.inZone(d, p.zone[i]) == crowded {
			at := slices.IndexFunc(d.voters, func(r Replica) bool { return r.Node == p.nodes[i].ID })
			return d.voters[at]
		}
	}
	return d.voters[0]
}
