package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// Errors of this package. They are wrapped with what was tried on whom and the
// cause in words.
var (
	ErrClosed       = errors.New("transport: closed")
	ErrLinkDown     = errors.New("transport: link is down")
	ErrLinkFull     = errors.New("transport: link's queue is full")
	ErrTooLarge     = errors.New("transport: larger than a frame may be")
	ErrBusy         = errors.New("transport: too much is asked at once")
	ErrUnreachable  = errors.New("transport: no answer")
	ErrWrongKey     = errors.New("transport: wrong mesh key")
	ErrWrongMesh    = errors.New("transport: wrong mesh")
	ErrWrongVersion = errors.New("transport: wrong protocol version")
	ErrExpired      = errors.New("transport: certificate is not valid now")
	ErrRefused      = errors.New("transport: refused")
	ErrProtocol     = errors.New("transport: protocol violated")
)

// Codes that connections are closed with, beside the reason in words. They are
// part of the protocol.
const (
	codeDone         quic.ApplicationErrorCode = 0 // nothing is wrong
	codeWrongMesh    quic.ApplicationErrorCode = 1
	codeWrongVersion quic.ApplicationErrorCode = 2
	codeRefused      quic.ApplicationErrorCode = 3
	codeDuplicate    quic.ApplicationErrorCode = 4 // there is another link between the two
	codeJoining      quic.ApplicationErrorCode = 5 // not of the mesh yet; ask again
	codeProtocol     quic.ApplicationErrorCode = 6 // garbage came
	codeSilent       quic.ApplicationErrorCode = 7 // heartbeats are missing
	codeLeaving      quic.ApplicationErrorCode = 8 // the endpoint closes
	codeBusy         quic.ApplicationErrorCode = 9
)

// maxReason bounds the reason that is sent along with a code: it travels in
// one packet.
const maxReason = 400

// refusal is a decision to close a connection: the code and the words for the
// other side.
type refusal struct {
	code   quic.ApplicationErrorCode
	reason string
}

func (r *refusal) Error() string { return r.reason }

// Unwrap makes a refusal of ours the same error as one of the other side.
func (r *refusal) Unwrap() error { return sentinel(r.code) }

func refuse(code quic.ApplicationErrorCode, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func sentinel(code quic.ApplicationErrorCode) error {
	switch code {
	case codeWrongMesh:
		return ErrWrongMesh
	case codeWrongVersion:
		return ErrWrongVersion
	case codeProtocol:
		return ErrProtocol
	case codeBusy:
		return ErrBusy
	}
	return ErrRefused
}

// shut closes a connection with a code and its reason.
func shut(conn *quic.Conn, code quic.ApplicationErrorCode, reason string) {
	conn.CloseWithError(code, reason[:min(len(reason), maxReason)])
}

// cause says in words why a connection failed, whichever side decided it.
// theirKey is the fingerprint that the other side gave, if it is known.
func (c *credentials) cause(err error, theirKey string) error {
	var application *quic.ApplicationError
	var transport *quic.TransportError
	var silent *quic.IdleTimeoutError
	var mute *quic.HandshakeTimeoutError
	var reset *quic.StatelessResetError
	switch {
	case errors.As(err, &application) && application.Remote:
		return fmt.Errorf("%w: it says: %s", sentinel(application.ErrorCode), application.ErrorMessage)
	case errors.As(err, &application):
		return errors.New(application.ErrorMessage)
	case errors.As(err, &transport) && transport.ErrorCode.IsCryptoError():
		if transport.Remote {
			return c.alerted(tls.AlertError(transport.ErrorCode-0x100), theirKey)
		}
		for _, inner := range transport.Unwrap() {
			if errors.Is(inner, ErrWrongKey) || errors.Is(inner, ErrExpired) || errors.Is(inner, ErrRefused) {
				return inner
			}
			if alert := tls.AlertError(0); errors.As(inner, &alert) && alert == alertNoProtocol {
				return fmt.Errorf("%w: it does not speak %s", ErrWrongVersion, c.protocol)
			}
		}
	case errors.As(err, &transport) && transport.Remote && transport.ErrorCode == quic.ConnectionRefused:
		return fmt.Errorf("%w: it takes no more connections", ErrBusy)
	case errors.As(err, &reset):
		return fmt.Errorf("%w: it has restarted", ErrUnreachable)
	case errors.As(err, &silent), errors.As(err, &mute):
		return ErrUnreachable
	}
	return err
}

// alerted is the cause behind a TLS alert that the other side sent.
func (c *credentials) alerted(alert tls.AlertError, theirKey string) error {
	switch alert {
	case alertUnknownAuthority:
		if c.identity.pki != nil {
			return fmt.Errorf("%w: its authorities do not know the one of this node's certificate", ErrWrongKey)
		}
		if theirKey != "" {
			return fmt.Errorf("%w: it has key %s and refused this node's %s", ErrWrongKey, theirKey, c.fingerprint())
		}
		return fmt.Errorf("%w: it refused this node's key %s", ErrWrongKey, c.fingerprint())
	case alertCertificateExpired:
		return fmt.Errorf("%w: it finds this node's certificate expired or not yet valid: are both clocks right?", ErrExpired)
	case alertNoProtocol:
		return fmt.Errorf("%w: it does not speak %s", ErrWrongVersion, c.protocol)
	}
	return fmt.Errorf("%w: it refused this node's certificate: %w", ErrRefused, alert)
}

// complaints logs refusals, each cause of each address at most once a minute:
// who is refused comes again, many times a minute, until somebody acts.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex // guards last
	last map[complaint]time.Time
}

type complaint struct {
	addr  netip.Addr
	cause error // a sentinel
}

const (
	complainEvery = time.Minute
	maxComplaints = 1024
)

// about logs that addr was refused, or refused us, because of err, unless that
// is no refusal or was said a short while ago.
func (c *complaints) about(text string, addr netip.AddrPort, err error) {
	for _, cause := range []error{ErrWrongKey, ErrWrongMesh, ErrWrongVersion, ErrExpired, ErrProtocol, ErrBusy} {
		if errors.Is(err, cause) && c.due(complaint{addr.Addr(), cause}, time.Now()) {
			c.log.Warn(text, "addr", addr, "cause", err)
		}
	}
}

func (c *complaints) due(about complaint, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.last[about]) < complainEvery {
		return false
	}
	if c.last == nil || len(c.last) >= maxComplaints {
		c.last = map[complaint]time.Time{} // forgetting early only says it once more
	}
	c.last[about] = now
	return true
}
