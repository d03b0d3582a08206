package multiraft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

func TestBoltKeepsWhatAReplicaMust(t *testing.T) {
	storetest.TestReplica(t, func(t *testing.T) (store.Replica, func() store.Replica) {
		path := filepath.Join(t.TempDir(), "replica.bolt")
		var open *Bolt
		reopen := func() store.Replica {
			if open != nil {
				if err := open.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if open, err = OpenBolt(path); err != nil {
				t.Fatal(err)
			}
			return open
		}
		t.Cleanup(func() { open.Close() })
		return reopen(), reopen
	})
}

// No bit of a file that has a meaning can change, and no end of it be gone, without
// being noticed when it is opened; and no damage ends the process.
func TestADamagedBoltFileIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.bolt")
	b, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	want := storetest.Entries(1, 40, 2)
	for i := range want {
		want[i].Data = append(want[i].Data, bytes.Repeat([]byte("and more "), 30)...)
		if err := b.Append(want[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.SetValues(store.Uint64Value("term", 7), store.Value{Key: "vote", Data: []byte("n1")}), b.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	same := func(b *Bolt) bool {
		for i := range want {
			var e store.Entry
			if b.Get(want[i].Index, &e) != nil || !bytes.Equal(e.Data, want[i].Data) || e.Term != want[i].Term || e.Kind != want[i].Kind {
				return false
			}
		}
		term, err := store.Uint64(b, "term")
		vote, voteErr := b.Value("vote")
		last, lastErr := b.LastIndex()
		return err == nil && term == 7 && voteErr == nil && string(vote) == "n1" && lastErr == nil && last == want[len(want)-1].Index
	}
	rng := rand.New(rand.NewPCG(1, 2))
	noticed, harmless := 0, 0
	places := structure(whole)
	for n := range 1200 {
		hurt := bytes.Clone(whole)
		switch {
		case n%8 == 0:
			hurt = hurt[:rng.IntN(len(hurt))]
		case n%8 == 1:
			hurt[rng.IntN(len(hurt))] ^= 1 << rng.IntN(8)
		default:
			hurt[places[rng.IntN(len(places))]] ^= 1 << rng.IntN(8)
		}
		if err := os.WriteFile(path, hurt, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := OpenBolt(path)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%d: %v", n, err)
			}
			noticed++
			continue
		}
		if !same(b) { // else it was in a page that nothing refers to
			t.Errorf("%d: the damage was not noticed", n)
		}
		harmless++
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d noticed, %d where nothing is kept", noticed, harmless)
	if noticed == 0 {
		t.Error("nothing was noticed")
	}
}

// structure is where a file says what its pages are and where their contents lie.
func structure(file []byte) (places []int) {
	size := os.Getpagesize()
	for page := 0; page < len(file); page += size {
		n := 0
		if flags := binary.NativeEndian.Uint16(file[page+8:]); flags == boltBranch || flags == boltLeaf {
			n = int(binary.NativeEndian.Uint16(file[page+10:]))
		}
		for i := range min(boltHead+n*boltElement, size) {
			places = append(places, page+i)
		}
	}
	return places
}
