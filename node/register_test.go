package node

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

// older makes a founder's directory as versions before the format left it: the
// register in a file, and nothing of it in the region's metadata.
func older(t *testing.T, register string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	n := open(t, Config{DataDir: dir, Region: "eu"})
	s := *n.state
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	fields := map[string]any{
		"id": s.ID, "boot": s.Boot, "mesh": s.Mesh, "region": "eu", "founder": true,
		"registrar": peer.Peer{ID: s.ID, Name: "node", Region: "eu"},
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.RemoveAll(filepath.Join(dir, "streams")),
		os.WriteFile(filepath.Join(dir, "node.json"), b, 0o600),
		os.WriteFile(filepath.Join(dir, olderRegister), []byte(register), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const olderRegions = `[
	{"name": "eu", "foundedBy": "first", "foundedAt": "2026-05-04T12:00:00Z"},
	{"name": "us", "foundedBy": "second", "foundedAt": "2026-05-05T12:00:00Z"}
]`

func TestTheRegisterOfAnOlderVersionIsTakenOver(t *testing.T) {
	dir := older(t, olderRegions)
	for range 2 { // the second start finds nothing to take over
		n := open(t, Config{DataDir: dir, Region: "eu"})
		until(t, "the register is in the metadata", n.streams.member.Load().KeepsRegister)
		until(t, "the older file is gone", func() bool {
			_, err := os.Stat(filepath.Join(dir, olderRegister))
			return errors.Is(err, os.ErrNotExist)
		})
		for name, want := range map[string]peer.ID{"eu": "first", "us": "second", "ap": n.self.ID} {
			entry, err := n.registerRegion(t.Context(), registration{Region: name, Founder: n.self.ID})
			if err != nil || entry.FoundedBy != want {
				t.Errorf("region %s: %+v, %v; %s founded it", name, entry, err, want)
			}
		}
		if entry, _ := n.streams.member.Load().Meta().FoundedRegion("us"); entry.FoundedAt.Format("2006-01-02") != "2026-05-05" {
			t.Errorf("region us was founded at another time: %+v", entry)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A register that is lost or damaged is told, and the node does not begin another.
func TestAnOlderRegisterThatCannotBeReadIsRefused(t *testing.T) {
	for name, text := range map[string]string{"damaged": "[{", "gone": ""} {
		t.Run(name, func(t *testing.T) {
			dir := older(t, text)
			file := filepath.Join(dir, olderRegister)
			if text == "" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			n, err := Open(t.Context(), Config{DataDir: dir, Conn: listen(t), Region: "eu"})
			if err == nil {
				n.Close()
				t.Fatal("it starts without the register")
			}
			if !strings.Contains(err.Error(), file) {
				t.Errorf("the reason does not name the file: %v", err)
			}
			if err := os.WriteFile(file, []byte(olderRegions), 0o600); err != nil {
				t.Fatal(err)
			}
			n = open(t, Config{DataDir: dir, Region: "eu"}) // as the message says
			until(t, "the register is taken over", n.streams.member.Load().KeepsRegister)
		})
	}
}

func TestADirectoryOfANewerFormatIsRefusedUntouched(t *testing.T) {
	dir := t.TempDir()
	n := open(t, Config{DataDir: dir, Region: "eu"})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "node.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(b), `"format": 1`, `"format": 2`, 1)
	if newer == string(b) {
		t.Fatalf("node.json has no format: %s", b)
	}
	if err := os.WriteFile(path, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{DataDir: dir, Conn: listen(t)})
	if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "format 2, this one knows up to 1") {
		t.Errorf("%v", err)
	}
	if is, err := os.ReadFile(path); err != nil || string(is) != newer {
		t.Errorf("node.json was touched: %s, %v", is, err)
	}
}

// What earlier versions remembered of streams has a format and a checksum, and is taken
// over; a list without them is of before there were any.
func TestWhatIsRememberedOfStreamsSaysItsFormat(t *testing.T) {
	list := []remembered{{Stream: meta.Stream{UUID: meta.ID{1}}, Partitions: []uint32{1, 2}}}
	b, err := json.Marshal(list)
	if err == nil {
		b, err = json.Marshal(memoryBody{memoryBeforeFormat, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), b})
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data string
		want error
		says string
	}{
		"as it is":       {string(b), nil, ""},
		"without format": {string(b[strings.Index(string(b), "[") : len(b)-1]), nil, ""},
		"newer":          {strings.Replace(string(b), `"format":1`, `"format":2`, 1), store.ErrNewer, "format 2, this one knows up to 1"},
		"a changed byte": {strings.Replace(string(b), `[1,2]`, `[1,3]`, 1), store.ErrCorrupt, "checksum"},
	} {
		got, err := parseMemory([]byte(c.data))
		if !errors.Is(err, c.want) || c.want != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v that says %q", name, err, c.want, c.says)
		}
		if c.want == nil && (len(got) != 1 || got[0].Stream.UUID != list[0].Stream.UUID) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, memoryBefore), b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{DataDir: dir, Conn: listen(t)}); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, memoryBefore)) {
		t.Errorf("half of the file is there: %v", err)
	}
}
