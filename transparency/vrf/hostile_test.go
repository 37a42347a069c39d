package vrf_test

import (
	"bytes"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// littleEndian is n in 32 bytes.
func littleEndian(n *big.Int) []byte {
	b := n.FillBytes(make([]byte, 32))
	slices.Reverse(b)
	return b
}

func prime() *big.Int { // 2^255-19
	return new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
}

// nonCanonical gives every second spelling of a point that a lenient decoder takes: a y that is not reduced, and a sign for an
// x of zero.
func nonCanonical() (list [][]byte) {
	add := func(encoded []byte) {
		if _, err := newPoint().SetBytes(encoded); err == nil {
			list = append(list, encoded)
		}
	}
	signed := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[31] |= 0x80
		return b
	}
	for n := range int64(19) {
		y := littleEndian(new(big.Int).Add(prime(), big.NewInt(n)))
		add(y)
		add(signed(y))
	}
	add(signed(littleEndian(big.NewInt(1))))
	add(signed(littleEndian(new(big.Int).Sub(prime(), big.NewInt(1)))))
	return list
}

func TestNonCanonicalPoints(t *testing.T) {
	spellings := nonCanonical()
	require.Greater(t, len(spellings), 14, "more than those of small order")
	k := key(t, 1)
	proof, _ := k.Prove(alice)
	good := 0
	for _, encoded := range spellings {
		_, err := vrf.ParsePublicKey(encoded)
		require.EqualError(t, err, "vrf: public key: not the canonical encoding of a point", "%x", encoded)
		changed := proof
		copy(changed[:], encoded)
		output, err := k.Public().Verify(alice, changed)
		requireRefused(t, "gamma", output, err)

		// The control: it is the spelling that is refused, not the point.
		p, err := newPoint().SetBytes(encoded)
		require.NoError(t, err)
		copy(changed[:], p.Bytes())
		output, err = k.Public().Verify(alice, changed)
		requireRefused(t, "proof", output, err)
		if _, err := vrf.ParsePublicKey(p.Bytes()); err == nil {
			good++
		}
	}
	require.NotZero(t, good)
}

func TestNotAPoint(t *testing.T) {
	k := key(t, 1)
	proof, _ := k.Prove(alice)
	encoded := littleEndian(big.NewInt(2)) // y = 2 is on the twist
	_, err := vrf.ParsePublicKey(encoded)
	requireRefused(t, "public key", [vrf.OutputSize]byte{}, err)
	copy(proof[:], encoded)
	output, err := k.Public().Verify(alice, proof)
	requireRefused(t, "gamma", output, err)
	for _, n := range []int{0, 31, 33, 64} {
		_, err := vrf.ParsePublicKey(make([]byte, n))
		requireRefused(t, "public key", [vrf.OutputSize]byte{}, err)
	}
}

func TestScalarNotReduced(t *testing.T) {
	order, ok := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	require.True(t, ok)
	k := key(t, 1)
	proof, _ := k.Prove(alice)
	inOrder := bytes.Clone(proof[48:])
	slices.Reverse(inOrder)
	s := new(big.Int).SetBytes(inOrder)
	limit := new(big.Int).Lsh(big.NewInt(1), 256)
	tried := 0
	for s.Add(s, order); s.Cmp(limit) < 0; s.Add(s, order) { // s+L, s+2L, … name the same scalar
		copy(proof[48:], littleEndian(s))
		output, err := k.Public().Verify(alice, proof)
		requireRefused(t, "s", output, err)
		tried++
	}
	require.GreaterOrEqual(t, tried, 14)
	copy(proof[48:], littleEndian(order))
	output, err := k.Public().Verify(alice, proof)
	requireRefused(t, "s", output, err)
}

func TestSmallOrderKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range smallOrder(t) {
		_, err := vrf.ParsePublicKey(p.Bytes())
		require.EqualError(t, err, "vrf: public key: a point of small order")
		seen[string(p.Bytes())] = true
	}
	require.Len(t, seen, 8)
	others := 0
	for _, encoded := range nonCanonical() {
		p, err := newPoint().SetBytes(encoded)
		require.NoError(t, err)
		if seen[string(p.Bytes())] {
			_, err := vrf.ParsePublicKey(encoded)
			requireRefused(t, "public key", [vrf.OutputSize]byte{}, err)
			others++
		}
	}
	require.Equal(t, 6, others, "y=p and y=p+1 with either sign, y=1 and y=p-1 with the sign of no x")
}

// grind tries nonces until the challenge is a multiple of eight, so that it takes every small-order point to the identity.
func grind(t *testing.T, p prover, alpha []byte) [vrf.ProofSize]byte {
	for n := byte(1); n != 0; n++ {
		if proof, c := p.prove(t, alpha, number(t, n)); c[0]%8 == 0 {
			return proof
		}
	}
	t.Fatal("no nonce does")
	return [vrf.ProofSize]byte{}
}

// TestWhatKeyValidationIsFor proves under a key of small order, as anybody can: every alpha has the same output.
func TestWhatKeyValidationIsFor(t *testing.T) {
	for _, y := range smallOrder(t) {
		anybody := prover{x: edwards25519.NewScalar(), y: y, gammaAdd: newPoint()}
		unvalidated := vrf.Unvalidated(y)
		one, err := unvalidated.Verify(alice, grind(t, anybody, alice))
		require.NoError(t, err)
		two, err := unvalidated.Verify([]byte("bob"), grind(t, anybody, []byte("bob")))
		require.NoError(t, err)
		require.Equal(t, one, two)
	}
}

// TestSmallOrderPartOfGamma has the holder of a key make proofs that Prove does not make. Section 5.3 accepts some; all have
// the one output. A verifier that reduced -c, or that cleared the cofactor in its equations, would accept others.
func TestSmallOrderPartOfGamma(t *testing.T) {
	k := key(t, 1)
	_, output := k.Prove(alice)
	proofs := map[[vrf.ProofSize]byte]bool{}
	for i, point := range smallOrder(t) {
		order := [8]byte{1, 8, 4, 8, 2, 8, 4, 8}[i]
		p := honest(t, k)
		p.gammaAdd = point
		for n := range byte(60) {
			proof, c := p.prove(t, alice, number(t, n+1))
			verified, err := k.Public().Verify(alice, proof)
			if c[0]%order != 0 {
				requireRefused(t, "proof", verified, err)
				continue
			}
			require.NoError(t, err, "point %d, nonce %d", i, n)
			require.Equal(t, output, verified)
			proofs[proof] = true
		}
	}
	require.Greater(t, len(proofs), 100)
}

// TestSmallOrderPartOfKey is the same with a key that has such a part: section 5.4.5 lets it be.
func TestSmallOrderPartOfKey(t *testing.T) {
	for _, point := range smallOrder(t) {
		if point.Equal(newPoint()) == 1 {
			continue
		}
		p := honest(t, key(t, 1))
		p.y = newPoint().Add(p.y, point)
		public, err := vrf.ParsePublicKey(p.y.Bytes())
		require.NoError(t, err)
		one, err := public.Verify(alice, grind(t, p, alice))
		require.NoError(t, err)
		p.gammaAdd = point
		two, err := public.Verify(alice, grind(t, p, alice))
		require.NoError(t, err)
		require.Equal(t, one, two)
		three, err := public.Verify([]byte("bob"), grind(t, p, []byte("bob")))
		require.NoError(t, err)
		require.NotEqual(t, one, three)
	}
}

func TestTryAndIncrement(t *testing.T) {
	none := [32]byte(littleEndian(big.NewInt(2)))
	calls := 0
	_, ok := vrf.TryAndIncrement(func(ctr byte) [32]byte {
		require.EqualValues(t, calls, ctr)
		calls++
		return none
	})
	require.False(t, ok)
	require.Equal(t, 256, calls)

	// The last try counts, and what comes before it is no candidate: no point, a second spelling, small order.
	bad := [][32]byte{none}
	for _, encoded := range nonCanonical() {
		bad = append(bad, [32]byte(encoded))
	}
	for _, p := range smallOrder(t) {
		bad = append(bad, [32]byte(p.Bytes()))
	}
	base := edwards25519.NewGeneratorPoint()
	h, ok := vrf.TryAndIncrement(func(ctr byte) [32]byte {
		if ctr == 255 {
			return [32]byte(base.Bytes())
		}
		return bad[int(ctr)%len(bad)]
	})
	require.True(t, ok)
	require.Equal(t, newPoint().MultByCofactor(base).Bytes(), h.Bytes())
}

func TestEncodePoints(t *testing.T) {
	points := smallOrder(t)
	list := points[:]
	for n := range byte(20) {
		p := newPoint().ScalarBaseMult(number(t, n))
		list = append(list, p, newPoint().Negate(p), newPoint().Add(p, points[n%8]))
	}
	encoded := vrf.EncodePoints(list...)
	require.Len(t, encoded, len(list))
	for i, p := range list {
		require.Equal(t, p.Bytes(), encoded[i][:], "point %d", i)
	}
}
