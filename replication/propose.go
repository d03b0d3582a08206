package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
)

// stir wakes whoever waits for a command to be applied.
func (m *metadata) stir() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.moved)
	m.moved = make(chan struct{})
}

// applied waits until a command is applied here.
func (m *metadata) applied(ctx context.Context, index uint64) error {
	for {
		m.mu.Lock()
		moved := m.moved
		m.mu.Unlock()
		if m.state().Applied() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ErrNoLeader: nobody leads what was asked for, as far as is known: there is no
// quorum, or no leader yet.
var ErrNoLeader = errors.New("no leader")

const (
	proposeWait  = 10 * time.Second
	retryPause   = 50 * time.Millisecond
	retryPauseTo = 500 * time.Millisecond
)

// Propose has the region decide on a command and waits until it is applied here.
// The error is one of package meta's if it was refused; ErrNoLeader if nobody could
// be asked before ctx ended, or ten seconds; with multiraft.ErrUnknown nobody
// knows whether it was applied: commands may be proposed again.
func (r *Member) Propose(ctx context.Context, c meta.Command) error {
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	cmd, err := meta.Encode(time.Now(), c)
	if err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	var last error
	for pause := retryPause; ; pause = min(2*pause, retryPauseTo) {
		index, err := r.proposeOnce(ctx, cmd)
		if err == nil {
			return r.meta.applied(ctx, index)
		}
		if meta.Code(err) != "" {
			if index > 0 {
				r.meta.applied(ctx, index) // so that the refusal's reason can be seen here
			}
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if !r.sleep(ctx, pause) {
			return fmt.Errorf("replication: metadata of region %s: %w: %w", r.cfg.Self.Region, ErrNoLeader, last)
		}
	}
}

// sleep pauses; it reports false when there is no use in going on.
func (r *Member) sleep(ctx context.Context, pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	return false
}

// proposeOnce proposes to whoever leads the metadata.
func (r *Member) proposeOnce(ctx context.Context, cmd []byte) (index uint64, err error) {
	if r.meta.group().IsLeader() {
		return r.decide(ctx, cmd)
	}
	leader, _, known := r.meta.group().Leader()
	if !known {
		return 0, ErrNoLeader
	}
	return r.askPropose(ctx, leader.Node, cmd)
}

// decide applies a command on the leader.
func (r *Member) decide(ctx context.Context, cmd []byte) (index uint64, err error) {
	index, result, err := r.meta.group().Apply(ctx, cmd)
	if refused, is := result.(error); is && err == nil {
		err = refused
	}
	return index, err
}
