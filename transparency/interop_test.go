package transparency_test

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	fnote "github.com/transparency-dev/formats/note"
	fproof "github.com/transparency-dev/formats/proof"
	fpolicy "github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

// theirSigner is the same key as ours in the hands of transparency-dev/formats, which has another implementation of ML-DSA too.
func theirSigner(t testing.TB, ours *transparency.Cosigner, typ, n byte) *fnote.Signer {
	t.Helper()
	seed := make([]byte, 33)
	for i := range seed {
		if seed[i] = n; typ == 6 && i > 1 {
			seed[i] = 0
		}
	}
	seed[0] = typ
	s, err := fnote.NewSignerForCosignatureV1(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", ours.Key().Name(), ours.Key().KeyHash(), base64.StdEncoding.EncodeToString(seed)))
	require.NoError(t, err)
	return s
}

func TestFormatsOpensOurs(t *testing.T) {
	l := newPlainLog(t, origin).grow(5)
	for kind, made := range kinds {
		w := made(t, "witness.example/w1", 7)
		theirs, err := fnote.NewVerifierForCosignatureV1(w.Key().String())
		require.NoError(t, err, kind)
		require.Equal(t, w.Key().KeyHash(), theirs.KeyHash(), kind)
		n, err := note.Open(l.cosigned(t, 5, w.At(noon)), note.VerifierList(verifier(t, l.key), theirs))
		require.NoError(t, err, kind)
		require.Len(t, n.Sigs, 2, kind)
		at, err := fnote.CoSigV1Timestamp(n.Sigs[1])
		require.NoError(t, err, kind)
		require.Equal(t, noon, at.Unix(), kind)
	}
	// A log that signs with ML-DSA-44 is a cosigner without a time.
	log := pq(t, origin, 9)
	signed, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: origin, Size: 5, Root: treeHash(l.leaves(5))}, log.At(0))
	require.NoError(t, err)
	theirs, err := fnote.NewMLDSAVerifier(log.Key().String())
	require.NoError(t, err)
	_, err = note.Open(signed, note.VerifierList(theirs))
	require.NoError(t, err)
}

func TestOursOpensFormats(t *testing.T) {
	l := newPlainLog(t, origin).grow(5)
	for kind, typ := range map[string]byte{"Ed25519": 4, "ML-DSA-44": 6} {
		ours := kinds[kind](t, "witness.example/w1", 7)
		theirs := theirSigner(t, ours, typ, 7)
		require.Equal(t, ours.Key().KeyHash(), theirs.KeyHash(), kind)
		p := policy(t, "witness w {0}\nquorum w\n", ours)
		v, err := p.Evaluate(l.cosigned(t, 5, theirs), verifier(t, l.key))
		require.NoError(t, err, kind)
		require.True(t, v.Met, kind)
		require.WithinDuration(t, time.Now(), time.Unix(v.AsOf, 0), time.Minute, kind)
	}
}

func TestFormatsReadsOurProof(t *testing.T) {
	l := newPlainLog(t, origin).grow(9)
	for _, extra := range [][]byte{nil, []byte("a VRF proof")} {
		p := transparency.Proof{Index: 3, Extra: extra, Inclusion: inclusion(3, l.leaves(9)), Checkpoint: l.checkpoint(t, 9)}
		var theirs fproof.TLogProof
		require.NoError(t, theirs.Unmarshal(p.Marshal()))
		require.Equal(t, uint64(3), theirs.Index)
		require.Equal(t, extra, theirs.ExtraData)
		require.Equal(t, p.Checkpoint, theirs.Checkpoint)
		require.Equal(t, p.Marshal(), theirs.Marshal())
		again, err := transparency.ParseProof(theirs.Marshal())
		require.NoError(t, err)
		require.Equal(t, p, again)
	}
}

func TestFormatsReadsOurPolicy(t *testing.T) {
	l := newPlainLog(t, origin).grow(5)
	a, b, c := ed(t, "w.example/a", 1), ed(t, "x.example/b", 2), pq(t, "y.example/c", 3)
	text := "witness a {0} https://w.example/\nwitness b {1} https://x.example/\nwitness c {2} https://y.example/\ngroup g 2 a b c\nquorum g\n"
	theirs, err := fpolicy.ParsePolicy([]byte(fill(text, a, b, c)))
	require.NoError(t, err)
	ours := policy(t, text, a, b, c)
	for _, by := range [][]note.Signer{{}, {a.At(noon)}, {c.At(noon)}, {a.At(noon), c.At(noon)}, {a.At(noon), b.At(noon), c.At(noon)}} {
		signed := l.cosigned(t, 5, by...)
		v, err := ours.Evaluate(signed, verifier(t, l.key))
		require.NoError(t, err)
		require.Equal(t, theirs.Satisfied(signed), v.Met, "%d signatures", len(by))
	}
}
