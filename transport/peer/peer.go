// Package peer says what a node is called and where it is. It is vocabulary:
// every package may use it, and it uses none of ours.
package peer

import (
	"net/netip"
	"strings"
)

// ID is a node's name for machines: random, made once, kept in the node's
// data directory. A node whose disk is lost comes back with another ID.
type ID string

// Short is the head of the ID, enough for a person to tell nodes apart.
func (id ID) Short() string {
	if len(id) > 8 {
		return string(id[:8])
	}
	return string(id)
}

// Peer is a node as the others know it. It is a value: copy it freely.
type Peer struct {
	ID     ID             `json:"id"`
	Name   string         `json:"name"`   // for people; not unique
	Region string         `json:"region"` // nodes with LAN latency between them
	Addr   netip.AddrPort `json:"addr"`   // the mesh port as others reach it
	HTTP   string         `json:"http"`   // host:port of the HTTP face, or empty
	Boot   uint64         `json:"boot"`   // counts the starts of this ID; grows

	Gateway Gateway `json:"gateway,omitempty"` // whether it keeps links to other regions
}

// Gateway says whether a node keeps links to other regions.
type Gateway string

const (
	GatewayAuto   Gateway = ""       // if it is one of the first of its region
	GatewayAlways Gateway = "always" // and then only nodes that say so
	GatewayNever  Gateway = "never"  // unless the region has no other node
)

// ValidName reports whether s may name a node, a region or a namespace:
// 1 to 63 characters of a-z, A-Z, 0-9, '-', '_' and '.', beginning with a
// letter or a digit. A region may also hold '/', to name its parts.
func ValidName(s string) bool {
	return len(s) > 0 && len(s) <= 63 && strings.Trim(s, nameChars) == "" && !strings.ContainsRune("-_.", rune(s[0]))
}

const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// ValidRegion reports whether s may name a region: one or more valid names
// joined by '/', 63 characters at most.
func ValidRegion(s string) bool {
	if len(s) > 63 {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !ValidName(part) {
			return false
		}
	}
	return true
}
