package httpapi

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
)

// Right is something a token may do; rights add up.
type Right uint8

const (
	Publish   Right = 1 << iota // post events
	Subscribe                   // receive events
	Inspect                     // look at the mesh, at streams and at the metrics
	Manage                      // make, trim and delete streams; in all namespaces, drain the node, too

	anywhere // in every namespace: the native protocol names them inside
)

// Token is a bearer token that is let in.
type Token struct {
	// Secret is what the client sends. Required.
	Secret string
	// Rights is what it may do. Default: everything.
	Rights Right
	// Namespaces are those it may publish to, subscribe and manage streams in. Default: all.
	Namespaces []string
}

// tokens finds tokens by the hash of their secret, so that a search's time
// says nothing about secrets that are nearly right.
type tokens map[[sha256.Size]byte]Token

func newTokens(list []Token) tokens {
	t := tokens{}
	for _, tok := range list {
		if tok.Rights == 0 {
			tok.Rights = Publish | Subscribe | Inspect | Manage
		}
		t[sha256.Sum256([]byte(tok.Secret))] = tok
	}
	return t
}

// allow reports, as a problem, why a request may not do what it asks for.
func (t tokens) allow(r *http.Request, right Right, namespace string) error {
	if right&Manage != 0 { // without tokens, a page in a browser of this machine could do what its user may
		if err := new(http.CrossOriginProtection).Check(r); err != nil {
			return problemf(http.StatusForbidden, "a page of another origin may not do this: %v", err)
		}
	}
	if len(t) == 0 || right == 0 {
		return nil
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return problemf(http.StatusUnauthorized, "this node asks for a token: Authorization: Bearer …").
			with("WWW-Authenticate", `Bearer realm="skein"`)
	}
	tok, ok := t[sha256.Sum256([]byte(strings.TrimSpace(secret)))]
	if !ok {
		return problemf(http.StatusUnauthorized, "this node does not know that token").
			with("WWW-Authenticate", `Bearer realm="skein", error="invalid_token"`)
	}
	if len(tok.Namespaces) == 0 {
		tok.Rights |= anywhere
	}
	if tok.Rights&right != right {
		return problemf(http.StatusForbidden, "that token may not do this").
			with("WWW-Authenticate", `Bearer realm="skein", error="insufficient_scope"`)
	}
	if namespace == "" {
		namespace = "default"
	}
	if right&(Publish|Subscribe|Manage) != 0 && right&anywhere == 0 && len(tok.Namespaces) > 0 && !slices.Contains(tok.Namespaces, namespace) {
		return problemf(http.StatusForbidden, "that token is not for this namespace").
			with("WWW-Authenticate", `Bearer realm="skein", error="insufficient_scope"`)
	}
	return nil
}
