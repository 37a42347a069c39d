package transparency

import (
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// CompactRange has the hashes of the complete subtrees that a tree is made of: all that adding a leaf or computing the root needs
// to know. The zero value is the empty tree.
type CompactRange struct {
	size   int64
	hashes []tlog.Hash // the largest first
}

// LoadCompactRange reads that of a tree of size entries.
func LoadCompactRange(size int64, r tlog.HashReader) (CompactRange, error) {
	hashes, err := r.ReadHashes(RangeIndexes(size))
	return CompactRange{size, hashes}, err
}

// RangeIndexes are the indexes, as tlog.StoredHashIndex has them, of the hashes that the range of a tree of size entries is made of.
func RangeIndexes(size int64) (indexes []int64) {
	for level := 62; level >= 0; level-- {
		if size&(1<<level) != 0 {
			indexes = append(indexes, tlog.StoredHashIndex(level, size>>level-1))
		}
	}
	return indexes
}

// Hashes of the range, for storage; LoadCompactRange asks for them in this order.
func (c CompactRange) Hashes() []tlog.Hash { return slices.Clone(c.hashes) }

// Size is the number of leaves.
func (c CompactRange) Size() int64 { return c.size }

// With returns the range with one more leaf, and the hashes that are complete from then on, in the order of their
// tlog.StoredHashIndex.
func (c CompactRange) With(leaf tlog.Hash) (CompactRange, []tlog.Hash) {
	complete := []tlog.Hash{leaf}
	rest := c.hashes
	for range bits.TrailingZeros64(^uint64(c.size)) {
		leaf = tlog.NodeHash(rest[len(rest)-1], leaf)
		rest = rest[:len(rest)-1]
		complete = append(complete, leaf)
	}
	return CompactRange{c.size + 1, append(rest[:len(rest):len(rest)], leaf)}, complete
}

// Root of the tree.
func (c CompactRange) Root() tlog.Hash {
	if c.size == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return h
	}
	h := c.hashes[len(c.hashes)-1]
	for i := len(c.hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(c.hashes[i], h)
	}
	return h
}

// Path is the RFC 6962 inclusion proof that the next leaf will have, while it is the newest.
func (c CompactRange) Path() []tlog.Hash {
	path := slices.Clone(c.hashes)
	slices.Reverse(path)
	return path
}
