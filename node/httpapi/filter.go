package httpapi

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/skeinmesh/skein/routing/filter"
)

// filterOf makes one filter of the parameters, and its JSON, which is none if it wants
// everything: type is a pattern, source and subject are exact, filter is a CESQL
// expression, filters is the JSON of the Subscriptions API. All that are given must
// hold; none wants everything. Each is parsed on its own first, so that a problem names
// its parameter and the parser's position is one in it.
func filterOf(values url.Values) (text []byte, f filter.Filter, err error) {
	var all []json.RawMessage
	for _, name := range filterParameters {
		if !values.Has(name) {
			continue
		}
		parts, err := partsOf(name, values.Get(name))
		if err != nil {
			return nil, f, err
		}
		for _, part := range parts {
			if _, err := filter.Parse(part); err != nil {
				return nil, f, filterProblem(name, err)
			}
		}
		all = append(all, parts...)
	}
	switch len(all) {
	case 0:
		return nil, filter.Everything(), nil
	case 1:
		f, err = filter.Parse(all[0])
		return all[0], f, err
	}
	joined, err := json.Marshal(map[string]any{"all": all})
	if err != nil {
		return nil, f, err
	}
	f, err = filter.Parse(joined)
	if err != nil {
		return nil, f, filterProblem("filters", err)
	}
	return joined, f, nil
}

// partsOf is the JSON of a parameter's filters.
func partsOf(name, value string) ([]json.RawMessage, error) {
	if name == "filters" {
		var parts []json.RawMessage
		if !strings.HasPrefix(strings.TrimSpace(value), "[") {
			return nil, parameter(name, "must be a JSON array of filters")
		}
		if err := json.Unmarshal([]byte(value), &parts); err != nil {
			return nil, parameter(name, "is no JSON: %s", excerpt(err.Error()))
		}
		return parts, nil
	}
	var dialect any
	switch name {
	case "type":
		dialect = map[string]any{"pattern": map[string]string{"type": value}}
	case "filter":
		dialect = map[string]string{"sql": value}
	default:
		dialect = map[string]any{"exact": map[string]string{name: value}}
	}
	part, err := json.Marshal(dialect)
	return []json.RawMessage{part}, err
}

// filterProblem is the problem of a filter that does not parse. The reason is
// the parser's, which gives the position and bounds what it repeats.
func filterProblem(name string, err error) *Problem {
	return parameter(name, "does not parse: %s", strings.TrimPrefix(err.Error(), "filter: "))
}
