package memory

import (
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

func TestMemoryKeepsWhatAReplicaNeeds(t *testing.T) {
	storetest.TestReplica(t, func(*testing.T) (store.Replica, func() store.Replica) { return New(), nil })
}
