package multiraft

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/transport/peer"
)

// GroupID names a Raft group: random, made once, the same on all its replicas.
type GroupID [16]byte

// String is the ID in hexadecimal.
func (id GroupID) String() string { return hex.EncodeToString(id[:]) }

// Replica is one member of a group: a node, and how many times that node has
// been given a replica of the group. A replica that lost its disk is dead; its
// node gets another epoch.
type Replica struct {
	Node  peer.ID
	Epoch uint64
}

// String is the replica as Raft knows it, both as identity and as address.
func (r Replica) String() string { return string(r.Node) + "/" + strconv.FormatUint(r.Epoch, 10) }

func (r Replica) id() raft.ServerID        { return raft.ServerID(r.String()) }
func (r Replica) addr() raft.ServerAddress { return raft.ServerAddress(r.String()) }

// parseReplica is the reverse of String.
func parseReplica(s string) (Replica, error) {
	node, epoch, ok := cutLast(s, '/')
	if !ok || node == "" {
		return Replica{}, fmt.Errorf("multiraft: %q is not a replica", s)
	}
	n, err := strconv.ParseUint(epoch, 10, 64)
	if err != nil {
		return Replica{}, fmt.Errorf("multiraft: %q is not a replica: %w", s, err)
	}
	return Replica{Node: peer.ID(node), Epoch: n}, nil
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// Member is a replica as the group's configuration has it.
type Member struct {
	Replica
	Voter bool
}

func members(c raft.Configuration) []Member {
	list := make([]Member, 0, len(c.Servers))
	for _, s := range c.Servers {
		r, err := parseReplica(string(s.ID))
		if err != nil {
			continue // not of our making; Raft alone deals with it
		}
		list = append(list, Member{Replica: r, Voter: s.Suffrage == raft.Voter})
	}
	return list
}
