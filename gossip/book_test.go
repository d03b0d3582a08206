package gossip

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

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

// A book of before there was a format is read; one of a later format is none, and
// both formats are said.
func TestABookSaysItsFormat(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	path := filepath.Join(dir, "peers.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := `[{"peer": {"id": "a", "addr": "10.0.0.1:7420"}, "seen": "` + now.UTC().Format(time.RFC3339Nano) + `"}]`
	write(list)
	b, err := OpenBook(dir)
	if err != nil || len(b.Peers(now)) != 1 {
		t.Errorf("a book without a format: %v, %v", b.Peers(now), err)
	}
	write(`{"format": 2, "peers": ` + list + `}`)
	if b, err = OpenBook(dir); err == nil || !strings.Contains(err.Error(), "format 2, this one knows up to 1") || len(b.Peers(now)) != 0 {
		t.Errorf("a book of a later format: %v, %v", b.Peers(now), err)
	}
}

func TestAMemberOfAnotherFormatIsRefused(t *testing.T) {
	n := &memberlist.Node{Name: "id#1", Addr: []byte{10, 0, 0, 1}, Meta: appendMeta(nil, "m", peer.Peer{Name: "n", Region: "eu"})}
	if _, _, err := readMember(n); err != nil {
		t.Fatal(err)
	}
	n.Meta[0]++
	_, _, err := readMember(n)
	if err == nil || !strings.Contains(err.Error(), "format 2, this node knows 1") {
		t.Errorf("%v", err)
	}
}

// The number of a peer's starts does not go back, over a restart of who keeps the
// book either, and two starts of one number are not the same.
func TestABookKnowsAPeerThatWasSetBack(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	b, err := OpenBook(dir)
	if err != nil {
		t.Fatal(err)
	}
	see := func(boot uint64, name string, want bool) {
		t.Helper()
		b.See(peer.Peer{ID: "a", Addr: testAddr(1), Boot: boot}, now)
		if latest, setBack := b.Start("a", boot, name); setBack != want || latest < boot {
			t.Errorf("start %d (%s): %d, set back %v", boot, name, latest, setBack)
		}
	}
	see(5, "five", false)
	see(5, "five", false)
	see(6, "six", false)
	if err := b.Save(now); err != nil {
		t.Fatal(err)
	}
	if b, err = OpenBook(dir); err != nil {
		t.Fatal(err)
	}
	see(6, "another six", true)
	see(5, "five", true)
	see(6, "six", false)
	see(7, "seven", false)
	if _, setBack := b.Start("b", 1, "one"); setBack {
		t.Error("one that is not known was set back")
	}
}
