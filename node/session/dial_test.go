package session_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/node/session"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// works publishes through c to itself.
func works(t *testing.T, c *client.Client) {
	t.Helper()
	got := make(chan client.Delivery, 1)
	if _, err := c.SubscribeChan(t.Context(), client.Everything(), got); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), newEvent(1)); err != nil {
		t.Fatal(err)
	}
	if d := receive(t, got, 1)[0]; d.Event.ID() != "1" || string(d.Event.Data()) != "hello" {
		t.Errorf("got %v", d)
	}
}

func openServer(t *testing.T, h *hub) *session.Server {
	t.Helper()
	s := session.Open(h, session.Config{})
	t.Cleanup(func() { s.Close() })
	return s
}

func TestTheProtocolRunsOverUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: openServer(t, &hub{})}
	go web.Serve(l)
	t.Cleanup(func() { web.Close() })
	works(t, dial(t, "unix://"+path))
}

func TestTheProtocolRunsOverTLSWithToken(t *testing.T) {
	s := openServer(t, &hub{})
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, `{"title":"Unauthorized","detail":"wrong token"}`, http.StatusUnauthorized)
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	t.Cleanup(func() { s.Close() }) // sessions keep the requests alive
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	trust := client.WithTLS(&tls.Config{RootCAs: roots})
	works(t, dial(t, web.URL, trust, client.WithToken("secret")))
	_, err := client.Dial(t.Context(), web.URL, trust, client.WithToken("guess"))
	if !errors.Is(err, client.ErrDenied) || !strings.Contains(err.Error(), "wrong token") {
		t.Errorf("with a wrong token: %v", err)
	}
	if _, err := client.Dial(t.Context(), web.URL); err == nil {
		t.Error("an unknown authority is trusted")
	}
}

// alone is a handler for an endpoint that has no peers.
type alone struct{}

func (alone) LinkUp(peer.Peer)                         {}
func (alone) LinkDown(peer.ID, string)                 {}
func (alone) HandleControl(peer.ID, wire.Kind, []byte) {}
func (alone) HandleBatch(peer.ID, []byte)              {}
func (alone) HandleRoom(peer.ID)                       {}
func (alone) HandleCall(context.Context, peer.Peer, wire.Kind, []byte) ([]byte, error) {
	return nil, nil
}

func TestTheProtocolRunsOverQUICWithTheMeshKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mesh.key")
	if err := os.WriteFile(file, []byte(transport.NewKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := transport.LoadKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := transport.NewIdentity(keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	port, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	self := peer.Peer{ID: "n", Name: "n", Region: "r", Boot: 1, Addr: port.LocalAddr().(*net.UDPAddr).AddrPort()}
	endpoint, err := transport.Open(transport.Config{Conn: port, Self: self, MeshID: "m", Identity: identity, Handler: alone{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endpoint.Close() })
	openServer(t, &hub{}).Accept(endpoint.Clients())
	address := "quic://" + port.LocalAddr().String()
	works(t, dial(t, address, client.WithKeyFile(file)))

	if _, err := client.Dial(t.Context(), address); !errors.Is(err, client.ErrDenied) {
		t.Errorf("without a key: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other.key")
	if err := os.WriteFile(other, []byte(transport.NewKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Dial(t.Context(), address, client.WithKeyFile(other)); err == nil {
		t.Error("with another mesh's key: connected")
	}
}

func TestTheNextAddressIsTriedAndFailuresAreNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	p := serve(t, &hub{}, "127.0.0.1:0")
	works(t, dial(t, closed+","+p.addr))
	if _, err := client.Dial(t.Context(), closed); err == nil || !strings.Contains(err.Error(), closed) {
		t.Errorf("a closed port: %v", err)
	}
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	if _, err := client.Dial(t.Context(), web.URL); err == nil || !strings.Contains(err.Error(), "no native protocol there: 404") {
		t.Errorf("a server without the protocol: %v", err)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Dial(ctx, mute.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that says nothing: %v", err)
	}
}
