package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

func TestFramesComeBackWhole(t *testing.T) {
	var stream []byte
	var want []string
	for i, size := range []int{0, 1, 127, 128, 4000, 70_000, 0, 300_000, MaxFrame} {
		body := bytes.Repeat([]byte{byte(i)}, size)
		stream = AppendFrame(stream, Kind(i), body)
		want = append(want, fmt.Sprint(i, size, body[:min(size, 1)]))
	}
	readers := map[string]func(io.Reader) io.Reader{
		"all at once":  func(r io.Reader) io.Reader { return r },
		"by the byte":  iotest.OneByteReader,
		"half of it":   iotest.HalfReader,
		"data and EOF": iotest.DataErrReader,
	}
	for name, wrap := range readers {
		r := NewReader(wrap(bytes.NewReader(stream)), 1024)
		one := wrap(bytes.NewReader(stream))
		owned := NewReader(wrap(bytes.NewReader(stream)), 1024)
		for i := range want {
			for how, next := range map[string]func() (Kind, []byte, error){
				"Next":      r.Next,
				"NextOwned": func() (Kind, []byte, error) { return owned.NextOwned(nil) },
				"ReadFrame": func() (Kind, []byte, error) { return ReadFrame(one, MaxFrame) },
			} {
				kind, body, err := next()
				if got := fmt.Sprint(kind, len(body), body[:min(len(body), 1)]); err != nil || got != want[i] {
					t.Fatalf("%s, %s: frame %d is %s, %v; want %s", name, how, i, got, err, want[i])
				}
			}
		}
		_, _, err := r.Next()
		_, _, err1 := ReadFrame(one, MaxFrame)
		if err != io.EOF || err1 != io.EOF {
			t.Errorf("%s: %v and %v at the end, want EOF", name, err, err1)
		}
	}
}

func TestAReaderTakesNoMoreMemoryThanItsStreamNeeds(t *testing.T) {
	const most = 256 << 10
	small := bytes.Repeat(AppendFrame(nil, 0x21, []byte("hello")), 3)
	r := NewReader(bytes.NewReader(small), most)
	for range 3 {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.buf) > firstBuffer {
		t.Errorf("%d bytes of memory for a few small frames", len(r.buf))
	}
	big := AppendFrame(bytes.Repeat(small, 20_000), 0x21, make([]byte, 100<<10))
	r = NewReader(bytes.NewReader(big), most)
	for {
		_, body, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(body) == 100<<10 {
			break
		}
		if string(body) != "hello" {
			t.Fatalf("got %q", body)
		}
	}
	if len(r.buf) < 64<<10 || len(r.buf) > most {
		t.Errorf("%d bytes of memory for a busy stream, %d are allowed", len(r.buf), most)
	}
}

func TestAFrameThatIsNoneIsAnError(t *testing.T) {
	for _, test := range []struct {
		name   string
		stream []byte
		want   error
	}{
		{"kind alone", []byte{1}, ErrTruncated},
		{"half a length", []byte{1, 0x80}, ErrTruncated},
		{"no body", []byte{1, 5}, ErrTruncated},
		{"half a body", []byte{1, 5, 'a'}, ErrTruncated},
		{"too large", AppendFrame(nil, 1, make([]byte, MaxFrame+1)), ErrTooLarge},
		{"only said to be large", []byte{1, 0xff, 0xff, 0xff, 0x7f}, ErrTooLarge},
		{"length without end", bytes.Repeat([]byte{0xff}, 12), ErrMalformed},
	} {
		if _, _, err := NewReader(bytes.NewReader(test.stream), 64).Next(); !errors.Is(err, test.want) {
			t.Errorf("%s: Next: %v, want %v", test.name, err, test.want)
		}
		if _, _, err := ReadFrame(bytes.NewReader(test.stream), MaxFrame); !errors.Is(err, test.want) {
			t.Errorf("%s: ReadFrame: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestAPaddedLengthIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 200, 70_000} {
		frame := append(make([]byte, 5), make([]byte, size)...)
		frame[0] = byte(Batch)
		PutLength(frame[1:5], size)
		kind, body, err := NewReader(bytes.NewReader(frame), 64).Next()
		if err != nil || kind != Batch || len(body) != size {
			t.Errorf("%d: %d bytes of kind %d, %v", size, len(body), kind, err)
		}
	}
}

var records = []Record{
	{How: Deliver, Body: []byte("frame")},
	{How: Enter, Body: make([]byte, 300)},
	{How: Enter, Visited: Visited(nil).And("eu").And("us/east"), Body: []byte("x")},
	{How: Told, Body: []byte{3}},
}

// record is rec as it is in a batch.
func record(dst []byte, rec *Record) []byte {
	at := len(dst)
	dst = rec.AppendTo(BeginRecord(dst))
	EndRecord(dst, at)
	return dst
}

func TestRecordsComeBackWhole(t *testing.T) {
	var b []byte
	for _, rec := range records {
		before := len(b)
		b = record(b, &rec)
		if size := len(b) - before - RecordRoom; size > rec.Size() {
			t.Errorf("%+v takes %d bytes, Size says %d", rec, size, rec.Size())
		}
	}
	for _, want := range records {
		rec, n, err := ReadRecord(b)
		if err != nil || !equal(rec, want) {
			t.Fatalf("%+v came back as %+v, %v", want, rec, err)
		}
		b = b[n:]
	}
	if len(b) != 0 {
		t.Errorf("%d bytes left", len(b))
	}
}

func TestVisitedListsTheRegionsInOrder(t *testing.T) {
	v := Visited(nil).And("eu")
	if got := slices.Collect(v.And("us/east").All()); !slices.Equal(got, []string{"eu", "us/east"}) {
		t.Errorf("got %q", got)
	}
	if got := slices.Collect(v.All()); !slices.Equal(got, []string{"eu"}) {
		t.Errorf("And has changed the list it was called on: %q", got)
	}
	for range MaxVisited {
		v = v.And("r")
	}
	if _, _, err := ReadRecord(record(nil, &Record{How: Enter, Visited: v})); !errors.Is(err, ErrMalformed) {
		t.Errorf("a record that has passed %d regions: %v", MaxVisited+1, err)
	}
}

func equal(a, b Record) bool {
	return a.How == b.How && bytes.Equal(a.Visited, b.Visited) && bytes.Equal(a.Body, b.Body)
}

func TestARecordCutAnywhereIsAnError(t *testing.T) {
	for _, rec := range records {
		b := record(nil, &rec)
		for n := range b {
			if _, _, err := ReadRecord(b[:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%+v cut at %d: %v", rec, n, err)
			}
		}
	}
}

func TestReadingARecordAllocatesNothing(t *testing.T) {
	for _, rec := range records {
		b := record(nil, &rec)
		if n := testing.AllocsPerRun(100, func() { ReadRecord(b) }); n != 0 {
			t.Errorf("%v allocations for how %d", n, rec.How)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, Ping, []byte("x")), Batch, make([]byte, 100)), 10)
	f.Add([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x01}, 1)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		const limit = 1 << 16
		a := NewReader(bytes.NewReader(stream), size%4096)
		a.Limit = limit
		b := bytes.NewReader(stream)
		for {
			kindA, bodyA, errA := a.Next()
			kindB, bodyB, errB := ReadFrame(b, limit)
			if (errA == nil) != (errB == nil) {
				t.Fatalf("Next says %v, ReadFrame %v", errA, errB)
			}
			if errA != nil {
				return
			}
			if kindA != kindB || !bytes.Equal(bodyA, bodyB) || len(bodyA) > limit {
				t.Fatalf("Next reads %d %x, ReadFrame %d %x", kindA, bodyA, kindB, bodyB)
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	for _, rec := range records {
		f.Add(record(nil, &rec))
	}
	f.Add([]byte{9, 2, 0, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, n, err := ReadRecord(b)
		if err != nil {
			return
		}
		if n > len(b) {
			t.Fatalf("%d bytes of %d", n, len(b))
		}
		again := record(nil, &rec)
		if rec2, n2, err := ReadRecord(again); err != nil || n2 != len(again) || !equal(rec, rec2) {
			t.Fatalf("%+v came back as %+v, %v", rec, rec2, err)
		}
	})
}
