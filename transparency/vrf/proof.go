package vrf

import (
	"bytes"

	"filippo.io/edwards25519"
)

// Sections 5.1 to 5.3. A proof is
//
//	Gamma (32) || c (16) || s (32)
//
// with integers in little-endian order.

// Prove gives alpha's output and the proof of it (section 5.1). The same key and alpha always give the same bytes.
func (k *PrivateKey) Prove(alpha []byte) (proof [ProofSize]byte, output [OutputSize]byte) {
	h, ok := encodeToCurve(k.public.encoded, alpha)
	if !ok {
		panic("vrf: 256 hashes in a row are not points: SHA-512 is broken")
	}
	hString := [pointSize]byte(h.Bytes())
	nonce := k.nonce(hString)
	gamma := edwards25519.NewIdentityPoint().ScalarMult(k.scalar, h)
	u := edwards25519.NewIdentityPoint().ScalarBaseMult(nonce)
	v := edwards25519.NewIdentityPoint().ScalarMult(nonce, h)
	e := encodePoints(gamma, u, v, edwards25519.NewIdentityPoint().MultByCofactor(gamma))

	c := challenge(k.public.encoded, hString, e[0], e[1], e[2])
	s := edwards25519.NewScalar().MultiplyAdd(challengeScalar(c), k.scalar, nonce)

	copy(proof[:], e[0][:])
	copy(proof[gammaSize:], c[:])
	copy(proof[gammaSize+challengeSize:], s.Bytes())
	return proof, hashGamma(e[3])
}

// Verify checks that proof proves alpha's output, and gives that output (section 5.3 with validate_key set). The error is an
// [*Error].
func (k *PublicKey) Verify(alpha []byte, proof [ProofSize]byte) (output [OutputSize]byte, err error) {
	if k.negative == nil {
		return output, &Error{"public key", "not parsed"}
	}
	p, err := decodeProof(proof)
	if err != nil {
		return output, err
	}
	h, ok := encodeToCurve(k.encoded, alpha)
	if !ok {
		return output, &Error{"alpha", "256 hashes are not points"}
	}
	// The points are negated and not the scalar: q-c in place of -c differs by q times a point, which is not the identity
	// where Gamma or Y has a small-order part, and then one verifier refuses what another accepts.
	cScalar := challengeScalar(p.c)
	u := edwards25519.NewIdentityPoint().VarTimeDoubleScalarBaseMult(cScalar, k.negative, p.s)
	v := edwards25519.NewIdentityPoint().VarTimeMultiScalarMult(
		[]*edwards25519.Scalar{p.s, cScalar},
		[]*edwards25519.Point{h, edwards25519.NewIdentityPoint().Negate(p.gamma)})
	e := encodePoints(h, u, v, edwards25519.NewIdentityPoint().MultByCofactor(p.gamma))
	c := challenge(k.encoded, e[0], [gammaSize]byte(proof[:gammaSize]), e[1], e[2])
	if !bytes.Equal(c[:], p.c[:]) {
		return output, &Error{"proof", "does not hold for this key and alpha"}
	}
	return hashGamma(e[3]), nil
}

type decodedProof struct {
	gamma *edwards25519.Point
	c     [challengeSize]byte
	s     *edwards25519.Scalar
}

// decodeProof is section 5.4.4. Gamma may be any point: for one of small order nobody has an s and c that hold under a
// validated key, and for one with a small-order part see the package comment.
func decodeProof(proof [ProofSize]byte) (decodedProof, error) {
	gamma, ok := decodePoint(proof[:gammaSize])
	if !ok {
		return decodedProof{}, &Error{"gamma", "not the canonical encoding of a point"}
	}
	s, err := edwards25519.NewScalar().SetCanonicalBytes(proof[gammaSize+challengeSize:])
	if err != nil {
		return decodedProof{}, &Error{"s", "not below the group's order"}
	}
	return decodedProof{gamma, [challengeSize]byte(proof[gammaSize:]), s}, nil
}
