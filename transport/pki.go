package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// outside is the public key infrastructure of somebody else: certificates
// come from files that are renewed from time to time.
type outside struct {
	files PKI
	roots *x509.CertPool

	mu     sync.Mutex // guards the fields below
	cert   *tls.Certificate
	loaded time.Time // modification time of the file cert came from
}

func openPKI(files PKI) (*outside, error) {
	pem, err := os.ReadFile(files.CA)
	if err != nil {
		return nil, err
	}
	o := &outside{files: files, roots: x509.NewCertPool()}
	if !o.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", files.CA)
	}
	if _, err := o.certificate(); err != nil {
		return nil, err
	}
	return o, nil
}

// certificate is the one in the file, which is read again when it has changed.
// A file that cannot be read leaves the certificate that was read last.
func (o *outside) certificate() (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	info, err := os.Stat(o.files.Cert)
	if err == nil && (o.cert == nil || !info.ModTime().Equal(o.loaded)) {
		var cert tls.Certificate
		if cert, err = tls.LoadX509KeyPair(o.files.Cert, o.files.Key); err == nil {
			o.cert, o.loaded = &cert, info.ModTime()
		}
	}
	if o.cert == nil {
		return nil, err
	}
	return o.cert, nil
}
