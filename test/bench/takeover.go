package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The rows of a node that takes over replicas are Skein's alone. A region of three
// nodes keeps a stream while events are published at a steady pace, far below what it
// could take; then a fourth node comes. In takeover it gets its share of what all of
// them keep. In takeover-dead one of the three is killed at the same time, and after
// five minutes the fourth gets all that the dead one kept: two of three replicas are
// left meanwhile, and both are needed for each event. It is measured only if it is
// named.
const (
	takeoverRow     = "takeover"
	takeoverDeadRow = "takeover-dead"

	newcomer = "new"
)

const (
	takeoverKept       = 2 << 30  // bytes that are kept before
	takeoverLarge      = 16 << 10 // of an event of these
	takeoverPartitions = 8
	takeoverRate       = 500 // events published a second meanwhile
	takeoverSize       = 1 << 10
	takeoverPublishers = 64
	takeoverCalm       = 10 * time.Second // after the events are there
	takeoverBefore     = 30 * time.Second // watched before the node comes
	takeoverEvery      = 5 * time.Second  // how often it is printed how far it is
	takeoverRest       = 10 * time.Second // without a change, after which it is over
)

// runTakeover measures both rows, in rounds with fresh processes.
func runTakeover(ctx context.Context, p plan, dir, binary string) error {
	for _, name := range []string{takeoverRow, takeoverDeadRow} {
		if !p.has(name) || p.system == "nats" || name == takeoverDeadRow && p.rows == "" {
			continue
		}
		var results []result
		for range min(p.rounds, 3) {
			one, err := measureTakeover(ctx, dir, binary, p.scale(), name == takeoverDeadRow)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			results = append(results, one)
		}
		for i, l := range []line{
			{name + ": acked, 500/s of 1 KiB, before: p50", "ms", ""}, {"before: p99", "ms", ""},
			{"while a node takes over replicas: p50", "ms", ""}, {"p99", "ms", ""},
			{"p99 to the p99 before", "", "< 2.00"},
			{"taken over", "MB", ""}, {"a second", "MB", "steady"}, {"the slowest of its five seconds", "MB", ""}, {"the fastest", "MB", ""},
			{"until it had all", "s", ""},
		} {
			fmt.Printf(format, l.what, "", cell(median(results, i), l.unit), "", l.wanted)
		}
	}
	return nil
}

// takeover is a round.
type takeover struct {
	mesh  *keeping
	topic string
	dir   string // where the new node keeps its replicas
	load  *cadence
}

func measureTakeover(ctx context.Context, dir, binary string, scale float64, dead bool) (result, error) {
	mesh, err := startSkein(ctx, binary, dir, oneRegion())
	if err != nil {
		return result{}, err
	}
	defer func() { os.RemoveAll(mesh.logs) }() // gigabytes
	defer mesh.close()
	t := &takeover{mesh: &keeping{mesh}, topic: freshTopic("takeover")}
	if err := t.fill(ctx, int(takeoverKept/takeoverLarge*scale)); err != nil {
		return result{}, err
	}
	var publishers []acked
	for i := range takeoverPublishers {
		at := i % 2 // the third is the one that may be killed
		c, err := mesh.connect(ctx, at)
		if err != nil {
			return result{}, err
		}
		one := newSkeinAcked(ctx, c)
		defer one.close()
		publishers = append(publishers, one)
	}
	t.load = startCadence(ctx, publishers, t.topic, takeoverSize, takeoverRate)
	defer t.load.stop()
	if err := sleep(ctx, takeoverCalm); err != nil {
		return result{}, err
	}
	from := time.Now()
	if err := sleep(ctx, time.Duration(float64(takeoverBefore)*max(scale, 2./3))); err != nil {
		return result{}, err
	}
	to := time.Now()
	if dead {
		if err := mesh.kill(2); err != nil {
			return result{}, err
		}
	}
	t.dir = filepath.Join(mesh.logs, newcomer, "streams", "partitions")
	if err := mesh.join(ctx, seat{name: newcomer, region: "r0", ip: "127.0.0.1"}); err != nil {
		return result{}, err
	}
	taken, err := t.watch(ctx)
	if err != nil {
		return result{}, err
	}
	before, during := t.load.between(from, to), t.load.between(taken.began, taken.ended)
	t.load.stop()
	if n, err := t.load.failures(); n > 0 {
		fmt.Printf("  not acknowledged: %d, such as: %v\n", n, err)
	}
	took := taken.ended.Sub(taken.began).Seconds()
	slowest, fastest := taken.extremes()
	return result{values: []float64{
		quantile(before, .5), quantile(before, .99), quantile(during, .5), quantile(during, .99),
		quantile(during, .99) / quantile(before, .99),
		taken.bytes / 1e6, taken.bytes / 1e6 / took, slowest, fastest, took,
	}}, nil
}

// fill makes the stream and has it keep events. Some may find no leader for a moment
// on a machine that has other work: then there are more.
func (t *takeover) fill(ctx context.Context, events int) error {
	if err := t.mesh.define(ctx, t.topic, takeoverPartitions, false); err != nil {
		return err
	}
	const portion, within, tries = 1 << 8, 50, 100
	failed := 0
	for there := 0; there < events; {
		p, err := t.mesh.acked(ctx)
		if err != nil {
			return err
		}
		_, err = keepWithin(ctx, p, []string{t.topic}, noise(takeoverLarge), portion, within)
		p.close()
		switch {
		case err == nil:
			there += portion
		case failed == tries || ctx.Err() != nil:
			return fmt.Errorf("%d of %d events are there: %w", there, events, err)
		default:
			failed++
		}
	}
	return nil
}

// taken is how a node took replicas over.
type taken struct {
	began, ended time.Time // the first byte, and the last replica
	bytes        float64
	steps        []float64 // MB a second, each of takeoverEvery
}

// extremes are the slowest and the fastest step, but for the last, which is not whole.
func (t taken) extremes() (slowest, fastest float64) {
	for i, s := range t.steps[:max(0, len(t.steps)-1)] {
		if i == 0 || s < slowest {
			slowest = s
		}
		fastest = max(fastest, s)
	}
	return slowest, fastest
}

// watch waits until the new node has what it gets, and prints how far it is.
func (t *takeover) watch(ctx context.Context) (taken, error) {
	const look, within = 250 * time.Millisecond, 15 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var to taken
	var stepBytes float64
	var step, changed time.Time
	replicas := 0
	for {
		if err := sleep(ctx, look); err != nil {
			return to, fmt.Errorf("%d replicas are taken over: %w", replicas, err)
		}
		now := time.Now()
		bytes, err := keptIn(t.dir)
		if err != nil {
			return to, err
		}
		if to.began.IsZero() {
			if bytes < 1<<20 {
				continue
			}
			to.began, step, changed = now, now, now
		}
		there, under, err := t.replicas(ctx)
		if err != nil {
			return to, err
		}
		if there > replicas || under {
			to.ended, to.bytes, changed, replicas = now, bytes, now, there
		}
		if now.Sub(step) >= takeoverEvery && now.Sub(changed) < takeoverEvery {
			rate := (bytes - stepBytes) / 1e6 / now.Sub(step).Seconds()
			to.steps = append(to.steps, rate)
			times := t.load.between(step, now)
			fmt.Printf("  %5.0f s: %2d replicas, %6.0f MB, %6.1f MB/s; published: p50 %6.2f ms, p99 %7.2f ms\n",
				now.Sub(to.began).Seconds(), there, bytes/1e6, rate, quantile(times, .5), quantile(times, .99))
			step, stepBytes = now, bytes
		}
		if !under && there > 0 && now.Sub(changed) >= takeoverRest {
			return to, nil
		}
	}
}

// replicas is how many replicas of the stream's partitions the new node votes for,
// and whether any partition's replicas are still changing.
func (t *takeover) replicas(ctx context.Context) (there int, under bool, err error) {
	var view struct {
		Logs []struct {
			Replicas []struct{ Node, Role string }
		}
	}
	if err := t.mesh.call(ctx, http.MethodGet, "/streams/"+t.topic, nil, &view); err != nil {
		return 0, false, err
	}
	if len(view.Logs) != takeoverPartitions {
		return 0, false, errors.New("the stream's logs are not all known")
	}
	for _, l := range view.Logs {
		under = under || len(l.Replicas) != 3
		for _, r := range l.Replicas {
			under = under || r.Role != "voter"
			if r.Node == newcomer && r.Role == "voter" {
				there++
			}
		}
	}
	return there, under, nil
}

// keptIn is how many bytes of events lie below a directory.
func keptIn(dir string) (bytes float64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && (strings.HasSuffix(path, ".seg") || strings.HasSuffix(path, ".part")) {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				bytes += float64(info.Size())
			}
		}
		if errors.Is(err, fs.ErrNotExist) { // it was renamed a moment ago
			return nil
		}
		return err
	})
	return bytes, err
}
