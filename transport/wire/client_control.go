package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The small frames of the native client protocol, see client.go.

// AppendAck appends an ack frame.
func AppendAck(dst []byte, last uint64) []byte { return appendNumbers(dst, Ack, last) }

// AppendCredit appends a credit frame.
func AppendCredit(dst []byte, sid uint64, bytes int) []byte {
	return appendNumbers(dst, Credit, sid, uint64(bytes))
}

// AppendUnsubscribe appends an unsubscribe frame.
func AppendUnsubscribe(dst []byte, sid uint64) []byte { return appendNumbers(dst, Unsubscribe, sid) }

// AppendNack appends a nack frame.
func AppendNack(dst []byte, first, count uint64, why *Refusal) []byte {
	var b [2 * binary.MaxVarintLen64]byte
	head := binary.AppendUvarint(binary.AppendUvarint(b[:0], first), count)
	return appendRefusal(dst, Nack, head, why)
}

// AppendEnded appends an ended frame.
func AppendEnded(dst []byte, sid uint64, why *Refusal) []byte {
	var b [binary.MaxVarintLen64]byte
	return appendRefusal(dst, Ended, binary.AppendUvarint(b[:0], sid), why)
}

// AppendBye appends a bye frame.
func AppendBye(dst []byte, why *Refusal) []byte { return appendRefusal(dst, Bye, nil, why) }

// AppendSubscribe appends a subscribe frame. The request's filter must be JSON.
func AppendSubscribe(dst []byte, sid uint64, req *Request) []byte {
	return AppendFrame(dst, Subscribe, append(binary.AppendUvarint(nil, sid), mustJSON(req)...))
}

// ReadSubscribe reads the body of a subscribe frame. When only the request is
// bad, sid is there with the error.
func ReadSubscribe(body []byte) (sid uint64, req Request, err error) {
	sid, n, err := readLength(body)
	if err != nil {
		return 0, req, err
	}
	if err := json.Unmarshal(body[n:], &req); err != nil {
		return sid, req, fmt.Errorf("%w: subscription: %w", ErrMalformed, err)
	}
	return sid, req, nil
}

// AppendSubscribed appends a subscribed frame; missing are the regions that
// have not confirmed the interest.
func AppendSubscribed(dst []byte, sid uint64, missing []string) []byte {
	body := binary.AppendUvarint(nil, sid)
	for _, region := range missing {
		body = appendText(body, region)
	}
	return AppendFrame(dst, Subscribed, body)
}

// ReadSubscribed reads the body of a subscribed frame.
func ReadSubscribed(body []byte) (sid uint64, missing []string, err error) {
	sid, n, err := readLength(body)
	if err != nil {
		return 0, nil, err
	}
	for body = body[n:]; len(body) > 0; body = body[n:] {
		var region string
		if region, n, err = readText(body, MaxRegion); err != nil {
			return 0, nil, err
		}
		missing = append(missing, strings.Clone(region))
	}
	return sid, missing, nil
}

// AppendGap appends a gap frame.
func AppendGap(dst []byte, sid uint64, loss *Loss) []byte {
	body := binary.AppendUvarint(nil, sid)
	body = binary.AppendUvarint(body, loss.Count)
	body = binary.AppendVarint(body, unixNano(loss.From))
	body = binary.AppendVarint(body, unixNano(loss.To))
	return AppendFrame(dst, Gap, appendText(appendText(body, cut(loss.Cause)), cut(loss.Origin)))
}

// ReadGap reads the body of a gap frame.
func ReadGap(body []byte) (sid uint64, loss Loss, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, loss, err
	}
	if loss.Count, body, err = number(body); err != nil {
		return 0, loss, err
	}
	for _, at := range []*time.Time{&loss.From, &loss.To} {
		v, n := binary.Varint(body)
		if n <= 0 {
			return 0, loss, ErrTruncated
		}
		if body = body[n:]; v != 0 {
			*at = time.Unix(0, v)
		}
	}
	cause, n, err := readText(body, MaxReason)
	if err != nil {
		return 0, loss, err
	}
	loss.Cause = strings.Clone(cause)
	origin, _, err := readText(body[n:], MaxReason)
	loss.Origin = strings.Clone(origin)
	return sid, loss, err
}

// ReadNumber reads the body of an ack or unsubscribe frame.
func ReadNumber(body []byte) (uint64, error) {
	v, _, err := number(body)
	return v, err
}

// ReadCredit reads the body of a credit frame.
func ReadCredit(body []byte) (sid, bytes uint64, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, 0, err
	}
	bytes, _, err = number(body)
	return sid, bytes, err
}

// ReadNack reads the body of a nack frame.
func ReadNack(body []byte) (first, count uint64, why *Refusal, err error) {
	if first, body, err = number(body); err != nil {
		return 0, 0, nil, err
	}
	if count, body, err = number(body); err != nil {
		return 0, 0, nil, err
	}
	why, err = readRefusal(body)
	return first, count, why, err
}

// ReadEnded reads the body of an ended frame.
func ReadEnded(body []byte) (sid uint64, why *Refusal, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, nil, err
	}
	why, err = readRefusal(body)
	return sid, why, err
}

// ReadBye reads the body of a bye frame.
func ReadBye(body []byte) (*Refusal, error) { return readRefusal(body) }

func appendNumbers(dst []byte, kind Kind, numbers ...uint64) []byte {
	var b [3 * binary.MaxVarintLen64]byte
	body := b[:0]
	for _, v := range numbers {
		body = binary.AppendUvarint(body, v)
	}
	return AppendFrame(dst, kind, body)
}

func appendRefusal(dst []byte, kind Kind, head []byte, why *Refusal) []byte {
	body := appendText(head, string(why.Code))
	return AppendFrame(dst, kind, appendText(body, cut(why.Reason)))
}

func readRefusal(body []byte) (*Refusal, error) {
	code, n, err := readText(body, maxCode)
	if err != nil {
		return nil, err
	}
	reason, _, err := readText(body[n:], MaxReason)
	if err != nil {
		return nil, err
	}
	return &Refusal{Code: Code(strings.Clone(code)), Reason: strings.Clone(reason)}, nil
}

// number reads a uvarint and returns what follows it.
func number(b []byte) (uint64, []byte, error) {
	v, n, err := readLength(b)
	return v, b[n:], err
}

// cut is s or its beginning of at most MaxReason bytes, at a character's end.
func cut(s string) string {
	if len(s) <= MaxReason {
		return s
	}
	n := MaxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
