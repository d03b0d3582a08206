package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/skeinmesh/skein/replication/fields"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/peer"
)

// errTurn says that a batch is not kept because one before it was not, or because
// its sender has begun again meanwhile.
var errTurn = errors.New("replication: a batch before this one was not kept")

// turn is a batch's place among those that a node sends for a partition.
type turn struct {
	sender   meta.ID // a start of the node
	sequence uint64  // counts how often it began anew
	number   uint64  // of the batch in its sequence, from 0
	since    uint64  // all batches before this one are kept
}

func (t turn) append(b []byte) []byte {
	b = append(b, t.sender[:]...)
	b = binary.AppendUvarint(b, t.sequence)
	b = binary.AppendUvarint(b, t.number)
	return binary.AppendUvarint(b, t.since)
}

func readTurn(b []byte) (t turn, rest []byte, err error) {
	f := fields.Reader{Rest: b}
	f.Fill(t.sender[:])
	t.sequence, t.number, t.since = f.Number(1<<63), f.Number(1<<63), f.Number(1<<63)
	if f.Bad {
		return turn{}, nil, errors.New("replication: a malformed question")
	}
	return t, f.Rest, nil
}

// asker is a node that appends to a partition.
type asker struct {
	node      peer.ID
	partition uint32
}

// turns lets the batches of each asker in by their numbers, however they come. The
// zero value is ready.
type turns struct {
	mu        sync.Mutex // guards the map
	sequences map[asker]*passage
}

// passage is where an asker's newest sequence has got to.
type passage struct {
	mu       sync.Mutex // guards the fields below; held while a batch is appended
	sender   meta.ID
	sequence uint64
	next     uint64 // number of the batch whose turn it is
	term     uint64 // of its batches, once there was one
	broken   bool   // one was not kept: none after it may be
	gone     bool   // it is forgotten: none may be, of any sequence
	stirred  chan struct{}
}

// take calls do when the turn has come. do appends the batch in a term, or in any if
// that is 0, and returns the term and whether that has begun; over tells later how it
// ended. The error is do's, or errTurn: then do was not called and never will be.
func (s *turns) take(ctx context.Context, a asker, t turn, do func(term uint64, over func(error)) (uint64, error)) error {
	s.mu.Lock()
	if s.sequences == nil {
		s.sequences = map[asker]*passage{}
	}
	p := s.sequences[a]
	if p == nil {
		p = &passage{sender: t.sender, sequence: t.sequence, stirred: make(chan struct{})}
		s.sequences[a] = p
	}
	s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone && (p.sender != t.sender || p.sequence < t.sequence) {
		p.sender, p.sequence, p.next, p.term, p.broken = t.sender, t.sequence, 0, 0, false
		p.stir()
	}
	// What is not known here that was kept, another start of this node has let in,
	// and with it has gone which batch would be next.
	p.broken = p.broken || p.is(t) && p.next < t.since
	for p.is(t) && !p.broken && !p.gone && p.next < t.number {
		stirred := p.stirred
		p.mu.Unlock()
		select {
		case <-stirred:
			p.mu.Lock()
		case <-ctx.Done():
			p.mu.Lock()
			p.fail(t)
			return fmt.Errorf("%w: %w", errTurn, context.Cause(ctx))
		}
	}
	if !p.is(t) || p.broken || p.gone || p.next != t.number {
		return errTurn
	}
	term, err := do(p.term, func(err error) {
		if err != nil {
			p.mu.Lock()
			p.fail(t)
			p.mu.Unlock()
		}
	})
	if err != nil {
		p.fail(t)
		return err
	}
	p.term = term
	p.next++
	p.stir()
	return nil
}

// forget forgets askers. Of what they have sent already nothing more is let in.
func (s *turns) forget(which func(asker) bool) {
	s.mu.Lock()
	var gone []*passage
	for a, p := range s.sequences {
		if which(a) {
			gone = append(gone, p)
			delete(s.sequences, a)
		}
	}
	s.mu.Unlock()
	for _, p := range gone {
		p.mu.Lock()
		p.gone = true
		p.stir()
		p.mu.Unlock()
	}
}

// is reports whether a turn is of the newest sequence.
func (p *passage) is(t turn) bool { return p.sender == t.sender && p.sequence == t.sequence }

// fail notes that a batch is not kept. The lock is held.
func (p *passage) fail(t turn) {
	if p.is(t) {
		p.broken = true
		p.stir()
	}
}

// stir has those look who wait. The lock is held.
func (p *passage) stir() {
	close(p.stirred)
	p.stirred = make(chan struct{})
}
