package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerConfig says how an API is served. The zero value of a field is its
// default.
type ServerConfig struct {
	// API is what is served. Required; the server's Close closes it.
	API *API
	// Listeners are where it is served: TCP or unix sockets. Required; the
	// server owns them.
	Listeners []net.Listener
	// TLS is for the TCP listeners. Default: plain HTTP.
	TLS *tls.Config
	// BodyTimeout is how long a request may take to arrive, headers and body.
	// Default 30s.
	BodyTimeout time.Duration
	// Log gets what goes wrong below HTTP. Default: discarded.
	Log *slog.Logger
}

// Limits of every connection.
const (
	headerTimeout = 10 * time.Second // for a request's headers to arrive
	idleTimeout   = 2 * time.Minute  // between requests
	answerTimeout = time.Minute      // for an answer to leave; streams set their own
	maxHeader     = 1 << 20          // bytes of a request's headers; more: 431
)

// Server serves an API over HTTP/1.1 and HTTP/2, with TLS or without.
type Server struct {
	api  *API
	http http.Server
	wg   sync.WaitGroup
}

// OpenServer serves until Close. Whoever is slow to send a request or to take
// an answer is cut; each connection's failure is its own.
func OpenServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.BodyTimeout <= 0 {
		cfg.BodyTimeout = 30 * time.Second
	}
	s := &Server{api: cfg.API, http: http.Server{
		Handler:           cfg.API,
		TLSConfig:         cfg.TLS,
		ReadHeaderTimeout: min(headerTimeout, cfg.BodyTimeout),
		ReadTimeout:       cfg.BodyTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	for _, l := range cfg.Listeners {
		s.wg.Go(func() {
			if err := s.serve(l, cfg.TLS); !errors.Is(err, http.ErrServerClosed) {
				cfg.Log.Error("the HTTP face stopped listening", "addr", l.Addr(), "err", err)
			}
		})
	}
	return s
}

func (s *Server) serve(l net.Listener, conf *tls.Config) error {
	if conf != nil && l.Addr().Network() != "unix" {
		return s.http.ServeTLS(l, "", "")
	}
	return s.http.Serve(l)
}

// Shutdown stops listening, ends the subscriptions, lets the requests under
// way finish until ctx ends, and then closes what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	closed := s.api.Close() // streams would hold the shutdown up
	if err := s.http.Shutdown(ctx); err != nil {
		closed = errors.Join(closed, fmt.Errorf("httpapi: shut down: %w", err), s.http.Close())
	}
	s.wg.Wait()
	return closed
}

// Close is Shutdown with two seconds for the requests under way.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return s.Shutdown(ctx)
}
