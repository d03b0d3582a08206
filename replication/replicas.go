package replication

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/store/segment"
)

// replica is a replica of a partition that this node keeps, or has begun to.
type replica struct {
	number  uint32
	id      meta.ReplicaID
	journal journal.ID
	part    *partition.Partition
	failed  atomic.Bool // it is to be given up
}

// journalID is what the journal keeps a replica under: replicas of one partition
// under different epochs have nothing in common.
func journalID(id multiraft.GroupID, epoch uint64) (j journal.ID) {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(id[:], epoch))
	copy(j[:], sum[:])
	return j
}

// begun is set in the journal before a replica first takes part in its group: one
// that began and has no such value has lost its memory.
const begun = "replica"

// reconcile opens the replicas that this node should keep and closes those it
// should not.
func (r *Member) reconcile() {
	if r.broken() != nil {
		return // nothing can be opened, and what is open leads nothing
	}
	wanted := map[multiraft.GroupID]bool{}
	for _, p := range r.meta.state().Partitions() {
		for _, rep := range p.Replicas {
			if rep.Node != r.cfg.Self.ID || rep.Lost || !p.Retired.IsZero() {
				continue
			}
			wanted[multiraft.GroupID(p.ID)] = true
			if err := r.keep(&p, &rep); err != nil && r.ctx.Err() == nil {
				r.log.Warn("a replica is not open yet", "partition", p.Number, "epoch", rep.Epoch, "err", err)
			}
		}
	}
	for id, rep := range r.open() {
		if !wanted[id] || rep.failed.Load() {
			r.giveUp(id, rep)
		}
	}
}

// open are the replicas that are open now.
func (r *Member) open() map[multiraft.GroupID]*replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	open := make(map[multiraft.GroupID]*replica, len(r.replicas))
	for id, rep := range r.replicas {
		open[id] = rep
	}
	return open
}

// keep opens a replica that is not open yet.
func (r *Member) keep(p *meta.Partition, rep *meta.Replica) error {
	id := multiraft.GroupID(p.ID)
	r.mu.Lock()
	have, damage, outdated := r.replicas[id], r.condemned[journalID(id, rep.Epoch)], r.outdated[journalID(id, rep.Epoch)]
	r.mu.Unlock()
	if outdated {
		return nil
	}
	if have != nil {
		if have.id != rep.ReplicaID {
			have.failed.Store(true) // an earlier epoch's
		}
		return nil
	}
	group := r.logs.Replica(journalID(id, rep.Epoch))
	if damage == nil {
		damage = group.Err()
		if damage != nil && !rep.Bootstrapped { // so nothing is lost of it: the journal cannot know
			if err := group.Forget(); err != nil {
				return err
			}
			damage = nil
		}
	}
	if damage != nil {
		return r.lost(p, rep, damage)
	}
	_, err := group.Value(begun)
	switch {
	case errors.Is(err, store.ErrNotFound) && rep.Bootstrapped:
		return r.lost(p, rep, errors.New("the disk knows nothing of it"))
	case errors.Is(err, store.ErrNotFound):
		if err := group.SetValues(store.Value{Key: begun, Data: []byte{1}}); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if !rep.Bootstrapped {
		// Before the replica can vote, all know that it has begun.
		if err := r.Propose(r.ctx, &meta.MarkReplica{Partition: p.ID, Replica: rep.ReplicaID, As: meta.Bootstrapped}); err != nil {
			return err
		}
	}
	return r.start(p, rep, group)
}

func (r *Member) start(p *meta.Partition, rep *meta.Replica, group replicaLog) error {
	id := multiraft.GroupID(p.ID)
	var first []multiraft.Replica
	fresh, err := multiraft.IsFresh(group)
	if err != nil {
		return err
	}
	for _, i := range p.Initial {
		if i == rep.ReplicaID && fresh {
			first = initial(p)
		}
	}
	n := &replica{number: p.Number, id: rep.ReplicaID, journal: journalID(id, rep.Epoch)}
	n.part, err = partition.Open(partition.Config{
		Host: r.host, ID: id, Epoch: rep.Epoch, Bootstrap: first, Store: group,
		FS: r.cfg.FS, Dir: r.replicaDir(p.Number, rep.Epoch), Files: r.files, FileBytes: r.cfg.SegmentBytes,
		Fetch: func(ctx context.Context, from multiraft.Replica, log partition.LogID, file segment.FileInfo, position int64, haste uint) ([]byte, error) {
			return r.fetch(ctx, p.Number, from, log, file, position, haste)
		},
		OnLeader: func(leader multiraft.Replica, _ uint64) {
			r.asking.led(p.Number, leader.Node)
			r.poke()
		},
		OnFailure: func(err error) {
			if errors.Is(err, store.ErrFailed) {
				r.breaks(err)
			}
			n.failed.Store(true)
			r.poke()
		},
		Log: r.log,
	})
	if err != nil {
		if errors.Is(err, store.ErrNewer) {
			r.outdate(n, err)
			return nil
		}
		if errors.Is(err, store.ErrCorrupt) || missingFiles(err) || group.Err() != nil {
			return r.lost(p, rep, err)
		}
		return err
	}
	r.mu.Lock()
	r.replicas[id] = n
	r.mu.Unlock()
	r.log.Info("a replica is open", "partition", p.Number, "epoch", rep.Epoch, "new", fresh)
	if len(first) > 0 && first[0].Node == r.cfg.Self.ID {
		r.wg.Go(func() { r.campaign(n.part.Group()) })
	}
	return nil
}

// campaign has a new partition led soon: its first replica stands for election as
// soon as the others may be there, a few times.
func (r *Member) campaign(g *multiraft.Group) {
	for range 4 {
		if !r.sleep(r.ctx, campaignPause) {
			return
		}
		if _, _, known := g.Leader(); known {
			return
		}
		g.Campaign()
	}
}

const campaignPause = 100 * time.Millisecond

func missingFiles(err error) bool {
	var missing *segment.MissingError
	return errors.As(err, &missing)
}

func initial(p *meta.Partition) (list []multiraft.Replica) {
	for _, i := range p.Initial {
		list = append(list, multiraft.Replica{Node: i.Node, Epoch: i.Epoch})
	}
	return list
}

func (r *Member) replicaDir(number uint32, epoch uint64) string {
	return filepath.Join(r.cfg.Dir, "partitions", fmt.Sprintf("%d-%d", number, epoch))
}

// lost tells the region that a replica must never vote again: it gets another
// epoch. What is left of it stays until the region has taken it off its list.
func (r *Member) lost(p *meta.Partition, rep *meta.Replica, why error) error {
	r.log.Error("a replica has lost what it knew and will be made anew", "partition", p.Number, "epoch", rep.Epoch, "err", why)
	return r.Propose(r.ctx, &meta.MarkReplica{Partition: p.ID, Replica: rep.ReplicaID, As: meta.Lost})
}

// condemn gives up a replica that is damaged: it is not opened again.
func (r *Member) condemn(rep *replica, why error) {
	r.mu.Lock()
	r.condemned[rep.journal] = why
	r.mu.Unlock()
	rep.failed.Store(true)
	r.poke()
}

// outdate leaves a replica closed that a later version has written to.
func (r *Member) outdate(rep *replica, why error) {
	r.log.Error("a replica stays closed until this node is upgraded", "partition", rep.number, "epoch", rep.id.Epoch, "err", why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outdated[rep.journal] = true
}

// giveUp closes a replica that is no longer wanted here, and lets the journal
// forget it; or that has failed: it is lost if it is damaged, else opened again.
func (r *Member) giveUp(id multiraft.GroupID, rep *replica) {
	cause := rep.part.Failed()
	if err := rep.part.Close(); err != nil {
		r.log.Warn("a replica was closed with an error", "partition", rep.number, "err", err)
	}
	r.mu.Lock()
	delete(r.replicas, id)
	r.mu.Unlock()
	p, known := r.meta.state().Partition(meta.ID(id))
	if !known {
		return
	}
	at := p.Replica(rep.id)
	if at >= 0 && p.Retired.IsZero() && !p.Replicas[at].Lost {
		if errors.Is(cause, store.ErrNewer) {
			r.outdate(rep, cause)
			return
		}
		if errors.Is(cause, store.ErrCorrupt) {
			r.condemn(rep, cause)
		}
		r.mu.Lock()
		cause = r.condemned[rep.journal]
		r.mu.Unlock()
		if cause != nil {
			if err := r.lost(&p, &p.Replicas[at], cause); err != nil {
				r.log.Warn("the loss of a replica could not be told yet", "partition", rep.number, "err", err)
			}
		}
		return
	}
	r.erase(&p, rep, at)
}

// erase deletes what a replica kept that the region has taken off its list.
func (r *Member) erase(p *meta.Partition, rep *replica, at int) {
	err := errors.Join(
		r.logs.Replica(rep.journal).Forget(),
		store.RemoveAll(r.cfg.FS, r.replicaDir(rep.number, rep.id.Epoch)),
	)
	if err != nil {
		r.log.Warn("what a former replica kept could not be deleted", "partition", rep.number, "err", err)
		return
	}
	r.log.Info("a replica was given up", "partition", rep.number, "epoch", rep.id.Epoch)
	if at >= 0 && !p.Retired.IsZero() {
		if err := r.Propose(r.ctx, &meta.MarkReplica{Partition: p.ID, Replica: rep.id, As: meta.Erased}); err != nil {
			r.log.Warn("that a replica is erased could not be told yet", "partition", rep.number, "err", err)
		}
	}
}

// leftovers deletes what is here of replicas that the region has taken off its
// list while they were not open: lost ones, and those of a node that was away.
// That the region does not know a partition deletes nothing.
func (r *Member) leftovers() {
	names, err := r.cfg.FS.List(filepath.Join(r.cfg.Dir, "partitions"))
	if err != nil {
		return // there are none
	}
	self, _ := r.meta.state().Node(r.cfg.Self.ID)
	open := r.open()
	partitions := map[uint32]meta.Partition{}
	for _, p := range r.meta.state().Partitions() {
		partitions[p.Number] = p
	}
	for _, name := range names {
		var number uint32
		id := meta.ReplicaID{Node: r.cfg.Self.ID}
		if n, err := fmt.Sscanf(name, "%d-%d", &number, &id.Epoch); n != 2 || err != nil {
			continue
		}
		p, known := partitions[number]
		if !known || p.Replica(id) >= 0 || id.Epoch >= self.NextEpoch {
			continue
		}
		group := multiraft.GroupID(p.ID)
		if rep := open[group]; rep == nil || rep.id != id {
			r.erase(&p, &replica{number: number, id: id, journal: journalID(group, id.Epoch)}, -1)
		}
	}
}
