package prefixtree

import (
	"math/bits"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

const proofVersion = 1

// Marshal returns the proof's only encoding, of at most 8291 bytes (spec/prefix-tree.md). With labels that are hashes it has
// about 32 bytes for each doubling of the map.
func (p Proof) Marshal() []byte {
	var path [32]byte
	used := 0
	for _, s := range p.path {
		path[s.depth/8] |= 0x80 >> (s.depth % 8)
		used = int(s.depth)/8 + 1
	}
	b := make([]byte, 0, 3+used+32*len(p.path)+1+3*32)
	b = append(b, proofVersion, byte(p.kind), byte(used))
	b = append(b, path[:used]...)
	for _, s := range p.path {
		b = append(b, s.sibling[:]...)
	}
	if p.other != nil {
		b = p.other.append(b)
	}
	return b
}

func (l Leaf) append(b []byte) []byte { return append(append(b, l.Label[:]...), l.Value[:]...) }

func (n branch) append(b []byte) []byte {
	b = append(b, n.depth)
	b = append(b, n.bits[:prefixBytes(n.depth)]...)
	b = append(b, n.left[:]...)
	return append(b, n.right[:]...)
}

func prefixBytes(depth uint8) int { return (int(depth) + 7) / 8 }

// ParseProof reads what Marshal wrote. It says nothing of whether the proof holds.
func ParseProof(b []byte) (Proof, error) {
	s := cryptobyte.String(b)
	var version, kind8 uint8
	if !s.ReadUint8(&version) || version != proofVersion || !s.ReadUint8(&kind8) || kind(kind8) > kindNode {
		return Proof{}, failed("T1", "%d bytes are not a version 1 proof of a known kind", len(b))
	}
	p := Proof{kind: kind(kind8)}
	err := p.readPath(&s)
	if err == nil {
		err = p.readNeighbour(&s)
	}
	switch {
	case err != nil:
		return Proof{}, err
	case !s.Empty():
		return Proof{}, failed("T1", "%d bytes after the proof", len(s))
	case p.kind == kindEmpty && len(p.path) > 0:
		return Proof{}, failed("T3", "an empty tree with a path")
	}
	return p, nil
}

// readPath takes no memory before all its bytes are there.
func (p *Proof) readPath(s *cryptobyte.String) error {
	var path cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&path) {
		return failed("T1", "the proof ends early")
	}
	if len(path) > 32 || len(path) > 0 && path[len(path)-1] == 0 {
		return failed("T2", "a path of %d bytes that is too long or ends with nothing", len(path))
	}
	nodes := 0
	for _, eight := range path {
		nodes += bits.OnesCount8(eight)
	}
	if len(*s) < 32*nodes {
		return failed("T1", "%d bytes for %d hashes", len(*s), nodes)
	}
	p.path = slices.Grow(p.path, nodes)
	for i, eight := range path {
		for eight != 0 {
			first := bits.LeadingZeros8(eight)
			eight &^= 0x80 >> first
			next := step{depth: uint8(8*i + first)}
			s.CopyBytes(next.sibling[:])
			p.path = append(p.path, next)
		}
	}
	return nil
}

func (p *Proof) readNeighbour(s *cryptobyte.String) error {
	switch p.kind {
	case kindLeaf:
		var l Leaf
		if !s.CopyBytes(l.Label[:]) || !s.CopyBytes(l.Value[:]) {
			return failed("T1", "the proof ends early")
		}
		p.other = l
	case kindNode:
		var n branch
		if !s.ReadUint8(&n.depth) || !s.CopyBytes(n.bits[:prefixBytes(n.depth)]) ||
			!s.CopyBytes(n.left[:]) || !s.CopyBytes(n.right[:]) {
			return failed("T1", "the proof ends early")
		}
		if cut := prefix(&n.bits, int(n.depth)); cut != n.bits {
			return failed("T4", "a prefix has bits behind its end")
		}
		p.other = n
	}
	return nil
}
