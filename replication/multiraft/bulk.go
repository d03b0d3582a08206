package multiraft

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/transport/peer"
)

const (
	// bulkStall is how long a stream with a snapshot may stand still.
	bulkStall = 30 * time.Second
	// installWithin bounds the wait for a peer to restore a snapshot it has.
	installWithin = 10 * time.Minute
	// refusedWithin bounds the wait for the reason why a peer does not read one.
	refusedWithin = time.Second
)

// sendSnapshot sends a snapshot by a stream of its own, so that it stands in
// nobody's way.
func (t transport) sendSnapshot(to Replica, a *raft.InstallSnapshotRequest, data io.Reader) (*message, error) {
	conn, err := t.host.cfg.Dial(t.ctx, to.Node)
	if err != nil {
		return nil, fmt.Errorf("open a stream for a snapshot: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(t.ctx, func() { conn.Close() })()
	m := t.request(kindInstall, to)
	m.term, m.last, m.lastTerm = a.Term, a.LastLogIndex, a.LastLogTerm
	m.commit, m.text, m.size = a.ConfigurationIndex, a.Configuration, uint64(a.Size)
	slow := &steady{conn}
	if err := writeBulk(slow, preface(useBulk), &m); err != nil {
		return nil, fmt.Errorf("send a snapshot: %w", err)
	}
	_, sent := io.CopyN(slow, data, a.Size)
	within := installWithin
	if sent != nil {
		within = refusedWithin // it may have been refused before it was read
	}
	conn.SetReadDeadline(time.Now().Add(within))
	var answer message
	err = readBulk(conn, &answer)
	switch {
	case err != nil && sent != nil:
		return nil, fmt.Errorf("send a snapshot: %w", sent)
	case err != nil:
		return nil, fmt.Errorf("wait for a snapshot to be installed: %w", err)
	}
	if answer.kind != kindAnswer {
		return nil, errMessage
	}
	if err := answer.status.err(string(answer.text)); err != nil {
		return nil, err
	}
	t.host.stats.snapshotsSent.Add(1)
	return &answer, nil
}

// ServeBulk takes a snapshot from a stream that a peer's host has opened with
// its Config.Dial. It returns, and closes conn, when the snapshot is installed
// or refused; the peer is told which.
func (h *Host) ServeBulk(from peer.ID, conn net.Conn) error {
	h.mu.RLock()
	if h.closed {
		h.mu.RUnlock()
		conn.Close()
		return ErrClosed
	}
	h.wg.Add(1)
	h.mu.RUnlock()
	defer h.wg.Done()
	defer conn.Close()
	defer context.AfterFunc(h.ctx, func() { conn.Close() })()
	slow := &steady{conn}
	head := make([]byte, prefaceLen)
	if _, err := io.ReadFull(slow, head); err != nil {
		return fmt.Errorf("multiraft: take a snapshot from %s: %w", from, err)
	}
	var m message
	err := checkPreface(head, useBulk)
	if err == nil {
		err = readBulk(slow, &m)
	}
	if err == nil && m.kind != kindInstall {
		err = errMessage
	}
	if err != nil {
		return fmt.Errorf("multiraft: take a snapshot from %s: %w", from, err)
	}
	data := io.LimitReader(slow, int64(m.size))
	answer := h.install(from, &m, data)
	if answer.flags&flagHad != 0 {
		io.Copy(io.Discard, data) // the peer reads an answer when it has sent all
	}
	if err := writeBulk(slow, nil, &answer); err != nil {
		return fmt.Errorf("multiraft: answer for a snapshot from %s: %w", from, err)
	}
	return answer.status.err(string(answer.text))
}

// install has Raft take a snapshot. Raft's main goroutine reads it, and does
// nothing else meanwhile but that heartbeats go around it.
func (h *Host) install(from peer.ID, m *message, data io.Reader) message {
	g := h.Group(m.group)
	if g == nil {
		h.stats.refusedGroup.Add(1)
		return message{kind: kindAnswer, status: statusNoGroup}
	}
	if !g.meant(from, m.from, m.to) {
		return g.answer(m, statusEpoch)
	}
	if g.failure() != nil {
		return g.answer(m, statusUnwell)
	}
	ctx, over := g.installs()
	defer over()
	if has, err := g.hand(from, m, nil, nil); err != nil {
		return g.answer(m, statusNoGroup)
	} else if has {
		return g.hasAlready(m)
	}
	data, err := g.prepare(ctx, Replica{from, m.from}, data)
	if err != nil {
		a := g.answer(m, statusFailed)
		a.text = []byte(err.Error())
		return a
	}
	got := make(chan raft.RPCResponse, 1)
	has, err := g.hand(from, m, data, got)
	switch {
	case err != nil:
		return g.answer(m, statusNoGroup)
	case has: // meanwhile
		return g.hasAlready(m)
	}
	select {
	case r := <-got:
		if g.failure() != nil {
			return g.answer(m, statusUnwell)
		}
		g.learnMembers()
		h.stats.snapshotsReceived.Add(1)
		return g.answerOf(m, r)
	case <-g.closing:
		return g.answer(m, statusNoGroup)
	}
}

// hand hands a snapshot to Raft, unless this replica has all that it contains: no request
// of a peer comes between. Without got it only looks.
func (g *Group) hand(from peer.ID, m *message, data io.Reader, got chan raft.RPCResponse) (has bool, err error) {
	select {
	case g.taking <- struct{}{}:
		defer func() { <-g.taking }()
	case <-g.closing:
		return false, ErrClosed
	}
	if has := g.has(m); has || got == nil {
		return has, nil
	}
	select {
	case g.requests <- raft.RPC{Command: g.command(from, m), Reader: data, RespChan: got}:
		return false, nil
	case <-g.closing:
		return false, ErrClosed
	}
}

// hasAlready is the answer for a snapshot of what this replica has.
func (g *Group) hasAlready(m *message) message {
	a := g.answer(m, statusOK)
	a.term, a.flags = g.raft.CurrentTerm(), flagYes|flagHad
	return a
}

// installs waits until no other snapshot is prepared or restored, which it has
// given up: the leader that sent that one is none any more, or has sent it again.
func (g *Group) installs() (ctx context.Context, over func()) {
	ctx, cancel := context.WithCancel(g.ctx)
	g.mu.Lock()
	before := g.installing
	done := make(chan struct{})
	g.installing = &install{cancel, done}
	g.mu.Unlock()
	if before != nil {
		before.cancel()
		<-before.done
	}
	return ctx, func() {
		cancel()
		close(done)
	}
}

// install is a snapshot that is being prepared and restored.
type install struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// prepare reads a snapshot and has the state machine prepare for it, if it wants
// to: Raft's main goroutine must not wait for that.
func (g *Group) prepare(ctx context.Context, from Replica, data io.Reader) (io.Reader, error) {
	if g.cfg.Prepare == nil {
		return data, nil
	}
	b, err := io.ReadAll(io.LimitReader(data, MaxSnapshot))
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.cfg.Prepare(ctx, from, b); err != nil {
		return nil, err
	}
	return bytes.NewReader(b), nil
}

func writeBulk(w io.Writer, head []byte, m *message) error {
	at := len(head)
	b, err := encode(append(head, 0, 0, 0, 0), m)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	_, err = w.Write(b)
	return err
}

func readBulk(r io.Reader, m *message) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > queueRoom { // a configuration is small
		return errOversize
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if rest, err := decode(body, m); err != nil || len(rest) > 0 {
		return errMessage
	}
	return nil
}

// steady is a stream that fails when it stands still.
type steady struct{ net.Conn }

func (s *steady) Read(b []byte) (int, error) {
	s.SetReadDeadline(time.Now().Add(bulkStall))
	return s.Conn.Read(b)
}

func (s *steady) Write(b []byte) (int, error) {
	s.SetWriteDeadline(time.Now().Add(bulkStall))
	return s.Conn.Write(b)
}
