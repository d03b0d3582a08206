package multiraft

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// pipelineDepth is how many appends to a follower may be on their way. More
	// would make each of them smaller.
	pipelineDepth = 2
	// pipelineAnswers is how many answers Raft may leave unread.
	pipelineAnswers = 64
)

// pipeline is appends to one follower, sent before the ones ahead are answered.
// Raft reads only answers: a failure shows when it sends the next append, and
// it falls back to appending one by one.
//
// Entries that the leader is about to write to its own disk are sent at the same
// time (ahead). When Raft wants to send them, after it has written them, they are on
// their way already, or acknowledged.
type pipeline struct {
	transport
	to       Replica
	session  *session
	follower *follower
	slots    chan struct{}
	answers  chan raft.AppendFuture

	sending  sync.Mutex // guards the fields below; held while messages are sent
	sent     uint64     // messages
	term     uint64     // of the leader, once a message was sent or the follower is known
	last     uint64     // index of the last entry that was sent
	lastTerm uint64
	early    []upTo // those sent ahead that Raft has not asked for, oldest first

	mu       sync.Mutex // guards the fields below
	err      error      // why it is over
	over     chan struct{}
	answered uint64    // messages
	flights  []*flight // that are not answered, oldest first
}

// upTo is a message and the last entry in it.
type upTo struct{ last, message uint64 }

func (t transport) AppendEntriesPipeline(_ raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	to, err := parseReplica(string(target))
	if err != nil {
		return nil, err
	}
	s := t.host.link(to.Node).now()
	if s == nil {
		return nil, t.about(to, errDetached)
	}
	p := &pipeline{
		transport: t, to: to, session: s, follower: t.follower(to),
		slots:   make(chan struct{}, pipelineDepth),
		answers: make(chan raft.AppendFuture, pipelineAnswers),
		over:    make(chan struct{}),
	}
	p.term, p.last, p.lastTerm = p.follower.reached(s)
	p.follower.pipe.Store(p)
	return p, nil
}

// flight is an append of Raft's on its way.
type flight struct {
	args    *raft.AppendEntriesRequest
	resp    *raft.AppendEntriesResponse
	start   time.Time
	message uint64 // with whose answer it is answered
	slot    bool   // it has one
	pipe    *pipeline
	done    chan struct{}
}

func (f *flight) Start() time.Time                      { return f.start }
func (f *flight) Request() *raft.AppendEntriesRequest   { return f.args }
func (f *flight) Response() *raft.AppendEntriesResponse { return f.resp }
func (p *pipeline) Consumer() <-chan raft.AppendFuture  { return p.answers }

func (p *pipeline) Close() error {
	p.end(raft.ErrPipelineShutdown)
	p.follower.pipe.CompareAndSwap(p, nil)
	return nil
}

// Error waits for the answer, or for the end of the pipeline.
func (f *flight) Error() error {
	select {
	case <-f.done:
		return nil
	case <-f.pipe.over:
		return raft.ErrPipelineShutdown
	}
}

// AppendEntries sends an append. One that the follower is known to need not is
// left unsent and unanswered; package multiraft says why that may be.
func (p *pipeline) AppendEntries(a *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	fl := &flight{args: a, resp: resp, start: time.Now(), pipe: p, done: make(chan struct{})}
	if err := p.failed(); err != nil {
		return nil, p.about(p.to, err)
	}
	if err := p.fitToLead(a.Term); err != nil {
		p.end(err)
		return nil, err
	}
	if p.idle() && p.follower.knows(p.session, a, p.host.cfg.LeaderLeaseTimeout) {
		p.host.stats.suppressed.Add(1)
		return fl, nil
	}
	if fl.message = p.covered(a); fl.message == 0 {
		if err := p.take(); err != nil {
			p.end(err)
			return nil, p.about(p.to, err)
		}
		fl.slot = true
		var err error
		if fl.message, err = p.send(a); err != nil {
			p.end(err)
			return nil, p.about(p.to, err)
		}
	}
	p.launch(fl)
	return fl, nil
}

// covered is the message with which the last of an append's entries was sent ahead,
// or 0.
func (p *pipeline) covered(a *raft.AppendEntriesRequest) (message uint64) {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.cover(a)
}

// cover is covered; sending is held.
func (p *pipeline) cover(a *raft.AppendEntriesRequest) uint64 {
	if len(a.Entries) == 0 || a.Term != p.term {
		return 0
	}
	last := a.Entries[len(a.Entries)-1].Index
	for len(p.early) > 0 && p.early[0].last < last {
		p.early = p.early[1:]
	}
	if len(p.early) == 0 {
		return 0
	}
	return p.early[0].message
}

// send sends of an append what was not sent ahead, part by part as there is room, and
// returns its last message.
func (p *pipeline) send(a *raft.AppendEntriesRequest) (message uint64, err error) {
	for whole := false; !whole; {
		if err := p.session.awaitRoom(answerWithin, p.closing); err != nil {
			return 0, err
		}
		if message, whole, err = p.sendPart(a); err != nil {
			return 0, err
		}
	}
	return message, nil
}

// sendPart sends the next part of an append, and reports whether that was the last.
func (p *pipeline) sendPart(a *raft.AppendEntriesRequest) (message uint64, whole bool, err error) {
	p.sending.Lock()
	defer p.sending.Unlock()
	if message = p.cover(a); message != 0 { // meanwhile
		return message, true, nil
	}
	if n := len(a.Entries); n > 0 && a.Term == p.term && a.Entries[0].Index <= p.last {
		rest := *a
		from := min(int(p.last+1-a.Entries[0].Index), n)
		rest.PrevLogEntry, rest.PrevLogTerm, rest.Entries = p.last, p.lastTerm, a.Entries[from:]
		a = &rest
	}
	parts := split(a)
	if err := p.transmit(parts[0]); err != nil {
		return 0, false, err
	}
	return p.sent, len(parts) == 1, nil
}

// ahead sends entries, which the leader is about to write, unless something stands in
// the way: then Raft sends them, or the rest of them, later. It reports whether any
// are on their way.
func (p *pipeline) ahead(term uint64, entries []*raft.Log, commit uint64) bool {
	if p.failed() != nil || p.fit() != nil || !p.session.hasRoom() {
		return false
	}
	p.sending.Lock()
	defer p.sending.Unlock()
	if p.term != term || p.last+1 != entries[0].Index || p.waiting() >= pipelineDepth {
		return false
	}
	a := &raft.AppendEntriesRequest{
		Term: term, PrevLogEntry: p.last, PrevLogTerm: p.lastTerm, LeaderCommitIndex: commit, Entries: entries,
	}
	for i, part := range split(a) {
		if i > 0 && !p.session.hasRoom() {
			break // Raft has the rest sent when there is
		}
		if err := p.transmit(part); err != nil {
			p.end(err)
			return i > 0
		}
	}
	p.early = append(p.early, upTo{p.last, p.sent})
	p.host.stats.ahead.Add(1)
	return true
}

// transmit sends one message. sending is held.
func (p *pipeline) transmit(a *raft.AppendEntriesRequest) error {
	m, start := p.appendMessage(p.to, a), time.Now()
	if _, err := p.session.ask(&m, func(answer *message, err error) { p.hear(a, start, answer, err) }); err != nil {
		return err
	}
	p.sent++
	if p.term != a.Term || len(a.Entries) > 0 || a.PrevLogEntry > p.last {
		p.term, p.last, p.lastTerm = a.Term, a.PrevLogEntry, a.PrevLogTerm
	}
	if n := len(a.Entries); n > 0 {
		p.last, p.lastTerm = a.Entries[n-1].Index, a.Entries[n-1].Term
	}
	p.host.stats.appends.Add(1)
	return nil
}

// take takes a slot, waiting for an answer if all are taken.
func (p *pipeline) take() error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(answerWithin)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return errTimeout
	case <-p.over:
		return p.failed()
	case <-p.closing:
		return ErrClosed
	}
}

// idle reports that every message is answered.
func (p *pipeline) idle() bool {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.waiting() == 0
}

// waiting is how many messages are not answered. sending is held.
func (p *pipeline) waiting() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent - p.answered
}

// launch has an append answered with its message, which may be already.
func (p *pipeline) launch(fl *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
	case fl.message <= p.answered:
		*fl.resp = raft.AppendEntriesResponse{Term: fl.args.Term, LastLog: lastOf(fl.args), Success: true}
		p.land(fl)
	default:
		p.flights = append(p.flights, fl)
	}
}

func lastOf(a *raft.AppendEntriesRequest) uint64 {
	return a.PrevLogEntry + uint64(len(a.Entries))
}

// hear is called by the session's reader for each message, in the order in which
// they were sent: a peer answers a group's appends in their order.
func (p *pipeline) hear(a *raft.AppendEntriesRequest, sent time.Time, answer *message, err error) {
	p.follower.appended(p.session, a, sent, answer)
	if err != nil {
		p.end(err)
		return
	}
	p.passOnSoon()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	if answer.flags&flagYes == 0 {
		if len(p.flights) > 0 {
			fillAppend(p.flights[0].resp, answer)
			p.land(p.flights[0])
		}
		p.stop(errRefused) // what is behind it is refused, too
		return
	}
	p.answered++
	n := 0
	for ; n < len(p.flights) && p.flights[n].message <= p.answered; n++ {
		fillAppend(p.flights[n].resp, answer)
		p.land(p.flights[n])
	}
	p.flights = p.flights[:copy(p.flights, p.flights[n:])]
}

// land tells Raft that an append is answered. mu is held.
func (p *pipeline) land(fl *flight) {
	close(fl.done)
	if fl.slot {
		<-p.slots
	}
	select {
	case p.answers <- fl:
	default:
		p.stop(errBusy)
	}
}

func (p *pipeline) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipeline) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop(err)
}

// stop is end; mu is held.
func (p *pipeline) stop(err error) {
	if p.err == nil {
		p.err = err
		close(p.over)
	}
}

// sendAhead sends entries that this replica is about to write as the leader to those
// of the others that have all before them. It reports whether anybody gets them.
func (g *Group) sendAhead(logs []*raft.Log) bool {
	if !g.logs.running.Load() || !g.IsLeader() {
		return false
	}
	sent := false
	for _, p := range g.pipelines(make([]*pipeline, 0, 8)) {
		sent = p.ahead(logs[0].Term, logs, g.raft.CommitIndex()) || sent
	}
	return sent
}

// pipelines appends to list those through which Raft appends now.
func (g *Group) pipelines(list []*pipeline) []*pipeline {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.followers {
		if p := f.pipe.Load(); p != nil {
			list = append(list, p)
		}
	}
	return list
}
