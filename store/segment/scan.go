package segment

import (
	"cmp"
	"errors"
	"io"
)

// scanner goes through the records of a file one by one and checks each. Set
// its fields and call next until io.EOF.
type scanner struct {
	file io.ReaderAt
	name string
	// state is what is known of the file so far: its Next and Bytes are where
	// the scan goes on.
	state FileInfo
	// end is where to stop, in bytes.
	end int64
	// data has the data read and checked, too; else it is skipped.
	data bool
	// hash has state.Hash kept.
	hash bool
	// index collects the sparse index if it is not nil.
	index *sparse
	// pace, if set, is called before n bytes are read, and may wait.
	pace func(n int) error

	// step is how much is read at a time, in bytes. Default scanWindow.
	step int

	window []byte // what was read last; its capacity is used again
	at     int64  // its place in the file
}

// scanWindow is how much is read at a time of files that are gone through.
const scanWindow = 256 << 10

// next checks the next record. Head and data are good until the call after; data
// is nil unless asked for. The error is io.EOF at the end, or a store.CorruptError; then
// state says how far all was well.
func (s *scanner) next() (head, data []byte, err error) {
	if s.state.Bytes == s.end {
		return nil, nil, io.EOF
	}
	head, err = s.need(headSize)
	if err != nil {
		return nil, nil, err
	}
	if reason := checkHead(s.state.Next, head); reason != "" {
		return nil, nil, s.damage(reason)
	}
	size := headSize + dataSize(head)
	if s.state.Bytes+int64(size) > s.end {
		return nil, nil, s.damage("the last record is cut short")
	}
	if s.state.Next > s.state.First && headTime(head) < s.state.LastTime {
		return nil, nil, s.damage("time goes back")
	}
	if s.data {
		record, err := s.need(size)
		if err != nil {
			return nil, nil, err
		}
		head, data = record[:headSize], record[headSize:]
		if reason := checkData(head, data); reason != "" {
			return nil, nil, s.damage(reason)
		}
	}
	if s.index != nil {
		s.index.add(s.state.First, s.state.Next, s.state.Bytes, headTime(head))
	}
	if s.hash {
		s.state.add(head)
		return head, data, nil
	}
	s.state.Next++
	s.state.Bytes += int64(size)
	s.state.LastTime = headTime(head)
	return head, data, nil
}

// run goes through all that is left.
func (s *scanner) run() error {
	for {
		if _, _, err := s.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// need returns the n bytes from where the scan is.
func (s *scanner) need(n int) ([]byte, error) {
	from := s.state.Bytes - s.at
	if from < 0 || from+int64(n) > int64(len(s.window)) {
		if s.state.Bytes+int64(n) > s.end {
			return nil, s.damage("the last record is cut short")
		}
		size := int(min(int64(max(n, cmp.Or(s.step, scanWindow))), s.end-s.state.Bytes))
		if cap(s.window) < size {
			s.window = make([]byte, size)
		}
		if s.pace != nil {
			if err := s.pace(size); err != nil {
				return nil, err
			}
		}
		read, err := s.file.ReadAt(s.window[:size], s.state.Bytes)
		s.window, s.at, from = s.window[:read], s.state.Bytes, 0
		switch {
		case read >= n: // the rest is asked for when it is needed
		case err == nil || errors.Is(err, io.EOF):
			return nil, s.damage("the file is cut short")
		default:
			return nil, err
		}
	}
	return s.window[from : from+int64(n)], nil
}

func (s *scanner) damage(reason string) error {
	return damage(s.name, s.state.Bytes, s.state.Next, reason)
}
