package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// A node tells nodes of other regions which start of it this is, and they say whether
// they know a later one, or another of the same number: then its disk was set back to
// an old image, or copied. Nodes of its own region tell it when it asks to vote; where
// it alone votes, other regions are all who can.

// start is a start of the node that says so.
type start struct {
	Boot uint64 `json:"boot"`
	Name string `json:"name"` // no other start has it
}

// latest is what is known of its starts.
type latest struct {
	Boot    uint64 `json:"boot"`
	SetBack bool   `json:"setBack,omitempty"`
}

// tellStart tells a node that has just been linked.
func (n *Node) tellStart(p peer.Peer) {
	body, err := json.Marshal(start{n.self.Boot, n.start})
	if err != nil || n.ctx.Err() != nil {
		return
	}
	n.wg.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, joinTimeout)
		defer cancel()
		answer, err := n.net.Call(ctx, p.ID, kindStart, body)
		var known latest
		if err == nil {
			err = json.Unmarshal(answer, &known)
		}
		switch m := n.streams.member.Load(); {
		case err != nil: // it may be of an older version; others will do
			n.log.Debug("a node does not say what it knows of this one's starts", "peer", p.ID, "err", err)
		case known.SetBack && m != nil:
			m.SetBack(known.Boot, fmt.Sprintf("node %s (%s) of region %s", p.Name, p.ID.Short(), p.Region))
		}
	})
}

func (n *Node) answerStart(from peer.Peer, body []byte) ([]byte, error) {
	var s start
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("a node's start: %w", err)
	}
	n.book.See(from, time.Now()) // a link proves it before gossip does
	boot, setBack := n.book.Start(from.ID, s.Boot, s.Name)
	if setBack {
		n.log.Error("a node runs from an old image of its disk, or a copy: a later start of it is known",
			"peer", from.ID, "name", from.Name, "region", from.Region, "start", s.Boot, "known", boot)
	}
	return json.Marshal(latest{boot, setBack})
}
