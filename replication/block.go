package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/replication/fields"
)

// Block is what a reader that wants some of a log's records gets of it: those that
// it wants among all that were looked at.
type Block struct {
	Start int64 // of the log
	End   int64 // of the log: the offset that its next record gets
	From  int64 // the first offset that was looked at
	Next  int64 // where reading goes on: all before was looked at
	List  []BlockRecord
}

// BlockRecord is a record with its place in the log.
type BlockRecord struct {
	Offset int64
	Time   int64 // nanoseconds since 1970, of the leader that took it
	Data   []byte
}

const (
	// selectScan is how many bytes are looked at for one block, about: who wants
	// little of much is told now and then how far that is.
	selectScan = 16 << 20
	// BlockBytes bounds the records of a block, if it has more than one.
	BlockBytes = 768 << 10
)

// Select reads as Read does, and leaves out records that keep, if there is one, does
// not want. While there is nothing that it wants it looks on, and waits, for as long
// as the question says and up to where it ends; then the block has no records.
func (r *Member) Select(ctx context.Context, q Read, keep func(data []byte) bool) (Block, error) {
	until := time.Now().Add(min(q.Wait, maxWait))
	if q.Bytes <= 0 {
		q.Bytes = readBytes
	}
	q.Bytes = min(q.Bytes, BlockBytes)
	var b Block
	for began, size, looked := false, 0, 0; ; began = true {
		got, err := r.Read(ctx, q)
		if err != nil && began && b.Next > b.From {
			return b, nil // the next question meets the error
		}
		if err != nil {
			return Block{}, err
		}
		if !began {
			b.From = got.Offset
		}
		b.Start, b.End, b.Next = got.Start, got.End, got.Offset
		for _, rec := range got.List {
			looked += len(rec.Data)
			if keep == nil || keep(rec.Data) {
				if size += len(rec.Data); size > q.Bytes && len(b.List) > 0 {
					return b, nil
				}
				if keep != nil {
					rec.Data = bytes.Clone(rec.Data) // not to hold all that lies around it
				}
				b.List = append(b.List, BlockRecord{b.Next, rec.Time, rec.Data})
			}
			if b.Next++; q.over(b.Next) {
				return b, nil
			}
		}
		q.From, q.Offset, q.Wait = FromOffset, b.Next, max(0, time.Until(until))
		switch {
		case size >= q.Bytes, looked >= selectScan, ctx.Err() != nil:
			return b, nil
		case q.over(b.Next):
			return b, nil
		case b.Next >= b.End && (len(b.List) > 0 || q.Wait == 0):
			return b, nil
		}
	}
}

// blockVersion is the first byte of a block.
const blockVersion = 1

// AppendTo appends the block in a binary form, which DecodeBlock reads:
//
//	block:  version (1) | start | end | from | next | records | record …
//	record: offset less that which would come next | time less that of the record before (varint) | length | data
//
// Numbers are unsigned varints where nothing is said.
func (b *Block) AppendTo(dst []byte) []byte {
	dst = append(dst, blockVersion)
	for _, n := range []int64{b.Start, b.End, b.From, b.Next, int64(len(b.List))} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	at, now := b.From, int64(0)
	for i := range b.List {
		rec := &b.List[i]
		dst = binary.AppendUvarint(dst, uint64(rec.Offset-at))
		dst = binary.AppendVarint(dst, rec.Time-now)
		dst = binary.AppendUvarint(dst, uint64(len(rec.Data)))
		dst = append(dst, rec.Data...)
		at, now = rec.Offset+1, rec.Time
	}
	return dst
}

// errBlock is wrapped by what is wrong with a block.
var errBlock = errors.New("replication: a malformed block")

// DecodeBlock reads what AppendTo wrote: b whole, and nothing else. The records lie
// in b, in order, between From and Next.
func DecodeBlock(b []byte) (Block, error) {
	const most = 1<<63 - 1
	switch {
	case len(b) == 0:
		return Block{}, fmt.Errorf("%w: it is empty", errBlock)
	case b[0] != blockVersion:
		return Block{}, fmt.Errorf("%w: version %d, this node knows %d", errBlock, b[0], blockVersion)
	}
	f := fields.Reader{Rest: b[1:]}
	var out Block
	for _, n := range []*int64{&out.Start, &out.End, &out.From, &out.Next} {
		*n = int64(f.Number(most))
	}
	at, now := out.From, int64(0)
	for n := f.Number(uint64(len(b))); n > 0 && !f.Bad; n-- {
		rec := BlockRecord{Offset: at + int64(f.Number(most))}
		step := f.Number(1<<64 - 1)
		rec.Time = now + (int64(step>>1) ^ -int64(step&1))
		rec.Data = f.Take(f.Number(uint64(len(b))))
		if rec.Offset < at || rec.Offset >= out.Next {
			return Block{}, fmt.Errorf("%w: a record at %d, between %d and %d", errBlock, rec.Offset, at, out.Next)
		}
		at, now = rec.Offset+1, rec.Time
		out.List = append(out.List, rec)
	}
	if !f.Over() || out.Next < out.From {
		return Block{}, fmt.Errorf("%w: it does not end where it should", errBlock)
	}
	return out, nil
}

// Before is the block without what lies at an offset of it, or behind that.
func (b Block) Before(offset int64) Block {
	for n := len(b.List); n > 0 && b.List[n-1].Offset >= offset; n-- {
		b.List = b.List[:n-1]
	}
	b.Next = min(b.Next, offset)
	return b
}

// After is the block without what lies before an offset of it.
func (b Block) After(offset int64) Block {
	for len(b.List) > 0 && b.List[0].Offset < offset {
		b.List = b.List[1:]
	}
	b.From = max(b.From, offset)
	return b
}
