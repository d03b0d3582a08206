package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The application protocols on the mesh port. Any other "skein/…" is another
// version of ours: let in as far as telling it so.
const (
	protocolFamily = "skein/"
	protocolMesh   = "skein/1"
	protocolClient = "skein-client/1"
)

// credentials are an identity in use by one endpoint: the certificate it shows
// and the rules for those it is shown.
type credentials struct {
	identity *Identity
	protocol string // the version this endpoint speaks; protocolMesh but in tests

	mu     sync.Mutex // guards the fields below
	who    subject
	leaf   *tls.Certificate
	issued time.Time
}

// become changes who the certificate is for.
func (c *credentials) become(who subject) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.who != who {
		c.who, c.leaf = who, nil
	}
}

// certificate is the one to show now; it is renewed when half its life is over.
func (c *credentials) certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.leaf == nil || now.Sub(c.issued) > leafLife/2 || c.identity.pki != nil {
		leaf, err := c.identity.issue(c.who)
		if err != nil {
			return nil, err
		}
		c.leaf, c.issued = leaf, now
	}
	return c.leaf, nil
}

// fingerprint names the key that this side's certificates come from.
func (c *credentials) fingerprint() string { return c.identity.keys[0].Fingerprint() }

// nameSuffix ends the server name that dialers ask for. What precedes it is the
// fingerprint of the dialer's key, so that a node which only learns that its
// own key was refused can tell the keys apart.
const nameSuffix = ".skein"

// dialing is the TLS configuration to dial with, for the given protocol.
func (c *credentials) dialing(protocol string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		NextProtos:           []string{protocol},
		ServerName:           c.fingerprint() + nameSuffix,
		InsecureSkipVerify:   true, // names and addresses prove nothing here: verify does all of it
		VerifyConnection:     c.verify,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate() },
	}
}

// listening is the TLS configuration of the mesh port. note is told of each
// client what it says of itself before anything is verified.
func (c *credentials) listening(note func(*tls.ClientHelloInfo)) *tls.Config {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{c.protocol, protocolClient},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // a resumed session would outlive its certificate
		VerifyConnection:       c.verify,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate() },
	}
	config := base.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		note(hello)
		other := slices.IndexFunc(hello.SupportedProtos, func(p string) bool { return strings.HasPrefix(p, protocolFamily) })
		if other < 0 || slices.Contains(hello.SupportedProtos, c.protocol) {
			return base, nil
		}
		config := base.Clone() // to be told of the versions, see accept
		config.NextProtos = []string{hello.SupportedProtos[other]}
		return config, nil
	}
	return config
}

// TLS alerts that tell the other side the cause, as far as an alert can.
const (
	alertBadCertificate      tls.AlertError = 42
	alertCertificateExpired  tls.AlertError = 45
	alertUnknownAuthority    tls.AlertError = 48
	alertNoProtocol          tls.AlertError = 120
	alertCertificateRequired tls.AlertError = 116
)

// verify decides whether the other side's certificate comes from a key of this
// mesh, or from the outside PKI, and is good now.
func (c *credentials) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: it has no certificate%.0w", ErrWrongKey, alertCertificateRequired)
	}
	leaf, now := state.PeerCertificates[0], time.Now()
	options := x509.VerifyOptions{
		Roots:         c.identity.roots,
		Intermediates: x509.NewCertPool(),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := leaf.Verify(options)
	if err == nil {
		if _, ok := subjectOf(leaf); !ok && c.identity.pki == nil {
			err = fmt.Errorf("%w: its certificate names no node%.0w", ErrRefused, alertBadCertificate)
		}
		return err
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("%w: its certificate is good from %s to %s, and it is %s here: are both clocks right?%.0w", ErrExpired,
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), alertCertificateExpired)
	}
	if c.identity.pki != nil {
		return fmt.Errorf("%w: %w%.0w", ErrWrongKey, err, alertUnknownAuthority)
	}
	return fmt.Errorf("%w: it has key %s, this node has %s%.0w", ErrWrongKey,
		strings.TrimPrefix(leaf.Issuer.CommonName, issuerName), strings.Join(c.identity.Fingerprints(), " and "), alertUnknownAuthority)
}

// subjectOf is who a certificate says it speaks for.
func subjectOf(leaf *x509.Certificate) (subject, bool) {
	for _, u := range leaf.URIs {
		if s, ok := parseSubject(u); ok {
			return s, true
		}
	}
	return subject{}, false
}
