package node

import (
	"errors"
	"fmt"
	"os"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/notes"
)

// VerifyData says what is damaged of what a node keeps in its data directory beside
// the streams: who it is, and which streams it knows. Nothing is changed; the directory
// must be held. The error is store.ErrNewer, or says why something cannot be read.
func VerifyData(dir string) (damage []error, err error) {
	s := &state{dir: dir}
	data, err := os.ReadFile(s.path(stateFile))
	if err != nil {
		return nil, fmt.Errorf("node: data directory %s cannot be read: %w", dir, err)
	}
	if err := s.parse(data); errors.Is(err, store.ErrNewer) {
		return nil, err
	} else if err != nil {
		damage = append(damage, err)
	}
	noted, err := notes.Verify(store.OS{}, s.path(memoryFile))
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return append(damage, noted...), nil
}
