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

// skein is a mesh with a node a seat, each a process.
type skein struct {
	processes []*exec.Cmd
	seats     []seat
	http      []string // by seat
}

// buildSkein builds the binary in its own module, with the versions that it
// pins itself.
func buildSkein(ctx context.Context, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "skein")
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/skeinmesh/skein").Output()
	if err != nil {
		return "", fmt.Errorf("find the tree: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/skein")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
}

func startSkein(ctx context.Context, binary, dir string, seats []seat) (system, error) {
	dir, err := os.MkdirTemp(dir, "skein-")
	if err != nil {
		return nil, err
	}
	key := filepath.Join(dir, "mesh.key")
	if out, err := exec.CommandContext(ctx, binary, "key", "new", "--out", key).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("key: %w\n%s", err, out)
	}
	s := &skein{seats: seats}
	seed := ""
	for _, at := range seats {
		ports, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		mesh, face := at.ip+":"+ports[0], "127.0.0.1:"+ports[1]
		args := []string{"serve", "--name", at.name, "--region", at.region, "--key-file", key,
			"--data-dir", filepath.Join(dir, at.name), "--listen", mesh, "--http", face}
		if seed != "" {
			args = append(args, "--seeds", seed)
		} else {
			seed = mesh
		}
		cmd := exec.Command(binary, args...)
		log, err := os.Create(filepath.Join(dir, at.name+".log"))
		if err != nil {
			return nil, err
		}
		defer log.Close() // the child has its own
		cmd.Stdout, cmd.Stderr = log, log
		if err := at.start(cmd); err != nil {
			s.close()
			return nil, err
		}
		s.processes = append(s.processes, cmd)
		s.http = append(s.http, "http://"+face)
		if err := waitReady(ctx, at, "http://"+face+"/readyz"); err != nil {
			text, _ := os.ReadFile(log.Name())
			s.close()
			return nil, fmt.Errorf("%s: %w\n%s", at.name, err, text)
		}
	}
	return s, nil
}

// waitReady waits until a node says that it is ready.
func waitReady(ctx context.Context, at seat, url string) error {
	transport := &http.Transport{DialContext: at.DialContext, DisableKeepAlives: true}
	c := &http.Client{Transport: transport, Timeout: time.Second}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		resp, err := c.Get(url)
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

// connect makes a client of a seat's node.
func (s *skein) connect(ctx context.Context, at int) (c *client.Client, err error) {
	err = s.seats[at].do(func() error {
		c, err = client.Dial(ctx, s.http[at])
		return err
	})
	return c, err
}

func (s *skein) subscriber(ctx context.Context, at int, topic string, got func([]byte)) (func(), error) {
	c, err := s.connect(ctx, at)
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

func (s *skein) publisher(ctx context.Context, topic string, sources int) (publisher, error) {
	c, err := s.connect(ctx, 0)
	if err != nil {
		return nil, err
	}
	p := &skeinPublisher{ctx: ctx, c: c, topic: topic}
	for i := range sources {
		p.sources = append(p.sources, fmt.Sprint("/bench/", i))
	}
	return p, nil
}

// skeinPublisher makes a whole CloudEvent of each message, with an id of its
// own: what the peer does not have to do.
type skeinPublisher struct {
	ctx     context.Context
	c       *client.Client
	topic   string
	n       int
	sources []string
	b       event.Builder
	buf     []byte
}

func (p *skeinPublisher) publish(data []byte) error {
	p.n++
	p.b.Reset()
	p.b.SetString("id", strconv.Itoa(p.n)).SetString("source", p.sources[p.n%len(p.sources)]).SetString("type", p.topic).SetData(event.BinaryData, data)
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
