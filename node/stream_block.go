package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// blockAsk asks for a block of a log: records that a reader's filter wants. The
// filter is evaluated in the region that keeps the log.
type blockAsk struct {
	replication.Read
	Filter string `json:"filter,omitempty"` // in JSON; empty wants everything
	// Bulk says that much is there, so that the block shall come past the link.
	Bulk bool `json:"-"`
}

// block asks a region for a block. What another region keeps comes through the
// relay, so that it crosses to this region once.
func (n *Node) block(ctx context.Context, region string, q *blockAsk) (replication.Block, error) {
	if region == n.self.Region {
		return n.blockHere(ctx, q)
	}
	return n.relays.block(ctx, region, q, false)
}

// blockHere reads a block of what this region keeps.
func (n *Node) blockHere(ctx context.Context, q *blockAsk) (replication.Block, error) {
	m := n.streams.member.Load()
	if m == nil {
		return replication.Block{}, errNoStreams
	}
	wants, err := wanted(q.Filter)
	if err != nil {
		return replication.Block{}, err
	}
	return m.Select(ctx, q.Read, wants)
}

// wanted is what a filter keeps of a log; nil if it wants everything. What is no
// event is for the reader to meet.
func wanted(text string) (func(data []byte) bool, error) {
	if text == "" {
		return nil, nil
	}
	f, err := filter.Parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var ev event.Event
	return func(data []byte) bool { return ev.Scan(data) != nil || f.Match(&ev) }, nil
}

// blockAbroad asks a region for a block on the way that its events take or, unless
// it is empty, by way of a relay.
func (n *Node) blockAbroad(ctx context.Context, region string, by peer.ID, q *blockAsk) (replication.Block, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return replication.Block{}, err
	}
	ask, err := json.Marshal(abroad{Region: region, Kind: abroadBlock, Body: body, Relay: by != "", Bulk: q.Bulk})
	if err != nil {
		return replication.Block{}, err
	}
	var answer []byte
	if by != "" {
		answer, err = n.callFor(q.Bulk)(ctx, by, kindAbroad, ask)
	} else {
		answer, err = n.passAbroad(ctx, region, ask, q.Bulk)
	}
	if err != nil {
		return replication.Block{}, fmt.Errorf("region %s: %w", region, err)
	}
	if len(answer) == 0 || answer[0] != '{' {
		return replication.DecodeBlock(answer)
	}
	var a abroadAnswer // a refusal
	if err := json.Unmarshal(answer, &a); err != nil {
		return replication.Block{}, fmt.Errorf("region %s: %w", region, err)
	}
	if a.Code == "" && strings.HasPrefix(a.Error, unknownQuestion) {
		return n.blockOfOld(ctx, region, q)
	}
	return replication.Block{}, a.err(region)
}

// blockOfOld asks a region whose nodes are older than blocks.
func (n *Node) blockOfOld(ctx context.Context, region string, q *blockAsk) (b replication.Block, err error) {
	wants, err := wanted(q.Filter)
	if err != nil {
		return b, err
	}
	var body []byte
	if err := n.askAbroad(ctx, region, abroadRead, &q.Read, &body); err != nil {
		return b, err
	}
	got, err := replication.DecodeRecords(body)
	b = replication.Block{Start: got.Start, End: got.End, From: got.Offset, Next: got.Next()}
	for i, rec := range got.List {
		if wants == nil || wants(rec.Data) {
			b.List = append(b.List, replication.BlockRecord{Offset: got.Offset + int64(i), Time: rec.Time, Data: rec.Data})
		}
	}
	return b, err
}

// answerBlock answers blockAbroad: with a block as it is, or with a refusal in JSON.
func (n *Node) answerBlock(ctx context.Context, ask *abroad) ([]byte, error) {
	q, region := blockAsk{Bulk: ask.Bulk}, ask.Region
	err := json.Unmarshal(ask.Body, &q)
	var b replication.Block
	switch {
	case err != nil:
	case region == n.self.Region:
		b, err = n.blockHere(ctx, &q)
	default:
		b, err = n.relays.block(ctx, region, &q, true)
	}
	if errors.Is(err, context.Canceled) {
		return nil, err // nobody waits for it
	}
	if err != nil {
		return json.Marshal(refusalAbroad(err))
	}
	return b.AppendTo(nil), nil
}
