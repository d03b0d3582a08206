package client

import (
	"encoding/json"
	"fmt"
)

// Filter says which events a subscription wants, in the dialects of the
// CloudEvents Subscriptions API and Skein's type patterns. The zero Filter
// wants all events. Filters are immutable. The node checks them: Subscribe
// returns its error, with position and reason.
type Filter struct {
	dialect any // what JSON makes of it is the filter's JSON; nil wants everything
}

// Everything wants all events.
func Everything() Filter { return Filter{} }

// ByType wants events whose type fits a pattern: tokens split at dots, where
// "*" stands for one token and a last ">" for one or more: "order.*.created",
// "telemetry.>". A pattern without either is an exact type.
func ByType(pattern string) Filter { return attr("pattern", "type", pattern) }

// Source wants events of exactly that source.
func Source(source string) Filter { return Exact("source", source) }

// Subject wants events of exactly that subject.
func Subject(subject string) Filter { return Exact("subject", subject) }

// Exact wants events whose attribute has exactly that value.
func Exact(attribute, value string) Filter { return attr("exact", attribute, value) }

// Prefix wants events whose attribute begins with value.
func Prefix(attribute, value string) Filter { return attr("prefix", attribute, value) }

// Suffix wants events whose attribute ends with value.
func Suffix(attribute, value string) Filter { return attr("suffix", attribute, value) }

// Where wants events for which a CESQL expression is true.
func Where(cesql string) Filter { return Filter{map[string]string{"sql": cesql}} }

// All wants events that every one of the filters wants.
func All(filters ...Filter) Filter { return join("all", filters) }

// Any wants events that one of the filters wants. Any of none wants nothing
// and is refused by the node.
func Any(filters ...Filter) Filter { return join("any", filters) }

// Not wants the events that f does not want.
func Not(f Filter) Filter { return Filter{map[string]Filter{"not": f}} }

// And is All of f and the others.
func (f Filter) And(others ...Filter) Filter { return All(append([]Filter{f}, others...)...) }

// Or is Any of f and the others.
func (f Filter) Or(others ...Filter) Filter { return Any(append([]Filter{f}, others...)...) }

// ParseFilter reads a filter in JSON, as the Subscriptions API has it: an
// object of one or more dialects, or an array of such, which must all be true.
// It checks no more than that it is JSON.
func ParseFilter(data []byte) (Filter, error) {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return Filter{}, fmt.Errorf("client: filter is no JSON: %w", err)
	}
	switch v := v.(type) {
	case map[string]any:
		return Filter{json.RawMessage(data)}, nil
	case []any:
		if len(v) == 0 {
			return Filter{}, nil
		}
		return Filter{map[string]json.RawMessage{"all": data}}, nil
	}
	return Filter{}, fmt.Errorf("client: filter %.80s is neither a JSON object nor an array", data)
}

// MarshalJSON writes the filter as the Subscriptions API has it.
func (f Filter) MarshalJSON() ([]byte, error) {
	if f.dialect == nil {
		return []byte(`{"pattern":{"type":">"}}`), nil
	}
	return json.Marshal(f.dialect)
}

// String is the filter's JSON.
func (f Filter) String() string {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Sprintf("(bad filter: %v)", err)
	}
	return string(data)
}

func attr(dialect, attribute, value string) Filter {
	return Filter{map[string]map[string]string{dialect: {attribute: value}}}
}

func join(dialect string, filters []Filter) Filter {
	some := make([]Filter, 0, len(filters))
	for _, f := range filters {
		switch {
		case f.dialect != nil:
			some = append(some, f)
		case dialect == "any": // one that wants everything
			return Filter{}
		}
	}
	switch {
	case len(some) == 1:
		return some[0]
	case len(some) == 0 && dialect == "all":
		return Filter{}
	}
	return Filter{map[string][]Filter{dialect: some}}
}
