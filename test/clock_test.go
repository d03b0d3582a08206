package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wallClock lists the files of the product in which a time leaves the process, comes
// from outside, or loses its monotonic part otherwise, and why a clock that is wrong
// by ten minutes, or jumps by that, harms nobody there. All other times are compared
// with times of the same process, by its monotonic clock.
var wallClock = map[string]string{
	"gossip/book.go":                   "a peer that was seen is kept for a day, to find the mesh again; more or less does not matter",
	"node/gaps.go":                     "of two measures of how long this node runs the longer is believed: a gap too many is told, not one too few",
	"node/httpapi/gap.go":              "shown to people",
	"node/inspect.go":                  "shown to people",
	"node/regions.go":                  "a region that was seen is kept for a month, to be missed; more or less does not matter",
	"node/session/session.go":          "a deadline that is long over: to wake who reads",
	"node/state.go":                    "shown to people",
	"node/client/convert.go":           "an event's own time, which nothing depends on",
	"node/client/client.go":            "rounded for the log",
	"node/client/dial.go":              "a deadline that is long over: to wake who dials",
	"transport/streamconn.go":          "a deadline that is long over: to wake who writes",
	"node/stream_read.go":              "a reader may begin at a time; records have their leaders' times, which never run backwards in a log",
	"node/stream_seek.go":              "a reader may begin at a time, which is compared with the records' times",
	"node/client/stream.go":            "when an event was kept, by its leader's clock; shown to people",
	"node/session/reader.go":           "when an event was kept, by its leader's clock; shown to people",
	"replication/away.go":              "when an event began to wait, which nothing depends on",
	"replication/verify.go":            "shown to people",
	"replication/change.go":            "retention by age: events go by the leader's clock, so much too early or late as that is wrong",
	"replication/disk.go":              "rounded for the log",
	"replication/meta/assignment.go":   "shown to people",
	"replication/meta/command.go":      "the region's clock, which never runs backwards: a deleted stream's grace is a day by it",
	"replication/meta/meta.go":         "the region's clock, before any command",
	"replication/meta/region.go":       "shown to people",
	"replication/meta/snapshot.go":     "the region's clock",
	"replication/multiraft/bolt.go":    "when an entry was appended, which nothing depends on",
	"replication/multiraft/group.go":   "rounded for the log",
	"replication/multiraft/log.go":     "when an entry was appended, which nothing depends on",
	"replication/multiraft/wire.go":    "when an entry was appended, which nothing depends on",
	"replication/partition/append.go":  "the leader's time of an entry; a partition's time never runs backwards, and ages of what it remembers are of that time",
	"store/journal/record.go":          "when an entry was appended, which nothing depends on",
	"store/journal/verify.go":          "shown to people",
	"store/storetest/replica.go":       "when an entry was appended, which nothing depends on",
	"transport/credentials.go":         "a refusal's text; certificates are good from an hour before they are made, for a day, and renewed after half of it",
	"transport/event/value.go":         "an event's own time, which nothing depends on",
	"transport/event/proto.go":         "an event's own time, which nothing depends on",
	"transport/hello.go":               "a deadline that is long over: to wake who reads",
	"transport/identity.go":            "an authority that is good for ever",
	"transport/wire/client_control.go": "when a gap was found, shown to people",
}

// TestClockSkew: nothing that is promised depends on what the clocks say.
func TestClockSkew(t *testing.T) {
	wall := regexp.MustCompile(`\.Truncate\(time\.|\.(UTC|Round|Unix|UnixNano|UnixMicro|UnixMilli|Local|AddDate)\(|\btime\.(Unix|UnixMicro|UnixMilli|Date|Parse)\(`)
	used := map[string]bool{}
	for _, f := range goFiles(t) {
		dir, _, _ := strings.Cut(f, "/")
		if strings.HasSuffix(f, "_test.go") || dir == "test" || dir == "cmd" || dir == "examples" {
			continue
		}
		src, err := os.ReadFile(filepath.Join("..", f))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(src)) {
			if wall.MatchString(line) && !strings.Contains(line, "math.Round(") {
				used[f] = true
				if wallClock[f] == "" {
					t.Errorf("%s depends on the wall clock: %s", f, strings.TrimSpace(line))
				}
			}
		}
	}
	for f := range wallClock {
		if !used[f] {
			t.Errorf("%s is in the table and does not depend on the wall clock", f)
		}
	}
}
