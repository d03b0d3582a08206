package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/skeinmesh/skein/transport/event"
)

// lineReader reads events from text with one CloudEvent in JSON a line; empty
// lines are skipped. One goroutine uses it.
type lineReader struct {
	in     *bufio.Reader
	line   int   // number of the line read last, from 1
	offset int64 // bytes read so far
	long   []byte
}

// maxLine bounds a line in bytes: twice the largest event, for JSON's escapes.
const maxLine = 2 * event.MaxEnvelope

func newLineReader(r io.Reader) *lineReader { return &lineReader{in: bufio.NewReaderSize(r, 256<<10)} }

// next is the event of the next line that is not empty, in an envelope of its
// own; io.EOF after the last. Other errors name the line.
func (l *lineReader) next() (ev event.Event, err error) {
	for {
		line, err := l.read()
		if err != nil {
			return ev, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		// The node that takes the event has the say about its size.
		raw, err := event.Decoder{MaxEvent: event.MaxEnvelope}.AppendFromJSON(nil, line)
		if err == nil {
			err = ev.Scan(raw)
		}
		if err != nil {
			return ev, fmt.Errorf("line %d: %w", l.line, err)
		}
		return ev, nil
	}
}

// read is the next line, valid until the next call.
func (l *lineReader) read() ([]byte, error) {
	l.long = l.long[:0]
	for {
		part, err := l.in.ReadSlice('\n')
		l.offset += int64(len(part))
		if err == nil && len(l.long) == 0 {
			l.line++
			return part, nil
		}
		l.long = append(l.long, part...)
		switch {
		case len(l.long) > maxLine:
			return nil, fmt.Errorf("line %d: longer than %d bytes", l.line+1, maxLine)
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil, err == io.EOF && len(l.long) > 0:
			l.line++
			return l.long, nil
		case err == io.EOF:
			return nil, io.EOF
		default:
			return nil, fmt.Errorf("line %d: %w", l.line+1, err)
		}
	}
}
