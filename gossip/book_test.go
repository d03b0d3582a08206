package gossip

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestABookKeepsThePeersOfTheLastDay(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	b, err := OpenBook(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, age := range []time.Duration{0, time.Hour, 25 * time.Hour} {
		b.See(peer.Peer{ID: peer.ID([]string{"a", "b", "c"}[i]), Addr: testAddr(i)}, now.Add(-age))
	}
	if err := b.Save(now); err != nil {
		t.Fatal(err)
	}
	if b, err = OpenBook(dir); err != nil {
		t.Fatal(err)
	}
	got := b.Peers(now)
	if len(got) != 2 || got[0].ID != "a" || got[1].ID != "b" || got[1].Addr != testAddr(1) {
		t.Errorf("kept %v", got)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestADamagedBookIsEmptyAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "peers.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBook(dir)
	if err == nil || b == nil || len(b.Peers(time.Now())) != 0 {
		t.Errorf("%v, %v", b, err)
	}
}

func TestAClockThatJumpsForgetsNoPeer(t *testing.T) {
	for _, jump := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		dir, now := t.TempDir(), time.Now()
		b, err := OpenBook(dir)
		if err != nil {
			t.Fatal(err)
		}
		b.See(peer.Peer{ID: "a", Addr: testAddr(1)}, now)
		if err := b.Save(now); err != nil {
			t.Fatal(err)
		}
		if b, err = OpenBook(dir); err != nil || len(b.Peers(now.Add(jump))) != 1 {
			t.Errorf("after a jump of %v: %v, %v", jump, b.Peers(now.Add(jump)), err)
		}
	}
}
