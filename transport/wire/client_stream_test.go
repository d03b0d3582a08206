package wire

import (
	"errors"
	"math"
	"reflect"
	"testing"
)

// recordsOf are the records of a frame's body.
func recordsOf(t testing.TB, b []byte) (list []Position, envelopes []string) {
	t.Helper()
	_, region, partition, rest, err := ReadRecords(b)
	for err == nil && len(rest) > 0 {
		var envelope []byte
		p := Position{Region: region, Partition: partition}
		var nanos int64
		if p.Offset, nanos, envelope, rest, err = NextRecord(rest); err == nil {
			p.Number = uint64(nanos)
			list, envelopes = append(list, p), append(envelopes, string(envelope))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return list, envelopes
}

func TestFramesOfStreamsComeBackWhole(t *testing.T) {
	kept := []Position{
		{Number: 7, Stream: "orders", Region: "eu", Partition: 3, Offset: 41},
		{Number: 9, Stream: "all", Region: "us", Partition: math.MaxUint32, Offset: math.MaxInt64, Duplicate: true},
	}
	if got, err := ReadKept(body(t, AppendKept(nil, kept), Kept)); err != nil || !reflect.DeepEqual(got, kept) {
		t.Errorf("%+v came back as %+v, %v", kept, got, err)
	}
	held := []Position{{Number: 7, Stream: "orders", Region: "eu", Partition: 3, Routed: true}, {Number: 9, Stream: "all", Region: "us", Waiting: true}}
	if got, err := ReadHeld(body(t, AppendHeld(nil, held), Held)); err != nil || !reflect.DeepEqual(got, held) {
		t.Errorf("%+v came back as %+v, %v", held, got, err)
	}
	if got, err := ReadHeld(body(t, AppendHeld(nil, kept), Held)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a held event with an offset is read as %+v, %v", got, err)
	}
	read := Read{
		Namespace: "shop", Name: "orders", From: "eu/0:3", Follow: true, Credit: 99,
		Until: "eu/0:9", Filter: []byte(`{"sql":"true"}`), Order: "time", HoldMs: 5, Partial: true, Missing: true, Passed: true,
	}
	if sid, got, err := ReadRead(body(t, AppendRead(nil, 300, &read), ReadFrom)); err != nil || sid != 300 || !reflect.DeepEqual(got, read) {
		t.Errorf("%+v came back as %d %+v, %v", read, sid, got, err)
	}
	if sid, got, end, err := ReadReading(body(t, AppendReading(nil, 5, "eu/0:3,us/1:@-4", "eu/0:9"), Reading)); err != nil || sid != 5 || got != "eu/0:3,us/1:@-4" || end != "eu/0:9" {
		t.Errorf("the cursor came back as %d %q until %q, %v", sid, got, end, err)
	}
	old := AppendFrame(nil, Reading, appendText([]byte{5}, "eu/0:3")) // of a node that tells no end
	if _, got, end, err := ReadReading(body(t, old, Reading)); err != nil || got != "eu/0:3" || end != "" {
		t.Errorf("the cursor of an older node came as %q until %q, %v", got, end, err)
	}
	for _, regions := range [][]string{nil, {"eu"}, {"eu", "us"}} {
		if sid, got, err := ReadMissing(body(t, AppendMissing(nil, 5, regions), Missing)); err != nil || sid != 5 || !reflect.DeepEqual(got, regions) {
			t.Errorf("missing %q came back as %d %q, %v", regions, sid, got, err)
		}
	}
	if sid, got, err := ReadPassed(body(t, AppendPassed(nil, 5, "eu/0:3,us/1:9"), Passed)); err != nil || sid != 5 || got != "eu/0:3,us/1:9" {
		t.Errorf("what is passed came back as %d %q, %v", sid, got, err)
	}
	if sid, region, partition, first, err := ReadTrimmed(body(t, AppendTrimmed(nil, 5, "eu", 2, 88), Trimmed)); err != nil || sid != 5 || region != "eu" || partition != 2 || first != 88 {
		t.Errorf("trimmed came back as %d %s %d %d, %v", sid, region, partition, first, err)
	}
	frame := AppendRecord(AppendRecord(BeginRecords(nil, 5, "eu", 2), 10, 77, []byte("a")), 11, 78, nil)
	EndEvents(frame, 0)
	list, envelopes := recordsOf(t, body(t, frame, Records))
	want := []Position{{Number: 77, Region: "eu", Partition: 2, Offset: 10}, {Number: 78, Region: "eu", Partition: 2, Offset: 11}}
	if !reflect.DeepEqual(list, want) || !reflect.DeepEqual(envelopes, []string{"a", ""}) {
		t.Errorf("records came back as %+v %q", list, envelopes)
	}
}

// FuzzStreamFrames reads arbitrary bodies as every kind of frame that speaks of
// streams: nothing panics, errors are typed, and what is read can be written and
// read again.
func FuzzStreamFrames(f *testing.F) {
	f.Add(body(f, AppendKept(nil, []Position{{Number: 1, Stream: "s", Region: "r", Offset: 5, Duplicate: true}}), Kept))
	f.Add(body(f, AppendRead(nil, 1, &Read{Name: "s"}), ReadFrom))
	f.Add(body(f, AppendReading(nil, 1, "r/0:1", "r/0:2"), Reading))
	f.Add(body(f, AppendMissing(nil, 1, []string{"r", "s"}), Missing))
	f.Add(body(f, AppendPassed(nil, 1, "r/0:2"), Passed))
	f.Add(body(f, AppendTrimmed(nil, 1, "r", 0, 9), Trimmed))
	frame := AppendRecord(BeginRecords(nil, 1, "r", 0), 3, 4, []byte("e"))
	EndEvents(frame, 0)
	f.Add(body(f, frame, Records))
	f.Fuzz(func(t *testing.T, data []byte) {
		typed := func(err error) bool {
			if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTruncated) {
				t.Fatalf("an error without a type: %v", err)
			}
			return err == nil
		}
		if list, err := ReadKept(data); typed(err) {
			if again, err := ReadKept(body(t, AppendKept(nil, list), Kept)); err != nil || !reflect.DeepEqual(again, list) {
				t.Fatalf("%+v came back as %+v, %v", list, again, err)
			}
		}
		_, _, err := ReadRead(data)
		typed(err)
		if sid, cursor, end, err := ReadReading(data); typed(err) {
			if s, c, e, err := ReadReading(body(t, AppendReading(nil, sid, cursor, end), Reading)); err != nil || s != sid || c != cursor || e != end {
				t.Fatalf("%d %q %q came back as %d %q %q, %v", sid, cursor, end, s, c, e, err)
			}
		}
		if sid, regions, err := ReadMissing(data); typed(err) {
			if s, again, err := ReadMissing(body(t, AppendMissing(nil, sid, regions), Missing)); err != nil || s != sid || !reflect.DeepEqual(again, regions) {
				t.Fatalf("%d %q came back as %d %q, %v", sid, regions, s, again, err)
			}
		}
		if sid, cursor, err := ReadPassed(data); typed(err) {
			if s, c, err := ReadPassed(body(t, AppendPassed(nil, sid, cursor), Passed)); err != nil || s != sid || c != cursor {
				t.Fatalf("%d %q came back as %d %q, %v", sid, cursor, s, c, err)
			}
		}
		_, _, _, _, err = ReadTrimmed(data)
		typed(err)
		_, _, _, rest, err := ReadRecords(data)
		for typed(err) && len(rest) > 0 {
			_, _, _, rest, err = NextRecord(rest)
		}
	})
}
