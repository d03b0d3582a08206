package transport

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// Hello is what two nodes tell each other first on every connection, in JSON:
// the dialer begins, the other side answers or closes with the reason why not.
type Hello struct {
	Mesh    string    `json:"mesh"`              // "" while joining
	Founder string    `json:"founder,omitempty"` // the region that founded the mesh, as far as is known
	Peer    peer.Peer `json:"peer"`
	Role    role      `json:"role"`
	Session string    `json:"session,omitempty"` // joins the connections of one link
	For     peer.ID   `json:"for,omitempty"`     // whom the dialer of a link means
	Lane    int       `json:"lane,omitempty"`    // which lane of the link, from 0
	Lanes   int       `json:"lanes,omitempty"`   // how many of a link this node takes; 0 means one
	Repair  uint32    `json:"repair,omitempty"`  // the tag of packets to this node that are repaired; 0 if it repairs none
}

// role is what a connection is for.
type role string

const (
	roleVisit   role = "visit"   // a call or a layer's stream, with whoever is there
	roleControl role = "control" // a link's frames, calls and heartbeats
	roleLane    role = "lane"    // a link's batches
)

const (
	maxHello  = 8 << 10         // bytes
	helloWait = 3 * time.Second // for the other side's hello, once connected
)

// hello is what this endpoint says of itself.
func (e *Endpoint) hello(as role, session string) Hello {
	e.mu.RLock()
	defer e.mu.RUnlock()
	h := Hello{Mesh: e.mesh, Founder: e.founder, Peer: e.self, Role: as, Session: session, Lanes: e.cfg.MaxLanes}
	if !e.cfg.unrepaired {
		h.Repair = e.socket.mender.tag
	}
	return h
}

// laneHello is the hello of a session's lane.
func (e *Endpoint) laneHello(session string, lane int) Hello {
	h := e.hello(roleLane, session)
	h.Lane = lane
	return h
}

// commonLanes is how many lanes two nodes can have that take so many: a power of
// two.
func commonLanes(ours, theirs int) int {
	return 1 << (bits.Len(uint(max(1, min(ours, theirs, wire.MaxLanes)))) - 1)
}

// writeHello sends a hello on a stream that nothing else was written to.
func writeHello(w io.Writer, h Hello) error {
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, err = w.Write(wire.AppendFrame(nil, wire.Hello, body))
	return err
}

// readHello reads and checks the form of a hello, no more.
func readHello(r io.Reader) (Hello, error) {
	kind, body, err := wire.ReadFrame(r, maxHello)
	if err != nil {
		return Hello{}, err
	}
	if kind != wire.Hello {
		return Hello{}, refuse(codeProtocol, "frame of kind %#x instead of a hello", kind)
	}
	return parseHello(body)
}

func parseHello(body []byte) (Hello, error) {
	var h Hello
	if err := json.Unmarshal(body, &h); err != nil {
		return h, refuse(codeProtocol, "malformed hello")
	}
	switch {
	case h.Peer.ID == "" || len(h.Peer.ID) > 64:
		return h, refuse(codeProtocol, "hello with an ID of %d characters", len(h.Peer.ID))
	case !peer.ValidRegion(h.Peer.Region) || len(h.Peer.Name) > 255 || len(h.Peer.HTTP) > 255:
		return h, refuse(codeProtocol, "hello of node %s with an invalid region or name", h.Peer.ID.Short())
	case len(h.Mesh) > 64 || len(h.Session) > 64 || len(h.Founder) > 63 || len(h.For) > 64:
		return h, refuse(codeProtocol, "hello of node %s with overlong fields", h.Peer.ID.Short())
	case h.Lane < 0 || h.Lane >= wire.MaxLanes || h.Lanes < 0 || h.Lane > 0 && h.Role != roleLane:
		return h, refuse(codeProtocol, "hello of node %s for lane %d of %d", h.Peer.ID.Short(), h.Lane, h.Lanes)
	case h.Role != roleVisit && h.Role != roleControl && h.Role != roleLane:
		return h, refuse(codeProtocol, "hello for an unknown role")
	}
	return h, nil
}

// check decides whether the node that said theirs on conn may go on. Its
// refusals are worded for either side to read.
func (e *Endpoint) check(conn *quic.Conn, theirs Hello) error {
	ours := e.hello(theirs.Role, "")
	if e.creds.identity.pki == nil {
		certs := conn.ConnectionState().TLS.PeerCertificates
		if s, _ := subjectOf(certs[0]); s.node != theirs.Peer.ID || s.mesh != "" && s.mesh != theirs.Mesh {
			return refuse(codeRefused, "the certificate of %s does not speak for node %s of mesh %q", s.uri(), theirs.Peer.ID, theirs.Mesh)
		}
	}
	if ours.Mesh != "" && theirs.Mesh != "" && ours.Mesh != theirs.Mesh {
		return refuse(codeWrongMesh, "node %s (%s) belongs to mesh %s, node %s (%s) to mesh %s",
			ours.Peer.Name, ours.Peer.ID.Short(), ours.Mesh, theirs.Peer.Name, theirs.Peer.ID.Short(), theirs.Mesh)
	}
	if theirs.Role == roleVisit {
		return nil
	}
	if theirs.For != "" && theirs.For != ours.Peer.ID {
		return refuse(codeRefused, "at this address is node %s, not %s", ours.Peer.ID.Short(), theirs.For.Short())
	}
	if theirs.Peer.ID == ours.Peer.ID {
		return refuse(codeRefused, "a node has no link to itself")
	}
	if ours.Mesh == "" || theirs.Mesh == "" {
		return refuse(codeJoining, "a node that is joining has no links yet")
	}
	return nil
}

// dialed is a connection after both hellos, on the dialer's side. The hellos'
// stream goes on as what the role says.
type dialed struct {
	conn   *quic.Conn
	stream *quic.Stream
	theirs Hello
}

// greet dials addr and exchanges hellos. engage, if there is one, is asked
// whether to go on when the other side has proven who it is. The error's cause
// is logged if it is a refusal.
func (e *Endpoint) greet(ctx context.Context, addr netip.AddrPort, ours Hello, config *quic.Config, engage func() error) (dialed, error) {
	conn, err := e.dial(ctx, addr, e.creds.protocol, config)
	if err != nil {
		return dialed{}, e.failed(addr, "", err)
	}
	d, err := e.exchange(ctx, conn, ours, engage)
	if err != nil {
		if ref, ok := err.(*refusal); ok {
			e.shut(conn, ref.code, ref.reason)
		} else {
			e.shut(conn, codeDone, "not needed any more")
		}
		if cause := context.Cause(conn.Context()); cause != nil && ctx.Err() == nil && !isRefusal(err) {
			err = cause
		}
		return dialed{}, e.failed(addr, e.keyOf(conn), err)
	}
	return d, nil
}

func isRefusal(err error) bool { _, ok := err.(*refusal); return ok }

func (e *Endpoint) exchange(ctx context.Context, conn *quic.Conn, ours Hello, engage func() error) (dialed, error) {
	if engage != nil {
		if err := engage(); err != nil {
			return dialed{}, err
		}
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return dialed{}, err
	}
	stop := context.AfterFunc(ctx, func() { stream.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	stream.SetDeadline(time.Now().Add(helloWait))
	if err := writeHello(stream, ours); err != nil {
		return dialed{}, err
	}
	theirs, err := readHello(stream)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return dialed{}, err
	}
	if err := e.check(conn, theirs); err != nil {
		return dialed{}, err
	}
	stop()
	stream.SetDeadline(time.Time{})
	return dialed{conn, stream, theirs}, ctx.Err()
}

// keyOf names the key of the node at the other end, if it has shown one.
func (e *Endpoint) keyOf(conn *quic.Conn) string {
	certs := conn.ConnectionState().TLS.PeerCertificates
	if len(certs) == 0 || e.creds.identity.pki != nil {
		return ""
	}
	return certs[0].Issuer.CommonName[min(len(issuerName), len(certs[0].Issuer.CommonName)):]
}

// failed words the error of a connection to addr, and logs it if it is a refusal.
func (e *Endpoint) failed(addr netip.AddrPort, theirKey string, err error) error {
	err = e.creds.cause(err, theirKey)
	e.complaints.about("no connection to a node", addr, err)
	return fmt.Errorf("%w (%s)", err, addr)
}

// welcome is the accepting side of the hellos up to the answer, which the
// caller gives.
func (e *Endpoint) welcome(conn *quic.Conn) (*quic.Stream, Hello, error) {
	if speaks := conn.ConnectionState().TLS.NegotiatedProtocol; speaks != e.creds.protocol {
		return nil, Hello{}, refuse(codeWrongVersion, "the node called speaks %s, the caller %s", e.creds.protocol, speaks)
	}
	ctx, cancel := context.WithTimeout(e.ctx, helloWait)
	defer cancel()
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, Hello{}, err
	}
	stream.SetDeadline(time.Now().Add(helloWait))
	theirs, err := readHello(stream)
	if err != nil {
		return nil, Hello{}, err
	}
	stream.SetDeadline(time.Time{})
	return stream, theirs, e.check(conn, theirs)
}
