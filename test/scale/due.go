package scale

import "slices"

// expectation is an event that was published, and who must get it yet: the nodes
// of these subscribers.
type expectation struct {
	phase *phase
	hosts map[*host][]*subscription
}

// received notes that the host has an event, or knows that it has not.
func (f *flows) received(number int, lost bool) {
	e := f.h.w.due[number]
	if e == nil || e.hosts[f.h] == nil {
		return
	}
	if lost {
		e.phase.reported++
	}
	f.h.w.settled(number, f.h)
}

// settled notes that nothing more is due to a host of an event.
func (w *world) settled(number int, h *host) {
	e := w.due[number]
	if delete(e.hosts, h); len(e.hosts) == 0 {
		delete(w.due, number)
	}
}

// ended notes that a subscription is over: what was on its way to it alone is due
// to nobody.
func (w *world) ended(s *subscription) {
	for number, e := range w.due {
		wanted := e.hosts[s.host]
		if !slices.Contains(wanted, s) {
			continue
		}
		if e.hosts[s.host] = slices.DeleteFunc(wanted, func(o *subscription) bool { return o == s }); len(e.hosts[s.host]) == 0 {
			e.phase.due--
			w.settled(number, s.host)
		}
	}
}

// missing is how many deliveries are still due that events of a phase asked for.
func (w *world) missing(p *phase) (n int) {
	for _, e := range w.due {
		if e.phase == p {
			n += len(e.hosts)
		}
	}
	return n
}
