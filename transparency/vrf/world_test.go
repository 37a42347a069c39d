package vrf_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"errors"

	"filippo.io/edwards25519"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

var alice = []byte("https://a.example/users/alice")

// key is a key that follows from a number.
func key(t require.TestingT, n byte) *vrf.PrivateKey {
	k, err := vrf.NewPrivateKey(bytes.Repeat([]byte{n}, vrf.SeedSize))
	require.NoError(t, err)
	return k
}

// requireRefused wants an Error over a part, and no output with it.
func requireRefused(t require.TestingT, part string, output [vrf.OutputSize]byte, err error) {
	var e *vrf.Error
	require.True(t, errors.As(err, &e), "refused: %v", err)
	require.Equal(t, part, e.Part)
	require.Zero(t, output)
}

func newPoint() *edwards25519.Point { return edwards25519.NewIdentityPoint() }

func number(t require.TestingT, n byte) *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{n}, make([]byte, 31)...))
	require.NoError(t, err)
	return s
}

// smallOrder gives the eight points that the cofactor makes the identity of: the multiples of one of order eight.
func smallOrder(t require.TestingT) (points [8]*edwards25519.Point) {
	b, err := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
	require.NoError(t, err)
	generator, err := newPoint().SetBytes(b)
	require.NoError(t, err)
	points[0] = newPoint()
	for i := 1; i < len(points); i++ {
		points[i] = newPoint().Add(points[i-1], generator)
	}
	return points
}

// A prover does what sections 5.1 and 5.4 say, in the plainest way, and may do it with bad intent: its key, its nonces and
// Gamma can be other than Prove would have them.
type prover struct {
	x          *edwards25519.Scalar
	y          *edwards25519.Point
	gammaAdd   *edwards25519.Point // added to Gamma
	withoutKey bool                // the challenge of the drafts before the RFC
}

// honest has the private key of k.
func honest(t require.TestingT, k *vrf.PrivateKey) prover {
	seed := k.Seed()
	h := sha512.Sum512(seed[:])
	x, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	require.NoError(t, err)
	return prover{x: x, y: newPoint().ScalarBaseMult(x), gammaAdd: newPoint()}
}

func sum(parts ...[]byte) []byte {
	h := sha512.Sum512(bytes.Join(parts, nil))
	return h[:]
}

func (p prover) hashed(alpha []byte) *edwards25519.Point {
	for ctr := byte(0); ; ctr++ {
		candidate := sum([]byte{3, 1}, p.y.Bytes(), alpha, []byte{ctr, 0})[:32]
		if h, err := newPoint().SetBytes(candidate); err == nil {
			return h.MultByCofactor(h)
		}
	}
}

// prove also gives the challenge, which is what a prover who tries one nonce after the other waits for.
func (p prover) prove(t require.TestingT, alpha []byte, nonce *edwards25519.Scalar) (proof [vrf.ProofSize]byte, c []byte) {
	h := p.hashed(alpha)
	gamma := newPoint().ScalarMult(p.x, h)
	gamma.Add(gamma, p.gammaAdd)
	u, v := newPoint().ScalarBaseMult(nonce), newPoint().ScalarMult(nonce, h)
	publicKey := p.y.Bytes()
	if p.withoutKey {
		publicKey = nil
	}
	c = sum([]byte{3, 2}, publicKey, h.Bytes(), gamma.Bytes(), u.Bytes(), v.Bytes(), []byte{0})[:16]
	cScalar, err := edwards25519.NewScalar().SetCanonicalBytes(append(bytes.Clone(c), make([]byte, 16)...))
	require.NoError(t, err)
	s := edwards25519.NewScalar().MultiplyAdd(cScalar, p.x, nonce)
	return [vrf.ProofSize]byte(append(append(gamma.Bytes(), c...), s.Bytes()...)), c
}

// nonce is the one that section 5.4.2.2 wants.
func (p prover) nonce(t require.TestingT, k *vrf.PrivateKey, alpha []byte) *edwards25519.Scalar {
	seed := k.Seed()
	n, err := edwards25519.NewScalar().SetUniformBytes(sum(sum(seed[:])[32:], p.hashed(alpha).Bytes()))
	require.NoError(t, err)
	return n
}
