package node

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
)

// A stream that is deleted is there until it is purged, and only its owner knows that:
// it keeps a grave. What waits for a stream that nobody knows waits on, as absence
// deletes nothing.

// purgedWait is how long the regions are asked whether a stream is purged.
const purgedWait = 5 * time.Second

// purged reports whether a region knows that a stream is purged. Who owns it is asked
// first, if that is known.
func (n *Node) purged(ctx context.Context, id meta.ID, owner string) bool {
	regions := append(n.otherRegions(), n.self.Region)
	if i := slices.Index(regions, owner); i > 0 {
		regions[0], regions[i] = regions[i], regions[0]
	}
	for _, region := range regions {
		limit, cancel := context.WithTimeout(ctx, purgedWait)
		purged, err := n.purgedIn(limit, region, id)
		cancel()
		if err != nil {
			n.log.Debug("a region does not say whether a stream is purged", "region", region, "stream", id, "err", err)
		}
		if purged {
			return true
		}
	}
	return false
}

func (n *Node) purgedIn(ctx context.Context, region string, id meta.ID) (purged bool, err error) {
	if region == n.self.Region {
		return n.purgedHere(id)
	}
	err = n.askAbroad(ctx, region, abroadPurged, id, &purged)
	return purged, err
}

// purgedHere is what this node knows: it may know of a grave late, but of none that is
// not there.
func (n *Node) purgedHere(id meta.ID) (bool, error) {
	m := n.streams.member.Load()
	if m == nil {
		return false, errNoStreams
	}
	_, purged := m.Meta().Grave(id)
	return purged, nil
}

// answerPurged answers whether this region knows that a stream is purged.
func (n *Node) answerPurged(_ context.Context, body []byte) (any, error) {
	var id meta.ID
	if err := json.Unmarshal(body, &id); err != nil {
		return nil, err
	}
	return n.purgedHere(id)
}
