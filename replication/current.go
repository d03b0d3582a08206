package replication

// Current reports whether this node has heard from its region since it started:
// that it has is in the metadata itself, and so is all that was decided before. Until
// then, what Meta lacks may be there all the same.
func (r *Member) Current() bool {
	n, known := r.meta.state.Node(r.cfg.Self.ID)
	return known && n.Instance == r.instance
}
