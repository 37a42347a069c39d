package transparency_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// BenchmarkEvaluate opens a checkpoint with three cosignatures, as a reader does for every lookup.
func BenchmarkEvaluate(b *testing.B) {
	l := newPlainLog(b, origin).grow(5)
	for kind, made := range kinds {
		x, y, z := made(b, "x.example", 1), made(b, "y.example", 2), made(b, "z.example", 3)
		p := policy(b, "witness x {0}\nwitness y {1}\nwitness z {2}\ngroup g 2 x y z\nquorum g\n", x, y, z)
		signed, v := l.cosigned(b, 5, x.At(noon), y.At(noon), z.At(noon)), verifier(b, l.key)
		b.Run(kind, func(b *testing.B) {
			b.ReportMetric(float64(len(signed)), "bytes")
			for b.Loop() {
				verdict, err := p.Evaluate(signed, v, origin)
				require.NoError(b, err)
				require.True(b, verdict.Met)
			}
		})
	}
}

func BenchmarkCosign(b *testing.B) {
	text := []byte(behindTheSofa)
	for kind, made := range kinds {
		signer := made(b, "x.example", 1).At(noon)
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				if _, err := signer.Sign(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkProof verifies the newest entry of a log of 100 000, with its policy.
func BenchmarkProof(b *testing.B) {
	const size = 100_000
	l := newPlainLog(b, origin)
	x, y, z := ed(b, "x.example", 1), ed(b, "y.example", 2), ed(b, "z.example", 3)
	p := policy(b, "witness x {0}\nwitness y {1}\nwitness z {2}\ngroup g 2 x y z\nquorum g\n", x, y, z)
	leaves := make([]tlog.Hash, size)
	for i := range leaves {
		leaves[i] = transparency.LeafHash([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	c := transparency.Checkpoint{Origin: origin, Size: size, Root: treeHash(leaves)}
	signed, err := transparency.SignCheckpoint(c, l.signer)
	require.NoError(b, err)
	n, err := note.Open(signed, note.VerifierList(verifier(b, l.key)))
	require.NoError(b, err)
	signed, err = note.Sign(n, x.At(noon), y.At(noon), z.At(noon))
	require.NoError(b, err)
	text := transparency.Proof{Index: size - 1, Inclusion: inclusion(size-1, leaves), Checkpoint: signed}.Marshal()
	v := verifier(b, l.key)
	b.ReportMetric(float64(len(text)), "bytes")
	for b.Loop() {
		proof, err := transparency.ParseProof(text)
		require.NoError(b, err)
		_, err = proof.Verify(leaves[size-1], p, v, origin)
		require.NoError(b, err)
	}
}

// BenchmarkCheck is what a reader does with an answer: without a policy, with three witnesses, and where the note that is remembered is
// another one of the same tree, so that both are weighed.
func BenchmarkCheck(b *testing.B) {
	l := newLog(b).grow(100)
	w, p := twoOf(b, "w.example/w", "x.example/w", "y.example/w")
	a := l.witnessed(b, 100, 100, w[0].At(noon), w[1].At(noon), w[2].At(noon))
	known, _ := believed(b, l.pinned(), a, transparency.Terms{Policy: p, Now: noon})
	for name, c := range map[string]struct {
		from  transparency.Log
		terms transparency.Terms
	}{
		"no policy": {l.pinned(), transparency.Terms{Now: noon}}, "three witnesses": {l.pinned(), transparency.Terms{Policy: p, Now: noon}},
		"and those of another note": {known, transparency.Terms{Policy: p, Now: noon + 60}},
	} {
		a := a
		if c.from.Size > 0 {
			a = l.witnessed(b, 100, 100, w[0].At(noon+60), w[1].At(noon+60), w[2].At(noon+60))
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := c.from.Check(alice, a, c.terms); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
