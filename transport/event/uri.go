package event

import (
	"net/netip"
	"strings"
)

// The syntax of URIs and URI references, RFC 3986.

// reasonURI is about an absolute URI; a fragment is tolerated.
func reasonURI(s string) string {
	if s == "" {
		return reasonEmpty
	}
	scheme, reason := uriReference(s)
	if reason == "" && !scheme {
		return "is no absolute URI: it has no scheme"
	}
	return reason
}

const reasonURIChar = "holds a character that a URI must not hold unencoded"

// uriReference reads a URI-reference by RFC 3986 section 4.1 and says whether
// it has a scheme, and why it is none. The empty reference is one.
func uriReference(s string) (scheme bool, reason string) {
	rest := s
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == ':' {
			if !isScheme(s[:i]) {
				return false, "is no URI-reference: its first segment has a colon and is no scheme"
			}
			scheme, rest = true, s[i+1:]
			break
		}
		if c == '/' || c == '?' || c == '#' {
			break
		}
	}
	if strings.HasPrefix(rest, "//") {
		end := 2
		for end < len(rest) && rest[end] != '/' && rest[end] != '?' && rest[end] != '#' {
			end++
		}
		if reason := reasonAuthority(rest[2:end]); reason != "" {
			return scheme, reason
		}
		rest = rest[end:]
	}
	fragment := false
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		if classes[c]&clPath != 0 {
			continue
		}
		switch {
		case c == '%' && isEscape(rest[i:]):
			i += 2
		case c == '%':
			return scheme, "holds a percent sign without two hex digits"
		case c == '?': // in a query and a fragment too
		case c == '#' && !fragment:
			fragment = true
		default:
			return scheme, reasonURIChar
		}
	}
	return scheme, ""
}

func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&clAlnum == 0 && s[i] != '+' && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return s != "" && (s[0]|0x20) >= 'a' && (s[0]|0x20) <= 'z'
}

// isEscape says whether s begins with a percent sign and two hex digits.
func isEscape(s string) bool {
	return len(s) >= 3 && s[0] == '%' && classes[s[1]]&classes[s[2]]&clHex != 0
}

// reasonAuthority is about [userinfo "@"] host [":" port].
func reasonAuthority(s string) string {
	if at := strings.IndexByte(s, '@'); at >= 0 {
		if !hostChars(s[:at], true) {
			return reasonURIChar
		}
		s = s[at+1:]
	}
	port := ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || !isIPLiteral(s[1:end]) {
			return "has an IP literal that is none"
		}
		s, port = "", s[end+1:]
	} else if colon := strings.IndexByte(s, ':'); colon >= 0 {
		s, port = s[:colon], s[colon:]
	}
	if !hostChars(s, false) {
		return reasonURIChar
	}
	for i := 0; i < len(port); i++ {
		if i == 0 && port[i] != ':' || i > 0 && (port[i] < '0' || port[i] > '9') {
			return "has a port that is no number"
		}
	}
	return ""
}

// hostChars says whether s is a reg-name, or a userinfo when colons are too.
func hostChars(s string, colon bool) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case classes[c]&clHost != 0 || colon && c == ':':
		case isEscape(s[i:]):
			i += 2
		default:
			return false
		}
	}
	return true
}

// isIPLiteral is about what stands between the brackets.
func isIPLiteral(s string) bool {
	if s != "" && s[0]|0x20 == 'v' { // IPvFuture
		version, addr, ok := strings.Cut(s[1:], ".")
		for i := 0; i < len(version); i++ {
			ok = ok && classes[version[i]]&clHex != 0
		}
		for i := 0; i < len(addr); i++ {
			ok = ok && (classes[addr[i]]&clHost != 0 || addr[i] == ':')
		}
		return ok && version != "" && addr != ""
	}
	a, err := netip.ParseAddr(strings.Clone(s)) // its error keeps what it is given
	return err == nil && a.Is6() && a.Zone() == ""
}
