package multiraft

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/store/memory"
	"github.com/skeinmesh/skein/transport/peer"
)

// loopback makes pairs of TCP connections.
func loopback(b testing.TB) func() (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return func() (net.Conn, net.Conn) {
		dialed, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		return dialed, accepted
	}
}

// nothing is a state machine without a state.
type nothing struct{ history }

func (*nothing) Apply(batch []Entry) []any { return make([]any, len(batch)) }

// benchMesh is three hosts over loopback with groups whose leaders are spread.
func benchMesh(b testing.TB, groups int, open func(node peer.ID, group int) store.Replica) (*mesh, []map[peer.ID]*replica) {
	m := &mesh{t: b, hosts: map[peer.ID]*testHost{}, wires: map[[2]peer.ID]*wire{}, pipe: loopback(b)}
	for i := range 3 {
		m.open(nodeName(i), nil)
	}
	for i := range 3 {
		for j := range i {
			m.join(nodeName(i), nodeName(j))
		}
	}
	all := make([]map[peer.ID]*replica, groups)
	var wg sync.WaitGroup
	at := make(chan struct{}, 64)
	for n := range groups {
		wg.Go(func() {
			at <- struct{}{}
			defer func() { <-at }()
			var first []Replica
			for _, id := range m.nodes() {
				first = append(first, Replica{id, 1})
			}
			group := map[peer.ID]*replica{}
			for _, r := range first {
				group[r.Node] = m.startReplica(n, r, func(c *GroupConfig) {
					c.Bootstrap, c.FSM, c.Store = first, &nothing{}, open(r.Node, n)
				})
			}
			want := nodeName(n % 3)
			until(b, time.Minute, "led where it shall be", func() bool {
				id := leaderOf(b, group)
				if id != want {
					group[id].TransferLeadership(b.Context(), Replica{want, 1})
				}
				return id == want
			})
			all[n] = group
		})
	}
	wg.Wait()
	time.Sleep(5 * time.Second) // timeouts are long again
	return m, all
}

func inMemory(peer.ID, int) store.Replica { return memory.New() }

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdle is what idle groups cost: three replicas each, all in this
// process. Run it with -benchtime 1x.
func BenchmarkIdle(b *testing.B) {
	for _, groups := range []int{16, 100, 1000} {
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			m, _ := benchMesh(b, groups, inMemory)
			defer m.close()
			runtime.GC()
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			for b.Loop() {
				began, used := time.Now(), cpu()
				time.Sleep(10 * time.Second)
				b.ReportMetric(100*float64(cpu()-used)/float64(time.Since(began)), "%core")
			}
			led := 0
			for _, h := range m.hosts {
				led += h.Stats().Leaders
			}
			b.ReportMetric(float64(led), "leaders")
			b.ReportMetric(float64(runtime.NumGoroutine())/float64(3*groups), "goroutines/replica")
			b.ReportMetric(float64(mem.HeapInuse+mem.StackInuse)/float64(3*groups)/1024, "KiB/replica")
		})
	}
}

// BenchmarkApply is acknowledged events of 256 bytes a second, 1024 of them on
// their way, in entries of up to 256 that are made as those before are done.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct{ groups, inFlight int }{{1, 1024}, {16, 1024}, {1, 1}} {
		name := fmt.Sprintf("groups=%d/in-flight=%d/", c.groups, c.inFlight)
		b.Run(name+"memory", func(b *testing.B) {
			m, all := benchMesh(b, c.groups, inMemory)
			defer m.close()
			benchApply(b, all, c.inFlight)
		})
		b.Run(name+"journal", func(b *testing.B) {
			m, all := benchMesh(b, c.groups, inJournals(b))
			defer m.close()
			benchApply(b, all, c.inFlight)
		})
	}
}

// inJournals keeps replicas in journals, one for each node, on this machine's disk.
func inJournals(b *testing.B) func(peer.ID, int) store.Replica {
	dir := b.TempDir()
	journals := map[peer.ID]*journal.Journal{}
	for i := range 3 {
		id := nodeName(i)
		j, err := journal.Open(journal.Config{Dir: filepath.Join(dir, string(id)), Mesh: "mesh", Node: string(id)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { j.Close() })
		journals[id] = j
	}
	return func(node peer.ID, group int) store.Replica { return journals[node].Group(journal.ID(groupID(group))) }
}

func benchApply(b *testing.B, all []map[peer.ID]*replica, inFlight int) {
	const size, most, outstanding = 256, 256, 4
	for b.Loop() {
		ctx, stop := context.WithTimeout(b.Context(), 5*time.Second)
		var acked, lost atomic.Int64
		began, used := time.Now(), cpu()
		var wg sync.WaitGroup
		for _, group := range all {
			wg.Go(func() {
				g := group[leaderOf(b, group)]
				free := max(inFlight/len(all), 1)
				var flying []*Proposal
				var sizes []int
				for ctx.Err() == nil {
					for free > 0 && len(flying) < outstanding {
						n := min(free, most)
						p, err := g.Propose(ctx, make([]byte, n*size))
						if err != nil {
							return // ctx has ended
						}
						free -= n
						flying, sizes = append(flying, p), append(sizes, n)
					}
					<-flying[0].Done()
					if _, _, err := flying[0].Outcome(); err == nil {
						acked.Add(int64(sizes[0]))
					} else { // of a machine too busy for heartbeats
						lost.Add(1)
						g = group[leaderOf(b, group)]
					}
					free += sizes[0]
					flying, sizes = flying[1:], sizes[1:]
				}
			})
		}
		wg.Wait()
		stop()
		took := time.Since(began)
		b.ReportMetric(float64(acked.Load())/took.Seconds(), "events/s")
		b.ReportMetric(float64(lost.Load()), "lost")
		b.ReportMetric(float64(cpu()-used)/float64(acked.Load()), "cpu-ns/event")
		b.ReportMetric(took.Seconds()*1e6*float64(inFlight)/float64(acked.Load()), "us/event-latency")
	}
}
