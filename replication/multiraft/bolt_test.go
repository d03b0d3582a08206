package multiraft

import (
	"path/filepath"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

func TestBoltKeepsWhatAReplicaMust(t *testing.T) {
	storetest.TestReplica(t, func(t *testing.T) (store.Replica, func() store.Replica) {
		path := filepath.Join(t.TempDir(), "replica.bolt")
		var open *Bolt
		reopen := func() store.Replica {
			if open != nil {
				if err := open.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if open, err = OpenBolt(path); err != nil {
				t.Fatal(err)
			}
			return open
		}
		t.Cleanup(func() { open.Close() })
		return reopen(), reopen
	})
}
