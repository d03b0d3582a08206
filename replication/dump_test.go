package replication

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
)

// closeWithin is how long a node may take to close, in simulated time: a group
// leaves its peers after a second, and the lead a lease later.
const closeWithin = time.Minute

// closes closes a node, which must not take for ever: a bubble in which others
// live on would not end either.
func (w *town) closes(n *townNode, m *Member) {
	w.t.Helper()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		m.Close() // a crashed disk fails it
	}()
	late := time.NewTimer(closeWithin)
	defer late.Stop()
	select {
	case <-closed:
	case <-late.C:
		w.dump()
		w.t.Fatalf("node %s is still not closed after %v", n.self.Name, closeWithin)
	}
}

// tail keeps the last that a node has logged. It may be used concurrently.
type tail struct {
	mu    sync.Mutex // guards the fields below
	lines [tailLines]string
	next  int
}

const tailLines = 4096

// logger logs into the tail; and to the standard error if SKEIN_TEST_LOG is set.
func (l *tail) logger() *slog.Logger {
	var to io.Writer = l
	if os.Getenv("SKEIN_TEST_LOG") != "" {
		to = io.MultiWriter(l, os.Stderr)
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write implements io.Writer: it keeps a line.
func (l *tail) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[l.next%tailLines] = string(line)
	l.next++
	return len(line), nil
}

// String is the lines that are kept.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for i := max(0, l.next-tailLines); i < l.next; i++ {
		b.WriteString(l.lines[i%tailLines])
	}
	return b.String()
}

// dump logs what every node has logged and knows, and all goroutines: for a test
// that has failed because something did not come to pass.
func (w *town) dump() {
	w.t.Helper()
	w.mu.Lock()
	nodes := slices.Clone(w.nodes)
	w.mu.Unlock()
	for _, n := range nodes {
		w.t.Logf("node %s has logged\n%s", n.self.Name, &n.log)
	}
	for _, n := range nodes {
		m := n.running()
		if m == nil {
			w.t.Logf("node %s (%s) is down", n.self.Name, n.self.ID)
			continue
		}
		w.t.Logf("node %s (%s), boot %d, reaches %v\n%s", n.self.Name, n.self.ID, n.self.Boot, n.Linked(), m.dump())
	}
	stacks := make([]byte, 8<<20)
	w.t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
}

// dump is what a node knows, in words.
func (r *Member) dump() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
	say("fenced: %v, unwell: %v, trusted: %v, registered: %v", r.Fenced(), r.Health(), r.trusted.Load(), r.registered.Load())
	group := func(what string, s multiraft.GroupStats) {
		say("%s: %s in term %d, led by %s; last %d, commit %d, applied %d, pending %d; failure %v, unwell %v",
			what, s.State, s.Term, s.Leader, s.Last, s.Commit, s.Applied, s.Pending, s.Failure, s.Unwell)
		for _, m := range s.Members {
			say("\tmember %s, votes: %v", m.Replica, m.Voter)
		}
		for _, f := range s.Follower {
			say("\tfollower %s has up to %d, heard %v ago", f.Replica, f.Matched, time.Since(f.Heard))
		}
	}
	group(fmt.Sprintf("metadata, here %s", r.meta.group().Self()), r.meta.group().Stats())
	for _, node := range r.meta.state().Nodes() {
		say("\tregistered: %s, boot %d, %v", node.ID, node.Boot, node.State)
	}
	open := r.open()
	for _, p := range r.meta.state().Partitions() {
		say("partition %d: wants %d, change %+v", p.Number, p.Want, p.Change)
		for _, rep := range p.Replicas {
			say("\treplica %+v", rep)
		}
		if rep := open[multiraft.GroupID(p.ID)]; rep != nil {
			group(fmt.Sprintf("\tepoch %d is open here (given up: %v, failed: %v)", rep.id.Epoch, rep.failed.Load(), rep.part.Failed()), rep.part.Group().Stats())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for number, co := range r.couriers {
		co.mu.Lock()
		say("courier of partition %d: running: %v, %d calls wait; led by %q as others said", number, co.running, len(co.calls), r.leaders[number])
		co.mu.Unlock()
	}
	return b.String()
}
