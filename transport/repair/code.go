package repair

import "github.com/klauspost/reedsolomon"

const (
	maxGroup  = 64 // packets of a group
	maxParity = 16 // parity packets of a group
)

// field is arithmetic over bytes: GF(2^8).
var field reedsolomon.LowLevel

// matrix is what each packet of a group is multiplied with for each parity
// packet. Every square part of it can be inverted: it is a Cauchy matrix, whose
// columns were scaled so that the first row is all ones, which only needs XOR.
var matrix = func() (m [maxParity][maxGroup]byte) {
	for column := range m[0] {
		y := byte(maxParity + column)
		for row := range m {
			m[row][column] = multiply(reedsolomon.Inv(byte(row)^y), y)
		}
	}
	return m
}()

func multiply(a, b byte) byte {
	var product [1]byte
	field.GalMulSlice(a, []byte{b}, product[:])
	return product[0]
}

// addTo adds a packet's part to a parity, or takes it away again: in this field
// that is the same. The parity must be as long at least.
func addTo(parity []byte, row, column int, shard []byte) {
	field.GalMulSliceXor(matrix[row][column], shard, parity)
}

// solve turns parities, from which the parts of all other packets were taken
// away, into the packets of the columns. rows and columns are as many as there
// are parities, all of the same length.
func solve(parities [][]byte, rows, columns []int) {
	var a [maxParity][maxParity]byte
	n := len(parities)
	for i := range n {
		for j := range n {
			a[i][j] = matrix[rows[i]][columns[j]]
		}
	}
	// Gauss-Jordan. No part of the matrix is singular, so that what is left of a
	// column is never zero on the diagonal.
	for pivot := range n {
		if scale := reedsolomon.Inv(a[pivot][pivot]); scale != 1 {
			for j := range n {
				a[pivot][j] = multiply(scale, a[pivot][j])
			}
			field.GalMulSlice(scale, parities[pivot], parities[pivot])
		}
		for i := range n {
			by := a[i][pivot]
			if i == pivot || by == 0 {
				continue
			}
			for j := range n {
				a[i][j] ^= multiply(by, a[pivot][j])
			}
			field.GalMulSliceXor(by, parities[pivot], parities[i])
		}
	}
}
