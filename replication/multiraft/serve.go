package multiraft

import (
	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/transport/peer"
)

// inboxLimit bounds the requests of peers that wait for one group.
const inboxLimit = 64

// inbound is a peer's request that waits to be handled by Raft.
type inbound struct {
	session *session
	m       message
}

// meant reports whether a request of a node's replica is meant for this one,
// and not from one that was given up. A sender's epoch that is not known yet
// is no reason to refuse: this replica may be behind.
func (g *Group) meant(from peer.ID, epoch, to uint64) bool {
	g.mu.Lock()
	known := g.epochs[from]
	g.mu.Unlock()
	if to == g.self.Epoch && epoch >= known {
		return true
	}
	g.host.stats.refusedEpoch.Add(1)
	g.host.raft.warn("multiraft: refused a request for another epoch", "group", g.id,
		"sender", Replica{from, epoch}, "epoch known", known, "meant for", to, "replica", g.self)
	return false
}

// receive handles a request, on the reader of its connection: a heartbeat that
// changes nothing but the time is answered at once, by Raft's way around its
// main goroutine, which may be waiting for the disk. All else waits its turn.
func (g *Group) receive(s *session, m *message) (answer message, ok bool) {
	err := g.failure()
	if m.kind != kindAppend { // an append waits for the disk by itself, and votes for nobody
		err = g.well()
	}
	if err != nil {
		g.host.stats.withheld.Add(1)
		return g.answer(m, statusUnwell), true
	}
	if m.kind == kindHeartbeat && g.onlyTime(m) {
		got := make(chan raft.RPCResponse, 1)
		g.heartbeat(raft.RPC{Command: g.command(s.peer.id, m), RespChan: got})
		select {
		case r := <-got:
			return g.answerOf(m, r), true
		default: // it is shutting down
			return g.answer(m, statusNoGroup), true
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return g.answer(m, statusNoGroup), true
	}
	if len(g.inbox) >= inboxLimit {
		return g.answer(m, statusBusy), true
	}
	g.inbox = append(g.inbox, inbound{s, *m})
	if !g.serving {
		g.serving = true
		g.wg.Go(g.serve)
	}
	return message{}, false
}

// onlyTime reports whether a heartbeat writes nothing to disk: Raft stores a
// term that is new to it, and so does a candidate that hears of a leader.
func (g *Group) onlyTime(m *message) bool {
	term := g.raft.CurrentTerm()
	return m.term < term || m.term == term && g.raft.State() == raft.Follower
}

// serve hands requests to Raft, one after the other, until none waits. Those for
// which the replica has no time any more are answered all the same: whoever asked
// may have another at once, and would wait for the answer first.
func (g *Group) serve() {
	got := make(chan raft.RPCResponse, 1)
	for {
		g.mu.Lock()
		if len(g.inbox) == 0 || g.closed {
			rest := g.inbox
			g.inbox, g.serving = nil, false
			g.mu.Unlock()
			for _, in := range rest {
				in.session.tell(g.answer(&in.m, statusNoGroup))
			}
			return
		}
		in := g.inbox[0]
		g.inbox[0] = inbound{}
		g.inbox = g.inbox[1:]
		g.mu.Unlock()
		switch {
		case in.m.kind == kindPreVote && g.misled():
			g.Campaign()
		case in.m.kind == kindAppend:
			g.sinceSnapshot(&in.m)
		}
		r, taken := g.take(in.session.peer.id, &in.m, got)
		if !taken {
			in.session.tell(g.answer(&in.m, statusNoGroup))
			continue
		}
		answer := g.answerOf(&in.m, r)
		if g.failure() != nil { // Raft may believe that it has stored what it has not
			answer = g.answer(&in.m, statusUnwell)
		}
		in.session.tell(answer)
		if in.m.kind == kindPreVote && answer.flags&flagYes == 0 {
			g.asked(Replica{in.session.peer.id, in.m.from}, &in.m)
		}
	}
}

// take has Raft handle a request, and waits for its answer, unless the replica is
// closed before.
func (g *Group) take(from peer.ID, m *message, got chan raft.RPCResponse) (r raft.RPCResponse, taken bool) {
	select {
	case g.taking <- struct{}{}:
		defer func() { <-g.taking }()
	case <-g.closing:
		return r, false
	}
	select {
	case g.requests <- raft.RPC{Command: g.command(from, m), RespChan: got}:
	case <-g.closing:
		return r, false
	}
	select {
	case r = <-got:
		return r, true
	case <-g.closing:
		return r, false
	}
}

// misled reports whether this replica is a candidate and yet takes somebody for the
// leader. Raft lets one that was told to stand become so when it hears an append of
// its term: it notes the leader and goes on standing. If that leader dies before its
// next append, the candidate refuses everybody a pre-vote, for the sake of a leader
// that nobody has; and if its own log is the shorter one, nobody is elected ever
// again. To be told once more to stand makes it forget.
func (g *Group) misled() bool {
	_, id := g.raft.LeaderWithID()
	return id != "" && g.raft.State() == raft.Candidate
}

// command is a request as Raft has it. Who sent it is not read from the request:
// it is whose connection it came by.
func (g *Group) command(from peer.ID, m *message) any {
	addr := []byte(Replica{from, m.from}.String())
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: addr, Addr: addr}
	switch m.kind {
	case kindHeartbeat, kindAppend:
		return &raft.AppendEntriesRequest{
			RPCHeader: header, Term: m.term,
			PrevLogEntry: m.last, PrevLogTerm: m.lastTerm, Entries: m.entries,
			// An append says nothing of what follows it in this log, which may be another
			// leader's: Raft would take that for committed, too.
			LeaderCommitIndex: min(m.commit, m.last+uint64(len(m.entries))),
		}
	case kindVote:
		return &raft.RequestVoteRequest{
			RPCHeader: header, Term: m.term,
			LastLogIndex: m.last, LastLogTerm: m.lastTerm, LeadershipTransfer: m.flags&flagTransfer != 0,
		}
	case kindPreVote:
		return &raft.RequestPreVoteRequest{RPCHeader: header, Term: m.term, LastLogIndex: m.last, LastLogTerm: m.lastTerm}
	case kindInstall:
		return &raft.InstallSnapshotRequest{
			RPCHeader: header, SnapshotVersion: raft.SnapshotVersionMax, Term: m.term,
			LastLogIndex: m.last, LastLogTerm: m.lastTerm,
			Configuration: m.text, ConfigurationIndex: m.commit, Size: int64(m.size),
		}
	}
	return &raft.TimeoutNowRequest{RPCHeader: header}
}

func (g *Group) answer(m *message, st status) message {
	return message{kind: kindAnswer, call: m.call, status: st, start: g.start}
}

// answerOf is what Raft answered, as a message.
func (g *Group) answerOf(m *message, r raft.RPCResponse) message {
	if r.Error != nil {
		a := g.answer(m, statusFailed)
		a.text = []byte(r.Error.Error())
		return a
	}
	a := g.answer(m, statusOK)
	yes := false
	switch resp := r.Response.(type) {
	case *raft.AppendEntriesResponse:
		a.term, a.last, yes = resp.Term, resp.LastLog, resp.Success
		if resp.NoRetryBackoff {
			a.flags |= flagNoWait
		}
	case *raft.RequestVoteResponse:
		a.term, yes = resp.Term, resp.Granted
	case *raft.RequestPreVoteResponse:
		a.term, yes = resp.Term, resp.Granted
	case *raft.InstallSnapshotResponse:
		a.term, yes = resp.Term, resp.Success
	case *raft.TimeoutNowResponse:
		yes = true
	}
	if yes {
		a.flags |= flagYes
	}
	return a
}
