package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/transport/peer"
)

// drawCommand is a command about few enough things that many make sense.
func drawCommand(t *rapid.T, s *State) Command {
	node := func() peer.ID {
		return peer.ID(rapid.SampledFrom([]string{"n1", "n2", "n3", "n4", ""}).Draw(t, "node"))
	}
	number := func(label string, most int) int { return rapid.IntRange(0, most).Draw(t, label) }
	id := func() ID { return ID{byte(number("id", 6))} }
	definition := func() Definition {
		d := Definition{
			Namespace: "default", Name: rapid.SampledFrom([]string{"orders", "audit", "Bad"}).Draw(t, "name"),
			Partitions: number("partitions", 2), Replicas: number("replicas", 8), Dedicated: rapid.Bool().Draw(t, "dedicated"),
			Placement: rapid.SampledFrom([]string{"local", "home:eu", "local:eu,us", "stretch"}).Draw(t, "placement"),
		}
		if rapid.Bool().Draw(t, "filter?") {
			d.Filter = json.RawMessage(rapid.SampledFrom([]string{`{"exact": {"type": "<a>&"}}`, `{}`, `[]`}).Draw(t, "filter"))
		}
		return d
	}
	partition := func() ID {
		if list := s.Partitions(); len(list) > 0 && number("real", 9) > 0 {
			return rapid.SampledFrom(list).Draw(t, "partition").ID
		}
		return id()
	}
	replica := func(p ID) ReplicaID {
		if part, ok := s.Partition(p); ok && number("real", 9) > 0 {
			return rapid.SampledFrom(part.Replicas).Draw(t, "replica").ReplicaID
		}
		return ReplicaID{node(), uint64(number("epoch", 3))}
	}
	change := func(p ID) (uint64, Phase) {
		if part, _ := s.Partition(p); part.Change != nil && number("real", 9) > 0 {
			return part.Change.Index, part.Change.Phase
		}
		return uint64(number("change", 5)), rapid.SampledFrom([]Phase{Learn, Promote, Remove, Undo, "x"}).Draw(t, "phase")
	}
	foreign := func() Stream {
		d := Stream{UUID: id(), Definition: definition(), Owner: rapid.SampledFrom([]string{"us", "eu", "ap"}).Draw(t, "owner"), OwnerEpoch: uint64(number("owner epoch", 2)), Version: uint64(number("version", 9)), Created: time.Unix(1000, 0)}
		if rapid.Bool().Draw(t, "tombstone") {
			d.Tombstone = &Tombstone{At: time.Unix(2000, 5)}
		}
		return d
	}
	switch number("command", 20) {
	case 0, 1, 2:
		return &RegisterNode{ID: node(), Name: "n", Boot: uint64(number("boot", 9)), Instance: id(), Level: 1}
	case 3:
		return &SetNodeState{node(), rapid.SampledFrom([]NodeState{Active, Active, Draining, Gone, "x"}).Draw(t, "state")}
	case 4, 5:
		c := &CreatePartition{ID: id(), Want: number("want", 4)}
		if rapid.Bool().Draw(t, "for a stream") {
			c.Stream = id()
		}
		for range number("on", 3) {
			c.Nodes = append(c.Nodes, node())
		}
		return c
	case 6:
		return &SetWant{partition(), number("want", 8)}
	case 7:
		p := partition()
		return &MarkReplica{p, replica(p), rapid.SampledFrom([]Mark{Bootstrapped, Lost, Erased, "x"}).Draw(t, "mark")}
	case 8:
		return &RetirePartition{partition()}
	case 9, 10:
		c := &BeginChange{Partition: partition(), Add: node(), RemoveFirst: rapid.Bool().Draw(t, "remove first")}
		if rapid.Bool().Draw(t, "remove") {
			c.Remove = replica(c.Partition)
		}
		return c
	case 11, 12:
		p := partition()
		i, phase := change(p)
		return &AdvanceChange{p, i, phase}
	case 13:
		p := partition()
		i, _ := change(p)
		return &UndoChange{p, i}
	case 14:
		return &CreateStream{id(), definition()}
	case 15:
		d, _ := s.Stream(id())
		return &UpdateStream{d.UUID, d.Version, definition()}
	case 16:
		return rapid.SampledFrom([]Command{&DeleteStream{id(), "me"}, &UndeleteStream{id()}, &PurgeStream{id()}}).Draw(t, "end")
	case 17:
		c := &AssignStream{Stream: id()}
		for range number("of", 2) {
			c.Partitions = append(c.Partitions, uint32(number("number", 5)))
		}
		if rapid.Bool().Draw(t, "foreign") {
			d := foreign()
			c.Foreign, c.Stream = &d, d.UUID
		}
		return c
	case 18:
		return &LearnStream{foreign()}
	case 19:
		return &DropStream{Grave{UUID: id(), Owner: "us", OwnerEpoch: 1, Version: uint64(number("version", 12))}}
	}
	return rapid.SampledFrom([]Command{&RaiseLevel{1}, &FoundRegion{Name: "eu", By: "n1"}, &FoundRegion{Name: "us", By: "n2"}, &FoundRegion{Name: "", By: "n1"}}).Draw(t, "other")
}

func TestTheSameCommandsMakeTheSameBytesAndSnapshotsLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := New("eu"), New("eu")
		w := newWitness()
		now := time.Unix(1_700_000_000, 0)
		for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
			// Clocks of proposers differ, and run backwards at times.
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, -60, 3600, 86400}).Draw(t, "seconds")) * time.Second)
			cmd, err := Encode(now, drawCommand(t, a))
			if err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 30).Draw(t, "too new") == 0 {
				cmd = append([]byte{commandVersion}, fmt.Sprintf(`{"kind":"moon.%d","level":%d,"now":1,"body":{}}`, i%3, i%3)...)
			}
			before, clock := a.Snapshot(), a.Clock()
			got, errA := a.Apply(uint64(i+1), cmd)
			_, errB := b.Apply(uint64(i+1), cmd)
			if fmt.Sprint(errA) != fmt.Sprint(errB) {
				t.Fatalf("%v here, %v there", errA, errB)
			}
			if a.Clock().Before(clock) {
				t.Fatalf("the clock runs back from %v to %v", clock, a.Clock())
			}
			snap := a.Snapshot()
			if !bytes.Equal(snap, b.Snapshot()) {
				t.Fatalf("states differ after %s", cmd)
			}
			if errA != nil || got.Changed == 0 {
				if !bytes.Equal(body(t, snap), body(t, before)) {
					t.Fatalf("%s says it changed nothing (%v), and did:\n%s\n%s", cmd, errA, before, snap)
				}
			}
			w.check(t, a)
			// b goes on from a snapshot: it must be the same state.
			restored := New("eu")
			if err := restored.Restore(snap); err != nil {
				t.Fatalf("after %s: %v\n%s", cmd, err, snap)
			}
			if !bytes.Equal(restored.Snapshot(), snap) {
				t.Fatalf("restored, it is another:\n%s\n%s", restored.Snapshot(), snap)
			}
			b = restored
		}
	})
}

// body is a snapshot without what each command may change.
func body(t *rapid.T, snap []byte) []byte {
	var img image
	if err := json.Unmarshal(snap[snapshotHeader:], &img); err != nil {
		t.Fatal(err)
	}
	img.Applied, img.Clock, img.Refused = 0, time.Time{}, nil
	data, err := json.Marshal(img)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// witness remembers what must never happen again.
type witness struct {
	of      map[ReplicaID]ID         // which partition an identity belongs to
	dropped map[ReplicaID]bool       // identities that are no more
	first   map[uint32][]ReplicaID   // first configurations
	numbers map[uint32]ID            // of partitions
	spread  map[ID]map[uint64]string // assignments by stream and generation
	boots   map[peer.ID]uint64
}

func newWitness() *witness {
	return &witness{map[ReplicaID]ID{}, map[ReplicaID]bool{}, map[uint32][]ReplicaID{}, map[uint32]ID{}, map[ID]map[uint64]string{}, map[peer.ID]uint64{}}
}

func (w *witness) check(t *rapid.T, s *State) {
	present := map[ReplicaID]bool{}
	for _, p := range s.Partitions() {
		if had, ok := w.numbers[p.Number]; ok && had != p.ID {
			t.Fatalf("partition number %d is given out again", p.Number)
		}
		w.numbers[p.Number] = p.ID
		if had, ok := w.first[p.Number]; ok && !slices.Equal(had, p.Initial) {
			t.Fatalf("the first configuration of %d changed from %v to %v", p.Number, had, p.Initial)
		}
		w.first[p.Number] = p.Initial
		learners := 0
		for _, r := range p.Replicas {
			if other, ok := w.of[r.ReplicaID]; ok && other != p.ID || present[r.ReplicaID] || w.dropped[r.ReplicaID] {
				t.Fatalf("identity %v is used again", r.ReplicaID)
			}
			w.of[r.ReplicaID], present[r.ReplicaID] = p.ID, true
			if r.Role == Learner {
				learners++
			}
		}
		if learners > 1 || learners == 1 && p.Change == nil && p.Retired.IsZero() {
			t.Fatalf("%d learners in %+v", learners, p)
		}
	}
	for r := range w.of {
		if !present[r] {
			w.dropped[r] = true
		}
	}
	for _, n := range s.Nodes() {
		if n.Boot < w.boots[n.ID] {
			t.Fatalf("node %s goes back to boot %d", n.ID, n.Boot)
		}
		w.boots[n.ID] = n.Boot
	}
	for _, a := range s.Assignments() {
		if w.spread[a.Stream] == nil {
			w.spread[a.Stream] = map[uint64]string{}
		}
		now := fmt.Sprint(a.Partitions)
		if had, ok := w.spread[a.Stream][a.Generation]; ok && had != now || len(w.spread[a.Stream]) > 0 && !ok {
			t.Fatalf("stream %s was assigned to %v, now to %s", a.Stream, w.spread[a.Stream], now)
		}
		w.spread[a.Stream][a.Generation] = now
		if _, dead := s.Grave(a.Stream); dead {
			t.Fatalf("stream %s is assigned and purged", a.Stream)
		}
	}
}

func TestWhatPlacementProposesIsAcceptedToTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t.Fatalf)
		nodes := rapid.IntRange(1, 6).Draw(t, "nodes")
		for i := range nodes {
			r.join(i)
		}
		r.create(rapid.IntRange(1, 6).Draw(t, "partitions"))
		r.settle()
		for range rapid.IntRange(1, 5).Draw(t, "disturbances") {
			id := peer.ID(fmt.Sprintf("n%d", rapid.IntRange(0, nodes-1).Draw(t, "which")))
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				r.down[id] = placement.DeadAfter
			case 1:
				delete(r.down, id)
			case 2:
				if n, _ := r.Node(id); n.State == Active {
					r.do(&SetNodeState{id, Draining})
				}
			case 3:
				r.join(nodes)
				nodes++
			case 4:
				p := rapid.SampledFrom(r.Partitions()).Draw(t, "partition")
				r.do(&MarkReplica{p.ID, rapid.SampledFrom(p.Replicas).Draw(t, "replica").ReplicaID, Lost})
			case 5: // a node joins, gets replicas to catch up, and dies
				r.join(nodes)
				r.step()
				r.down[peer.ID(fmt.Sprintf("n%d", nodes))] = placement.DeadAfter
				nodes++
			}
			r.settle()
			for _, p := range r.Partitions() {
				if n, ok := r.stuck(p); ok {
					t.Fatalf("a change of %d waits for %s, which is dead: %+v", p.Number, n, *p.Change)
				}
			}
		}
	})
}

// stuck reports whether a partition that could decide waits for a dead node.
func (r *rig) stuck(p Partition) (peer.ID, bool) {
	if p.Change == nil {
		return "", false
	}
	voters, able := 0, 0
	for _, x := range p.Replicas {
		if _, down := r.down[x.Node]; x.Role == Voter {
			if voters++; !down && !x.Lost {
				able++
			}
		}
	}
	_, down := r.down[p.Change.Add.Node]
	return p.Change.Add.Node, down && able > voters/2
}

// rig is a region's metadata with somebody who carries out what is due.
type rig struct {
	*State
	now   time.Time
	down  map[peer.ID]time.Duration
	fatal func(string, ...any)
}

func newRig(fatal func(string, ...any)) *rig {
	return &rig{New("eu"), time.Unix(1_700_000_000, 0), map[peer.ID]time.Duration{}, fatal}
}

func (r *rig) try(c Command) (Outcome, error) {
	cmd, err := Encode(r.now, c)
	if err != nil {
		r.fatal("%v", err)
	}
	return r.Apply(r.Applied()+1, cmd)
}

func (r *rig) do(c Command) any {
	got, err := r.try(c)
	if err != nil {
		r.fatal("%s: %v", c.kind(), err)
	}
	return got.Result
}

func (r *rig) refused(kind error, c Command) {
	if _, err := r.try(c); !errors.Is(err, kind) {
		r.fatal("%s %+v: %v, want %v", c.kind(), c, err, kind)
	}
}

func (r *rig) join(i int) {
	r.do(&RegisterNode{ID: peer.ID(fmt.Sprintf("n%d", i)), Boot: 1, Instance: ID{byte(i), 1}, Level: Level})
}

func (r *rig) view() placement.View {
	return r.View(Seen{
		Node:   func(id peer.ID) (bool, time.Duration) { d, down := r.down[id]; return !down, d },
		Leader: func(ID) peer.ID { return "" },
		Leads:  func(peer.ID) int { return 0 },
	})
}

// create makes shared partitions where placement wants them.
func (r *rig) create(count int) {
	first := len(r.Partitions())
	ids := make([][16]byte, count)
	for i := range ids {
		ids[i] = ID{byte(first + i), 0xee}
	}
	for i, on := range placement.Initial(r.view(), ids, 3) {
		r.do(&CreatePartition{ID: ids[i], Want: 3, Nodes: on})
	}
}

// settle carries out what is due until nothing is.
func (r *rig) settle() {
	for rounds := 0; r.step() || r.finish(); rounds++ {
		if rounds > 200 {
			r.fatal("no end of steps: %+v", placement.Next(r.view()))
		}
	}
}

// step begins what is due, and reports whether anything was.
func (r *rig) step() bool {
	steps := placement.Next(r.view())
	for _, s := range steps {
		c, err := r.Command(s)
		if err != nil {
			r.fatal("%+v: %v", s, err)
		}
		r.do(c)
	}
	return len(steps) > 0
}

// finish ends the changes under way that can go on, and reports whether it did
// anything: a replica learns and is promoted only while its node is up.
func (r *rig) finish() (did bool) {
	for _, p := range r.Partitions() {
		for p.Change != nil {
			_, down := r.down[p.Change.Add.Node]
			if down && (p.Change.Phase == Learn || p.Change.Phase == Promote) {
				break
			}
			p = r.do(&AdvanceChange{p.ID, p.Change.Index, p.Change.Phase}).(Partition)
			did = true
		}
	}
	return did
}
