package replication

import (
	"errors"

	"github.com/skeinmesh/skein/store"
)

func isFull(err error) bool { return errors.Is(err, store.ErrFull) }
