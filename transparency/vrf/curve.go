package vrf

import (
	"bytes"
	"crypto/sha512"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// Section 5.4: the hashes of the suite, and the way between bytes and points (section 5.5).

const (
	pointSize     = 32 // ptLen
	gammaSize     = pointSize
	challengeSize = 16 // cLen
	scalarSize    = 32 // qLen
)

// The first byte of every hash that is not a nonce, and the second, which says what for. The last byte is 0.
const (
	suite = 0x03

	domainEncodeToCurve = 0x01
	domainChallenge     = 0x02
	domainProofToHash   = 0x03
)

// decodePoint is string_to_point: decoding as section 5.1.3 of RFC 8032 has it. SetBytes is more lenient; it also takes a y
// that is not reduced, and a sign for an x of zero.
func decodePoint(encoded []byte) (*edwards25519.Point, bool) {
	p, err := edwards25519.NewIdentityPoint().SetBytes(encoded)
	return p, err == nil && bytes.Equal(p.Bytes(), encoded)
}

// encodePoints is point_to_string for several points at the price of one inversion, a tenth of a proof's time: the inverse of
// all z multiplied gives each one's (Montgomery's trick). The time it takes depends on the number of points only.
func encodePoints(points ...*edwards25519.Point) [][pointSize]byte {
	before := make([]field.Element, len(points)) // the product of the z before this one
	inverse := new(field.Element).One()
	for i, p := range points {
		_, _, z, _ := p.ExtendedCoordinates()
		before[i].Set(inverse)
		inverse.Multiply(inverse, z)
	}
	inverse.Invert(inverse)
	encoded := make([][pointSize]byte, len(points))
	for i := len(points) - 1; i >= 0; i-- {
		x, y, z, _ := points[i].ExtendedCoordinates()
		own := before[i].Multiply(&before[i], inverse)
		inverse.Multiply(inverse, z)
		encoded[i] = [pointSize]byte(y.Multiply(y, own).Bytes())
		encoded[i][pointSize-1] |= byte(x.Multiply(x, own).IsNegative() << 7)
	}
	return encoded
}

func isSmallOrder(p *edwards25519.Point) bool {
	cleared := edwards25519.NewIdentityPoint().MultByCofactor(p)
	return cleared.Equal(edwards25519.NewIdentityPoint()) == 1
}

// encodeToCurve hashes alpha to a point of the prime-order group (section 5.4.1.1). The salt is the public key, so that no
// two keys have a point in common.
func encodeToCurve(salt [PublicKeySize]byte, alpha []byte) (*edwards25519.Point, bool) {
	h := sha512.New()
	return tryAndIncrement(func(ctr byte) [pointSize]byte {
		h.Reset()
		h.Write([]byte{suite, domainEncodeToCurve})
		h.Write(salt[:])
		h.Write(alpha)
		h.Write([]byte{ctr, 0})
		var sum [sha512.Size]byte
		return [pointSize]byte(h.Sum(sum[:0]))
	})
}

// tryAndIncrement takes the first candidate that is a point and not of small order, and clears its cofactor. About every
// second candidate will do. The counter is one byte: after 256 there is no next one.
func tryAndIncrement(candidate func(ctr byte) [pointSize]byte) (*edwards25519.Point, bool) {
	for ctr := range 256 {
		encoded := candidate(byte(ctr))
		if p, ok := decodePoint(encoded[:]); ok && !isSmallOrder(p) {
			return p.MultByCofactor(p), true
		}
	}
	return nil, false
}

// nonce is section 5.4.2.2: it follows from the key and the hashed alpha, so that no weak source of randomness can repeat it.
func (k *PrivateKey) nonce(hString [pointSize]byte) *edwards25519.Scalar {
	h := sha512.New()
	h.Write(k.prefix[:])
	h.Write(hString[:])
	return mustScalar(edwards25519.NewScalar().SetUniformBytes(h.Sum(nil)))
}

// challenge is section 5.4.3. The drafts before the RFC left the public key out; what they made does not verify.
func challenge(publicKey, hString, gamma, u, v [pointSize]byte) [challengeSize]byte {
	h := sha512.New()
	h.Write([]byte{suite, domainChallenge})
	for _, p := range [][pointSize]byte{publicKey, hString, gamma, u, v} {
		h.Write(p[:])
	}
	h.Write([]byte{0})
	return [challengeSize]byte(h.Sum(nil))
}

// challengeScalar cannot fail: 128 bits are below the order.
func challengeScalar(c [challengeSize]byte) *edwards25519.Scalar {
	var wide [scalarSize]byte
	copy(wide[:], c[:])
	return mustScalar(edwards25519.NewScalar().SetCanonicalBytes(wide[:]))
}

func mustScalar(s *edwards25519.Scalar, err error) *edwards25519.Scalar {
	if err != nil {
		panic("vrf: " + err.Error())
	}
	return s
}

// hashGamma is the output; it takes cofactor*Gamma (section 5.2).
func hashGamma(cleared [pointSize]byte) [OutputSize]byte {
	h := sha512.New()
	h.Write([]byte{suite, domainProofToHash})
	h.Write(cleared[:])
	h.Write([]byte{0})
	return [OutputSize]byte(h.Sum(nil))
}
