package multiraft

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

var (
	// ErrNotLeader says that another replica leads, or none: Group.Leader knows.
	ErrNotLeader = errors.New("multiraft: this replica does not lead")
	// ErrUnknown says that leadership was lost while an entry was on its way: it
	// may be committed or not.
	ErrUnknown = errors.New("multiraft: leadership was lost; whether the entry is committed is unknown")
	// ErrTooLarge refuses an entry of more than MaxEntry bytes.
	ErrTooLarge = fmt.Errorf("multiraft: an entry has %d bytes at most", MaxEntry)
	// ErrClosed says that the group or the host was closed.
	ErrClosed = errors.New("multiraft: closed")
	// ErrFailed is wrapped by what a replica says whose log or disk has failed.
	ErrFailed = errors.New("multiraft: the replica has failed")
	// ErrUnwell is wrapped while the health gate is shut.
	ErrUnwell = errors.New("multiraft: the replica is unwell")
	// ErrExists refuses to start a group twice.
	ErrExists = errors.New("multiraft: the group runs already")

	errReplaced = errors.New("multiraft: another connection took its place")
	errDetached = errors.New("multiraft: no connection to the peer")
	errTimeout  = errors.New("multiraft: the peer did not answer in time")
	errNoGroup  = errors.New("multiraft: the peer does not run this group")
	errEpoch    = errors.New("multiraft: a replica's epoch is not the one that is meant")
	errBusy     = errors.New("multiraft: the peer's replica is behind with its requests")
	errRefused  = errors.New("multiraft: refused by the peer")
)

// status is how an answer says that there is none; the zero status is success.
type status uint8

const (
	statusOK status = iota
	statusNoGroup
	statusEpoch
	statusUnwell
	statusBusy
	statusFailed // with a text
	statusLast   = statusFailed
)

func (s status) err(text string) error {
	switch s {
	case statusOK:
		return nil
	case statusNoGroup:
		return errNoGroup
	case statusEpoch:
		return errEpoch
	case statusUnwell:
		return ErrUnwell
	case statusBusy:
		return errBusy
	}
	return fmt.Errorf("%w: %s", errRefused, text)
}

// ofRaft says in our words what Raft said of a proposal or a change.
func ofRaft(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrClosed
	}
	return fmt.Errorf("multiraft: %w", err)
}
