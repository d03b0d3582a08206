package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// serverFlags say which node a client command talks to, and how.
type serverFlags struct {
	url       string
	tokenFile string
	ca        string
	namespace string
}

const (
	defaultServer = "http://127.0.0.1:8420"
	maxAnswer     = 256 << 20 // bytes of an inspection's answer
	askTimeout    = 10 * time.Second
)

// addServer gives a command the flags that name a node.
func (a *app) addServer(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.server.url, "server", defaultServer, "`URL` of the node to talk to: http, https or unix:///path")
	f.StringVar(&a.server.tokenFile, "token-file", "", "`file` with the token that the node's HTTP port asks for")
	f.StringVar(&a.server.ca, "ca", "", "`file` with the CA that issued the node's HTTPS certificate, instead of the system's")
}

// addNamespace gives a command its namespace.
func (a *app) addNamespace(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.server.namespace, "namespace", "n", "default", "`name` of the namespace; nothing crosses namespaces")
}

// address is the node's URL, checked.
func (s *serverFlags) address() (*url.URL, error) {
	text := s.url
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	switch {
	case u.Scheme == "unix" && u.Path != "" && u.Host == "":
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
	default:
		return nil, usagef("--server %q: want http://host:port, https://host:port or unix:///path", s.url)
	}
	return u, nil
}

// token is the content of the token file, empty without one.
func (s *serverFlags) token() (string, error) {
	if s.tokenFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(s.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line, nil
		}
	}
	return "", fmt.Errorf("read the token: %s holds none", s.tokenFile)
}

// tls is how the node's certificate is checked; nil is the system's way.
func (s *serverFlags) tls() (*tls.Config, error) {
	if s.ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA: %s holds no certificate in PEM", s.ca)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// asker asks one node's inspection.
type asker struct {
	base   *url.URL
	given  string // the URL as the user knows it
	token  string
	client *http.Client
}

// ask opens the way to the node that the flags name; nothing is sent yet.
func (s *serverFlags) ask() (*asker, error) {
	u, err := s.address()
	if err != nil {
		return nil, err
	}
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	config, err := s.tls()
	if err != nil {
		return nil, err
	}
	way := &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	q := &asker{base: u, given: s.url, token: token, client: &http.Client{Transport: way}}
	if u.Scheme == "unix" {
		path := u.Path
		way.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		q.base = &url.URL{Scheme: "http", Host: "localhost"}
	}
	return q, nil
}

// get asks for a path and decodes the answer. A problem document becomes an
// error with its words.
func (q *asker) get(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := q.do(ctx, request{method: http.MethodGet, path: path, query: query}, into)
	return err
}

// request is what is asked of a node.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte
}

// do sends a request and decodes the answer, unless into is nil.
func (q *asker) do(ctx context.Context, r request, into any) (http.Header, error) {
	res, err := q.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if into == nil {
		return res.Header, nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", q.given, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("ask %s%s: the answer is not what a Skein node says: %w", q.given, r.path, err)
	}
	return res.Header, nil
}

// send sends a request; its answer is one of success, whose body is open.
func (q *asker) send(ctx context.Context, r request) (*http.Response, error) {
	u := q.base.JoinPath(r.path)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", q.given, err)
	}
	req.Header.Set("Accept", "application/json, application/x-ndjson")
	for name, values := range r.header {
		req.Header[name] = values
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	res, err := q.client.Do(req)
	if err != nil {
		return nil, unreachable(q.given, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", q.given, err)
	}
	return nil, fmt.Errorf("ask %s%s: %s", q.given, r.path, problem(res.Status, body))
}

// problem is what an RFC 9457 document says, or the bare status.
func problem(status string, body []byte) string {
	var doc struct{ Title, Detail, Outcome string }
	if json.Unmarshal(body, &doc) != nil || doc.Title == "" && doc.Detail == "" {
		return status
	}
	if doc.Detail == "" || doc.Detail == doc.Title {
		return printable(doc.Title)
	}
	if doc.Title == "" {
		return printable(doc.Detail)
	}
	if doc.Outcome == "unknown" {
		doc.Detail += "; whether it was done nobody knows"
	}
	return printable(doc.Title + ": " + doc.Detail)
}

// unreachable explains why a node did not answer, and what to do about it.
func unreachable(server string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no node answers at %s; start one with 'skein serve', or name another with --server: %w", server, err)
	}
	return fmt.Errorf("ask %s: %w", server, err)
}
