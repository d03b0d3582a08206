package client

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/skeinmesh/skein/transport/event"
)

// appendEnvelope appends e's envelope to dst. Data that the SDK's event marks
// as base64, or that is no UTF-8, is kept as bytes, other data as text. The
// node checks the attributes' values.
func appendEnvelope(dst []byte, b *event.Builder, e *cloudevents.Event) ([]byte, error) {
	if e.Context == nil {
		return dst, errors.New("client: event has no attributes")
	}
	if v := e.SpecVersion(); v != event.SpecVersion {
		return dst, fmt.Errorf("client: event of specversion %.20q: only %s is spoken", v, event.SpecVersion)
	}
	b.Reset()
	b.SetString("id", e.ID()).SetString("source", e.Source()).SetString("type", e.Type())
	if s := e.DataContentType(); s != "" {
		b.SetString("datacontenttype", s)
	}
	if s := e.DataSchema(); s != "" {
		b.Set("dataschema", event.URIValue(s))
	}
	if s := e.Subject(); s != "" {
		b.SetString("subject", s)
	}
	if t := e.Time(); !t.IsZero() {
		b.SetTime(t)
	}
	ext := e.Extensions()
	for _, name := range slices.Sorted(maps.Keys(ext)) {
		v, err := valueOf(ext[name])
		if err != nil {
			return dst, fmt.Errorf("client: extension %.40q: %w", name, err)
		}
		b.Set(name, v)
	}
	switch data := e.Data(); {
	case data == nil:
	case e.DataBase64 || !utf8.Valid(data):
		b.SetData(event.BinaryData, data)
	default:
		b.SetData(event.TextData, data)
	}
	return b.Append(dst), nil
}

// valueOf is an extension's value as the envelope has it. An extension set as
// a whole with SetExtension was checked by the SDK; others may be of any type.
func valueOf(v any) (event.Value, error) {
	v, err := types.Validate(v)
	if err != nil {
		return event.Value{}, err
	}
	switch v := v.(type) {
	case bool:
		return event.BooleanValue(v), nil
	case int32:
		return event.IntegerValue(v), nil
	case string:
		return event.StringValue(v), nil
	case []byte:
		return event.BinaryValue(v), nil
	case types.URI:
		return event.URIValue(v.String()), nil
	case types.URIRef:
		return event.URIRefValue(v.String()), nil
	case types.Timestamp:
		return event.TimestampValue(v.Time), nil
	}
	return event.Value{}, fmt.Errorf("a %T is no CloudEvents value", v)
}

// FromEnvelope is an event as the SDK has it. The result shares the envelope's
// bytes, which must not change; its Data may be changed by whoever owns both.
// Data that is a protobuf Any is given as the bytes of that Any.
func FromEnvelope(ev *event.Event) cloudevents.Event {
	ctx := &cloudevents.EventContextV1{ID: ev.ID(), Type: ev.Type(), Source: types.URIRef{URL: parseURL(ev.Source())}}
	for name, v := range ev.Attrs {
		switch name {
		case "datacontenttype":
			s := v.String()
			ctx.DataContentType = &s
		case "dataschema":
			ctx.DataSchema = &types.URI{URL: parseURL(v.String())}
		case "subject":
			s := v.String()
			ctx.Subject = &s
		case "time":
			if t, ok := timeOf(v); ok {
				ctx.Time = &types.Timestamp{Time: t}
			}
		default:
			if ctx.Extensions == nil {
				ctx.Extensions = make(map[string]any)
			}
			ctx.Extensions[name] = extension(v)
		}
	}
	data, form := ev.Data()
	return cloudevents.Event{Context: ctx, DataEncoded: data, DataBase64: form == event.BinaryData || form == event.ProtoData}
}

// extension is a value as the SDK has it.
func extension(v event.Value) any {
	switch v.Kind() {
	case event.Boolean:
		return v.Bool()
	case event.Integer:
		return v.Int()
	case event.Binary:
		return v.Bytes()
	case event.URI:
		return types.URI{URL: parseURL(v.String())}
	case event.URIRef:
		return types.URIRef{URL: parseURL(v.String())}
	case event.Timestamp:
		return types.Timestamp{Time: v.Time()}
	}
	return v.String()
}

// timeOf reads the time attribute, which envelopes hold as text or timestamp.
func timeOf(v event.Value) (time.Time, bool) {
	if v.Kind() == event.Timestamp {
		return v.Time(), true
	}
	t, err := time.Parse(time.RFC3339Nano, v.String())
	return t, err == nil
}

// parseURL parses a URI or reference so that its String is s again: one that
// package url does not know, or would write differently, is kept opaque.
func parseURL(s string) url.URL {
	if u, err := url.Parse(s); err == nil && u.String() == s {
		return *u
	}
	return url.URL{Opaque: s}
}
