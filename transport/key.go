package transport

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// keyPrefix begins a key's line in a key file; the rest is the secret, base64
// for URLs without padding.
const keyPrefix = "skein-key-1:"

// maxKeys bounds the keys of a file: two while rotating, a few to be generous.
const maxKeys = 8

// Key is the mesh's secret, 32 random bytes. Who has it belongs to the mesh:
// everything else is derived from it.
type Key struct{ secret [32]byte }

// NewKey makes a key and returns its line for a key file.
func NewKey() string {
	var k Key
	rand.Read(k.secret[:])
	return k.line()
}

func (k Key) line() string { return keyPrefix + base64.RawURLEncoding.EncodeToString(k.secret[:]) }

// Fingerprint names the key without telling it: 12 hexadecimal digits.
func (k Key) Fingerprint() string { return hex.EncodeToString(k.derive("fingerprint", 6)) }

// String is the fingerprint, so that a key in a log line gives nothing away.
func (k Key) String() string { return k.Fingerprint() }

// derive is n bytes that only holders of the key know, different for each purpose.
func (k Key) derive(purpose string, n int) []byte {
	b, err := hkdf.Key(sha256.New, k.secret[:], nil, "skein/1 "+purpose, n)
	if err != nil {
		panic(err) // only for n above 8160
	}
	return b
}

// LoadKeys reads a key file, see ParseKeys.
func LoadKeys(file string) ([]Key, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("transport: key file: %w", err)
	}
	keys, err := ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("transport: key file %s: %w", file, err)
	}
	return keys, nil
}

// ParseKeys reads the text of a key file: one key a line, lines that begin
// with '#' and empty lines aside. The first key issues certificates, all are
// accepted: a key is rotated by adding the new one behind the old at every
// node, then swapping the two everywhere, then removing the old.
func ParseKeys(text []byte) ([]Key, error) {
	var keys []Key
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		secret, ok := strings.CutPrefix(line, keyPrefix)
		if !ok {
			return nil, fmt.Errorf("line %d: a key begins with %q", n, keyPrefix)
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(secret)
		if err != nil || len(b) != 32 {
			return nil, fmt.Errorf("line %d: a key is 32 bytes in base64, 43 characters after %q", n, keyPrefix)
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("line %d: more than %d keys", n, maxKeys)
		}
		keys = append(keys, Key{[32]byte(b)})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in it; `skein key new` makes one")
	}
	return keys, nil
}
