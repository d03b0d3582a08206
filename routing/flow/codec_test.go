package flow

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// frames are one of each kind.
func frames() []Frame {
	id := ID{Origin: "node-1", Boot: 7, Region: "eu", Lane: 3}
	two := appendRecord(appendRecord(nil, defaultNamespace, []byte("one")), "shop", bytes.Repeat([]byte("x"), 200))
	return []Frame{
		{Kind: Events, Flow: id, Base: 5, Age: 7, Prev: 9, Upto: 20, Runs: []Run{{Skip: 2, Count: 2, Records: two}, {Skip: 1, Count: 2, Records: two}}},
		{Kind: Events, Flow: id, Base: 5, Age: 7, Prev: 9, Upto: 11, Runs: []Run{{Count: 2, Records: two}},
			Others: []Claim{{"us", 1, 2, 1 << 33}, {"ap/north", 300, 90, 400}}},
		{Kind: Lost, Flow: id, Prev: 9, Upto: 300, Cause: Overflow, Labels: Labels{Any: true}},
		{Kind: Lost, Flow: id, Prev: 9, Upto: 300, Cause: Reset, Labels: Labels{List: []Label{{"shop", "a.b"}, {"default", "c"}}}},
		{Kind: Mark, Flow: id, Prev: 1 << 40, Upto: 1 << 40},
	}
}

func TestFlowFramesComeBackAsTheyWere(t *testing.T) {
	for _, f := range frames() {
		b := AppendFrame(nil, &f)
		if len(b) > FrameSize(&f) {
			t.Errorf("%v takes %d bytes, FrameSize says at most %d", f.Kind, len(b), FrameSize(&f))
		}
		var got Frame
		if err := ReadFrame(b, &got); err != nil {
			t.Fatal(err)
		}
		if again := AppendFrame(nil, &got); !bytes.Equal(again, b) {
			t.Errorf("%v reads as %v", f, got)
		}
		for cut := range b {
			if err := ReadFrame(b[:cut], &got); !errors.Is(err, ErrMalformed) {
				t.Errorf("%v cut to %d of %d bytes: %v", f.Kind, cut, len(b), err)
			}
		}
	}
}

func TestFlowFramesWithEventsBeyondTheirClaimAreRefused(t *testing.T) {
	f := frames()[0]
	f.Upto = f.Prev + 6 // the runs need 7
	var got Frame
	if err := ReadFrame(AppendFrame(nil, &f), &got); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
	f = frames()[0]
	f.Runs[0].Count++
	if err := ReadFrame(AppendFrame(nil, &f), &got); !errors.Is(err, ErrMalformed) {
		t.Errorf("a run with fewer records than it says: got %v", err)
	}
}

func TestAFrameForSeveralRegionsIsEachRegionsOwn(t *testing.T) {
	b := AppendFrame(nil, &frames()[1])
	for _, want := range []Claim{{"eu", 5, 7, 9}, {"us", 1, 2, 1 << 33}, {"ap/north", 300, 90, 400}} {
		var f Frame
		if err := ReadFrame(b, &f); err != nil || !f.For(want.Region) {
			t.Fatalf("%s: %v", want.Region, err)
		}
		if f.Flow.Region != want.Region || f.Base != want.Base || f.Prev != want.Prev || f.Upto != want.Prev+2 || f.Count() != 2 || len(f.Others) > 0 {
			t.Errorf("%s: %+v", want.Region, f)
		}
	}
	var f Frame
	if err := ReadFrame(b, &f); err != nil || f.For("sa") {
		t.Errorf("a region that it is not for: %v", err)
	}
	f.Others = f.Others[:1] // a relay's part of it
	rest, err := ReadHead(b, &Frame{})
	if err != nil {
		t.Fatal(err)
	}
	var part Frame
	if err := ReadFrame(append(AppendHead(nil, &f), rest...), &part); err != nil || len(part.Others) != 1 || part.Count() != 2 {
		t.Errorf("a part: %+v, %v", part, err)
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, one := range frames() {
		f.Add(AppendFrame(nil, &one))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, again Frame
		if ReadFrame(b, &got) != nil {
			return
		}
		written := AppendFrame(nil, &got)
		if err := ReadFrame(written, &again); err != nil {
			t.Fatalf("what was accepted and written again is refused: %v", err)
		}
		if !bytes.Equal(AppendFrame(nil, &again), written) {
			t.Fatalf("%v became %v", got, again)
		}
		// Whatever is accepted, the machines can take.
		x := &counter{}
		r := NewReceiver(x, 0)
		r.Receive("n", &got)
		NewEntry(x, r, 0).Receive(begin, "n", &got)
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add(AppendReply(nil, &Reply{Flow: frames()[0].Flow, Upto: 300, Again: 12}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := ReadReply(b)
		if err != nil {
			return
		}
		again, _, err := ReadReply(AppendReply(nil, &p))
		if err != nil || !reflect.DeepEqual(p, again) || n > len(b) {
			t.Fatalf("%v became %v, %v", p, again, err)
		}
	})
}
