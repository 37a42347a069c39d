package prefixtree

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

const labelBits = 256

// What each kind of hash begins with. No two begin alike, and none as a hash of the log (RFC 6962) does.
const (
	textEmpty = "waxwing map void v1\x00"
	textLeaf  = "waxwing map leaf v1\x00"
	textNode  = "waxwing map node v1\x00"
)

var hashEmpty = sha256.Sum256([]byte(textEmpty))

func (l Leaf) hash() [32]byte {
	var b [len(textLeaf) + 64]byte
	n := copy(b[:], textLeaf)
	n += copy(b[n:], l.Label[:])
	copy(b[n:], l.Value[:])
	return sha256.Sum256(b[:])
}

// hashNode takes the prefix from any label beneath the node. The 117 bytes are two blocks of SHA-256; left and right alone
// would be as many, so the prefix costs nothing.
func hashNode(depth int, label, left, right *[32]byte) [32]byte {
	var b [len(textNode) + 1 + 3*32]byte
	n := copy(b[:], textNode)
	b[n] = byte(depth)
	p := prefix(label, depth)
	n += 1 + copy(b[n+1:], p[:])
	n += copy(b[n:], left[:])
	copy(b[n:], right[:])
	return sha256.Sum256(b[:])
}

// hashFork is the hash of a node on the way to label, of the child on that way and of the other one.
func hashFork(depth int, label, child, sibling *[32]byte) [32]byte {
	if bit(label, depth) == 0 {
		return hashNode(depth, label, child, sibling)
	}
	return hashNode(depth, label, sibling, child)
}

// bit i of a label, counted from the most significant one of the first byte; 0 behind the end.
func bit(label *[32]byte, i int) int {
	if i >= labelBits {
		return 0
	}
	return int(label[i/8]>>(7-i%8)) & 1
}

// prefix is the label with all bits from n on zero.
func prefix(label *[32]byte, n int) (p [32]byte) {
	copy(p[:], label[:n/8])
	if n%8 != 0 {
		p[n/8] = label[n/8] & ^byte(0xff>>(n%8))
	}
	return p
}

// commonPrefix is the number of the first bit in which a and b differ, 256 if they do not.
func commonPrefix(a, b [32]byte) int {
	for i := 0; i < 32; i += 8 {
		if x := binary.BigEndian.Uint64(a[i:]) ^ binary.BigEndian.Uint64(b[i:]); x != 0 {
			return 8*i + bits.LeadingZeros64(x)
		}
	}
	return labelBits
}
