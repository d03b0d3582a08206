package routing

import "github.com/skeinmesh/skein/transport/peer"

// Each gateway of a region says a summary of its own, and what any of them says
// counts: if they were wider in different places, the region would be wide in
// all of these. So a gateway that must say something wider takes first what
// another says already, which costs nothing more.

// SetFellow changes what another gateway of this region says that the region
// wants; with full, adds is all it says. Entries that are of no use here are left
// out, those that cannot be read as well.
func (t *Table) SetFellow(gateway peer.ID, adds, removes []string, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.fellows[gateway]
	if full {
		for entry := range have {
			t.summary.unshare(entry)
		}
		have = nil
	}
	if have == nil {
		have = map[string]struct{}{}
		t.fellows[gateway] = have
	}
	for _, s := range adds {
		if entry, ok := widenedEntry(s); ok {
			if _, has := have[entry]; !has {
				have[entry] = struct{}{}
				t.summary.shared[entry]++
			}
		}
	}
	for _, s := range removes {
		if entry, ok := widenedEntry(s); ok {
			if _, has := have[entry]; has {
				delete(have, entry)
				t.summary.unshare(entry)
			}
		}
	}
	if len(have) == 0 {
		delete(t.fellows, gateway)
	}
}

// widenedEntry is the interest, as an entry, that a widened one says.
func widenedEntry(s string) (entry string, ok bool) {
	if s == "" || s[0]&kindMask != kindWidened {
		return "", false
	}
	e, err := readEntry(s)
	if err != nil {
		return "", false
	}
	return EncodeEntry(e.ns, e.conjunct), true
}

// unshare notes that one gateway fewer says an interest in place of others.
func (s *summary) unshare(entry string) {
	if s.shared[entry]--; s.shared[entry] == 0 {
		delete(s.shared, entry)
	}
}
