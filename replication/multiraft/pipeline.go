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
type pipeline struct {
	transport
	to       Replica
	session  *session
	follower *follower
	slots    chan struct{}
	answers  chan raft.AppendFuture

	mu     sync.Mutex // guards the fields below
	err    error      // why it is over
	over   chan struct{}
	flying int // slots taken
}

func (t transport) AppendEntriesPipeline(_ raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	to, err := parseReplica(string(target))
	if err != nil {
		return nil, err
	}
	s := t.host.link(to.Node).now()
	if s == nil {
		return nil, t.about(to, errDetached)
	}
	return &pipeline{
		transport: t, to: to, session: s, follower: t.follower(to),
		slots:   make(chan struct{}, pipelineDepth),
		answers: make(chan raft.AppendFuture, pipelineAnswers),
		over:    make(chan struct{}),
	}, nil
}

// flight is an append on its way.
type flight struct {
	args  *raft.AppendEntriesRequest
	resp  *raft.AppendEntriesResponse
	start time.Time
	parts int // without an answer; guarded by the pipeline's mu
	pipe  *pipeline
	done  chan struct{}
}

func (f *flight) Start() time.Time                      { return f.start }
func (f *flight) Request() *raft.AppendEntriesRequest   { return f.args }
func (f *flight) Response() *raft.AppendEntriesResponse { return f.resp }
func (p *pipeline) Consumer() <-chan raft.AppendFuture  { return p.answers }
func (p *pipeline) Close() error                        { p.end(raft.ErrPipelineShutdown); return nil }

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
	if err := p.fit(); err != nil {
		p.end(err)
		return nil, err
	}
	if p.idle() && p.follower.knows(p.session, a, p.host.cfg.LeaderLeaseTimeout) {
		p.host.stats.suppressed.Add(1)
		return fl, nil
	}
	if err := p.take(); err != nil {
		p.end(err)
		return nil, p.about(p.to, err)
	}
	parts := split(a)
	fl.parts = len(parts)
	for _, part := range parts {
		if err := p.session.awaitRoom(answerWithin, p.closing); err != nil {
			p.end(err)
			return nil, p.about(p.to, err)
		}
		m := p.appendMessage(p.to, part)
		if _, err := p.session.ask(&m, func(answer *message, err error) { p.answered(fl, part, answer, err) }); err != nil {
			p.end(err)
			return nil, p.about(p.to, err)
		}
		p.host.stats.appends.Add(1)
	}
	return fl, nil
}

// take takes a slot, waiting for an answer if all are taken.
func (p *pipeline) take() error {
	select {
	case p.slots <- struct{}{}:
		p.fly(1)
		return nil
	default:
	}
	timer := time.NewTimer(answerWithin)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		p.fly(1)
		return nil
	case <-timer.C:
		return errTimeout
	case <-p.over:
		return p.failed()
	case <-p.closing:
		return ErrClosed
	}
}

func (p *pipeline) fly(n int) {
	p.mu.Lock()
	p.flying += n
	p.mu.Unlock()
}

func (p *pipeline) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flying == 0
}

// answered is called by the session's reader for each part, in the order in
// which they were sent: a peer answers a group's appends in their order.
func (p *pipeline) answered(fl *flight, part *raft.AppendEntriesRequest, answer *message, err error) {
	p.follower.appended(p.session, part, fl.start, answer)
	if err != nil {
		p.end(err)
		return
	}
	p.mu.Lock()
	fl.parts--
	ended, complete := p.err != nil, fl.parts == 0
	fillAppend(fl.resp, answer)
	if fl.resp.Success && !complete || ended {
		p.mu.Unlock()
		return
	}
	p.flying--
	p.mu.Unlock()
	close(fl.done)
	select {
	case p.answers <- fl:
	default:
		p.end(errBusy)
	}
	if !fl.resp.Success {
		p.end(errRefused) // the parts and appends behind it are refused too
		return
	}
	<-p.slots
}

func (p *pipeline) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipeline) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		close(p.over)
	}
}
