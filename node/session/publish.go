package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// maxScratch is how many events of a frame are room that is kept for the next.
const maxScratch = 4096

// publish gives the events of a publish frame to the broker and acknowledges
// the frame once they are routed. The broker keeps nothing of body. Where there
// are streams, that is done while the next frames are read: see late.
func (x *session) publish(body []byte) error {
	waits := x.server.keeper != nil && (x.server.keeper.Keeps() || !x.late.idle())
	if waits {
		body = bytes.Clone(body) // the next frame is read before this one is published
	}
	first, namespace, rest, err := wire.ReadPublish(body)
	if err != nil {
		return err
	}
	if x.next != 0 && first != x.next {
		return &wire.Refusal{Code: wire.CodeProtocol, Reason: fmt.Sprintf("event %d follows event %d", first, x.next-1)}
	}
	evs := x.events[:0]
	var bad []uint64 // the numbers that are refused already
	var numbers []uint64
	if waits {
		evs = nil
	}
	number := first
	for ; len(rest) > 0; number++ {
		var envelope []byte
		if envelope, rest, err = wire.NextEvent(rest); err != nil {
			return err
		}
		evs = append(evs, event.Event{})
		if err := x.check(&evs[len(evs)-1], envelope); err != nil {
			evs = evs[:len(evs)-1]
			bad = append(bad, number)
			x.nack(number, 1, err)
		} else if waits {
			numbers = append(numbers, number)
		}
	}
	if number == first || number < first {
		return &wire.Refusal{Code: wire.CodeProtocol, Reason: "a publish frame without events"}
	}
	x.next = number
	if waits {
		return x.postpone(lateFrame{namespace: strings.Clone(namespace), first: first, last: number - 1, evs: evs, numbers: numbers, bytes: len(body)})
	}
	if len(evs) > 0 {
		switch err := x.server.broker.Publish(x.ctx, namespace, evs, x.overflow); {
		case err == nil:
			x.server.count.in.Add(uint64(len(evs)))
		case x.ctx.Err() != nil: // it may have been routed in part: no answer is the true answer
			return context.Cause(x.ctx)
		default:
			from, partial := first, (*node.PartialError)(nil)
			if errors.As(err, &partial) {
				from = numberOf(partial.Routed, first, bad)
				x.server.count.in.Add(uint64(partial.Routed))
			}
			x.nack(from, number-from, err)
		}
	}
	if clear(evs); cap(evs) > maxScratch {
		evs = nil
	}
	x.events = evs
	x.send(func(dst []byte) []byte { return wire.AppendAck(dst, number-1) })
	return nil
}

// numberOf is the number of the i-th event, from 0, of those from first on that are
// not bad.
func numberOf(i int, first uint64, bad []uint64) uint64 {
	number := first + uint64(i)
	for _, b := range bad {
		if b <= number {
			number++
		}
	}
	return number
}

// check reads an event from a client, who is not trusted to send one.
func (x *session) check(ev *event.Event, envelope []byte) error {
	if most := x.server.cfg.MaxEvent; len(envelope) > most {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", event.ErrTooLarge, len(envelope), most)
	}
	if err := ev.Scan(envelope); err != nil {
		return err
	}
	return ev.Check()
}

// nack tells that count events from first on were not routed. Where several
// nacks name an event, the first says why.
func (x *session) nack(first, count uint64, err error) {
	x.server.count.refused.Add(count)
	why := refusal(err)
	if why.Code == wire.CodeInternal {
		x.server.cfg.Log.Error("publishing for a native client failed", "agent", x.agent, "err", err)
	}
	x.send(func(dst []byte) []byte { return wire.AppendNack(dst, first, count, why) })
}
