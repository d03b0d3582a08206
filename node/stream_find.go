package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
)

// find finds a stream by its name, or name@owner where several regions own one of
// the name. While the node is not ready it may not know the stream yet: then find
// waits, up to findWait, and the error is ErrNotReady.
func (n *Node) find(ctx context.Context, namespace, name string, deleted bool) (meta.Stream, error) {
	ns, err := namespaceOf(namespace)
	if err != nil {
		return meta.Stream{}, err
	}
	for began := time.Now(); ; {
		notReady := n.Ready() // as it was before looking
		s, err := n.lookup(ns, name, deleted)
		if notReady == nil || !errors.Is(err, ErrNoStream) {
			return s, err
		}
		if time.Since(began) > findWait {
			return s, fmt.Errorf("%w, and no stream %.80q is known yet", notReady, name)
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return s, notReady
		case <-n.ctx.Done():
			return s, ErrClosed
		}
	}
}

const (
	findWait  = 5 * time.Second
	lookAgain = 50 * time.Millisecond
)

// lookup is find among the streams that are known now.
func (n *Node) lookup(ns, name string, deleted bool) (meta.Stream, error) {
	bare, owner, _ := strings.Cut(name, "@")
	fits := func(s *meta.Stream) bool {
		return s.Namespace == ns && s.Name == bare && (owner == "" || s.Owner == owner) && (s.Tombstone != nil) == deleted
	}
	var found []meta.Stream
	if !deleted {
		found = slices.DeleteFunc(n.streams.routed(ns, bare), func(s meta.Stream) bool { return !fits(&s) })
	}
	if len(found) == 0 { // it may not be routed yet
		for _, s := range n.streams.all() {
			if fits(s) {
				found = append(found, *s)
			}
		}
	}
	if deleted { // of several that had the name, the one that was deleted last
		slices.SortFunc(found, func(a, b meta.Stream) int {
			return cmp.Or(b.Tombstone.At.Compare(a.Tombstone.At), cmp.Compare(b.Version, a.Version))
		})
		found = slices.CompactFunc(found, func(a, b meta.Stream) bool { return a.Owner == b.Owner })
	}
	switch len(found) {
	case 0:
		return meta.Stream{}, fmt.Errorf("%w: %.80q in namespace %s", ErrNoStream, name, ns)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, s := range found {
		names = append(names, s.Name+"@"+s.Owner)
	}
	return meta.Stream{}, fmt.Errorf("%w: there are several streams %s: say which one of %s", meta.ErrInvalid, bare, strings.Join(names, ", "))
}
