package node

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// bundle is records of one stream on their way to a region that keeps it, from node to
// node as a question goes:
//
//	length of head (unsigned varint) | head, in JSON | records, see replication.AppendAway
//
// Whoever hands it to a node that is older than bundles makes a question of it that
// such a node knows. In that, records are in Base64: the largest events do not fit.
type bundle struct {
	bundleHead
	records []byte
}

// bundleHead is what a bundle says besides. Fields that a node does not know are
// passed over.
type bundleHead struct {
	Region string  `json:"region"`
	Stream meta.ID `json:"stream"`
	Hops   int     `json:"hops"` // so far
}

// abroadRecord is a record for another region, as older nodes send it.
type abroadRecord struct {
	Stream meta.ID         `json:"stream"`
	Dedup  replication.Key `json:"dedup"`
	Data   []byte          `json:"data"`
}

// A bundle has no more than fits into a call, and its answer into another, also as
// older nodes send it; unless it is one record.
const (
	bundleBytes   = 768 << 10
	bundleRecords = 4096
	bundleRoom    = 160 // bytes of an abroadRecord besides its data, at most
)

// fitting is how many of some records one bundle takes, at least one.
func fitting(records []replication.Away) (n int) {
	for bytes := 0; n < min(len(records), bundleRecords); n++ {
		bytes += base64.StdEncoding.EncodedLen(len(records[n].Data)) + bundleRoom
		if bytes > bundleBytes && n > 0 {
			break
		}
	}
	return n
}

// sendBundle has a region keep records of a stream, all that fit into one bundle.
func (n *Node) sendBundle(ctx context.Context, region string, stream meta.ID, records []replication.Away) ([]Position, error) {
	p := &bundle{bundleHead{Region: region, Stream: stream}, replication.AppendAway(nil, records)}
	b, err := n.passBundle(ctx, p)
	var positions []Position
	if err := heardAbroad(region, b, err, &positions); err != nil {
		return nil, err
	}
	if len(positions) != len(records) {
		return nil, fmt.Errorf("%w: region %s answered for %d of %d events", replication.ErrUnknown, region, len(positions), len(records))
	}
	return positions, nil
}

// passBundle hands a bundle to the next node on the way.
func (n *Node) passBundle(ctx context.Context, p *bundle) ([]byte, error) {
	b, err := p.encode()
	if err != nil {
		return nil, err
	}
	next, err := n.nextTo(p.Region)
	if err != nil {
		return nil, err
	}
	answer, err := n.net.Call(ctx, next, kindBundle, b)
	if isUnknownCall(err) {
		answer, err = n.passOld(ctx, next, p)
	}
	if errors.Is(err, transport.ErrBusy) { // it did not look at the bundle
		err = &busyError{err}
	}
	return answer, err
}

// isUnknownCall reports whether a node has said that it is older than a call.
func isUnknownCall(err error) bool {
	var said *transport.CallError
	return errors.As(err, &said) && strings.HasPrefix(said.Text, unknownCall)
}

// passOld hands a bundle to a node that is older than bundles.
func (n *Node) passOld(ctx context.Context, next peer.ID, p *bundle) ([]byte, error) {
	q, err := p.question()
	if err != nil {
		return nil, err
	}
	answer, err := n.net.Call(ctx, next, kindAbroad, q)
	if errors.Is(err, transport.ErrTooLarge) {
		// It waits, where it may, until that node is upgraded or another way is there.
		err = fmt.Errorf("%w: node %s on the way to region %s is of an older version, and takes no event that large for a stream", ErrUnreachable, next.Short(), p.Region)
	}
	return answer, err
}

func (p *bundle) encode() ([]byte, error) {
	head, err := json.Marshal(p.bundleHead)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, binary.MaxVarintLen64+len(head)+len(p.records))
	b = append(binary.AppendUvarint(b, uint64(len(head))), head...)
	return append(b, p.records...), nil
}

func decodeBundle(b []byte) (p bundle, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return p, errors.New("a bundle for a region is malformed")
	}
	if err := json.Unmarshal(b[n:n+int(size)], &p.bundleHead); err != nil {
		return p, fmt.Errorf("a bundle for a region: %w", err)
	}
	p.records = b[n+int(size):]
	return p, nil
}

// question is the bundle as older nodes know it.
func (p *bundle) question() ([]byte, error) {
	list, err := p.list()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return json.Marshal(abroad{Region: p.Region, Kind: abroadKeep, Body: body, Hops: p.Hops})
}

func (p *bundle) list() ([]abroadRecord, error) {
	records, err := replication.DecodeAway(p.records)
	if err != nil {
		return nil, err
	}
	list := make([]abroadRecord, len(records))
	for i, r := range records {
		list[i] = abroadRecord{p.Stream, r.Key, r.Data}
	}
	return list, nil
}

// answerBundle keeps a bundle's records, or passes it on.
func (n *Node) answerBundle(ctx context.Context, body []byte) ([]byte, error) {
	p, err := decodeBundle(body)
	if err != nil {
		return nil, err
	}
	if p.Region != n.self.Region {
		if p.Hops++; p.Hops > maxAbroadHops {
			return nil, errors.New("the bundle has gone through too many nodes")
		}
		answer, err := n.passBundle(ctx, &p)
		if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrBusy) {
			return json.Marshal(refusalAbroad(err))
		}
		return answer, err
	}
	list, err := p.list()
	if err != nil {
		return nil, err
	}
	positions, err := n.keepOf(ctx, list)
	return replyAbroad(positions, err)
}

// answerKeep keeps what older nodes have sent.
func (n *Node) answerKeep(ctx context.Context, body []byte) (any, error) {
	var list []abroadRecord
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("records from another region: %w", err)
	}
	return n.keepOf(ctx, list)
}
