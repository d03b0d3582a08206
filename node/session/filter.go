package session

import (
	"encoding/json"

	"github.com/skeinmesh/skein/routing/filter"
)

// parseFilter reads a filter as the Subscriptions API has it; none wants all
// events.
func parseFilter(data json.RawMessage) (filter.Filter, error) {
	if len(data) == 0 {
		return filter.Everything(), nil
	}
	return filter.Parse(data)
}
