package transport

import (
	"errors"
	"net"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/skeinmesh/skein/transport/repair"
)

// hand fills messages with packets that were held for others, as far as there
// are some, and returns how many. One goroutine reads: it calls this, sleep,
// take and woken.
func (m *mender) hand(messages []ipv4.Message) (n int) {
	if len(m.busy) == 0 {
		return 0
	}
	now, keep := m.now(), m.busy[:0]
	for _, p := range m.busy {
		p.in.Expire(now)
		for n < len(messages) {
			msg := &messages[n]
			size, control, ok := p.in.Next(msg.Buffers[0], msg.OOB)
			if !ok {
				break
			}
			msg.N, msg.NN, msg.Addr, msg.Flags = size, control, p.addr, 0
			n++
		}
		if p.busy = p.in.Pending() && !p.gone.Load(); p.busy {
			keep = append(keep, p)
		}
	}
	clear(m.busy[len(keep):])
	m.busy = keep
	return n
}

// sleep bounds the read that follows by when hand is to be called at the latest.
func (m *mender) sleep() {
	var wake time.Time
	for _, p := range m.busy {
		if at, waits := p.in.Deadline(); waits {
			if t := m.begun.Add(at); wake.IsZero() || t.Before(wake) {
				wake = t
			}
		}
	}
	m.deadline.Lock()
	defer m.deadline.Unlock()
	if !m.wakeAt.Equal(wake) && !m.quicWants {
		m.wakeAt = wake
		m.setDeadline(wake)
	}
}

// woken reports whether a read ended with err because of sleep alone.
func (m *mender) woken(err error) bool {
	m.deadline.Lock()
	defer m.deadline.Unlock()
	if errors.Is(err, net.ErrClosed) || m.quicWants || m.wakeAt.IsZero() || time.Now().Before(m.wakeAt) {
		return false
	}
	m.wakeAt = time.Time{}
	m.setDeadline(m.wakeAt)
	return true
}

// quicDeadline is what quic-go does to end a read, and undoes then.
func (m *mender) quicDeadline(t time.Time) error {
	m.deadline.Lock()
	defer m.deadline.Unlock()
	m.quicWants, m.wakeAt = !t.IsZero(), time.Time{}
	return m.setDeadline(t)
}

// take replaces a packet of package repair by the one within, or by an empty
// one if there is none to be handed up now.
func (m *mender) take(msg *ipv4.Message) {
	b := msg.Buffers[0][:msg.N]
	tag, ok := repair.Tag(b)
	p := m.at(msg.Addr)
	if !ok || p == nil || tag != m.tag {
		// Of a peer that has agreed before this node did, or still does: QUIC can
		// tell what it is worth.
		msg.N = copy(b, repair.Strip(b))
		return
	}
	now := m.now()
	if repair.IsReport(b) {
		if p.out != nil {
			p.mu.Lock()
			p.out.Report(b, now)
			p.mu.Unlock()
		}
		msg.N = 0
		return
	}
	msg.N = copy(b, p.in.Take(b, msg.OOB[:msg.NN], now))
	if !p.busy && p.in.Pending() {
		p.busy = true
		m.busy = append(m.busy, p)
	}
	if rebuilt := p.in.Rebuilt(); rebuilt != p.was {
		m.rebuilt.Add(rebuilt - p.was)
		p.was = rebuilt
	}
	var report [32]byte
	if r := p.in.Report(report[:0], p.tag, now); len(r) > 0 {
		m.send(r, nil, p.addr) // if it gets lost, there will be others
	}
}
