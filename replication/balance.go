package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/transport/peer"
)

const (
	// saidFor is how long it counts what a node said of how much it leads.
	saidFor = 5 * time.Second
	// promisedFor is how long a node counts a leadership that it would take as its
	// own: by then it has it, or gets it not.
	promisedFor = 2 * time.Second
)

// leads is what nodes said of how much they lead, and what this one was offered.
type leads struct {
	mu       sync.Mutex // guards the fields below
	said     map[peer.ID]said
	promised []time.Time
}

type said struct {
	leads int
	at    time.Time
}

// of is how many partitions a node said a moment ago that it leads, or 0.
func (l *leads) of(id peer.ID, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.said[id]; now.Sub(s.at) < saidFor {
		return s.leads
	}
	return 0
}

func (l *leads) note(id peer.ID, n int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[id] = said{n, now}
}

// forget forgets what nodes said.
func (l *leads) forget(which func(peer.ID) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.said, func(id peer.ID, _ said) bool { return which(id) })
}

// promise is how many leaderships were promised to this node a moment ago; this
// promises one more.
func (l *leads) promise(now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised = slices.DeleteFunc(l.promised, func(at time.Time) bool { return now.Sub(at) >= promisedFor })
	l.promised = append(l.promised, now)
	return len(l.promised) - 1
}

// answerLead says how many partitions this node leads, those included that were
// promised to it: so that of two nodes that have too many, and ask at the same
// time, the second sees that the first was faster.
func (r *Member) answerLead() ([]byte, error) {
	if err := r.mayLead(); err != nil {
		return nil, err
	}
	n := r.leads.promise(time.Now())
	for _, rep := range r.open() {
		if rep.part.Group().IsLeader() {
			n++
		}
	}
	return binary.AppendUvarint(nil, uint64(n)), nil
}

var errCountless = errors.New("replication: the node does not say how much it leads")

// askLeads asks whether a node would lead one partition more, and notes how many it
// leads now.
func (r *Member) askLeads(ctx context.Context, id peer.ID) (counted bool, err error) {
	answer, err := r.askFor(ctx, vouchWait, id, askLead, nil)
	if err != nil {
		return false, err
	}
	n, size := binary.Uvarint(answer)
	if size > 0 { // nodes of an earlier version do not count
		r.leads.note(id, int(min(n, 1<<30)), time.Now())
	}
	return size > 0, nil
}

// balance hands over what this node leads and others should. It asks them first,
// since it does not know who leads what it keeps no replica of.
func (r *Member) balance() {
	asked := map[peer.ID]bool{}
	for range 3 { // the next time is soon
		due := slices.DeleteFunc(placement.Leaders(r.meta.state().View(r.seen())), func(t placement.Transfer) bool {
			return t.From != r.cfg.Self.ID
		})
		if len(due) == 0 { // one at most
			return
		}
		t := due[0]
		p, known := r.meta.state().Partition(t.Partition)
		g := r.host.Group(t.Partition)
		if g == nil || !known {
			return
		}
		err := r.yield(g, &p, t.To, asked)
		if err == nil && g.IsLeader() {
			continue // it has said how many it leads: does it still lead too little?
		}
		if err != nil {
			r.log.Debug("a partition was not handed over", "partition", p.Number, "to", t.To, "err", err)
		}
		return
	}
}

// yield hands the lead of a partition to a node that was asked how much it leads, or
// asks it.
func (r *Member) yield(g *multiraft.Group, p *meta.Partition, to peer.ID, asked map[peer.ID]bool) error {
	ctx, cancel := context.WithTimeout(r.ctx, 2*time.Second)
	defer cancel()
	if !asked[to] {
		asked[to] = true
		counted, err := r.askLeads(ctx, to)
		if n, _ := r.meta.state().Node(r.cfg.Self.ID); err == nil && !counted && n.State == meta.Active {
			err = errCountless
		}
		return err
	}
	for _, rep := range p.Replicas {
		if rep.Node == to {
			return g.TransferLeadership(ctx, raftReplica(rep.ReplicaID))
		}
	}
	return nil
}
