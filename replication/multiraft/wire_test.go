package multiraft

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// samples is a message of each kind.
func samples() []message {
	id := GroupID{1, 2, 3}
	conf := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a/1", Address: "a/1"}}})
	return []message{
		{kind: kindHeartbeat, call: 7, group: id, from: 1, to: 300, term: 9},
		{kind: kindAppend, call: 1 << 40, group: id, from: 1, to: 2, term: 3, last: 10, lastTerm: 2, commit: 9},
		{kind: kindAppend, call: 8, group: id, term: 3, last: 10, lastTerm: 2, commit: 9, entries: []*raft.Log{
			{Index: 11, Term: 2, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(1, 5)},
			{Index: 12, Term: 3, Type: raft.LogNoop},
			{Index: 13, Term: 3, Type: raft.LogConfiguration, Data: conf},
		}},
		{kind: kindVote, call: 9, group: id, term: 4, last: 5, lastTerm: 6, flags: flagTransfer},
		{kind: kindPreVote, call: 9, group: id, term: 4, last: 5, lastTerm: 6},
		{kind: kindTimeoutNow, call: 10, group: id, from: 5, to: 6},
		{kind: kindStanding, group: id, from: 5, to: 6, term: 7, last: 8, lastTerm: 9},
		{kind: kindUnwell, flags: flagYes, group: id},
		{kind: kindAnswer, call: 11, flags: flagYes | flagNoWait, start: 12, term: 13, last: 14},
		{kind: kindAnswer, call: 11, status: statusFailed, text: []byte("why")},
		{kind: kindInstall, group: id, from: 1, to: 2, term: 3, last: 4, lastTerm: 5, commit: 2, size: 1 << 33, text: conf},
	}
}

func TestMessagesArriveAsTheyWereSent(t *testing.T) {
	var b []byte
	var err error
	for _, m := range samples() {
		if b, err = encode(b, &m); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range samples() {
		var got message
		if b, err = decode(b, &got); err != nil {
			t.Fatalf("kind %d: %v", want.kind, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("kind %d: got %+v\nwant %+v", want.kind, got, want)
		}
	}
	if len(b) > 0 {
		t.Errorf("%d bytes are left", len(b))
	}
}

func TestCutMessagesAreRefused(t *testing.T) {
	for _, m := range samples() {
		b, err := encode(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		for n := range b {
			var got message
			if _, err := decode(b[:n], &got); !errors.Is(err, errMessage) {
				t.Errorf("kind %d cut to %d of %d bytes: %v", m.kind, n, len(b), err)
			}
		}
	}
}

func TestWhatRaftWouldPanicAtIsRefused(t *testing.T) {
	for _, e := range []raft.Log{
		{Index: 1, Type: raft.LogConfiguration, Data: []byte("no configuration")},
		{Index: 1, Type: raft.LogAddPeerDeprecated},
		{Index: 1, Type: 77},
	} {
		b, err := encode(nil, &message{kind: kindAppend, entries: []*raft.Log{&e}})
		if err != nil {
			t.Fatal(err)
		}
		var got message
		if _, err := decode(b, &got); !errors.Is(err, errMessage) {
			t.Errorf("entry of type %v: %v", e.Type, err)
		}
	}
	gap := []*raft.Log{{Index: 1}, {Index: 3}}
	if b, err := encode([]byte("x"), &message{kind: kindAppend, entries: gap}); !errors.Is(err, errGap) || string(b) != "x" {
		t.Errorf("entries with a gap: %q, %v", b, err)
	}
}

func TestAPeerOfAnotherVersionIsRefused(t *testing.T) {
	if err := checkPreface(preface(useMessage), useMessage); err != nil {
		t.Error(err)
	}
	newer := preface(useMessage)
	newer[4]++
	for _, b := range [][]byte{newer, preface(useBulk), []byte("GET / HT")} {
		if checkPreface(b, useMessage) == nil {
			t.Errorf("%q was accepted", b)
		}
	}
	if err := checkPreface(newer, useMessage); !strings.Contains(err.Error(), "version 2, this node 1") {
		t.Errorf("the versions are not said: %v", err)
	}
}

func TestPartsOfAnAppendSayTheSame(t *testing.T) {
	a := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 100, PrevLogTerm: 4, LeaderCommitIndex: 99}
	for i := range 64 {
		a.Entries = append(a.Entries, &raft.Log{Index: 101 + uint64(i), Term: 5, Data: make([]byte, 256<<10)})
	}
	prev, prevTerm := a.PrevLogEntry, a.PrevLogTerm
	for _, p := range split(a) {
		if p.PrevLogEntry != prev || p.PrevLogTerm != prevTerm || p.Term != 5 || p.LeaderCommitIndex != 99 {
			t.Errorf("a part says %+v after entry %d of term %d", p, prev, prevTerm)
		}
		if n := len(p.Entries); n == 0 || n*(256<<10) > partBytes {
			t.Errorf("a part of %d entries", n)
		}
		last := p.Entries[len(p.Entries)-1]
		prev, prevTerm = last.Index, last.Term
	}
	if prev != 164 {
		t.Errorf("the parts end at %d", prev)
	}
	if parts := split(&raft.AppendEntriesRequest{}); len(parts) != 1 {
		t.Errorf("an empty append has %d parts", len(parts))
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range samples() {
		b, _ := encode(nil, &m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		rest, err := decode(b, &m)
		if err != nil {
			return
		}
		again, err := encode(nil, &m)
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		var m2 message
		if left, err := decode(again, &m2); err != nil || len(left) > 0 || !reflect.DeepEqual(m, m2) {
			t.Fatalf("%x: %+v and %+v, %v", b[:len(b)-len(rest)], m, m2, err)
		}
		if !bytes.HasSuffix(b, rest) {
			t.Fatal("the rest is not the rest")
		}
	})
}
