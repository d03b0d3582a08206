package multiraft

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// counters are the host's; they only grow.
type counters struct {
	framesSent, framesReceived           atomic.Uint64
	bytesSent, bytesReceived             atomic.Uint64
	heartbeats, heartbeatFrames          atomic.Uint64
	appends, ahead, suppressed           atomic.Uint64
	refusedEpoch, refusedGroup, withheld atomic.Uint64
	snapshotsSent, snapshotsReceived     atomic.Uint64
	failovers                            atomic.Uint64
}

// Stats is what a host has done since it was opened.
type Stats struct {
	Groups, Leaders, Peers int // now; Peers are those attached

	FramesSent, FramesReceived uint64
	BytesSent, BytesReceived   uint64 // on connections for messages, lengths included

	Heartbeats      uint64 // asked of peers
	HeartbeatFrames uint64 // in so many frames
	Appends         uint64 // asked of peers, with entries or without
	Ahead           uint64 // of those, sent while the leader wrote the entries
	Suppressed      uint64 // empty appends that were not sent

	RefusedEpoch uint64 // requests of peers that named a wrong epoch
	RefusedGroup uint64 // requests of peers for a group that does not run here
	Withheld     uint64 // heartbeats and votes not sent or not answered for ill health

	SnapshotsSent, SnapshotsReceived uint64
	Failovers                        uint64 // groups whose timeouts were shortened
}

// Stats counts.
func (h *Host) Stats() Stats {
	c := &h.stats
	s := Stats{
		FramesSent: c.framesSent.Load(), FramesReceived: c.framesReceived.Load(),
		BytesSent: c.bytesSent.Load(), BytesReceived: c.bytesReceived.Load(),
		Heartbeats: c.heartbeats.Load(), HeartbeatFrames: c.heartbeatFrames.Load(),
		Appends: c.appends.Load(), Ahead: c.ahead.Load(), Suppressed: c.suppressed.Load(),
		RefusedEpoch: c.refusedEpoch.Load(), RefusedGroup: c.refusedGroup.Load(), Withheld: c.withheld.Load(),
		SnapshotsSent: c.snapshotsSent.Load(), SnapshotsReceived: c.snapshotsReceived.Load(),
		Failovers: c.failovers.Load(),
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	s.Groups = len(h.groups)
	for _, g := range h.groups {
		if g.IsLeader() {
			s.Leaders++
		}
	}
	for _, p := range h.links {
		if p.now() != nil {
			s.Peers++
		}
	}
	return s
}

// GroupStats is a group as its replica here sees it.
type GroupStats struct {
	State    string // Follower, Candidate, Leader or Shutdown
	Leader   Replica
	Term     uint64
	Last     uint64 // index of the log's last entry
	Commit   uint64
	Applied  uint64 // handed to the state machine
	Pending  int    // proposals and changes without an outcome
	Members  []Member
	Follower []Follower // of a leader
	Failure  error      // why the replica has failed, or nil
	Unwell   error      // why the health gate is shut, or nil
}

// Follower is a replica as its leader sees it.
type Follower struct {
	Replica
	Matched uint64    // the last entry it is known to have in common with the leader
	Heard   time.Time // when the last request was sent that it answered with success
}

// Stats describes the group.
func (g *Group) Stats() GroupStats {
	s := GroupStats{
		State: g.raft.State().String(), Leader: g.leader(), Term: g.raft.CurrentTerm(),
		Last: g.raft.LastIndex(), Commit: g.raft.CommitIndex(), Applied: g.raft.AppliedIndex(),
		Members: g.Members(), Failure: g.failure(),
	}
	s.Unwell = g.well()
	g.mu.Lock()
	s.Pending = g.pending
	g.mu.Unlock()
	if g.raft.State() == raft.Leader {
		s.Follower = g.followed(s.Members, s.Term)
	}
	return s
}
