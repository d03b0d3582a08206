package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// Missing are regions that did not answer, or do not keep it yet, and nodes, as
	// region/node, that do not know it yet.
	Missing []string `json:"missing,omitempty"`
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

// CreateStream makes a stream that this node's region owns, and waits until every
// node that can be reached knows it, in all regions, and has it on its disk, and the
// regions that keep it do: for as long as ctx lives or ten seconds. Those that are not
// that far are Missing: what is published there until they are is not kept.
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
	if err := checkTellable(&def, n.self.Region); err != nil {
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

// ledWait is how long Stream waits for a log without a leader to get one.
const ledWait = 2 * time.Second

// ledLogs is logsOf that waits a moment for leaders: right after a start there are
// none.
func (n *Node) ledLogs(ctx context.Context, region string, id meta.ID) ([]StreamLog, error) {
	for began := time.Now(); ; {
		logs, err := n.logsOf(ctx, region, id)
		if err == nil && allLed(logs) || time.Since(began) > ledWait {
			return logs, err
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return logs, err
		}
	}
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
			p, _ := m.Meta().Number(number)
			for _, r := range p.Replicas {
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
func (s *streams) all() []*meta.Stream {
	heard := s.heard() // before what they told is looked at
	m := s.member.Load()
	if m == nil {
		return nil
	}
	s.mu.Lock()
	ids := s.everything(m)
	seen, list := make(map[meta.ID]bool, len(s.keepers)), make([]*meta.Stream, 0, len(s.keepers))
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		if d, known := s.definition(m, id, heard); known {
			list = append(list, &d)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *meta.Stream) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Owner, b.Owner),
			slices.Compare(a.UUID[:], b.UUID[:]))
	})
	return list
}

// one is a stream of any region, as this node knows it.
func (s *streams) one(id meta.ID) (d meta.Stream, known bool) {
	heard := s.heard()
	m := s.member.Load()
	if m == nil {
		return d, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.definition(m, id, heard)
}

// count is how many streams there are that are not deleted.
func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keepers)
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
			views = append(views, viewOf(s))
		}
	}
	return views, nil
}

// Stream describes a stream: where its events are, and how far each log is.
func (n *Node) Stream(ctx context.Context, namespace, name string) (StreamView, error) {
	s, err := n.find(ctx, namespace, name, false)
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
			logs, err := n.ledLogs(ctx, region, s.UUID)
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
// day, and UndeleteStream brings it back. It does not wait: a node that has not heard
// of the deletion yet keeps what is published at it, which harms nobody.
func (n *Node) DeleteStream(ctx context.Context, namespace, name string) error {
	_, err := n.changeStream(ctx, namespace, name, false, func(s *meta.Stream) meta.Command {
		return &meta.DeleteStream{UUID: s.UUID, By: n.self.Name}
	})
	return err
}

// UndeleteStream takes a deletion back, and waits for those who are to know it as
// CreateStream does: it returns who is missing.
func (n *Node) UndeleteStream(ctx context.Context, namespace, name string) (missing []string, err error) {
	s, err := n.changeStream(ctx, namespace, name, true, func(s *meta.Stream) meta.Command {
		return &meta.UndeleteStream{UUID: s.UUID}
	})
	if err != nil {
		return nil, err
	}
	return n.awaitStream(ctx, &s), nil
}

// changeStream has the owner change a stream, and returns it as it is then.
func (n *Node) changeStream(ctx context.Context, namespace, name string, deleted bool, c func(*meta.Stream) meta.Command) (meta.Stream, error) {
	s, err := n.find(ctx, namespace, name, deleted)
	if err != nil {
		return s, err
	}
	if s.Owner != n.self.Region {
		return s, fmt.Errorf("%w: stream %s belongs to region %s, and only a node there can change it", meta.ErrRefused, s.Name, s.Owner)
	}
	m := n.streams.member.Load()
	if m == nil {
		return s, errNoStreams
	}
	err = m.Propose(ctx, c(&s))
	if errors.Is(err, meta.ErrUnknown) { // it was changed at this moment
		return s, fmt.Errorf("%w: %w", ErrNoStream, err)
	}
	if now, known := m.Meta().Stream(s.UUID); known {
		s = now
	}
	return s, err
}
