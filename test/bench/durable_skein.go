package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// keeping is a region of Skein that keeps streams.
type keeping struct{ *skein }

func startKeeping(ctx context.Context, binary, dir string) (keeper, error) {
	s, err := startSkein(ctx, binary, dir, oneRegion())
	if err != nil {
		return nil, err
	}
	return &keeping{s}, nil
}

// call asks a node's HTTP port.
func (s *keeping) call(ctx context.Context, method, path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.http[0]+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	face := s.seats[0].http()
	face.Timeout = time.Minute
	resp, err := face.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if err == nil {
		err = json.Unmarshal(b, answer)
	}
	return err
}

// streamView is what matters here of a node.StreamView: importing that would bring
// all that a node depends on into this module.
type streamView struct {
	Missing []string
	Logs    []struct{ Leader string }
}

func (s *keeping) create(ctx context.Context, topic string, partitions int) error {
	return s.define(ctx, topic, partitions, true)
}

// define makes a stream, on partitions of its own or on the shared ones.
func (s *keeping) define(ctx context.Context, topic string, partitions int, dedicated bool) error {
	var view streamView
	err := s.call(ctx, http.MethodPost, "/streams", map[string]any{
		"name": topic, "filter": map[string]any{"exact": map[string]string{"type": topic}}, "partitions": partitions, "dedicated": dedicated,
	}, &view)
	if err == nil && len(view.Missing) > 0 {
		err = fmt.Errorf("regions %v do not keep stream %s", view.Missing, topic)
	}
	return err
}

func (s *keeping) createMany(ctx context.Context, topics []string) error {
	return parallel(topics, func(topic string) error { return s.define(ctx, topic, 1, false) })
}

func (s *keeping) acked(ctx context.Context) (acked, error) {
	c, err := s.connect(ctx, 0)
	if err != nil {
		return nil, err
	}
	return newSkeinAcked(ctx, c), nil
}

// skeinAcked makes whole CloudEvents, with ids, of which a stream keeps each once.
type skeinAcked struct {
	ctx     context.Context
	c       *client.Client
	run     string
	n       int
	sources []string
	b       event.Builder
	buf     []byte
}

func newSkeinAcked(ctx context.Context, c *client.Client) *skeinAcked {
	p := &skeinAcked{ctx: ctx, c: c, run: strconv.FormatInt(time.Now().UnixNano(), 36)}
	for i := range 64 {
		p.sources = append(p.sources, fmt.Sprint("/bench/", i))
	}
	return p
}

func (p *skeinAcked) publish(topic string, data []byte) (func(context.Context) error, error) {
	p.n++
	p.b.Reset()
	p.b.SetString("id", p.run+"-"+strconv.Itoa(p.n)).SetString("source", p.sources[p.n%len(p.sources)]).SetString("type", topic).SetData(event.BinaryData, data)
	p.buf = p.b.Append(p.buf[:0])
	ack, err := p.c.PublishEnvelope(p.ctx, p.buf)
	if err != nil {
		return nil, err
	}
	return ack.Wait, nil
}

func (p *skeinAcked) close() { p.c.Close() }

func (s *keeping) replay(ctx context.Context, topic string, n int, got func([]byte)) error {
	return s.replayAt(ctx, 0, topic, n, got)
}

func (s *keeping) replayAt(ctx context.Context, at int, topic string, n int, got func([]byte)) error {
	c, err := s.connect(ctx, at)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Stream(topic).Read(ctx, client.Earliest)
	if err != nil {
		return err
	}
	defer r.Close()
	for range n {
		kept, err := r.Next(ctx)
		if err != nil {
			return err
		}
		data, _ := kept.Event.Data()
		got(data)
	}
	return nil
}

func (s *keeping) leader(ctx context.Context, topic string) (int, error) {
	var view streamView
	if err := s.call(ctx, http.MethodGet, "/streams/"+topic, nil, &view); err != nil {
		return 0, err
	}
	for _, l := range view.Logs {
		if at := seatNamed(s.seats, l.Leader); at >= 0 {
			return at, nil
		}
	}
	return 0, errors.New("the stream has no leader")
}

func (s *keeping) pids() []int { return pidsOf(s.processes) }

func (s *keeping) revive(ctx context.Context, at int) error { return s.launch(ctx, at) }

// seatNamed is the number of the seat with a name, or -1.
func seatNamed(seats []seat, name string) int {
	return slices.IndexFunc(seats, func(s seat) bool { return s.name == name })
}

func pidsOf(processes []*exec.Cmd) (pids []int) {
	for _, p := range processes {
		if p != nil {
			pids = append(pids, p.Process.Pid)
		}
	}
	return pids
}

// parallel calls f for each of a list, eight at a time.
func parallel(list []string, f func(string) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs error
	work := make(chan string)
	for range 8 {
		wg.Go(func() {
			for one := range work {
				if err := f(one); err != nil {
					mu.Lock()
					errs = errors.Join(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, one := range list {
		work <- one
	}
	close(work)
	wg.Wait()
	return errs
}
