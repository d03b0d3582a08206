package multiraft

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/transport/peer"
)

// Real connections, real files: what is acknowledged is there when all hosts
// and journals are opened again. Nothing is left running.
func TestReplicasOverJournalsComeBackWithAllTheyAcknowledged(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	pipe := loopback(t)
	const groups, entries = 4, 20
	for round := range 2 {
		m := &mesh{t: t, hosts: map[peer.ID]*testHost{}, wires: map[[2]peer.ID]*wire{}, pipe: pipe}
		journals := map[peer.ID]*journal.Journal{}
		for i := range 3 {
			id := nodeName(i)
			m.open(id, nil)
			for j := range i {
				m.join(id, nodeName(j))
			}
			var err error
			if journals[id], err = journal.Open(journal.Config{Dir: filepath.Join(dir, string(id)), Mesh: "mesh", Node: string(id)}); err != nil {
				t.Fatal(err)
			}
		}
		var all []Replica
		for _, id := range m.nodes() {
			all = append(all, Replica{id, 1})
		}
		for n := range groups {
			group := map[peer.ID]*replica{}
			for _, r := range all {
				var kept store.Replica = journals[r.Node].Group(journal.ID(groupID(n)))
				group[r.Node] = m.startReplica(n, r, func(c *GroupConfig) { c.Bootstrap, c.Store = all, kept })
			}
			leader := group[leaderOf(t, group)]
			if err := leader.Barrier(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range round * entries {
				if !leader.fsm.has(fmt.Append(nil, i)) {
					t.Errorf("group %d: entry %d was acknowledged and is gone", n, i)
				}
			}
			for i := range entries {
				if _, _, err := leader.Apply(t.Context(), fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		m.close()
		for _, j := range journals {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestTroubleIsToldAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLogBridge(slog.New(slog.NewTextHandler(&out, nil))).named("g")
		for range 10_000 {
			l.Error("failed to heartbeat to", "peer", "a/1")
			time.Sleep(3 * time.Millisecond)
		}
		if n := strings.Count(out.String(), "\n"); n != 3 {
			t.Errorf("%d lines in 30 s:\n%s", n, out.String())
		}
		if !strings.Contains(out.String(), `"left out"=3333`) {
			t.Errorf("it is not said how many were left out:\n%s", out.String())
		}
	})
}
