package event

import "bytes"

// Check says whether the event is a valid CloudEvent in a canonical envelope,
// as the Append functions write them; else it is an *InvalidError. It is for
// envelopes whose maker is not trusted: Scan checks the structure only. An
// event that is valid costs one walk over its bytes.
func (e *Event) Check() error {
	if e.canonical() {
		return nil
	}
	return e.explain()
}

// explain is Check by way of a Builder, which says what is wrong.
func (e *Event) explain() error {
	var b Builder
	if err := b.load(e); err != nil {
		return err
	}
	if err := b.check(nil); err != nil {
		return err
	}
	if b.size() != len(e.raw) || text(b.write(nil)) != text(e.raw) {
		return invalid("the envelope is not in canonical form")
	}
	return nil
}

// canonical walks the envelope and reports whether each field is the one that
// Append would write there, with a value that is allowed. It is true for
// exactly those events for which explain has nothing to say.
func (e *Event) canonical() bool {
	w := walker{rest: e.raw}
	id, source, spec, typ := w.text(fieldID), w.text(fieldSource), w.text(fieldSpec), w.text(fieldType)
	if w.broken || spec != SpecVersion || source == "" || reasonRequired(id) != "" || reasonRequired(typ) != "" {
		return false
	}
	if _, r := uriReference(source); r != "" {
		return false
	}
	last := ""
	for w.at(fieldAttributes) {
		entry := walker{rest: w.take(fieldAttributes)}
		name, value := entry.text(1), entry.take(2)
		if !entry.done() || name <= last || reasonName(name) != "" || !canonicalValue(name, value) {
			return false
		}
		last = name
	}
	var data []byte
	form := NoData
	switch {
	case w.at(fieldBinary):
		data, form = w.take(fieldBinary), BinaryData
	case w.at(fieldText):
		data, form = w.take(fieldText), TextData
	case w.at(fieldProto):
		data, form = w.take(fieldProto), ProtoData
	}
	return w.done() && reasonData(form, data) == ""
}

// canonicalValue is about the encoding of an attribute's value.
func canonicalValue(name string, encoded []byte) bool {
	v, ok := decodeValue(encoded)
	if !ok || valueSize(&v) != len(encoded) || reasonValue(name, &v) != "" {
		return false
	}
	switch v.kind {
	case String, Binary, URI, URIRef: // of the right size: only the length can be written in another way
		w := walker{rest: encoded}
		w.take(valueField(v.kind))
		return w.done()
	}
	var room [32]byte // the longest other value is a timestamp's 20 bytes
	return bytes.Equal(appendValue(room[:0], &v), encoded)
}

// walker takes length-delimited fields off the front of a message, each with
// the shortest encoding of its tag and length.
type walker struct {
	rest   []byte
	broken bool // a field was another than the one that was asked for
}

// at reports whether the next field has that number, which is below 16.
func (w *walker) at(field int) bool {
	return !w.broken && len(w.rest) > 0 && w.rest[0] == byte(field<<3|2)
}

// take is the content of the next field, which must have that number.
func (w *walker) take(field int) []byte {
	if !w.at(field) {
		w.broken = true
		return nil
	}
	if len(w.rest) > 1 && w.rest[1] < 0x80 { // nearly always
		if end := 2 + int(w.rest[1]); end <= len(w.rest) {
			content := w.rest[2:end]
			w.rest = w.rest[end:]
			return content
		}
	}
	size, n := uvarint(w.rest[1:])
	if n <= 0 || n != uvarintSize(size) || size > uint64(len(w.rest)-1-n) {
		w.broken = true
		return nil
	}
	content := w.rest[1+n : 1+n+int(size)]
	w.rest = w.rest[1+n+int(size):]
	return content
}

// text is take for what is text.
func (w *walker) text(field int) string { return text(w.take(field)) }

// done reports whether all fields were as asked for and none is left.
func (w *walker) done() bool { return !w.broken && len(w.rest) == 0 }
