package segment

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skeinmesh/skein/store/storetest"
)

func TestWhatIsNotWrittenIsCountedRight(t *testing.T) {
	files := NewFiles(storetest.NewDisk(), 4, 6000)
	rng := rand.New(rand.NewPCG(1, 2))
	var logs []*Log
	for i := range 5 {
		l, err := Open(Config{Files: files, Dir: fmt.Sprint("/", i), ID: ID{1}, FileBytes: 3000}, &Manifest{})
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	check := func(did string) {
		t.Helper()
		total := 0
		for _, l := range logs {
			for i, f := range l.files {
				if i < len(l.files)-1 && len(f.behind.data) > 0 {
					t.Fatalf("after %s, a full file has %d bytes in memory", did, len(f.behind.data))
				}
				total += len(f.behind.data)
			}
		}
		if total != files.unwritten || total > files.behind {
			t.Fatalf("after %s, %d bytes are not written, counted are %d, %d may be", did, total, files.unwritten, files.behind)
		}
	}
	for range 3000 {
		l := logs[rng.IntN(len(logs))]
		did, err := "", error(nil)
		switch rng.IntN(12) {
		default:
			did = "append"
			_, err = l.Append([]Record{{Data: make([]byte, rng.IntN(400))}})
		case 0:
			did, err = "sync", l.Sync()
		case 1:
			did, err = "truncate", l.TruncateTo(l.Start()+rng.Int64N(l.Next()-l.Start()+1))
		case 2:
			did = "trim and release"
			l.Trim(l.Start() + rng.Int64N(l.Next()-l.Start()+1))
			if rng.IntN(3) == 0 {
				l.Trim(l.Next())
			}
			err = l.Release(l.Start())
		}
		if err != nil {
			t.Fatalf("%s: %v", did, err)
		}
		check(did)
	}
	for _, l := range logs {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if files.unwritten != 0 || files.waiting.Len() > 0 {
		t.Errorf("of closed logs %d bytes are counted, and %d logs are waiting", files.unwritten, files.waiting.Len())
	}
}
