package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Identity is what proves that a node belongs to the mesh: the mesh's keys,
// from which its certificate authority follows, or an outside PKI. It does not
// change; any number of goroutines and endpoints may use one.
type Identity struct {
	keys  []Key
	cas   []authority // one for each key
	roots *x509.CertPool
	pki   *outside         // nil: certificates come from the keys
	clock func() time.Time // what certificates are issued by; time.Now but in tests
}

// authority is the certificate authority that follows from a key. Everybody
// with the key has the same.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// PKI names the files of an outside public key infrastructure, all PEM.
type PKI struct {
	CA   string // certificates of the authorities that peers' certificates must lead to
	Cert string // this node's certificate, with its intermediates
	Key  string // its private key
}

// NewIdentity is the identity of the holder of keys, the first of which
// issues. With a pki, certificates come from there, and the keys serve for the
// gossip encryption and what else is derived from them.
func NewIdentity(keys []Key, pki *PKI) (*Identity, error) {
	if len(keys) == 0 {
		return nil, errors.New("transport: an identity needs a mesh key")
	}
	id := &Identity{keys: keys, roots: x509.NewCertPool(), clock: time.Now}
	for _, k := range keys {
		ca, err := newAuthority(k)
		if err != nil {
			return nil, fmt.Errorf("transport: certificate authority of key %s: %w", k, err)
		}
		id.cas = append(id.cas, ca)
		id.roots.AddCert(ca.cert)
	}
	if pki != nil {
		var err error
		if id.pki, err = openPKI(*pki); err != nil {
			return nil, fmt.Errorf("transport: outside PKI: %w", err)
		}
		id.roots = id.pki.roots
	}
	return id, nil
}

// Fingerprints name the keys, the issuing one first.
func (id *Identity) Fingerprints() []string {
	var names []string
	for _, k := range id.keys {
		names = append(names, k.Fingerprint())
	}
	return names
}

// GossipKeys are the keys of the gossip packets' encryption, the one to
// encrypt with first: 32 bytes each.
func (id *Identity) GossipKeys() [][]byte {
	var keys [][]byte
	for _, k := range id.keys {
		keys = append(keys, k.derive("gossip", 32))
	}
	return keys
}

// Secret is n bytes that only holders of the issuing key know, different for
// each purpose: the key of the summaries' hashes, for one.
func (id *Identity) Secret(purpose string, n int) []byte {
	return id.keys[0].derive("secret "+purpose, n)
}

// Certificates of an authority are good from long before any clock to long
// after; those of nodes are short-lived and renewed when half of it is over.
var (
	authorityFrom = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	authorityTo   = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

const (
	leafLife = 24 * time.Hour
	// leafPast is how far before its making a certificate begins to be good:
	// the difference that nodes' clocks may have.
	leafPast = time.Hour
)

// issuerName begins the common name of an authority; its key's fingerprint
// ends it, so that a certificate tells which key issued it.
const issuerName = "skein mesh key "

func newAuthority(k Key) (authority, error) {
	key := ed25519.NewKeyFromSeed(k.derive("certificate authority", ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: issuerName + k.Fingerprint()},
		NotBefore:             authorityFrom,
		NotAfter:              authorityTo,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return authority{cert, key}, err
}

// joining stands for the mesh in the certificate of a node that does not know
// its mesh yet.
const joining = "joining"

// subject is who a certificate speaks for, its URI
// spiffe://<mesh>/<region>/<node>.
type subject struct {
	mesh   string // "" while joining
	region string
	node   peer.ID
}

func (s subject) uri() *url.URL {
	mesh := s.mesh
	if mesh == "" {
		mesh = joining
	}
	return &url.URL{Scheme: "spiffe", Host: mesh, Path: "/" + s.region + "/" + string(s.node)}
}

// parseSubject reads the URI of a certificate. A region may hold slashes.
func parseSubject(u *url.URL) (subject, bool) {
	path, ok := strings.CutPrefix(u.Path, "/")
	cut := strings.LastIndexByte(path, '/')
	if !ok || cut < 1 || cut == len(path)-1 || u.Scheme != "spiffe" || u.Host == "" {
		return subject{}, false
	}
	s := subject{mesh: u.Host, region: path[:cut], node: peer.ID(path[cut+1:])}
	if s.mesh == joining {
		s.mesh = ""
	}
	return s, true
}

// issue makes a certificate for s that is good around now, and its key.
func (id *Identity) issue(s subject) (*tls.Certificate, error) {
	now := id.clock()
	if id.pki != nil {
		return id.pki.certificate()
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: string(s.node)},
		URIs:         []*url.URL{s.uri()},
		NotBefore:    now.Add(-leafPast),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	ca := id.cas[0]
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("transport: certificate for %s: %w", s.uri(), err)
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, err
}
