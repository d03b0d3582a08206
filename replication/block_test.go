package replication

import (
	"reflect"
	"testing"
	"testing/synctest"
)

func TestABlockIsReadAsItWasWritten(t *testing.T) {
	for _, b := range []Block{
		{},
		{Start: 3, End: 100, From: 10, Next: 90},
		{End: 1 << 62, From: 5, Next: 1 << 61, List: []BlockRecord{
			{Offset: 5, Time: -1, Data: []byte("a")}, {Offset: 6, Time: 1 << 62, Data: []byte{}}, {Offset: 1<<61 - 1, Time: 7, Data: []byte("ccc")},
		}},
	} {
		got, err := DecodeBlock(b.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("%+v is read as %+v, %v", b, got, err)
		}
	}
}

// A block ends where the question does, though more would be there: who reads ahead asks
// another one for that.
func TestABlockEndsWhereItsQuestionDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := three(t, 1)
		l := w.publish(s, 1)
		l.goesOn(20)
		ask := Read{Partition: l.parts[0], Log: s.UUID, Offset: 3, Until: 10}
		b, err := w.nodes[0].running().Select(t.Context(), ask, nil)
		if err != nil || b.From != 3 || b.Next != 10 || len(b.List) != 7 {
			t.Errorf("%d records from %d to %d, %v", len(b.List), b.From, b.Next, err)
		}
		for _, cut := range []int64{10, 7, 3} {
			if c := b.Before(cut); c.Next != cut || len(c.List) != int(cut-3) || c.From != 3 {
				t.Errorf("before %d: %d records from %d to %d", cut, len(c.List), c.From, c.Next)
			}
		}
		l.end(3)
	})
}

func TestABlockThatCannotBeIsRefused(t *testing.T) {
	good := Block{From: 5, Next: 8, End: 8, List: []BlockRecord{{Offset: 6, Data: []byte("x")}}}
	for what, b := range map[string][]byte{
		"nothing":                    nil,
		"another version":            append([]byte{blockVersion + 1}, good.AppendTo(nil)[1:]...),
		"a record behind the end":    (&Block{From: 5, Next: 6, List: []BlockRecord{{Offset: 6}}}).AppendTo(nil),
		"an end before the start":    (&Block{From: 5, Next: 4}).AppendTo(nil),
		"something behind it":        append(good.AppendTo(nil), 0),
		"a record that is cut short": good.AppendTo(nil)[:len(good.AppendTo(nil))-1],
	} {
		if got, err := DecodeBlock(b); err == nil {
			t.Errorf("%s is read as %+v", what, got)
		}
	}
}

// What is read of any bytes is a block: in order, within its bounds, and written as
// it is read.
func FuzzBlock(f *testing.F) {
	f.Add((&Block{From: 5, Next: 8, End: 8, List: []BlockRecord{{Offset: 6, Time: 1, Data: []byte("x")}}}).AppendTo(nil))
	f.Add([]byte{blockVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := DecodeBlock(b)
		if err != nil {
			return
		}
		at := got.From
		for _, rec := range got.List {
			if rec.Offset < at || rec.Offset >= got.Next {
				t.Fatalf("a record at %d of %+v", rec.Offset, got)
			}
			at = rec.Offset + 1
		}
		again, err := DecodeBlock(got.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%+v is read again as %+v, %v", got, again, err)
		}
		for _, rec := range got.After(at).List {
			t.Fatalf("%d is left after %d", rec.Offset, at)
		}
	})
}
