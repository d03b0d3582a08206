package multiraft

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestHeartbeatsOfAllGroupsShareFrames(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const groups = 100
		m := newMesh(t, 3, nil)
		defer m.close()
		for i := range groups {
			g := m.startGroup(i, m.nodes()...)
			leaderOf(t, g)
		}
		time.Sleep(10 * time.Second)
		before, beats, beatFrames := m.frames()
		time.Sleep(10 * time.Second)
		after, beats2, beatFrames2 := m.frames()
		beats, beatFrames = beats2-beats, beatFrames2-beatFrames
		t.Logf("100 groups idle for 10 s: %d heartbeats in %d frames; %d frames in all", beats, beatFrames, after-before)
		// A heartbeat each 300 to 600 ms to two followers.
		if beats < groups*2*10/1 || beats > groups*2*34 {
			t.Errorf("%d heartbeats", beats)
		}
		// Each of six directions has a frame for each 20 ms at most, and one that answers it.
		if most := uint64(6 * 10 * 50); beatFrames > most || after-before > 2*most+most/4 {
			t.Errorf("%d frames with heartbeats, %d in all; at most %d and as many answers", beatFrames, after-before, most)
		}
		if beats < 2*beatFrames {
			t.Errorf("%d heartbeats took %d frames", beats, beatFrames)
		}
	})
}

func (m *mesh) frames() (frames, beats, beatFrames uint64) {
	for _, h := range m.hosts {
		s := h.Stats()
		frames, beats, beatFrames = frames+s.FramesSent, beats+s.Heartbeats, beatFrames+s.HeartbeatFrames
	}
	return frames, beats, beatFrames
}

func TestIdleGroupsAreSilentButForHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		leader := leaderOf(t, group)
		if _, _, err := group[leader].Apply(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		before := m.hosts[leader].Stats()
		time.Sleep(time.Minute)
		after := m.hosts[leader].Stats()
		if sent := after.Appends - before.Appends; sent > 2 {
			t.Errorf("%d appends were sent in an idle minute", sent)
		}
		if left := after.Suppressed - before.Suppressed; left < 2*60*5 {
			t.Errorf("%d appends were suppressed in an idle minute", left)
		}
		for id, r := range group {
			if id != leader && !r.fsm.has([]byte("x")) {
				t.Errorf("%s did not learn that the last entry is committed", id)
			}
		}
	})
}

// A replica that is started anew has forgotten what is committed, though its
// host and the connection are the same.
func TestSilenceEndsWhenAReplicaIsStartedAnew(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		leader := leaderOf(t, group)
		if _, _, err := group[leader].Apply(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for id, r := range group {
			if id == leader {
				continue
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			anew := m.startReplica(0, Replica{id, 1}, func(c *GroupConfig) { c.Store, c.Snapshots = r.store, r.snaps })
			until(t, 3*time.Second, "applied again", func() bool { return anew.fsm.has([]byte("x")) })
			break
		}
	})
}

func TestAReplicaOfAnotherEpochIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		id := leaderOf(t, group)
		other := m.nodes()[0]
		if other == id {
			other = m.nodes()[1]
		}
		leader, follower := group[id], group[other]
		var resp raft.RequestVoteResponse
		err := transport{leader.Group}.RequestVote("", Replica{other, 2}.addr(), &raft.RequestVoteRequest{Term: 99}, &resp)
		if !errors.Is(err, errEpoch) || !strings.Contains(err.Error(), string(other)+"/2") {
			t.Errorf("a request to another epoch: %v", err)
		}
		follower.mu.Lock()
		follower.epochs[id] = 2 // the group has given up the leader's replica
		follower.mu.Unlock()
		err = transport{leader.Group}.RequestVote("", Replica{other, 1}.addr(), &raft.RequestVoteRequest{Term: 99}, &resp)
		if !errors.Is(err, errEpoch) {
			t.Errorf("a request of a dead epoch: %v", err)
		}
		if got := m.hosts[other].Stats().RefusedEpoch; got < 2 {
			t.Errorf("%d refusals were counted", got)
		}
		if got := follower.raft.CurrentTerm(); got == 99 {
			t.Error("a refused request was handled")
		}
	})
}

func TestAWipedReplicaComesBackUnderANewEpoch(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		id := leaderOf(t, group)
		leader := group[id]
		for i := range 100 {
			if _, _, err := leader.Apply(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		wiped := m.nodes()[0]
		if wiped == id {
			wiped = m.nodes()[1]
		}
		if err := group[wiped].Close(); err != nil {
			t.Fatal(err)
		}
		anew := Replica{wiped, 2}
		r := m.startReplica(0, anew, nil)
		group[wiped] = r
		for _, step := range []error{
			leader.AddNonvoter(t.Context(), anew),
			leader.RemoveServer(t.Context(), Replica{wiped, 1}),
		} {
			if step != nil {
				t.Fatal(step)
			}
		}
		_, want := leader.fsm.state()
		until(t, 20*time.Second, "caught up", func() bool { _, sum := r.fsm.state(); return sum == want })
		if err := leader.AddVoter(t.Context(), anew); err != nil {
			t.Fatal(err)
		}
		if err := leader.TransferLeadership(t.Context(), anew); err != nil {
			t.Fatal(err)
		}
		if got := leaderOf(t, group); got != wiped {
			t.Errorf("%s leads", got)
		}
		until(t, 5*time.Second, "known that the others have matched", func() bool {
			for _, f := range r.Stats().Follower {
				if f.Matched <= 100 || f.Heard.IsZero() {
					return false
				}
			}
			return len(r.Stats().Follower) == 2
		})
		// The dead identity is known as such, on all.
		until(t, time.Second, "known that epoch 1 is dead", func() bool {
			leader.mu.Lock()
			defer leader.mu.Unlock()
			return leader.epochs[wiped] == 2
		})
	})
}

func TestASnapshotStandsInNobodysWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		ids := m.nodes()
		var all []Replica
		for _, id := range ids {
			all = append(all, Replica{id, 1})
		}
		far := map[peer.ID]*replica{}
		for _, r := range all {
			far[r.Node] = m.startReplica(0, r, func(c *GroupConfig) { c.Bootstrap, c.TrailingLogs = all, 10 })
		}
		near := m.startGroup(1, ids...)
		id := leaderOf(t, far)
		behind := ids[0]
		if behind == id {
			behind = ids[1]
		}
		if err := far[behind].Close(); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			if _, _, err := far[id].Apply(t.Context(), make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := far[id].Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		m.hosts[behind].bulkGate = gate
		old := far[behind]
		far[behind] = m.startReplica(0, Replica{behind, 1}, func(c *GroupConfig) { c.Store, c.Snapshots, c.TrailingLogs = old.store, old.snaps, 10 })
		until(t, 20*time.Second, "a snapshot on its way", func() bool { return m.hosts[id].dialed.Load() > 0 })
		leader := leaderOf(t, near)
		for i := range 100 { // while the snapshot hangs
			began := time.Now()
			if _, _, err := near[leader].Apply(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 50*time.Millisecond {
				t.Fatalf("another group waited %v", took)
			}
		}
		until(t, 5*time.Second, "applied everywhere", func() bool { return near[behind].fsm.has([]byte("99")) })
		close(gate)
		_, want := far[id].fsm.state()
		until(t, time.Minute, "the snapshot installed", func() bool { _, sum := far[behind].fsm.state(); return sum == want })
		if m.hosts[behind].Stats().SnapshotsReceived == 0 {
			t.Error("it caught up without a snapshot")
		}
		if _, _, err := far[id].Apply(t.Context(), []byte("after")); err != nil {
			t.Fatal(err)
		}
		until(t, 20*time.Second, "goes on after the snapshot", func() bool { return far[behind].fsm.has([]byte("after")) })
	})
}

func TestALogThatBeginsAfterItsSnapshotIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 1, nil)
		defer m.close()
		g := m.startGroup(0, nodeName(0))
		r := g[nodeName(0)]
		leaderOf(t, g)
		for range 10 {
			r.Apply(t.Context(), []byte("x"))
		}
		r.Close()
		r.store.DeleteRange(1, 5)
		_, err := m.hosts[nodeName(0)].Start(GroupConfig{ID: groupID(0), Epoch: 1, Store: r.store, Snapshots: r.snaps, FSM: r.fsm})
		if err == nil || !strings.Contains(err.Error(), "begins at entry 6") {
			t.Errorf("got %v", err)
		}
	})
}

// A leader may send a snapshot while another, that leads no more, has one on its
// way: both would fetch the same files to the same place.
func TestOneSnapshotIsPreparedAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		var at, most, ended atomic.Int64
		r := m.startReplica(0, Replica{nodeName(0), 1}, func(c *GroupConfig) {
			c.Prepare = func(ctx context.Context, _ Replica, _ []byte) error {
				most.Store(max(most.Load(), at.Add(1)))
				defer at.Add(-1)
				select {
				case <-ctx.Done():
					time.Sleep(time.Second) // what it had begun
					ended.Add(1)
				case <-time.After(time.Minute):
				}
				return errors.New("nothing comes of it")
			}
		})
		var wg sync.WaitGroup
		for i := 1; i < 3; i++ {
			a, b := net.Pipe()
			wg.Go(func() { m.hosts[nodeName(0)].ServeBulk(nodeName(i), b) })
			wg.Go(func() {
				defer a.Close()
				msg := message{kind: kindInstall, group: r.ID(), from: 1, to: 1, term: 1, last: 5, lastTerm: 1, text: raft.EncodeConfiguration(raft.Configuration{})}
				if err := writeBulk(a, preface(useBulk), &msg); err != nil {
					t.Error(err)
				}
				var answer message
				if err := readBulk(a, &answer); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Second)
		}
		wg.Wait()
		if most.Load() != 1 || ended.Load() != 1 {
			t.Errorf("%d snapshots were prepared at a time, %d gave way", most.Load(), ended.Load())
		}
	})
}
