package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// httpFlags say where a node's HTTP port is and who may use it.
type httpFlags struct {
	address   string
	insecure  bool
	cert, key string
	tokenFile string
}

func (h *httpFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&h.address, "http", "127.0.0.1:8420", "`address` of the HTTP port: host:port, unix:///path, or off")
	f.StringVar(&h.cert, "http-tls-cert", "", "`file` with the certificate of the HTTP port, in PEM")
	f.StringVar(&h.key, "http-tls-key", "", "`file` with its key, in PEM")
	f.StringVar(&h.tokenFile, "http-token-file", "", "`file` of tokens that are let in: a line is SECRET [RIGHTS [NAMESPACES]]")
	f.BoolVar(&h.insecure, "http-insecure", false, "open the HTTP port to the network without TLS and tokens")
}

func (h *httpFlags) off() bool { return h.address == "" || h.address == "off" }

// socket is the path of a unix socket, "" for TCP.
func (h *httpFlags) socket() string {
	path, _ := strings.CutPrefix(h.address, "unix://")
	if path == h.address {
		return ""
	}
	return path
}

// check refuses what would let the network in unasked: an address that others
// reach needs TLS, so that tokens and events are not read on their way, and
// tokens, so that not everybody publishes.
func (h *httpFlags) check() error {
	if (h.cert == "") != (h.key == "") {
		return usagef("--http-tls-cert and --http-tls-key go together")
	}
	if h.off() || h.socket() != "" {
		return nil
	}
	host, _, err := net.SplitHostPort(h.address)
	if err != nil {
		return usagef("--http %q: want host:port, unix:///path or off: %w", h.address, err)
	}
	if h.insecure || loopback(host) || h.cert != "" && h.tokenFile != "" {
		return nil
	}
	return usagef("--http %s would be open to the network: give --http-tls-cert, --http-tls-key and --http-token-file, "+
		"or say --http-insecure if something else protects it", h.address)
}

// loopback reports whether only this machine reaches a host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// listen opens the port.
func (h *httpFlags) listen() (net.Listener, error) {
	if path := h.socket(); path != "" {
		l, err := listenUnix(path)
		if err != nil {
			return nil, fmt.Errorf("HTTP socket %s: %w", path, err)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", h.address)
	if err != nil {
		return nil, fmt.Errorf("HTTP port: %w", portError(h.address+"/tcp", "--http", err))
	}
	return l, nil
}

// tls is the port's certificate; nil without one.
func (h *httpFlags) tls() (*tls.Config, error) {
	if h.cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(h.cert, h.key)
	if err != nil {
		return nil, fmt.Errorf("HTTP certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// listenUnix opens a unix socket that the owner and the group reach. A socket
// that nobody listens on any more is replaced.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		conn, dialErr := net.Dial("unix", path)
		if dialErr == nil {
			conn.Close()
			return nil, errors.New("in use by another process")
		}
		if info, statErr := os.Lstat(path); statErr != nil || info.Mode()&fs.ModeSocket == 0 {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace the stale socket: %w", err)
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// portError says why a port cannot be had, and what to do about it.
func portError(port, flag string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another process; choose another with %s: %w", port, flag, err)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("%s is at no address of this machine; choose another with %s: %w", port, flag, err)
	}
	var address *net.AddrError
	var name *net.DNSError
	if errors.As(err, &address) || errors.As(err, &name) {
		return usagef("%s: want host:port or :port, the port from 0 to 65535: %w", flag, err)
	}
	return fmt.Errorf("%s cannot be opened; choose another with %s: %w", port, flag, err)
}

// hostPort is the port as other nodes tell tools of it; empty where they cannot
// reach it.
func (h *httpFlags) hostPort(l net.Listener) string {
	if l == nil || h.socket() != "" {
		return ""
	}
	return l.Addr().String()
}

// url is the port as clients name it.
func (h *httpFlags) url(l net.Listener) string {
	switch {
	case l == nil:
		return ""
	case h.socket() != "":
		return h.address
	case h.cert != "":
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}
