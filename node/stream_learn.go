package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A node that does not know a stream takes its events without keeping them. So it
// is not ready before it has heard which streams there are: what its own region has
// decided up to a moment after it had its links, and what the other regions tell.
// Who makes a stream after that asks this node, too. Regions that do not answer are
// waited for only so long: a node that is cut off serves its own.

// learnGrace is how long after its start a node waits for its own region's metadata
// before it is ready without them: an election after a crash takes a few seconds.
// syncGrace bounds the wait for other regions.
const learnGrace = 10 * time.Second

// learnStreams waits until the node knows which streams there are, or has had the
// time for it since it started. The node is not ready meanwhile.
func (n *Node) learnStreams(start time.Time) {
	s := n.streams
	n.setReady(errors.New("learning which streams there are"))
	own, cancel := context.WithDeadline(n.ctx, start.Add(learnGrace))
	defer cancel()
	m := s.member.Load()
	if m == nil { // the node is being closed
		return
	}
	err := m.CatchUp(own)
	for {
		if unheard := s.unheard(n.otherRegions()); len(unheard) == 0 || time.Since(start) > syncGrace {
			break
		}
		if !n.sleep(20 * time.Millisecond) {
			return
		}
	}
	// What was heard is routed from here on. Catching up may have used up its time.
	settling, cancel := context.WithTimeout(n.ctx, learnGrace)
	defer cancel()
	s.settled(settling)
	doubted := s.unheard(n.otherRegions())
	if err != nil {
		doubted = append(doubted, n.self.Region)
	}
	s.mu.Lock()
	s.doubted = doubted
	s.mu.Unlock()
	if len(doubted) > 0 && n.ctx.Err() == nil {
		n.log.Warn("starting without having heard which streams some regions own: what is published for those that this node does not remember is not kept until then", "regions", doubted, "err", err)
		n.wg.Go(n.learnLate)
	}
}

// learnLate goes on listening to regions that had not told of their streams when the
// node became ready.
func (n *Node) learnLate() {
	for n.sleep(learnAgain) {
		if len(n.StreamsUnheard()) == 0 {
			n.streams.changed() // what is remembered and not there any more goes
			n.log.Info("all regions have told by now which streams they own")
			return
		}
	}
}

const learnAgain = 500 * time.Millisecond

// StreamsUnheard names the regions that have not told which streams they own since
// this node started, although it is ready: they did not answer in time. What is
// published here for a stream of theirs that this node does not remember is not kept.
func (n *Node) StreamsUnheard() []string {
	n.streams.mu.Lock()
	doubted := n.streams.doubted
	n.streams.mu.Unlock()
	if len(doubted) == 0 {
		return nil
	}
	doubted = n.streams.unheard(doubted)
	n.streams.mu.Lock()
	defer n.streams.mu.Unlock()
	n.streams.doubted = doubted
	return doubted
}

// heard are the regions that have told which streams they own since this node
// started.
func (s *streams) heard() map[string]bool {
	heard := map[string]bool{}
	for _, region := range s.n.graph.Regions() {
		heard[region] = region != s.n.self.Region && s.n.spread.tellsStreams(region)
	}
	if m := s.member.Load(); m != nil {
		heard[s.n.self.Region] = m.Current()
	}
	return heard
}

// unheard are those of some regions that have not.
func (s *streams) unheard(regions []string) []string {
	heard := s.heard()
	return slices.DeleteFunc(slices.Clone(regions), func(r string) bool { return heard[r] })
}

// otherRegions are the regions besides this node's that it knows of, or that there
// should be.
func (n *Node) otherRegions() []string {
	list := slices.Concat(n.knownRegions(), n.unseen())
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(r string) bool { return r == n.self.Region })
}

// assignedKeeper waits until this region has given a stream its partitions, which it
// is about to if anybody leads it, and returns how the stream is kept then.
func (s *streams) assignedKeeper(ctx context.Context, k *keeper) (*keeper, error) {
	if !k.unassigned {
		return k, nil
	}
	ctx, cancel := context.WithTimeout(ctx, assignWait)
	defer cancel()
	now := k
	s.await(ctx, func() bool {
		if found := s.keepers[k.stream.UUID]; found != nil {
			now = found
		}
		return !now.unassigned || s.keepers[k.stream.UUID] == nil
	})
	if now.unassigned {
		return nil, fmt.Errorf("%w: %w: region %s has not given stream %s its partitions yet", ErrNotKept, ErrNoLeader, s.n.self.Region, k.stream.Name)
	}
	return now, nil
}

// assignWait is how long a publisher waits for that.
const assignWait = 5 * time.Second
