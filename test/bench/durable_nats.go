package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetStream is a cluster of NATS that keeps streams, three replicas of each.
type jetStream struct {
	*nats
	args [][]string // of each seat's process
	c    *natsgo.Conn
	js   jetstream.JetStream
}

// startJetStream starts three servers that call fsync so often: always, or each so
// long.
func startJetStream(ctx context.Context, dir, sync string) (keeper, error) {
	n, err := launchNATS(ctx, dir, oneRegion(), func(seat) string { return keepingFiles(sync) })
	if err != nil {
		return nil, err
	}
	return readyJetStream(ctx, n)
}

// keepingFiles is the configuration of a server that keeps streams.
func keepingFiles(sync string) string {
	return fmt.Sprintf("jetstream {store_dir: \"DIR\", sync_interval: %s, max_file_store: 20GB}\n", sync)
}

// startFarJetStream starts a server a seat, of which those of the first region alone
// keep streams.
func startFarJetStream(ctx context.Context, dir string, seats []seat) (system, error) {
	n, err := launchNATS(ctx, dir, seats, func(at seat) string {
		if at.region != seats[0].region {
			return ""
		}
		return keepingFiles("2m")
	})
	if err != nil {
		return nil, err
	}
	return readyJetStream(ctx, n)
}

// readyJetStream waits until streams can be made.
func readyJetStream(ctx context.Context, n *nats) (*jetStream, error) {
	s := &jetStream{nats: n}
	for _, p := range n.processes {
		s.args = append(s.args, p.Args)
	}
	var err error
	if s.c, err = n.connect(0); err == nil {
		s.js, err = jetstream.New(s.c)
	}
	if err == nil {
		err = s.await(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// await waits until streams can be made.
func (s *jetStream) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		one, cancel := context.WithTimeout(ctx, time.Second) // nobody answers before there is a leader
		err := s.create(one, freshTopic("first"), 1)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// streamName is a topic as NATS allows it in a stream's name.
func streamName(topic string) string { return strings.ReplaceAll(topic, ".", "-") }

func (s *jetStream) create(ctx context.Context, topic string, partitions int) error {
	if partitions != 1 {
		return errors.New("JetStream knows no partitions")
	}
	_, err := s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: streamName(topic), Subjects: []string{topic}, Replicas: 3, Storage: jetstream.FileStorage,
	})
	return err
}

func (s *jetStream) createMany(ctx context.Context, topics []string) error {
	return parallel(topics, func(topic string) error {
		for try := 0; ; try++ { // its leaders are busy with electing each other
			err := s.create(ctx, topic, 1)
			if err == nil || ctx.Err() != nil || try == 20 {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func (s *jetStream) acked(context.Context) (acked, error) {
	c, err := s.connect(0)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(c, jetstream.WithPublishAsyncMaxPending(2*inFlight))
	if err != nil {
		c.Close()
		return nil, err
	}
	return &natsAcked{c, js}, nil
}

type natsAcked struct {
	c  *natsgo.Conn
	js jetstream.JetStream
}

func (p *natsAcked) publish(topic string, data []byte) (func(context.Context) error, error) {
	f, err := p.js.PublishAsync(topic, data)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		select {
		case <-f.Ok():
			return nil
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil
}

func (p *natsAcked) close() { p.c.Close() }

func (s *jetStream) replay(ctx context.Context, topic string, n int, got func([]byte)) error {
	return replayNATS(ctx, s.js, topic, n, got)
}

func (s *jetStream) replayAt(ctx context.Context, at int, topic string, n int, got func([]byte)) error {
	c, err := s.connect(at)
	if err != nil {
		return err
	}
	defer c.Close()
	js, err := jetstream.New(c)
	if err != nil {
		return err
	}
	return replayNATS(ctx, js, topic, n, got)
}

func replayNATS(ctx context.Context, js jetstream.JetStream, topic string, n int, got func([]byte)) error {
	c, err := js.OrderedConsumer(ctx, streamName(topic), jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	done, left := make(chan struct{}), n
	all, err := c.Consume(func(m jetstream.Msg) {
		if left--; left >= 0 {
			got(m.Data())
		}
		if left == 0 {
			close(done)
		}
	}, jetstream.PullMaxMessages(10_000))
	if err != nil {
		return err
	}
	defer all.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *jetStream) leader(ctx context.Context, topic string) (int, error) {
	stream, err := s.js.Stream(ctx, streamName(topic))
	if err != nil {
		return 0, err
	}
	if at := seatNamed(s.seats, stream.CachedInfo().Cluster.Leader); at >= 0 {
		return at, nil
	}
	return 0, errors.New("the stream has no leader")
}

func (s *jetStream) pids() []int { return pidsOf(s.processes) }

func (s *jetStream) kill(at int) error {
	cmd := s.processes[at]
	s.processes[at] = nil
	err := cmd.Process.Kill()
	_ = cmd.Wait() // says that it was killed
	return err
}

func (s *jetStream) revive(ctx context.Context, at int) error {
	cmd := exec.Command(s.args[at][0], s.args[at][1:]...)
	if err := s.seats[at].start(cmd); err != nil {
		return err
	}
	s.processes[at] = cmd
	return s.await(ctx)
}

func (s *jetStream) close() {
	if s.c != nil {
		s.c.Close()
	}
	s.nats.close()
}
