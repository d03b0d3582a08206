package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

// serverVerb makes this program a NATS server: it comes as a library.
const serverVerb = "nats-server"

// serveNATS runs a NATS server with a configuration file until a signal.
func serveNATS(args []string) error {
	if len(args) != 1 {
		return errors.New("want a configuration file")
	}
	opts, err := server.ProcessConfigFile(args[0])
	if err != nil {
		return err
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	<-end
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// nats is a supercluster of a cluster a region, joined by gateways with TLS.
type nats struct {
	processes []*exec.Cmd
	seats     []seat
	urls      []string // by seat
}

func startNATS(ctx context.Context, dir string, seats []seat) (system, error) {
	s, err := launchNATS(ctx, dir, seats, func(seat) string { return "" })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// launchNATS is startNATS with more configuration for each server.
func launchNATS(ctx context.Context, dir string, seats []seat, more func(seat) string) (*nats, error) {
	dir, err := os.MkdirTemp(dir, "nats-")
	if err != nil {
		return nil, err
	}
	files, urls, err := configureNATS(dir, seats, more)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &nats{seats: seats, urls: urls}
	for i, file := range files {
		cmd := exec.Command(self, serverVerb, file)
		if err := seats[i].start(cmd); err != nil {
			s.close()
			return nil, err
		}
		s.processes = append(s.processes, cmd)
	}
	if err := s.waitGateways(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// configureNATS writes a configuration file for the server of each seat; in what is
// more, DIR is a directory of the server's own.
func configureNATS(dir string, seats []seat, more func(seat) string) (files, urls []string, err error) {
	cert, key, err := selfSigned(dir, seats)
	if err != nil {
		return nil, nil, err
	}
	tls := fmt.Sprintf(`tls {cert_file: %q, key_file: %q, ca_file: %q, verify: true}`, cert, key, cert)
	const perSeat = 3 // ports for clients, gateways and routes
	ports, err := freePorts(perSeat * len(seats))
	if err != nil {
		return nil, nil, err
	}
	gateways, routes := map[string][]string{}, map[string][]string{}
	for i, at := range seats {
		gateways[at.region] = append(gateways[at.region], fmt.Sprintf(`"nats://%s:%s"`, at.ip, ports[perSeat*i+1]))
		routes[at.region] = append(routes[at.region], fmt.Sprintf(`"nats://%s:%s"`, at.ip, ports[perSeat*i+2]))
	}
	var remotes []string
	for region, addresses := range gateways {
		remotes = append(remotes, fmt.Sprintf(`{name: %q, urls: [%s]}`, region, strings.Join(addresses, ", ")))
	}
	for i, at := range seats {
		client, gateway, route := ports[perSeat*i], ports[perSeat*i+1], ports[perSeat*i+2]
		config := fmt.Sprintf("listen: \"127.0.0.1:%s\"\nserver_name: %q\nmax_pending: 1GB\nwrite_deadline: \"30s\"\n", client, at.name)
		if len(gateways) > 1 {
			config += fmt.Sprintf("gateway {name: %q, listen: \"%s:%s\", %s, gateways: [%s]}\n", at.region, at.ip, gateway, tls, strings.Join(remotes, ", "))
		}
		if peers := routes[at.region]; len(peers) > 1 {
			config += fmt.Sprintf("cluster {name: %q, listen: \"%s:%s\", routes: [%s]}\n", at.region, at.ip, route, strings.Join(peers, ", "))
		}
		config += strings.ReplaceAll(more(at), "DIR", filepath.Join(dir, at.name))
		file := filepath.Join(dir, at.name+".conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, nil, err
		}
		files, urls = append(files, file), append(urls, "nats://127.0.0.1:"+client)
	}
	return files, urls, nil
}

// connect makes a client of a seat's server.
func (s *nats) connect(at int) (*natsgo.Conn, error) {
	return natsgo.Connect(s.urls[at], natsgo.SetCustomDialer(s.seats[at]))
}

// waitGateways waits until a message passes from the first seat to each.
func (s *nats) waitGateways(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for at := 1; at < len(s.seats); at++ {
		if err := s.pass(ctx, at, fmt.Sprint("probe.", at)); err != nil {
			return err
		}
	}
	return nil
}

// pass waits until messages on a topic pass from the first seat to another.
func (s *nats) pass(ctx context.Context, at int, topic string) error {
	for ctx.Err() == nil {
		got := make(chan struct{}, 16)
		sub, err := s.connect(at)
		if err == nil {
			var pub *natsgo.Conn
			if pub, err = s.connect(0); err == nil {
				if _, err = sub.Subscribe(topic, func(*natsgo.Msg) {
					select {
					case got <- struct{}{}:
					default:
					}
				}); err == nil {
					_ = sub.Flush()
					for range 20 {
						_ = pub.Publish(topic, nil)
						_ = pub.Flush()
						select {
						case <-got:
							pub.Close()
							sub.Close()
							return nil
						case <-time.After(20 * time.Millisecond):
						}
					}
				}
				pub.Close()
			}
			sub.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("no way from the first seat to %d: %w", at, ctx.Err())
}

func (s *nats) subscriber(_ context.Context, at int, topic string, got func([]byte)) (func(), error) {
	c, err := s.connect(at)
	if err != nil {
		return nil, err
	}
	warm := make(chan struct{}, 1)
	sub, err := c.Subscribe(topic, func(m *natsgo.Msg) {
		if len(m.Data) == 0 {
			select {
			case warm <- struct{}{}:
			default:
			}
			return
		}
		got(m.Data)
	})
	if err == nil {
		err = errors.Join(sub.SetPendingLimits(-1, -1), c.Flush())
	}
	if err == nil {
		err = s.warm(topic, warm)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c.Close, nil
}

// warm sends empty messages until one arrives: there is no other way to know
// that a subscription has reached the publisher.
func (s *nats) warm(topic string, arrived <-chan struct{}) error {
	c, err := s.connect(0)
	if err != nil {
		return err
	}
	defer c.Close()
	for range 200 {
		if err := errors.Join(c.Publish(topic, nil), c.Flush()); err != nil {
			return err
		}
		select {
		case <-arrived:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("the subscription did not reach the first seat")
}

func (s *nats) publisher(_ context.Context, topic string, _ int) (publisher, error) {
	c, err := s.connect(0)
	if err != nil {
		return nil, err
	}
	return &natsPublisher{c, topic}, nil
}

type natsPublisher struct {
	c     *natsgo.Conn
	topic string
}

func (p *natsPublisher) publish(data []byte) error { return p.c.Publish(p.topic, data) }
func (p *natsPublisher) flush() error              { return p.c.Flush() }
func (p *natsPublisher) close()                    { p.c.Close() }

func (s *nats) ingest(ctx context.Context) (string, func(), error) { return startBare(ctx) }

func (s *nats) close() { endAll(s.processes) }

// selfSigned writes a certificate of all seats, which is its own authority, and
// its key.
func selfSigned(dir string, seats []seat) (cert, key string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, at := range seats {
		c.IPAddresses = append(c.IPAddresses, net.ParseIP(at.ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, priv)
	if err != nil {
		return "", "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	return cert, key, errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// freePorts finds ports of the loopback address that are free now, for TCP and
// UDP alike.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that no port comes twice
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}
