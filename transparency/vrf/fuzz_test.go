package vrf_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// FuzzVerify takes anything for a key and a proof: what is refused has no output, and what the key's holder proves has one.
func FuzzVerify(f *testing.F) {
	k := key(f, 1)
	own := k.Public().Bytes()
	proof, _ := k.Prove(alice)
	f.Add(own[:], alice, proof[:])
	f.Add(own[:], []byte{}, proof[:])
	f.Add(make([]byte, vrf.PublicKeySize), alice, make([]byte, vrf.ProofSize))
	for _, p := range smallOrder(f) {
		f.Add(p.Bytes(), alice, append(p.Bytes(), proof[32:]...))
	}
	for _, encoded := range nonCanonical() {
		f.Add(encoded, alice, append(append([]byte{}, encoded...), proof[32:]...))
	}
	f.Fuzz(func(t *testing.T, pk, alpha, pi []byte) {
		if len(pi) != vrf.ProofSize {
			return
		}
		public, err := vrf.ParsePublicKey(pk)
		if err != nil {
			require.Nil(t, public)
			return
		}
		encoded := public.Bytes()
		require.Equal(t, pk, encoded[:])
		output, err := public.Verify(alpha, [vrf.ProofSize]byte(pi))
		if err != nil {
			require.Zero(t, output)
			return
		}
		require.Equal(t, own, encoded, "a proof under a key that nobody here has")
		_, proved := k.Prove(alpha)
		require.Equal(t, proved, output)
	})
}
