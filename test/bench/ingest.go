package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// bareVerb makes this program what HTTP ingest is measured against: net/http
// that answers 202 to everything.
const bareVerb = "bare-http"

func serveBare(args []string) error {
	if len(args) != 1 {
		return errors.New("want an address")
	}
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
	}))
}

// startBare runs a bare server as a process of its own.
func startBare(ctx context.Context) (addr string, stop func(), err error) {
	ports, err := freePorts(1)
	if err != nil {
		return "", nil, err
	}
	addr = "127.0.0.1:" + ports[0]
	cmd := exec.Command(os.Args[0], bareVerb, addr)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { endAll([]*exec.Cmd{cmd}) }
	for ctx.Err() == nil {
		if c, err := net.Dial("tcp", addr); err == nil {
			return addr, stop, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return "", nil, ctx.Err()
}

// ingestRequest is a binary event of 256 bytes of data and six attributes.
var ingestRequest = []byte("POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 256\r\n" +
	"Ce-Specversion: 1.0\r\nCe-Id: 7b1c9fae-03f1-4e0c-93a8-1d2f3b4c5d6e\r\nCe-Source: /sensors/halle-3\r\nCe-Type: org.example.reading.v1\r\n" +
	"Ce-Time: 2026-07-23T10:11:12.345678Z\r\nCe-Subject: boiler\r\n\r\n" + `"` + strings.Repeat("x", 254) + `"`)

// ingest posts events over 64 connections, one after the other on each. Nobody
// subscribes to them.
func ingest(ctx context.Context, s system, scale float64) (result, error) {
	const conns = 64
	addr, stop, err := s.ingest(ctx)
	if err != nil {
		return result{}, err
	}
	defer stop()
	var (
		wg    sync.WaitGroup
		left  atomic.Int64
		wrong = make(chan error, conns)
	)
	n := int64(200_000 * scale)
	left.Store(n)
	began := time.Now()
	for range conns {
		wg.Go(func() {
			if err := post(ctx, addr, &left); err != nil {
				wrong <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	select {
	case err := <-wrong:
		return result{}, err
	default:
	}
	return result{values: []float64{float64(n) / took / 1000}}, nil
}

// post sends requests over one connection while some are left.
func post(ctx context.Context, addr string, left *atomic.Int64) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for left.Add(-1) >= 0 {
		if _, err := c.Write(ingestRequest); err != nil {
			return err
		}
		status, err := answer(r)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(status, "HTTP/1.1 202 ") {
			return fmt.Errorf("answered %q", status)
		}
	}
	return nil
}

// answer reads a response without a body.
func answer(r *bufio.Reader) (status string, err error) {
	if status, err = r.ReadString('\n'); err != nil {
		return "", err
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if len(line) <= 2 {
			return status, nil
		}
	}
}
