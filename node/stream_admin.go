package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/peer"
)

// StreamDefinition is what the user says of a stream. What is zero has a default,
// or no limit.
type StreamDefinition struct {
	Namespace  string          `json:"namespace,omitempty"`
	Name       string          `json:"name"`
	Filter     json.RawMessage `json:"filter,omitempty"`     // of the Subscriptions API; none keeps everything
	Partitions int             `json:"partitions,omitempty"` // in each region that keeps it. Default 1
	Replicas   int             `json:"replicas,omitempty"`   // of dedicated partitions. Default 3
	Dedicated  bool            `json:"dedicated,omitempty"`  // it shares its partitions with no other stream
	Placement  string          `json:"placement,omitempty"`  // local, local:REGION,… or home:REGION. Default local
	MaxAge     Duration        `json:"maxAge,omitempty"`
	MaxBytes   int64           `json:"maxBytes,omitempty"`  // of each of its logs
	MaxEvents  int64           `json:"maxEvents,omitempty"` // of each of its logs
	// DedupWindow is for how long a second event of the same source and id is known
	// as a duplicate. Default 10 minutes.
	DedupWindow Duration `json:"dedupWindow,omitempty"`
}

// Duration is a time.Duration that is written as Go does: 90s, 36h.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// StreamView is a stream as one node sees it.
type StreamView struct {
	StreamDefinition
	ID      string      `json:"id"`
	Owner   string      `json:"owner"` // the region that it was created in
	Created time.Time   `json:"created"`
	Deleted *time.Time  `json:"deleted,omitempty"` // it can be had back for a day
	Logs    []StreamLog `json:"logs,omitempty"`    // of Stream alone
	Missing []string    `json:"missing,omitempty"` // regions that did not answer, or do not keep it yet
}

// StreamLog is what one partition keeps of a stream.
type StreamLog struct {
	Region    string        `json:"region"`
	Partition uint32        `json:"partition"`
	Leader    string        `json:"leader,omitempty"` // name of the node
	Replicas  []ReplicaView `json:"replicas"`
	Start     int64         `json:"start"` // the first offset
	Next      int64         `json:"next"`  // the offset that the next event gets
	Bytes     int64         `json:"bytes"`
	Error     string        `json:"error,omitempty"` // why the rest is not known
}

// ReplicaView is a replica of a partition.
type ReplicaView struct {
	Node   string `json:"node"`
	Epoch  uint64 `json:"epoch"`
	Role   string `json:"role"`             // voter or learner
	Lost   bool   `json:"lost,omitempty"`   // it is being replaced
	Behind uint64 `json:"behind,omitempty"` // entries of the partition's log
}

// CreateStream makes a stream that this node's region owns, and waits until the
// regions that keep it do, for as long as ctx lives or ten seconds; those that are
// not that far are Missing: what is published there until they are is not kept.
// Errors: meta.ErrInvalid, meta.ErrExists, meta.ErrLimit, ErrNamespace,
// replication.ErrNoLeader.
func (n *Node) CreateStream(ctx context.Context, d StreamDefinition) (StreamView, error) {
	m := n.streams.member.Load()
	if m == nil {
		return StreamView{}, errNoStreams
	}
	ns, err := namespaceOf(d.Namespace)
	if err != nil {
		return StreamView{}, err
	}
	if len(d.Filter) > 0 {
		if _, err := filter.Parse(d.Filter); err != nil {
			return StreamView{}, fmt.Errorf("%w: the filter of stream %s: %w", meta.ErrInvalid, d.Name, err)
		}
	}
	def := meta.Definition{
		Namespace: ns, Name: d.Name, Filter: d.Filter, Partitions: d.Partitions, Replicas: d.Replicas,
		Dedicated: d.Dedicated, Placement: d.Placement,
		Retention: meta.Retention{Age: time.Duration(d.MaxAge), Bytes: d.MaxBytes, Events: d.MaxEvents},
		Dedup:     meta.Window{Age: time.Duration(d.DedupWindow)},
	}
	if d.DedupWindow > 0 {
		def.Dedup.Events = meta.DefaultDedupEvents
	}
	def = def.WithDefaults()
	if err := def.Check(); err != nil {
		return StreamView{}, err
	}
	id := meta.ID(newUUID())
	if err := m.Propose(ctx, &meta.CreateStream{UUID: id, Definition: def}); err != nil {
		return StreamView{}, err
	}
	s, known := m.Meta().Stream(id)
	if !known {
		return StreamView{}, fmt.Errorf("%w: %s", ErrNoStream, d.Name)
	}
	view := viewOf(&s)
	view.Missing = n.awaitStream(ctx, &s)
	return view, nil
}

func newUUID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// createWait is how long CreateStream waits for the regions.
const createWait = 10 * time.Second

// awaitStream waits until the regions that are to keep a stream do, and names those
// that do not.
func (n *Node) awaitStream(ctx context.Context, s *meta.Stream) (missing []string) {
	ctx, cancel := context.WithTimeout(ctx, createWait)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards missing
	for _, region := range n.keepers(s) {
		wg.Go(func() {
			for {
				if logs, err := n.logsOf(ctx, region, s.UUID); err == nil && len(logs) > 0 && allLed(logs) {
					return
				}
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
					mu.Lock()
					defer mu.Unlock()
					missing = append(missing, region)
					return
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(missing)
	return missing
}

func allLed(logs []StreamLog) bool {
	return !slices.ContainsFunc(logs, func(l StreamLog) bool { return l.Leader == "" })
}

// keepers are the regions that keep a stream's events.
func (n *Node) keepers(s *meta.Stream) []string {
	home, regions, err := meta.ParsePlacement(s.Placement)
	if err == nil && (home || len(regions) > 0) {
		return regions
	}
	return n.knownRegions()
}

// logsOf asks a region what it keeps of a stream.
func (n *Node) logsOf(ctx context.Context, region string, id meta.ID) (logs []StreamLog, err error) {
	if region == n.self.Region {
		return n.streamLogs(ctx, id)
	}
	err = n.askAbroad(ctx, region, abroadStream, id, &logs)
	return logs, err
}

// streamLogs is what this region keeps of a stream.
func (n *Node) streamLogs(ctx context.Context, id meta.ID) ([]StreamLog, error) {
	m := n.streams.member.Load()
	if m == nil {
		return nil, errNoStreams
	}
	a, _ := m.Meta().Assignment(id)
	logs := make([]StreamLog, len(a.Partitions))
	partitions := map[uint32]meta.Partition{}
	for _, p := range m.Meta().Partitions() {
		partitions[p.Number] = p
	}
	var wg sync.WaitGroup
	for i, number := range a.Partitions {
		wg.Go(func() {
			l := &logs[i]
			*l = StreamLog{Region: n.self.Region, Partition: number}
			status, err := m.Status(ctx, number, id)
			if err != nil {
				l.Error = err.Error()
			} else {
				l.Start, l.Next, l.Bytes = status.Start, status.Next, status.Bytes
				if status.Leader != "" {
					l.Leader = n.nameIn(status.Leader)
				}
			}
			for _, r := range partitions[number].Replicas {
				l.Replicas = append(l.Replicas, ReplicaView{
					Node: n.nameIn(r.Node), Epoch: r.Epoch, Role: string(r.Role), Lost: r.Lost, Behind: status.Behind[r.Node],
				})
			}
		})
	}
	wg.Wait()
	return logs, nil
}

// nameIn is a node's name, this one's included.
func (n *Node) nameIn(id peer.ID) string {
	if id == n.self.ID {
		return n.self.Name
	}
	return n.nodeName(id)
}

func viewOf(s *meta.Stream) StreamView {
	v := StreamView{
		StreamDefinition: StreamDefinition{
			Namespace: s.Namespace, Name: s.Name, Filter: s.Filter, Partitions: s.Partitions, Replicas: s.Replicas,
			Dedicated: s.Dedicated, Placement: s.Placement, MaxAge: Duration(s.Retention.Age),
			MaxBytes: s.Retention.Bytes, MaxEvents: s.Retention.Events, DedupWindow: Duration(s.Dedup.Age),
		},
		ID: s.UUID.String(), Owner: s.Owner, Created: s.Created,
	}
	if s.Tombstone != nil {
		v.Deleted = &s.Tombstone.At
	}
	return v
}

// all are the streams of all regions, as this node knows them.
func (s *streams) all() (list []meta.Stream) {
	known := s.foreign()
	if m := s.member.Load(); m != nil {
		for _, d := range m.Meta().Streams() {
			known[d.UUID] = d
		}
		s.mu.Lock()
		s.recalled(m, known)
		s.mu.Unlock()
	}
	for _, d := range known {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b meta.Stream) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Owner, b.Owner),
			slices.Compare(a.UUID[:], b.UUID[:]))
	})
	return list
}

// count is how many streams there are that are not deleted.
func (s *streams) count() (n int) {
	for _, d := range s.all() {
		if d.Tombstone == nil {
			n++
		}
	}
	return n
}

// StreamViews lists the streams of a namespace, those that were deleted included.
func (n *Node) StreamViews(namespace string) ([]StreamView, error) {
	ns, err := namespaceOf(namespace)
	if err != nil {
		return nil, err
	}
	views := []StreamView{}
	for _, s := range n.streams.all() {
		if s.Namespace == ns {
			views = append(views, viewOf(&s))
		}
	}
	return views, nil
}

// find finds a stream by its name, or name@owner where several regions own one of
// the name.
func (n *Node) find(namespace, name string, deleted bool) (meta.Stream, error) {
	ns, err := namespaceOf(namespace)
	if err != nil {
		return meta.Stream{}, err
	}
	bare, owner, _ := strings.Cut(name, "@")
	var found []meta.Stream
	for _, s := range n.streams.all() {
		if s.Namespace == ns && s.Name == bare && (owner == "" || s.Owner == owner) && (s.Tombstone != nil) == deleted {
			found = append(found, s)
		}
	}
	if deleted { // of several that had the name, the one that was deleted last
		slices.SortFunc(found, func(a, b meta.Stream) int { return b.Tombstone.At.Compare(a.Tombstone.At) })
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

// Stream describes a stream: where its events are, and how far each log is.
func (n *Node) Stream(ctx context.Context, namespace, name string) (StreamView, error) {
	s, err := n.find(namespace, name, false)
	if err != nil {
		return StreamView{}, err
	}
	view := viewOf(&s)
	ctx, cancel := context.WithTimeout(ctx, DefaultWait)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards view
	for _, region := range n.keepers(&s) {
		wg.Go(func() {
			logs, err := n.logsOf(ctx, region, s.UUID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || len(logs) == 0 {
				view.Missing = append(view.Missing, region)
			}
			view.Logs = append(view.Logs, logs...)
		})
	}
	wg.Wait()
	slices.Sort(view.Missing)
	slices.SortFunc(view.Logs, func(a, b StreamLog) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Partition, b.Partition))
	})
	return view, nil
}

// DeleteStream deletes a stream that this node's region owns. Its events stay for a
// day, and UndeleteStream brings it back.
func (n *Node) DeleteStream(ctx context.Context, namespace, name string) error {
	return n.changeStream(ctx, namespace, name, false, func(s *meta.Stream) meta.Command {
		return &meta.DeleteStream{UUID: s.UUID, By: n.self.Name}
	})
}

// UndeleteStream takes a deletion back.
func (n *Node) UndeleteStream(ctx context.Context, namespace, name string) error {
	return n.changeStream(ctx, namespace, name, true, func(s *meta.Stream) meta.Command {
		return &meta.UndeleteStream{UUID: s.UUID}
	})
}

func (n *Node) changeStream(ctx context.Context, namespace, name string, deleted bool, c func(*meta.Stream) meta.Command) error {
	s, err := n.find(namespace, name, deleted)
	if err != nil {
		return err
	}
	if s.Owner != n.self.Region {
		return fmt.Errorf("%w: stream %s belongs to region %s, and only a node there can change it", meta.ErrRefused, s.Name, s.Owner)
	}
	m := n.streams.member.Load()
	if m == nil {
		return errNoStreams
	}
	err = m.Propose(ctx, c(&s))
	if errors.Is(err, meta.ErrUnknown) { // it was changed at this moment
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	}
	return err
}
