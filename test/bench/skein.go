package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// skein is a mesh of one node a region, each a process.
type skein struct {
	processes []*exec.Cmd
	http      []string
}

func startSkein(ctx context.Context, dir string) (system, error) {
	binary := filepath.Join(dir, "skein")
	// Built in its own module, with the versions that it pins itself.
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/skeinmesh/skein").Output()
	if err != nil {
		return nil, fmt.Errorf("find the tree: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/skein")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	key := filepath.Join(dir, "mesh.key")
	if out, err := exec.CommandContext(ctx, binary, "key", "new", "--out", key).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("key: %w\n%s", err, out)
	}
	s := &skein{}
	seed := ""
	for r := range regions {
		ports, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprint("r", r)
		mesh, face := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
		args := []string{"serve", "--name", name, "--region", name, "--key-file", key,
			"--data-dir", filepath.Join(dir, name), "--listen", mesh, "--http", face}
		if seed != "" {
			args = append(args, "--seeds", seed)
		} else {
			seed = mesh
		}
		cmd := exec.Command(binary, args...)
		log, err := os.Create(filepath.Join(dir, name+".log"))
		if err != nil {
			return nil, err
		}
		defer log.Close() // the child has its own
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			s.close()
			return nil, err
		}
		s.processes = append(s.processes, cmd)
		s.http = append(s.http, "http://"+face)
		if err := waitReady(ctx, s.http[r]+"/readyz"); err != nil {
			text, _ := os.ReadFile(log.Name())
			s.close()
			return nil, fmt.Errorf("%s: %w\n%s", name, err, text)
		}
	}
	return s, nil
}

func waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", url, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *skein) subscriber(ctx context.Context, region int, topic string, got func([]byte)) (func(), error) {
	c, err := client.Dial(ctx, s.http[region])
	if err != nil {
		return nil, err
	}
	sub, err := c.SubscribeRaw(ctx, client.ByType(topic), func(ev event.Event) {
		data, _ := ev.Data()
		got(data)
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	if m := sub.Missing(); len(m) > 0 {
		c.Close()
		return nil, fmt.Errorf("the barrier misses %v", m)
	}
	return func() { c.Close() }, nil
}

func (s *skein) publisher(ctx context.Context, topic string) (publisher, error) {
	c, err := client.Dial(ctx, s.http[0])
	if err != nil {
		return nil, err
	}
	return &skeinPublisher{ctx: ctx, c: c, topic: topic}, nil
}

// skeinPublisher makes a whole CloudEvent of each message, with an id of its
// own: what the peer does not have to do.
type skeinPublisher struct {
	ctx   context.Context
	c     *client.Client
	topic string
	n     int
	b     event.Builder
	buf   []byte
}

func (p *skeinPublisher) publish(data []byte) error {
	p.n++
	p.b.Reset()
	p.b.SetString("id", strconv.Itoa(p.n)).SetString("source", "/bench").SetString("type", p.topic).SetData(event.BinaryData, data)
	p.buf = p.b.Append(p.buf[:0])
	_, err := p.c.PublishEnvelope(p.ctx, p.buf)
	return err
}

func (p *skeinPublisher) flush() error { return p.c.Flush(p.ctx) }
func (p *skeinPublisher) close()       { p.c.Close() }

func (s *skein) ingest(context.Context) (string, func(), error) {
	return strings.TrimPrefix(s.http[0], "http://"), func() {}, nil
}

func (s *skein) close() { endAll(s.processes) }

// endAll ends our processes, politely first.
func endAll(processes []*exec.Cmd) {
	for _, cmd := range processes {
		_ = cmd.Process.Signal(os.Interrupt)
	}
	for _, cmd := range processes {
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
	}
}
