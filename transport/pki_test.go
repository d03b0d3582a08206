package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// company is an outside PKI: an authority in a folder of its own.
type company struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newCompany(t *testing.T) *company {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &company{t: t, dir: t.TempDir(), key: private}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a company"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.write("ca.pem", "CERTIFICATE", der)
	return c
}

func (c *company) write(name, kind string, der []byte) string {
	file := filepath.Join(c.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

// issue makes the files of a node, with a certificate that ends then.
func (c *company) issue(name string, end time.Time) PKI {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, public, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		c.t.Fatal(err)
	}
	return PKI{CA: filepath.Join(c.dir, "ca.pem"), Cert: c.write(name+".pem", "CERTIFICATE", der), Key: c.write(name+".key", "PRIVATE KEY", secret)}
}

func withPKI(t *testing.T, files PKI) func(*Config) {
	return func(c *Config) {
		var err error
		if c.Identity, err = NewIdentity(testKey, &files); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnOutsidePKIReplacesTheMeshKeysCertificates(t *testing.T) {
	ours, theirs := newCompany(t), newCompany(t)
	hour := time.Now().Add(time.Hour)
	a := open(t, loopback(t), "a", withPKI(t, ours.issue("a", hour)))
	b := open(t, loopback(t), "b", withPKI(t, ours.issue("b", hour)))
	linkUp(a, b)

	for name, test := range map[string]struct {
		option func(*Config)
		want   error
	}{
		"another company's":  {withPKI(t, theirs.issue("c", hour)), ErrWrongKey},
		"the mesh key's":     {func(*Config) {}, ErrWrongKey},
		"one that has ended": {withPKI(t, ours.issue("d", time.Now().Add(-time.Minute))), ErrExpired},
	} {
		c := open(t, loopback(t), "c", test.option)
		if _, err := c.Probe(t.Context(), a.peer.Addr); !errors.Is(err, test.want) {
			t.Errorf("a certificate of %s: %v, want %v", name, err, test.want)
		}
		c.Close()
	}
	a.Close() // waits for its log
	if log := a.logs.String(); !strings.Contains(log, "wrong mesh key") || !strings.Contains(log, "certificate is good from") {
		t.Errorf("log: %s", log)
	}
}

func TestACertificateFileThatIsRenewedIsReadAgain(t *testing.T) {
	c := newCompany(t)
	hour := time.Now().Add(time.Hour)
	files := c.issue("a", hour)
	id, err := NewIdentity(testKey, &files)
	if err != nil {
		t.Fatal(err)
	}
	first, err := id.issue(subject{})
	if err != nil {
		t.Fatal(err)
	}
	c.issue("a", hour.Add(time.Hour))
	if err := os.Chtimes(files.Cert, hour, hour); err != nil {
		t.Fatal(err)
	}
	second, err := id.issue(subject{})
	if err != nil || second.Leaf.NotAfter.Equal(first.Leaf.NotAfter) {
		t.Errorf("the old certificate is still in use, %v", err)
	}
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	if third, err := id.issue(subject{}); err != nil || third != second {
		t.Errorf("without the file: %v", err)
	}
	if _, err := NewIdentity(testKey, &files); err == nil {
		t.Error("an identity without a certificate")
	}
}

func TestAKeyFileSaysWhatIsWrongWithIt(t *testing.T) {
	good := NewKey()
	for text, want := range map[string]string{
		"":                           "no key",
		"# only this":                "no key",
		"secret":                     "line 1: a key begins with",
		good + "\nskein-key-1:short": "line 2: a key is 32 bytes",
		strings.Repeat(good+"\n", 9): "more than 8",
		good + "=":                   "line 1: a key is 32 bytes",
	} {
		if _, err := ParseKeys([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "mesh.key")
	if _, err := LoadKeys(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(file, []byte("# two\n"+good+"\r\n\n "+NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys(file)
	if err != nil || len(keys) != 2 || keys[0].line() != good {
		t.Errorf("%v, %v", keys, err)
	}
	if a, b := mustIdentity(t, keys), mustIdentity(t, keys[:1]); string(a.GossipKeys()[0]) != string(b.GossipKeys()[0]) ||
		string(a.Secret("x", 8)) != string(b.Secret("x", 8)) || string(a.Secret("x", 8)) == string(a.Secret("y", 8)) {
		t.Error("what is derived is not the same for all who have the key, or for all purposes")
	}
	if strings.Contains(keys[0].String(), strings.TrimPrefix(good, keyPrefix)[:8]) {
		t.Error("a key prints its secret")
	}
}
