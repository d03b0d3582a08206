package node

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/replication/meta"
)

// A stream of which other regions could not be told is refused, and says what the limit
// is.
func TestADefinitionFitsIntoItsFact(t *testing.T) {
	of := func(filter string) meta.Definition {
		return meta.Definition{Namespace: "default", Name: "orders", Filter: json.RawMessage(filter)}.WithDefaults()
	}
	d := of(`{"exact":{"type":"` + strings.Repeat("<&>", 5<<10) + `"}}`)
	if err := checkTellable(&d, "eu"); err != nil {
		t.Error(err)
	}
	text, err := factText(&meta.Stream{Definition: d, Owner: "eu", Created: time.Now()})
	if err != nil || len(text) > fact.MaxEntry || strings.HasSuffix(text, "\n") {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	d = of(`"` + strings.Repeat("a", meta.MaxFilter-2) + `"`)
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	if err := checkTellable(&d, "eu"); !errors.Is(err, meta.ErrInvalid) || !strings.Contains(err.Error(), "16384") {
		t.Errorf("a definition of more than other regions can be told: %v", err)
	}
}
