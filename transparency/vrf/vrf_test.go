package vrf_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

type vector struct {
	Example int
	SK      string
	PK      string
	Alpha   string
	Pi      string
	Beta    string
}

// vectors reads appendix B.3 of RFC 9381, which is not part of this repository.
func vectors(t *testing.T) []vector {
	t.Helper()
	dir := os.Getenv("WAXWING_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	const file = "ecvrf/rfc9381-edwards25519-sha512-tai.json"
	data, err := os.ReadFile(filepath.Join(dir, file))
	if os.IsNotExist(err) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the VRF test vectors are missing: no %s in %s", file, dir)
		}
		t.Skipf("SKIPPED, NOT PASSED: no %s in %s; set WAXWING_VECTORS to a folder with %s", file, dir, file)
	}
	require.NoError(t, err)
	var all struct{ Vectors []vector }
	require.NoError(t, json.Unmarshal(data, &all))
	require.Len(t, all.Vectors, 3)
	return all.Vectors
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(fmt.Sprintf("example %d", v.Example), func(t *testing.T) {
			private, err := vrf.NewPrivateKey(unhex(t, v.SK))
			require.NoError(t, err)
			pk := private.Public().Bytes()
			require.Equal(t, v.PK, hex.EncodeToString(pk[:]))
			proof, output := private.Prove(unhex(t, v.Alpha))
			require.Equal(t, v.Pi, hex.EncodeToString(proof[:]))
			require.Equal(t, v.Beta, hex.EncodeToString(output[:]))

			public, err := vrf.ParsePublicKey(unhex(t, v.PK))
			require.NoError(t, err)
			output, err = public.Verify(unhex(t, v.Alpha), [vrf.ProofSize]byte(unhex(t, v.Pi)))
			require.NoError(t, err)
			require.Equal(t, v.Beta, hex.EncodeToString(output[:]))
		})
	}
}

// TestProveVerify has the plain prover of this test say what every proof must be.
func TestProveVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), vrf.SeedSize, vrf.SeedSize).Draw(t, "seed")
		alpha := rapid.SliceOf(rapid.Byte()).Draw(t, "alpha")
		k, err := vrf.NewPrivateKey(seed)
		require.NoError(t, err)
		proof, output := k.Prove(alpha)

		plain := honest(t, k)
		expected, _ := plain.prove(t, alpha, plain.nonce(t, k, alpha))
		require.Equal(t, expected, proof)

		encoded := k.Public().Bytes()
		public, err := vrf.ParsePublicKey(encoded[:])
		require.NoError(t, err)
		verified, err := public.Verify(alpha, proof)
		require.NoError(t, err)
		require.Equal(t, output, verified)

		k, err = vrf.GenerateKey(bytes.NewReader(seed))
		require.NoError(t, err)
		again, outputAgain := k.Prove(alpha)
		require.Equal(t, proof, again)
		require.Equal(t, output, outputAgain)
	})
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	k := key(t, 1)
	proof, _ := k.Prove(alice)
	for bit := range vrf.ProofSize * 8 {
		changed := proof
		changed[bit/8] ^= 1 << (bit % 8)
		output, err := k.Public().Verify(alice, changed)
		require.Error(t, err, "bit %d", bit)
		require.Zero(t, output, "bit %d", bit)
	}
}

func TestWrongAlphaOrKey(t *testing.T) {
	k := key(t, 1)
	proof, _ := k.Prove(alice)
	for _, alpha := range [][]byte{nil, {0}, alice[1:], append(bytes.Clone(alice), 0), bytes.ToUpper(alice)} {
		output, err := k.Public().Verify(alpha, proof)
		requireRefused(t, "proof", output, err)
	}
	output, err := key(t, 2).Public().Verify(alice, proof)
	requireRefused(t, "proof", output, err)
	output, err = new(vrf.PublicKey).Verify(alice, proof)
	requireRefused(t, "public key", output, err)
}

// TestPartsOfAnotherProof puts together what is valid elsewhere.
func TestPartsOfAnotherProof(t *testing.T) {
	k := key(t, 1)
	proof, _ := k.Prove(alice)
	other, _ := k.Prove([]byte("https://a.example/users/bob"))
	for _, cut := range [][2]int{{0, 32}, {32, 48}, {48, 80}, {0, 48}, {32, 80}} {
		mixed := proof
		copy(mixed[cut[0]:cut[1]], other[cut[0]:cut[1]])
		output, err := k.Public().Verify(alice, mixed)
		requireRefused(t, "proof", output, err)
	}
}

func TestDraftChallengeIsRefused(t *testing.T) {
	k := key(t, 1)
	draft := honest(t, k)
	draft.withoutKey = true
	proof, _ := draft.prove(t, alice, number(t, 77))
	output, err := k.Public().Verify(alice, proof)
	requireRefused(t, "proof", output, err)

	rfc := draft
	rfc.withoutKey = false
	proof, _ = rfc.prove(t, alice, number(t, 77))
	_, err = k.Public().Verify(alice, proof)
	require.NoError(t, err, "but for the public key in the challenge the proof is good")
}

func TestSeeds(t *testing.T) {
	for _, n := range []int{0, 31, 33, 64} {
		_, err := vrf.NewPrivateKey(make([]byte, n))
		requireRefused(t, "seed", [vrf.OutputSize]byte{}, err)
	}
	_, err := vrf.GenerateKey(bytes.NewReader(make([]byte, 31)))
	require.Error(t, err)
	_, err = vrf.GenerateKey(iotest.ErrReader(os.ErrClosed))
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestPrivateKeyIsNotPrinted(t *testing.T) {
	k := key(t, 0xa5)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, text := range []string{fmt.Sprintf(format, k), fmt.Sprintf(format, *k)} {
			require.Contains(t, text, "vrf private key of ", format)
			require.NotContains(t, text, "a5a5a5", format)
			require.NotContains(t, text, "165 165", format)
		}
	}
}
