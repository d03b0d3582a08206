package node

import (
	"testing"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
)

// A reader asks often for what it misses, and hardly ever a region all of whose logs it
// reads: to answer takes its leaders a write to the disk each.
func TestAReaderAsksARegionAsOftenAsItMisses(t *testing.T) {
	began := time.Now()
	r := &StreamReader{began: began, absent: map[string]bool{"ap": true}}
	r.stream = meta.Stream{Definition: meta.Definition{Partitions: 2}}
	log := func(region string, partition uint32) *logReader {
		return &logReader{region: region, ask: replication.Read{Partition: partition}}
	}
	r.logs = []*logReader{log("eu", 1), log("eu", 2), log("us", 7)}
	w := r.newWatched()
	asked := map[string]int{}
	const watched = time.Hour
	for at := time.Duration(0); at < watched; at += watchSoon {
		for _, region := range []string{"eu", "us", "ap", "sa"} { // the last one is new
			if w.due(region, began.Add(at)) {
				asked[region]++
			}
		}
	}
	for region, every := range map[string]time.Duration{"eu": watchWhole, "us": watchEvery, "ap": watchSoon, "sa": watchEvery} {
		if want := int(watched / every); asked[region] < want-1 || asked[region] > want {
			t.Errorf("%s is asked %d times in %v, want %d", region, asked[region], watched, want)
		}
	}
	if w.learn(log("us", 7)) || !w.learn(log("us", 8)) || w.logs != 4 {
		t.Errorf("after a log that is known and one that is not there are %d", w.logs)
	}
	if w.due("us", began.Add(watched+watchEvery)) {
		t.Error("a region is asked though its logs are all known by now")
	}
}
