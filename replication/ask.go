package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/transport/peer"
)

// Questions that nodes of a region ask each other: a byte that says which, and
// what belongs to it. Answers begin with a byte, too: answered, or refused before
// a refusal. The values are part of the protocol, whose version the nodes' link has;
// fields that one of them does not know are passed over, and a question that it
// does not know is refused.
const (
	askAdmit   = 1  // start → nothing: let the asker into the metadata group
	askPropose = 2  // command → its index
	askAppend  = 3  // partition, records → outcomes
	askRead    = 4  // Read → Records
	askChunk   = 5  // chunk → bytes of a file
	askStatus  = 6  // partition → Status
	askTrim    = 7  // trim → nothing
	askVouch   = 8  // start → decided: no later start of the asker is known
	askLead    = 9  // → how many it leads: the node may be handed the lead of something
	askEnd     = 10 // partition and log → its start and end
	askTurn    = 11 // turn, partition, records → outcomes: as askAppend, in the turn

	answered = 0
	refused  = 1
)

// unknownQuestion begins what is said of a question that only later versions ask. It
// is part of the protocol.
const unknownQuestion = "replication: unknown question"

// ErrElsewhere: this node has no replica of the partition.
var ErrElsewhere = errors.New("replication: no replica of the partition is here")

// ask asks a node and returns what belongs to the answer.
func (r *Member) ask(ctx context.Context, to peer.ID, kind byte, body []byte) ([]byte, error) {
	return r.askWhole(ctx, to, append([]byte{kind}, body...))
}

// askWhole is ask with a question that begins with its kind.
func (r *Member) askWhole(ctx context.Context, to peer.ID, question []byte) ([]byte, error) {
	answer, err := r.cfg.Net.Ask(ctx, to, question)
	switch {
	case err != nil:
		return nil, err
	case len(answer) == 0:
		return nil, fmt.Errorf("replication: an empty answer of %s", to.Short())
	case answer[0] == refused:
		return nil, decode(answer[1:])
	}
	return answer[1:], nil
}

// Answer answers what another node's Member asks with Network.Ask. The question's
// bytes must not change afterwards.
func (r *Member) Answer(ctx context.Context, from peer.ID, question []byte) []byte {
	if len(question) == 0 {
		return encode(errors.New("replication: an empty question"))
	}
	if err := r.Fenced(); err != nil {
		// That this node is an image says nothing of the asker.
		return encode(fmt.Errorf("replication: node %s takes part in nothing: %s", r.cfg.Self.ID.Short(), err))
	}
	answer, err := r.answer(ctx, from, question[0], question[1:])
	if err != nil {
		return encode(err)
	}
	return append([]byte{answered}, answer...)
}

func (r *Member) answer(ctx context.Context, from peer.ID, kind byte, body []byte) ([]byte, error) {
	switch kind {
	case askAdmit:
		return nil, r.answerAdmit(ctx, from, body)
	case askLead:
		return r.answerLead()
	case askVouch:
		return r.answerVouch(from, body)
	case askPropose:
		if err := meta.Readable(body); err != nil {
			return nil, err
		}
		index, err := r.decide(ctx, append([]byte(nil), body...))
		if err != nil {
			return nil, &decidedAt{index, err}
		}
		return binary.AppendUvarint(nil, index), nil
	case askAppend:
		return r.answerAppend(ctx, body)
	case askTurn:
		return r.answerTurn(ctx, from, body)
	case askRead:
		return r.answerRead(ctx, body)
	case askChunk:
		return r.answerChunk(ctx, body)
	case askStatus:
		return r.answerStatus(body)
	case askTrim:
		return nil, r.answerTrim(ctx, body)
	case askEnd:
		return r.answerEnd(ctx, body)
	}
	return nil, fmt.Errorf(unknownQuestion+" %d: is this node older than the asker?", kind)
}

// askPropose proposes a command to the node that leads the metadata.
func (r *Member) askPropose(ctx context.Context, to peer.ID, cmd []byte) (uint64, error) {
	answer, err := r.ask(ctx, to, askPropose, cmd)
	if err != nil {
		var from *asked
		if errors.As(err, &from) {
			return from.Index, err
		}
		return 0, err
	}
	index, n := binary.Uvarint(answer)
	if n <= 0 {
		return 0, errors.New("replication: a malformed answer")
	}
	return index, nil
}

// local is this node's replica of a partition.
func (r *Member) local(number uint32) (*partition.Partition, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.replicas {
		if p.number == number && p.part != nil {
			return p.part, nil
		}
	}
	return nil, ErrElsewhere
}
