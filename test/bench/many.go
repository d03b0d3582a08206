package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/node/client"
)

// manyStreams makes ten thousand streams of three replicas, lists them, writes to
// each of them and reads each from its beginning, and takes what the processes have
// in memory then and use when they are left alone.
func manyStreams(ctx context.Context, k keeper, scale float64) (result, error) {
	const each = 10 // events of a stream
	s, ok := k.(*keeping)
	if !ok {
		return result{}, fmt.Errorf("no system but Skein is asked for so many streams")
	}
	topics := make([]string, int(10_000*scale))
	for i := range topics {
		topics[i] = fmt.Sprintf("%s.%d", freshTopic("many"), i)
	}
	began := time.Now()
	if err := k.createMany(ctx, topics); err != nil {
		return result{}, err
	}
	made := time.Since(began)

	began = time.Now()
	var list []struct{ Name string }
	if err := s.call(ctx, http.MethodGet, "/streams", nil, &list); err != nil {
		return result{}, err
	}
	if len(list) != len(topics) {
		return result{}, fmt.Errorf("%d streams are listed, %d were made", len(list), len(topics))
	}
	listed := time.Since(began)

	p, err := k.acked(ctx)
	if err != nil {
		return result{}, err
	}
	defer p.close()
	n := each * len(topics)
	wrote, err := keep(ctx, p, topics, noise(256), n)
	if err != nil {
		return result{}, err
	}

	read, times, err := s.readEach(ctx, topics, each)
	if err != nil {
		return result{}, err
	}
	if err := sleep(ctx, 10*time.Second); err != nil {
		return result{}, err
	}
	before, _, err := usage(k.pids())
	if err != nil {
		return result{}, err
	}
	const watched = 20 * time.Second
	if err := sleep(ctx, watched); err != nil {
		return result{}, err
	}
	after, resident, err := usage(k.pids())
	return result{values: []float64{
		float64(len(topics)) / made.Seconds(), listed.Seconds(), float64(n) / wrote.Seconds() / 1000,
		float64(len(topics)) / read.Seconds(), times[len(times)/2], times[len(times)*99/100],
		float64(resident) / 1e6, 100 * (after - before).Seconds() / watched.Seconds(),
	}}, err
}

// readEach reads the first events of each of the topics' streams, eight streams at
// a time, and tells how long each took, in ms, sorted, and all of them.
func (s *keeping) readEach(ctx context.Context, topics []string, events int) (took time.Duration, times []float64, err error) {
	c, err := s.connect(ctx, 0)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	var mu sync.Mutex
	began := time.Now()
	err = parallel(topics, func(topic string) error {
		at := time.Now()
		if err := readFirst(ctx, c, topic, events); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Since(at).Seconds()*1000)
		return nil
	})
	slices.Sort(times)
	return time.Since(began), times, err
}

// readFirst reads the first events of a topic's stream.
func readFirst(ctx context.Context, c *client.Client, topic string, events int) error {
	r, err := c.Stream(topic).Read(ctx, client.Earliest)
	if err != nil {
		return err
	}
	defer r.Close()
	for range events {
		if _, err := r.Next(ctx); err != nil {
			return err
		}
	}
	return nil
}
