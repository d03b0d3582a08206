package test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/realmesh"
)

// soakPatience is how long a mesh may take to be whole again after an ordeal,
// and events to arrive: only what tells a slow machine from a broken mesh.
const soakPatience = 5 * time.Minute

// soak is a mesh of processes under load, to which things happen.
type soak struct {
	t         *testing.T
	m         *realmesh.Mesh
	rng       *rand.Rand
	acct      *account
	archive   *archive
	began     time.Time
	limit     time.Duration // 0: one round, in a hurry
	weather   string
	witnesses []*witness // by node; nil while that is down
	happened  map[string]int
}

// TestNothingIsLostUntoldWhateverHappensToProcesses is the promise with real
// processes, signals, sockets and clocks: some ordeals in a hurry or, for as long
// as SKEIN_SOAK_TIME says (such as 30m), all of them again and again. SKEIN_SEED
// orders them, and says whom they hit and which packets are lost; SKEIN_SOAK_LOGS
// is the directory where the nodes' logs are kept, and SKEIN_SOAK_ORDEAL a part of
// the names of those ordeals to which it is confined. After each ordeal a stream,
// too, is read, at any node, and has all that was acknowledged.
func TestNothingIsLostUntoldWhateverHappensToProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("a mesh of processes takes its time")
	}
	var limit time.Duration
	if s := os.Getenv("SKEIN_SOAK_TIME"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(1)
	if s := os.Getenv("SKEIN_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	regions := []realmesh.Region{{Name: "eu", Nodes: 2}, {Name: "us", Nodes: 2}, {Name: "ap", Nodes: 1}}
	if limit > 0 {
		regions[0].Nodes = 4
	}
	r := &soak{t: t, rng: rand.New(rand.NewPCG(seed, 7)), acct: newAccount(), began: time.Now(), limit: limit, happened: map[string]int{}}
	binary := realmesh.Binary(t)
	t.Cleanup(r.keepLogs) // once the nodes have left
	r.m = realmesh.New(t, binary, seed, regions...)
	defer func() {
		for i := range r.witnesses {
			r.silence(i)
		}
	}()
	r.m.Run(ocean)
	r.archive = newArchive(t, r.m)
	defer r.archive.close()
	r.witnesses = make([]*witness, len(r.m.Nodes))
	r.attend()
	for round := 0; round == 0 || r.limit > 0 && r.goesOn(); round++ {
		r.weather = fair
		if round%2 == 1 {
			r.weather = foul
			r.say("the weather is foul")
		}
		r.m.Run(r.weather)
		for _, i := range r.rng.Perm(len(ordeals)) {
			if o := ordeals[i]; r.hasTime(o) && r.goesOn() {
				r.happen(o)
			}
		}
	}
	r.finish()
}

// goesOn reports whether there is time for more.
func (r *soak) goesOn() bool {
	return !r.t.Failed() && (r.limit == 0 || time.Since(r.began) < r.limit)
}

// hasTime reports whether there is time for an ordeal.
func (r *soak) hasTime(o ordeal) bool {
	if !strings.Contains(o.name, os.Getenv("SKEIN_SOAK_ORDEAL")) {
		return false
	}
	switch o.when {
	case usually:
		return r.limit > 0
	case rarely:
		return r.limit >= 30*time.Minute && r.happened[o.name] < max(1, int(r.limit.Hours()))
	}
	return true
}

func TestASoakOfHalfAnHourHasTimeForEveryOrdeal(t *testing.T) {
	for limit, want := range map[time.Duration]int{0: 0, 29 * time.Minute: 0, 30 * time.Minute: 1, time.Hour: 1, 3 * time.Hour: 3} {
		r, o, times := &soak{limit: limit, happened: map[string]int{}}, ordeal{name: "long", when: rarely}, 0
		for ; times < 10 && r.hasTime(o); times++ {
			r.happened[o.name]++
		}
		if times != want {
			t.Errorf("in %v what is long happens %d times, want %d", limit, times, want)
		}
	}
}

func (r *soak) say(format string, args ...any) {
	r.t.Helper()
	r.t.Logf("%s %s", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// happen lets something happen, then heals and checks what was said until then,
// while more is said.
func (r *soak) happen(o ordeal) {
	r.happened[o.name]++
	o.happen(r)
	over := time.Now()
	since := func() time.Duration { return time.Since(over).Round(time.Millisecond) }
	r.m.UntilWithin(soakPatience, "the mesh is whole again", r.m.Whole)
	whole := since()
	r.attend()
	attended := since()
	r.settle(r.acct.mark())
	settled := since()
	r.archive.check(r.m.Nodes[r.rng.IntN(len(r.m.Nodes))])
	r.say("whole after %v, listened to after %v, nothing owed after %v, the stream read after %v", whole, attended, settled, since())
}

// attend sees to it that a witness is at every node.
func (r *soak) attend() {
	r.t.Helper()
	for i, n := range r.m.Nodes {
		if w := r.witnesses[i]; w != nil && w.broken() {
			r.say("the connection to %s broke", n.Name)
			r.silence(i)
		}
		if r.witnesses[i] == nil {
			r.witnesses[i] = newWitness(r.t, r.acct, n, r.rng.Uint64())
		}
	}
}

// silence ends the witness at a node.
func (r *soak) silence(i int) {
	if w := r.witnesses[i]; w != nil {
		w.close()
		r.witnesses[i] = nil
	}
}

// settle waits until everything up to a mark has come, or word that it will not.
func (r *soak) settle(upto map[stream]int) {
	r.t.Helper()
	for deadline := time.Now().Add(soakPatience); ; time.Sleep(20 * time.Millisecond) {
		wrong := r.acct.wrong(upto)
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, w := range wrong {
				r.t.Error(w)
			}
			return
		}
	}
}

// finish waits until all is quiet, checks the account and prints it.
func (r *soak) finish() {
	r.t.Helper()
	r.m.Run(fair)
	for _, w := range r.witnesses {
		if w != nil {
			w.quiet()
		}
	}
	r.settle(r.acct.mark())
	r.archive.close()
	for _, n := range r.m.Nodes {
		r.archive.check(n)
	}
	r.say("%v: %v; %v", time.Since(r.began).Round(time.Second), r.acct.counts(), r.archive)
	for _, name := range slices.Sorted(maps.Keys(r.happened)) {
		r.t.Logf("%4d × %s", r.happened[name], name)
	}
}

// keepLogs puts the logs of the nodes where they outlive the test.
func (r *soak) keepLogs() {
	dir := os.Getenv("SKEIN_SOAK_LOGS")
	if dir == "" || r.m == nil {
		return
	}
	for _, n := range r.m.Nodes {
		data, err := n.Log()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, n.Name+".log"), data, 0o600)
		}
		if err != nil {
			r.t.Error(err)
		}
	}
}
