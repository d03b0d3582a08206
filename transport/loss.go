package transport

import "sync"

const (
	// lossKept is what part of what was counted at a heartbeat still counts at the
	// next one: half of it after 9 s.
	lossKept = 31.0 / 32
	// fewToJudge is how many packets there are taken to have been at least, so
	// that one that is lost on an idle link is not many.
	fewToJudge = 100
)

// losses is the part of packets that the network loses of late, whether they are
// repaired or not: what the peer's reports count where package repair numbers most
// packets, and what QUIC misses elsewhere.
type losses struct {
	mu       sync.Mutex // guards the fields below
	quic     recent
	numbered recent
}

// recent is traffic, that of late counting most.
type recent struct {
	total      traffic // at the last look
	sent, lost float64
}

func (r *recent) look(total traffic) {
	sent := float64(total.sent - min(r.total.sent, total.sent))
	lost := float64(total.lost - min(r.total.lost, total.lost)) // losses are taken back
	r.total = total
	r.sent, r.lost = r.sent*lossKept+sent, r.lost*lossKept+lost
}

// look takes stock, at every heartbeat.
func (l *losses) look(quic, numbered traffic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quic.look(quic)
	l.numbered.look(numbered)
}

// part is the part of packets that got lost, 0 to 1.
func (l *losses) part() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := &l.quic
	if 2*l.numbered.sent >= l.quic.sent {
		of = &l.numbered
	}
	return min(1, of.lost/max(of.sent, fewToJudge))
}

// count has losses take stock.
func (s *session) count() {
	control, quic := s.control.ConnectionStats(), s.laneTraffic()
	quic.sent += control.PacketsSent
	quic.lost += control.PacketsLost
	s.losses.look(quic, s.mend.counted())
}
