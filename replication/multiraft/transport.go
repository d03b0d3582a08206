package multiraft

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// partBytes bounds the entries of one append on the wire, unless a single
	// one is larger: Raft bounds their number only.
	partBytes = 1 << 20

	// answerWithin bounds the wait for an answer that may need a peer's disk.
	answerWithin = 10 * time.Second

	// attachWithin is how long an append waits for its peer to be attached and to
	// run the group. Raft backs off up to 10 s after each failure; a peer that
	// waits for entries shall get them when it comes, not then.
	attachWithin = time.Minute
	askAgain     = 200 * time.Millisecond
)

// transport is a group's raft.Transport. Raft closes it after all its own
// goroutines have ended; what they wait for ends with the group before.
type transport struct{ *Group }

var (
	_ raft.Transport   = transport{}
	_ raft.WithPreVote = transport{}
	_ raft.WithClose   = transport{}
)

func (t transport) Consumer() <-chan raft.RPC     { return t.requests }
func (t transport) LocalAddr() raft.ServerAddress { return t.self.addr() }
func (t transport) Close() error                  { return nil }

func (t transport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }
func (t transport) DecodePeer(b []byte) raft.ServerAddress                  { return raft.ServerAddress(b) }

// SetHeartbeatHandler is called once, before the group can be reached.
func (t transport) SetHeartbeatHandler(f func(raft.RPC)) { t.heartbeat = f }

// fit says why this replica should ask nothing of others, or nil. Any append
// would let a follower believe that its leader can lead.
func (t transport) fit() error {
	err := t.well()
	if err != nil {
		t.host.stats.withheld.Add(1)
	}
	return err
}

// fitToLead is fit for an append of a leader of this term. Who does not lead any more
// may have read what a leader must not send, see boundary.
func (t transport) fitToLead(term uint64) error {
	if now, leads := t.Leads(); !leads || now != term {
		return ErrNotLeader
	}
	return t.fit()
}

// request is a message of this group to a replica.
func (t transport) request(k kind, to Replica) message {
	return message{kind: k, group: t.id, from: t.self.Epoch, to: to.Epoch}
}

// askAndWait sends a request over a session and waits for its answer.
func (t transport) askAndWait(s *session, m *message, within time.Duration) (*message, error) {
	got := make(chan reply, 1)
	cancel, err := s.ask(m, func(answer *message, err error) { got <- replyOf(answer, err) })
	if err != nil {
		return nil, err
	}
	return t.wait(got, within, cancel)
}

// reply is a copy of an answer, which its reader overwrites.
type reply struct {
	answer message
	err    error
}

func replyOf(answer *message, err error) reply {
	if answer == nil {
		return reply{err: err}
	}
	return reply{*answer, err}
}

func (t transport) wait(got <-chan reply, within time.Duration, cancel func()) (*message, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case r := <-got:
		if r.err != nil {
			return nil, r.err
		}
		return &r.answer, nil
	case <-timer.C:
		cancel()
		return nil, errTimeout
	case <-t.closing:
		cancel()
		return nil, ErrClosed
	}
}

// isHeartbeat tells Raft's heartbeats from its appends, as Raft's own transport does.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

func (t transport) AppendEntries(_ raft.ServerID, target raft.ServerAddress, a *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	to, err := parseReplica(string(target))
	if err != nil {
		return err
	}
	if isHeartbeat(a) {
		return t.sendHeartbeat(to, a, resp)
	}
	if err := t.fitToLead(a.Term); err != nil {
		return err
	}
	expired := time.NewTimer(attachWithin)
	defer expired.Stop()
	for {
		s, err := t.host.link(to.Node).await(expired.C, t.closing)
		if err != nil {
			return t.about(to, err)
		}
		err = t.appendParts(s, to, a, resp)
		if !errors.Is(err, errNoGroup) {
			return t.about(to, err)
		}
		select { // the peer is there and has yet to start the group
		case <-time.After(askAgain):
		case <-expired.C:
			return t.about(to, err)
		case <-t.closing:
			return ErrClosed
		}
	}
}

// appendParts sends the parts of an append one after the other, until all have
// succeeded or one has not: what Raft would do had it made them.
func (t transport) appendParts(s *session, to Replica, a *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	f := t.follower(to)
	for _, part := range split(a) {
		if err := s.awaitRoom(answerWithin, t.closing); err != nil {
			return err
		}
		m := t.appendMessage(to, part)
		sent := time.Now()
		answer, err := t.askAndWait(s, &m, answerWithin)
		f.appended(s, part, sent, answer)
		if err != nil {
			return err
		}
		t.passOnSoon()
		t.host.stats.appends.Add(1)
		fillAppend(resp, answer)
		if !resp.Success {
			return nil
		}
	}
	return nil
}

func (t transport) appendMessage(to Replica, a *raft.AppendEntriesRequest) message {
	m := t.request(kindAppend, to)
	m.term, m.last, m.lastTerm, m.commit, m.entries = a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex, a.Entries
	return m
}

func fillAppend(resp *raft.AppendEntriesResponse, answer *message) {
	*resp = raft.AppendEntriesResponse{
		Term: answer.term, LastLog: answer.last,
		Success: answer.flags&flagYes != 0, NoRetryBackoff: answer.flags&flagNoWait != 0,
	}
}

// split divides an append into parts of bounded size. Each is an append of its
// own, as Raft might have made it; together they say the same.
func split(a *raft.AppendEntriesRequest) []*raft.AppendEntriesRequest {
	var parts []*raft.AppendEntriesRequest
	bytes, from := 0, 0
	part := func(to int) {
		p := *a
		p.Entries = a.Entries[from:to]
		if from > 0 {
			p.PrevLogEntry, p.PrevLogTerm = a.Entries[from-1].Index, a.Entries[from-1].Term
		}
		parts = append(parts, &p)
		from, bytes = to, 0
	}
	for i, e := range a.Entries {
		size := len(e.Data) + len(e.Extensions)
		if i > from && bytes+size > partBytes {
			part(i)
		}
		bytes += size
	}
	if from == 0 {
		return []*raft.AppendEntriesRequest{a}
	}
	part(len(a.Entries))
	return parts
}

func (t transport) sendHeartbeat(to Replica, a *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.fit(); err != nil {
		return err
	}
	p := t.host.link(to.Node)
	m := t.request(kindHeartbeat, to)
	m.term = a.Term
	got := make(chan reply, 1)
	sent, s := time.Now(), p.now()
	p.heartbeat(beat{t.Group, m, func(answer *message, err error) { got <- replyOf(answer, err) }})
	answer, err := t.wait(got, t.host.cfg.HeartbeatTimeout, func() {})
	t.follower(to).beaten(s, a.Term, sent, answer)
	if err != nil {
		return t.about(to, err)
	}
	fillAppend(resp, answer)
	return nil
}

func (t transport) RequestVote(_ raft.ServerID, target raft.ServerAddress, a *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	m := message{kind: kindVote, term: a.Term, last: a.LastLogIndex, lastTerm: a.LastLogTerm}
	if a.LeadershipTransfer {
		m.flags = flagTransfer
	}
	answer, err := t.poll(target, m)
	if err != nil {
		return err
	}
	*resp = raft.RequestVoteResponse{Term: answer.term, Granted: answer.flags&flagYes != 0}
	return nil
}

func (t transport) RequestPreVote(_ raft.ServerID, target raft.ServerAddress, a *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	answer, err := t.poll(target, message{kind: kindPreVote, term: a.Term, last: a.LastLogIndex, lastTerm: a.LastLogTerm})
	if err != nil {
		return err
	}
	*resp = raft.RequestPreVoteResponse{Term: answer.term, Granted: answer.flags&flagYes != 0}
	return nil
}

func (t transport) TimeoutNow(_ raft.ServerID, target raft.ServerAddress, _ *raft.TimeoutNowRequest, _ *raft.TimeoutNowResponse) error {
	return t.timeoutNow(target, answerWithin)
}

func (t transport) timeoutNow(target raft.ServerAddress, within time.Duration) error {
	_, err := t.pollWithin(target, message{kind: kindTimeoutNow}, within)
	return err
}

// poll sends a request that concerns an election, if this replica is fit to
// lead, and waits for the answer.
func (t transport) poll(target raft.ServerAddress, m message) (*message, error) {
	return t.pollWithin(target, m, answerWithin)
}

func (t transport) pollWithin(target raft.ServerAddress, m message, within time.Duration) (*message, error) {
	to, err := parseReplica(string(target))
	if err != nil {
		return nil, err
	}
	if err := t.fit(); err != nil {
		return nil, err
	}
	m.group, m.from, m.to = t.id, t.self.Epoch, to.Epoch
	s := t.host.link(to.Node).now()
	if s == nil {
		return nil, t.about(to, errDetached)
	}
	answer, err := t.askAndWait(s, &m, within)
	return answer, t.about(to, err)
}

func (t transport) InstallSnapshot(_ raft.ServerID, target raft.ServerAddress, a *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	to, err := parseReplica(string(target))
	if err != nil {
		return err
	}
	answer, err := t.sendSnapshot(to, a, data)
	if err != nil {
		return t.about(to, err)
	}
	*resp = raft.InstallSnapshotResponse{Term: answer.term, Success: answer.flags&flagYes != 0}
	if answer.flags&flagHad != 0 {
		select {
		case <-time.After(t.follower(to).had()):
		case <-t.closing:
		}
	}
	return nil
}

// about says which replica an error is about.
func (t transport) about(to Replica, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("group %s, replica %s: %w", t.id, to, err)
}
