package journal

import (
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// small is a configuration whose segments fill soon.
func small(fs store.FS) Config {
	return Config{FS: fs, Dir: "/data/journal", Mesh: "mesh", Node: "node", SegmentBytes: 16 << 10, CacheBytes: 32 << 10}
}

func open(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func id(n int) ID { return ID{byte(n), byte(n >> 8), 0xFF} }

func TestAGroupKeepsWhatAReplicaNeeds(t *testing.T) {
	for name, cfg := range map[string]Config{
		"InMemory":      small(storetest.NewDisk()),
		"WithoutCache":  {FS: storetest.NewDisk(), Dir: "/d", SegmentBytes: 16 << 10, CacheBytes: -1},
		"OnTheRealDisk": {SegmentBytes: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			storetest.TestReplica(t, func(t *testing.T) (store.Replica, func() store.Replica) {
				cfg := cfg
				if cfg.FS == nil {
					cfg.Dir = t.TempDir()
				}
				n++
				group := id(n)
				j := open(t, cfg)
				return j.Group(group), func() store.Replica {
					if err := j.Close(); err != nil {
						t.Fatal(err)
					}
					if cfg.FS != nil { // a crash keeps as much as a close does
						if report, err := Verify(cfg.FS, cfg.Dir); err != nil || report.Err() != nil || !report.Closed {
							t.Fatalf("a journal that was closed: %+v, %v", report, err)
						}
					}
					j = open(t, cfg)
					return j.Group(group)
				}
			})
		})
	}
}
