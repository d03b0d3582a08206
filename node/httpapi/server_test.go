package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestServersSpeakTLSAndHTTP2(t *testing.T) {
	source := httptest.NewTLSServer(nil) // for its certificate
	defer source.Close()
	f := serveRecorder(t, func(_ *Config, s *ServerConfig) {
		s.TLS = &tls.Config{Certificates: source.TLS.Certificates}
	})
	roots := x509.NewCertPool()
	roots.AddCert(source.Certificate())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+f.addr+"/events", strings.NewReader(okJSON))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaJSON)
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.ProtoMajor != 2 {
		t.Errorf("spoke %s", res.Proto)
	}
	f.wantStatus(readReply(t, res), 202)
}

func TestServersListenOnUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skein.sock")
	f := serveRecorder(t, func(_ *Config, s *ServerConfig) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		s.Listeners = append(s.Listeners, l)
	})
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://unix/events", strings.NewReader(okJSON))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaJSON)
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	f.wantStatus(readReply(t, res), 202)
}

func TestReadyzGivesTheReason(t *testing.T) {
	f := serveRecorder(t)
	f.wantStatus(f.do("GET", "/readyz", ""), 200)
	f.broker.failWith(context.DeadlineExceeded, nil)
	if a := f.do("GET", "/readyz", ""); a.StatusCode != 503 || !strings.Contains(a.problem.Detail, "deadline") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	f.wantStatus(f.do("GET", "/healthz", ""), 200)
}

func TestWelcomeNamesThePaths(t *testing.T) {
	f := serveRecorder(t)
	a := f.do("GET", "/", "")
	for _, path := range f.api.documented() {
		if !strings.Contains(a.body, `"`+path+`"`) {
			t.Errorf("no %s in %s", path, a.body)
		}
	}
	if a := f.do("HEAD", "/healthz", ""); a.StatusCode != 200 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.StatusCode, a.body)
	}
}

func TestTheNativeUpgradeIsMounted(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) {
		c.Native = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "skein/1")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("hijack: %v", err)
				return
			}
			conn.Close()
		})
	})
	c, res := f.handshake("GET /native HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: skein/1\n\n")
	defer c.Close()
	if res.StatusCode != 101 {
		t.Errorf("answered %d", res.StatusCode)
	}
}
