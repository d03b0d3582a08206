// Package repair makes up for packets that a network loses, before those above
// notice: QUIC takes each loss for congestion and slows down, which over a long
// way with a little random loss is the difference between kilobytes and
// megabytes a second.
//
// The packets to one peer are numbered. They form groups, which end after 48 to 64
// packets or after 5 ms, and behind a group come parity packets, any of which
// replaces any packet of the group (Reed-Solomon, a Cauchy matrix over GF(2^8)
// whose first row is all ones). How many follows from the loss that the other
// side reports: so many that one group in 5 000 cannot be made whole, and none
// while nothing is lost. The receiver hands packets up in order; those behind a
// hole wait for its repair, for 15 ms or 192 packets at most, because QUIC takes
// what is overtaken by three packets for lost as well.
//
// Congestion is not to be hidden. Parity is for 3 % loss at most, so that the
// losses of a queue that overflows get through; and there is none while round
// trips take half as long again as the quickest ones of late, for then packets
// wait in a queue, and what is lost is what did not fit.
//
// Packets, with numbers in network order; tag is what the receiver asked for,
// so that a stranger who cannot read the peers' packets cannot forge them
// either. All fit in MaxPacket bytes:
//
//	 0     1                5              9
//	+-----+----------------+--------------+----------------------
//	|  2  | tag            | number       | packet                no parity follows
//	|  3  | tag            | number       | packet                parity follows
//	|  4  | tag            | 8 times 0                  | packet  outside of the numbers
//	+-----+----------------+--------------+----------------------
//	|  5  | tag            | first number |count|index| parity    of count packets
//	|  6  | tag            | echo         | numbers(4) | lost(4) | largest(2)
//	|  7  | tag            | padding                             tries a size
//	+-----+----------------+--------------+----------------------
//
// Parity is over each packet's length (2 bytes) and content, as if followed by
// zeros up to the longest one. A report echoes a number that has just come,
// from which the other side learns the round trip, and tells how many numbers
// there were and were lost until now, repaired or not, and the size of the
// largest packet that came.
//
// The header takes room, on a path that may have little. Padding finds out how
// large packets may be, see ladder; until a size is known to pass, and where
// QUIC's packets have no room for what is added, they go as they are, so that
// repair never makes a path narrower for them. QUIC tries sizes as well. Those
// packets go as kind 4, as large as their parity would be: so QUIC settles on
// sizes that can be repaired, see conns.
//
// There are no sockets, clocks or goroutines here: an Encoder turns packets into
// those to send, a Decoder those that came into packets. Either belongs to one
// goroutine at a time. Times are since any moment that stays the same. Neither
// allocates for a packet; an Encoder takes 140 KiB and a Decoder 1.1 MiB once
// there is loss to repair, and little before.
package repair
