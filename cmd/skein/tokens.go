package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/skeinmesh/skein/node/httpapi"
	"github.com/skeinmesh/skein/transport/peer"
)

// loadTokens reads a token file, see parseTokens.
func loadTokens(file string) ([]httpapi.Token, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	tokens, err := parseTokens(text)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %s: %w", file, err)
	}
	return tokens, nil
}

// minSecret is the least length of a token's secret: a shorter one is guessed.
const minSecret = 16

// parseTokens reads the text of a token file. Empty lines and lines that begin
// with '#' aside, a line is
//
//	SECRET [RIGHTS [NAMESPACES]]
//
// rights being "all" or any of publish, subscribe, inspect and manage, joined by
// commas, and namespaces those the token is good for, joined by commas. Both
// may be left out: then the token may do everything, everywhere.
func parseTokens(text []byte) ([]httpapi.Token, error) {
	var tokens []httpapi.Token
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		t, err := parseToken(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if seen[t.Secret] {
			return nil, fmt.Errorf("line %d: a token that an earlier line has", n)
		}
		seen[t.Secret] = true
		tokens = append(tokens, t)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("no token in it; a line is SECRET [RIGHTS [NAMESPACES]]")
	}
	return tokens, nil
}

func parseToken(fields []string) (t httpapi.Token, err error) {
	if len(fields) > 3 {
		return t, fmt.Errorf("%d words; a line is SECRET [RIGHTS [NAMESPACES]]", len(fields))
	}
	t.Secret = fields[0]
	if len(t.Secret) < minSecret {
		return t, fmt.Errorf("a secret of %d characters is guessed too easily; at least %d", len(t.Secret), minSecret)
	}
	for _, r := range t.Secret {
		if r <= ' ' || r > '~' {
			return t, fmt.Errorf("a secret is printable ASCII, for it travels in an HTTP header")
		}
	}
	if len(fields) > 1 && fields[1] != "all" {
		for right := range strings.SplitSeq(fields[1], ",") {
			switch right {
			case "publish":
				t.Rights |= httpapi.Publish
			case "subscribe":
				t.Rights |= httpapi.Subscribe
			case "inspect":
				t.Rights |= httpapi.Inspect
			case "manage":
				t.Rights |= httpapi.Manage
			default:
				return t, fmt.Errorf("unknown right %q%s", right,
					didYouMean(right, "", []string{"publish", "subscribe", "inspect", "manage", "all"}))
			}
		}
	}
	if len(fields) > 2 {
		for ns := range strings.SplitSeq(fields[2], ",") {
			if !peer.ValidName(ns) {
				return t, fmt.Errorf("namespace %.80q: want 1 to 63 letters, digits, '-', '_' or '.'", ns)
			}
			t.Namespaces = append(t.Namespaces, ns)
		}
	}
	return t, nil
}
