package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
)

// fullPause is how long Apply waits for room on a full disk before it looks again.
const fullPause = 500 * time.Millisecond

// insist calls do until the disk has room. An error of another kind is the end of
// the replica.
func (p *Partition) insist(do func() error) error {
	said := false
	for {
		err := do()
		if err == nil || !errors.Is(err, store.ErrFull) {
			return err
		}
		if !said {
			said = true
			p.log.Error("the disk is full; the partition waits for room", "partition", p.cfg.ID, "err", err)
		}
		select {
		case <-time.After(fullPause):
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
}

// machine is the partition as its group sees it.
type machine Partition

var _ multiraft.FSM = (*machine)(nil)

// Apply implements multiraft.FSM.
func (m *machine) Apply(entries []multiraft.Entry) []any {
	p := (*Partition)(m)
	p.haste.over()
	results := make([]any, len(entries))
	if err := p.Failed(); err != nil {
		for i := range results {
			results[i] = err
		}
		return results
	}
	for i := range entries {
		result, err := p.apply(entries[i].Data)
		if err != nil {
			p.fail(fmt.Errorf("partition %s: apply entry %d: %w", p.cfg.ID, entries[i].Index, err))
			for j := i; j < len(results); j++ {
				results[j] = err
			}
			break
		}
		results[i] = result
		p.since += int64(len(entries[i].Data))
	}
	if err := p.write(); err != nil && p.Failed() == nil {
		p.fail(fmt.Errorf("partition %s: apply entries up to %d: %w", p.cfg.ID, entries[len(entries)-1].Index, err))
		for i := range results {
			results[i] = err
		}
	}
	p.askSnapshot()
	if p.freed {
		p.freed = false
		p.spares()
	}
	return results
}

// askSnapshot has a snapshot taken when enough was applied since the last.
func (p *Partition) askSnapshot() {
	if p.since < SnapshotBytes || p.due.Swap(true) {
		return
	}
	p.wg.Go(func() {
		defer p.due.Store(false)
		if err := p.group.Snapshot(p.ctx); err != nil && p.ctx.Err() == nil {
			p.log.Warn("no snapshot was taken", "partition", p.cfg.ID, "err", err)
		}
	})
}

// apply applies an entry. It returns an error only if the replica can go on no
// more; that an entry makes no sense is its result.
func (p *Partition) apply(entry []byte) (result any, err error) {
	c := &p.command
	if err := c.read(entry); errors.Is(err, store.ErrNewer) {
		return nil, err // others apply it: to pass it over would be to differ from them
	} else if err != nil {
		return err, nil // all replicas refuse it alike
	}
	p.now = max(p.now, c.now)
	switch c.kind {
	case kindAppend:
		return p.append(c)
	case kindTrim:
		if err := p.write(); err != nil {
			return nil, err
		}
		if l, err := p.Log(c.id); err == nil {
			p.freed = l.seg.Trim(c.offset) || p.freed
		}
	case kindDrop:
		if err := p.write(); err != nil {
			return nil, err
		}
		p.freed = true
		return nil, p.drop(c.id)
	}
	return nil, nil
}

// write writes what the entries before have added to logs.
func (p *Partition) write() error {
	for i, l := range p.unwritten {
		if err := p.insist(l.flush); err != nil {
			return err
		}
		l.unwritten, p.unwritten[i] = false, nil
	}
	p.unwritten = p.unwritten[:0]
	return nil
}

// append adds an entry's records to their logs, which write completes: the entries
// that Raft hands over together are written together.
func (p *Partition) append(c *command) (any, error) {
	results := make([]Appended, len(c.records))
	defer func() {
		clear(p.touched)
		p.touched = p.touched[:0]
	}()
	for i := range c.logs {
		l, err := p.Log(c.logs[i].id)
		if err != nil {
			err = p.insist(func() (err error) {
				l, err = p.open(kept{id: c.logs[i].id, birth: p.births})
				return err
			})
			p.births++
		}
		if err != nil {
			return nil, err
		}
		p.touched = append(p.touched, l)
	}
	for i := range c.records {
		a := &c.records[i]
		l := p.touched[a.log]
		var err error
		results[i], err = l.take(p.now, &c.logs[a.log], a)
		if errors.Is(err, store.ErrFull) {
			err = p.insist(func() (err error) {
				results[i], err = l.take(p.now, &c.logs[a.log], a)
				return err
			})
		}
		if err != nil {
			return nil, err
		}
		if !l.unwritten {
			l.unwritten, p.unwritten = true, append(p.unwritten, l)
		}
	}
	return results, nil
}

// drop ends a log. Its files are removed when a snapshot is there that does not
// have it.
func (p *Partition) drop(id LogID) error {
	p.mu.Lock()
	l := p.logs[id]
	delete(p.logs, id)
	p.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.end()
}
