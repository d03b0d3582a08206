package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

// skein is a mesh with a node a seat, each a process.
type skein struct {
	binary    string
	logs      string // directory, of the data, too
	seed      string // of all nodes but the first
	seats     []seat
	args      [][]string  // of each seat's process
	http      []string    // by seat
	processes []*exec.Cmd // by seat
	clients   []client.Option
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

func startSkein(ctx context.Context, binary, dir string, seats []seat) (*skein, error) {
	dir, err := os.MkdirTemp(dir, "skein-")
	if err != nil {
		return nil, err
	}
	s := &skein{binary: binary, logs: dir}
	if out, err := exec.CommandContext(ctx, binary, "key", "new", "--out", s.key()).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("key: %w\n%s", err, out)
	}
	for _, at := range seats {
		if err := s.join(ctx, at); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// join starts a node in one seat more, which the first is the seed of.
func (s *skein) join(ctx context.Context, at seat) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	mesh, face := at.ip+":"+ports[0], "127.0.0.1:"+ports[1]
	args := []string{"serve", "--name", at.name, "--region", at.region, "--key-file", s.key(),
		"--data-dir", filepath.Join(s.logs, at.name), "--listen", mesh, "--http", face}
	if s.seed == "" {
		s.seed = mesh
	} else {
		args = append(args, "--seeds", s.seed)
	}
	s.seats = append(s.seats, at)
	s.args = append(s.args, args)
	s.http = append(s.http, "http://"+face)
	s.processes = append(s.processes, nil)
	return s.launch(ctx, len(s.seats)-1)
}

func (s *skein) key() string { return filepath.Join(s.logs, "mesh.key") }

// launch starts a seat's process, or starts it again, and waits until its node
// is ready.
func (s *skein) launch(ctx context.Context, at int) error {
	name := s.seats[at].name
	log, err := os.Create(filepath.Join(s.logs, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(s.binary, s.args[at]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.seats[at].start(cmd); err != nil {
		return err
	}
	s.processes[at] = cmd
	if err := waitReady(ctx, s.seats[at], s.http[at]+"/readyz"); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return nil
}

// kill ends a seat's process without a warning.
func (s *skein) kill(at int) error {
	cmd := s.processes[at]
	s.processes[at] = nil
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", s.seats[at].name, err)
	}
	_ = cmd.Wait() // says that it was killed
	return nil
}

// waitReady waits until a node says that it is ready.
func waitReady(ctx context.Context, at seat, url string) error {
	c := at.http()
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
		c, err = client.Dial(ctx, s.http[at], append(slices.Clip(s.clients), client.WithOverflow(client.Block))...)
		return err
	})
	return c, err
}

func (s *skein) subscriber(ctx context.Context, at int, topic string, got func([]byte)) (func(), error) {
	return s.listen(ctx, at, topic, got)
}

// listen is subscriber with options.
func (s *skein) listen(ctx context.Context, at int, topic string, got func([]byte), options ...client.SubscribeOption) (func(), error) {
	c, err := s.connect(ctx, at)
	if err != nil {
		return nil, err
	}
	sub, err := c.SubscribeRaw(ctx, client.ByType(topic), func(ev event.Event) {
		data, _ := ev.Data()
		got(data)
	}, options...)
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

// endAll ends our processes, politely first, the last one first: one that is
// told to leave when all others are leaving waits for them in vain. Those that
// are nil have ended already.
func endAll(processes []*exec.Cmd) {
	for _, cmd := range slices.Backward(processes) {
		if cmd == nil {
			continue
		}
		_ = cmd.Process.Signal(os.Interrupt)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
	}
}
