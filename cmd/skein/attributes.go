package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/transport/event"
)

// defaultSource is the source of events published without one.
const defaultSource = "/skein/cli"

// attributes are an event's attributes as flags give them.
type attributes struct {
	typ, source, subject, id, contentType, schema string
	ext                                           []string
}

func (at *attributes) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&at.typ, "type", "t", "", "the event's `type`")
	f.StringVarP(&at.source, "source", "s", defaultSource, "the event's `source`, a URI reference")
	f.StringVar(&at.subject, "subject", "", "the event's `subject`")
	f.StringVar(&at.id, "id", "", "the event's `id` (default: a random one)")
	f.StringVar(&at.contentType, "content-type", "", "media `type` of the data (default: what the data looks like)")
	f.StringVar(&at.schema, "schema", "", "`URI` of the data's schema")
	f.StringArrayVar(&at.ext, "ext", nil, "an extension as `name=value`; may be given again")
}

// event is the event with these attributes and this data; nil is no data.
func (at *attributes) event(data []byte, now time.Time) (event.Event, error) {
	var b event.Builder
	if at.source == "" {
		return event.Event{}, usagef("--source is empty: want a URI reference, such as %s", defaultSource)
	}
	id := at.id
	if id == "" {
		id = rand.Text()
	}
	b.SetString("id", id).SetString("source", at.source).SetString("type", at.typ).SetTime(now.UTC())
	if at.subject != "" {
		b.SetString("subject", at.subject)
	}
	if at.schema != "" {
		b.Set("dataschema", event.URIValue(at.schema))
	}
	for _, e := range at.ext {
		name, value, err := extension(e)
		if err != nil {
			return event.Event{}, err
		}
		b.SetString(name, value)
	}
	if data != nil {
		media, form := looks(data)
		if at.contentType != "" {
			media = at.contentType
		}
		b.SetString("datacontenttype", media).SetData(form, data)
	}
	ev, err := b.Event()
	if err == nil {
		err = ev.Check()
	}
	if err != nil {
		return ev, &usageError{err}
	}
	return ev, nil
}

// looks is the media type and form that data has to all appearances.
func looks(data []byte) (media string, form event.DataForm) {
	switch {
	case json.Valid(data):
		return "application/json", event.TextData
	case utf8.Valid(data):
		return "text/plain; charset=utf-8", event.TextData
	}
	return "application/octet-stream", event.BinaryData
}

// extension is the name and value of --ext.
func extension(text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return "", "", usagef("--ext %q: want name=value", text)
	}
	switch name {
	case "id", "source", "type", "specversion", "time", "subject", "datacontenttype", "dataschema", "data":
		return "", "", usagef("--ext %s: that is no extension, it has a flag of its own", name)
	}
	return name, value, nil
}

// title is an event in a few words.
func title(ev *event.Event) string {
	return fmt.Sprintf("%s %s from %s", ev.Type(), ev.ID(), ev.Source())
}
