package mls

import (
	"crypto/ecdh"
	"encoding/hex"
)

// What others give us to encrypt to. HPKE demands that a Diffie-Hellman result of zero be refused (RFC 9180 section 7.1.4), which
// its implementation does while it encrypts: a member with such a key would keep everybody from committing. So the key is refused
// before it gets into a tree.

// checkPublicKey refuses bytes that are no HPKE public key of the suite, or one whose every shared secret is zero.
func (s *suite) checkPublicKey(what string, key []byte) error {
	if len(key) != s.npk {
		return invalid("%s of %d bytes (5.1.1)", what, len(key))
	}
	if !s.usable(key) {
		return invalid("%s that nothing can be encrypted to (RFC 9180 7.1.4)", what)
	}
	return nil
}

func (s *suite) usable(key []byte) bool {
	switch s.id {
	case P256AES128GCMSHA256P256:
		return onCurve(ecdh.P256(), key)
	case P384AES256GCMSHA384P384:
		return onCurve(ecdh.P384(), key)
	case P521AES256GCMSHA512P521:
		return onCurve(ecdh.P521(), key)
	case X448AES256GCMSHA512Ed448, X448ChaCha20Poly1305SHA512Ed448:
		return !smallOrder448[[56]byte(key)]
	case MLKEM768X25519AES256GCMSHA384Ed25519:
		return usableXWing(key)
	}
	return usable25519(key)
}

func usable25519(key []byte) bool {
	point := [32]byte(key)
	point[31] &= 0x7f // X25519 ignores the highest bit
	return !smallOrder25519[point]
}

// onCurve holds for an uncompressed point other than infinity; the curves have no small subgroups.
func onCurve(c ecdh.Curve, key []byte) bool {
	_, err := c.NewPublicKey(key)
	return err == nil
}

// The points of small order, in every form that 255 or 448 bits have room for: 0, 1, p-1 and, not reduced, p and p+1; on
// Curve25519 the two of order 8 as well.
var (
	smallOrder25519 = pointSet[[32]byte](
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	)
	smallOrder448 = pointSet[[56]byte](
		"0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
		"fefffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"fffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"00000000000000000000000000000000000000000000000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	)
)

func pointSet[T ~[32]byte | ~[56]byte](points ...string) map[T]bool {
	set := map[T]bool{}
	for _, p := range points {
		raw, err := hex.DecodeString(p)
		if err != nil {
			panic("mls: a point of small order: " + err.Error())
		}
		var point T
		for i, b := range raw {
			point[i] = b
		}
		set[point] = true
	}
	return set
}
