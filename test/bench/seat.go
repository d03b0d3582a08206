package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"time"

	"github.com/skeinmesh/skein/test/wan/tun"
)

// seat is where a server runs: on this machine, or in a site of an emulated
// network.
type seat struct {
	name, region string
	ip           string    // that other seats reach it at
	site         *tun.Site // nil on this machine
}

// loopback is a seat a region, all on this machine.
func loopback() (seats []seat) {
	for r := range regions {
		name := fmt.Sprint("r", r)
		seats = append(seats, seat{name: name, region: name, ip: "127.0.0.1"})
	}
	return seats
}

// start starts a process in the seat.
func (s seat) start(cmd *exec.Cmd) error { return s.do(cmd.Start) }

// do calls f, whose sockets are the seat's. Those that other goroutines make
// for it are not.
func (s seat) do(f func() error) error {
	if s.site == nil {
		return f()
	}
	return s.site.Do(f)
}

// Dial connects from the seat, as a client of its server does.
func (s seat) Dial(network, address string) (net.Conn, error) {
	return s.DialContext(context.Background(), network, address)
}

// DialContext is Dial with a context.
func (s seat) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = s.do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// http is a client of a server's HTTP port in the seat.
func (s seat) http() *http.Client {
	transport := &http.Transport{DialContext: s.DialContext, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: time.Second}
}
