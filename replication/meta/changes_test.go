package meta

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Who asks again and again which streams have changed, and looks at those only, knows
// what somebody knows who looks at all; and what is due for a stream is derived as it
// would be from all records.
func TestWhoFollowsChangesKnowsWhatThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New("eu")
		now := time.Unix(1_700_000_000, 0)
		var asked uint64
		known := map[ID]string{}
		for i := range rapid.IntRange(1, 80).Draw(t, "commands") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 3600, 86400}).Draw(t, "seconds")) * time.Second)
			cmd, err := Encode(now, drawCommand(t, s))
			if err != nil {
				t.Fatal(err)
			}
			s.Apply(uint64(i+1), cmd) //nolint:errcheck // refused ones change nothing
			if rapid.IntRange(0, 15).Draw(t, "restored") == 0 {
				if err := s.Restore(s.Snapshot()); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := due(s.Unassigned(), s.Deleted()), due(dueByRecords(s)); got != want {
				t.Fatalf("due are %s, the records say %s", got, want)
			}
			if rapid.Bool().Draw(t, "look later") {
				continue
			}
			ids, at, all := s.ChangedStreams(asked)
			if asked = at; all {
				clear(known)
				ids = slices.Collect(maps.Keys(records(s)))
			}
			there := records(s)
			for _, id := range ids {
				if known[id] = there[id]; known[id] == "" {
					delete(known, id)
				}
			}
			if !maps.Equal(known, there) {
				t.Fatalf("by the changes there are %v, there are %v", known, there)
			}
		}
	})
}

// records are what there is of each stream.
func records(s *State) map[ID]string {
	all := map[ID]string{}
	for _, d := range s.Streams() {
		all[d.UUID] += fmt.Sprint("stream ", d.Version)
	}
	for _, a := range s.Assignments() {
		all[a.Stream] += fmt.Sprint("assignment ", a.Generation)
		if a.Foreign != nil {
			all[a.Stream] += fmt.Sprint(" of ", a.Foreign.Version, a.Foreign.OwnerEpoch)
		}
	}
	for _, g := range s.Graves() {
		all[g.UUID] += fmt.Sprint("grave ", g.Index)
	}
	return all
}

// dueByRecords are the streams that get partitions, and those that are deleted.
func dueByRecords(s *State) (unassigned, deleted []Stream) {
	for _, d := range s.Streams() {
		_, assigned := s.Assignment(d.UUID)
		switch {
		case d.Tombstone != nil:
			deleted = append(deleted, d)
		case !assigned && d.KeptIn(s.Region()):
			unassigned = append(unassigned, d)
		}
	}
	return unassigned, deleted
}

func due(unassigned, deleted []Stream) (text string) {
	for _, d := range unassigned {
		text += fmt.Sprint(" assign ", d.UUID, d.Version)
	}
	for _, d := range deleted {
		text += fmt.Sprint(" purge ", d.UUID, d.Version)
	}
	return text
}

// Who asks too seldom is told to look at everything, and what is remembered stays
// bounded.
func TestChangesThatWereTooManyAreAll(t *testing.T) {
	var s State
	for i := range 10 * historyLength {
		s.history.note(ID{byte(i)})
	}
	if n := len(s.history.ids); n > 2*historyLength {
		t.Errorf("%d changes are remembered", n)
	}
	if _, now, all := s.ChangedStreams(1); !all || now != 10*historyLength {
		t.Errorf("all: %v, now %d", all, now)
	}
	if ids, _, all := s.ChangedStreams(10*historyLength - 3); all || len(ids) != 3 {
		t.Errorf("of the last three changes %v are told, all: %v", ids, all)
	}
}

// Who asks a state that has come in another's place looks at everything once.
func TestWhoFollowedAnotherStateLooksAtAll(t *testing.T) {
	was, now := New("eu"), New("eu")
	for i := range 10 {
		was.history.note(ID{byte(i)})
		now.history.note(ID{byte(2 * i)})
		now.history.note(ID{byte(2*i + 1)})
	}
	_, seen, _ := was.ChangedStreams(0)
	now.Succeed(was)
	if ids, _, all := now.ChangedStreams(seen); !all {
		t.Errorf("only %v are told", ids)
	}
}

// A foreign stream that is only remembered has no partitions, also in a snapshot.
func TestASnapshotHasAForeignStreamThatIsKeptElsewhere(t *testing.T) {
	s := New("eu")
	d := Stream{UUID: ID{1}, Definition: Definition{Name: "orders", Placement: "home:us"}.WithDefaults(), Owner: "us", OwnerEpoch: 1, Version: 1, Created: time.Unix(1000, 0)}
	cmd, err := Encode(time.Unix(2000, 0), &AssignStream{Stream: d.UUID, Foreign: &d})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(1, cmd); err != nil {
		t.Fatal(err)
	}
	if err := Check(s.Snapshot()); err != nil {
		t.Error(err)
	}
}
