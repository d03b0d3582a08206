package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/wire"
)

// parseAddresses reads one or more addresses, split at commas.
func parseAddresses(s string) ([]*url.URL, error) {
	var list []*url.URL
	for one := range strings.SplitSeq(s, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "http://" + one
		}
		u, err := url.Parse(one)
		if err != nil {
			return nil, fmt.Errorf("client: address: %w", err)
		}
		switch {
		case u.Scheme == "unix" && u.Path != "":
		case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
		case u.Scheme == "quic" && u.Hostname() != "" && u.Port() != "":
		default:
			return nil, fmt.Errorf("client: address %.120q: want http://host:port, https://host:port, host:port, quic://host:port or unix:///path", one)
		}
		list = append(list, u)
	}
	return list, nil
}

// dial connects to one address and exchanges greetings. What the node says
// next is read from the reader.
func (c *Client) dial(ctx context.Context, u *url.URL) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	socket, err := c.open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("client: connect to %s: %w", u.Redacted(), err)
	}
	// Ends what waits on the socket, when ctx ends before the greetings.
	stop := context.AfterFunc(ctx, func() { socket.SetDeadline(time.Unix(1, 0)) })
	k, err := c.greet(socket, u)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		socket.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("client: connect to %s: %w", u.Redacted(), err)
	}
	return k, nil
}

// open connects the socket below the frames.
func (c *Client) open(ctx context.Context, u *url.URL) (net.Conn, error) {
	var dialer net.Dialer
	switch u.Scheme {
	case "unix":
		return dialer.DialContext(ctx, "unix", u.Path)
	case "quic":
		return c.openQUIC(ctx, u)
	case "https":
		config := c.set.tls
		if config == nil {
			config = &tls.Config{}
		}
		config = config.Clone()
		config.NextProtos = []string{"http/1.1"}
		if config.ServerName == "" {
			config.ServerName = u.Hostname()
		}
		return (&tls.Dialer{NetDialer: &dialer, Config: config}).DialContext(ctx, "tcp", hostPort(u, "443"))
	}
	return dialer.DialContext(ctx, "tcp", hostPort(u, "80"))
}

func hostPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// openQUIC opens a stream on a node's mesh port.
func (c *Client) openQUIC(ctx context.Context, u *url.URL) (net.Conn, error) {
	if c.set.keyFile == "" {
		return nil, fmt.Errorf("%w: quic addresses need the mesh key: see WithKeyFile", ErrDenied)
	}
	keys, err := transport.LoadKeys(c.set.keyFile)
	if err != nil {
		return nil, err
	}
	identity, err := transport.NewIdentity(keys, c.set.pki)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", u.Port())
	if err != nil {
		return nil, err
	}
	return transport.DialClient(ctx, netip.AddrPortFrom(addrs[0].Unmap(), uint16(port)), identity)
}

// greet upgrades an HTTP connection, says who speaks and hears who answers.
func (c *Client) greet(socket net.Conn, u *url.URL) (*connection, error) {
	var ahead []byte
	if u.Scheme != "quic" {
		var err error
		if ahead, err = c.upgrade(socket, u); err != nil {
			return nil, err
		}
	}
	hello := wire.Greeting{Version: wire.ClientVersion, Agent: c.set.agent, Overflow: c.set.overflow, Positions: c.set.positions, Held: c.set.positions, Durability: string(c.set.durability)}
	if _, err := socket.Write(wire.AppendGreeting(nil, hello)); err != nil {
		return nil, err
	}
	src := io.MultiReader(bytes.NewReader(ahead), patient{socket})
	k := &connection{socket: socket, reader: wire.NewReader(src, readAhead), out: wire.NewOutbox(1 << 30)}
	k.reader.Limit = maxIncoming
	kind, body, err := k.reader.Next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("no greeting: %w", err)
	case kind == wire.Bye:
		why, err := wire.ReadBye(body)
		if err != nil {
			return nil, err
		}
		return nil, refused(why)
	case kind != wire.Greet:
		return nil, fmt.Errorf("a frame of kind %#x instead of a greeting: is that a node?", kind)
	}
	if k.node, err = wire.ReadGreeting(body); err != nil {
		return nil, err
	}
	if k.node.Version != wire.ClientVersion {
		return nil, fmt.Errorf("%w: the node speaks %d, this client %d", ErrVersion, k.node.Version, wire.ClientVersion)
	}
	return k, nil
}

// upgrade asks an HTTP server for the native protocol. It returns what was
// read beyond the answer.
func (c *Client) upgrade(socket net.Conn, u *url.URL) (ahead []byte, err error) {
	target := &url.URL{Scheme: "http", Host: u.Host, Path: "/native"}
	if u.Scheme == "unix" {
		target.Host = "localhost"
	} else {
		target = target.ResolveReference(&url.URL{Path: strings.TrimSuffix(u.Path, "/") + "/native"})
	}
	req := &http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {wire.ClientProtocol}, "User-Agent": {c.set.agent},
	}}
	if c.set.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.set.token)
	}
	if err := req.Write(socket); err != nil {
		return nil, err
	}
	from := bufio.NewReader(socket)
	res, err := http.ReadResponse(from, req)
	if err != nil {
		return nil, fmt.Errorf("answer to the upgrade: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer res.Body.Close()
		return nil, noUpgrade(res)
	}
	if got := res.Header.Get("Upgrade"); got != wire.ClientProtocol {
		return nil, fmt.Errorf("%w: the node upgraded to %.40q, not %q", ErrVersion, got, wire.ClientProtocol)
	}
	ahead, err = from.Peek(from.Buffered())
	return ahead, err
}

// noUpgrade is why a server did not change to the native protocol.
func noUpgrade(res *http.Response) error {
	var problem struct{ Title, Detail string }
	body, _ := io.ReadAll(io.LimitReader(res.Body, 8<<10)) // what came of it is enough
	why := res.Status
	if json.Unmarshal(body, &problem) == nil && (problem.Detail != "" || problem.Title != "") {
		why += ": " + problem.Title
		if problem.Detail != "" {
			why += ": " + problem.Detail
		}
	}
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrDenied, why)
	case http.StatusUpgradeRequired:
		return fmt.Errorf("%w: %s", ErrVersion, why)
	case http.StatusServiceUnavailable:
		return fmt.Errorf("%w: %s", ErrNotReady, why)
	}
	return errors.New("no native protocol there: " + why)
}
