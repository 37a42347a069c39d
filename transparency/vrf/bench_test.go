package vrf_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Both benchmarks also give their time as a multiple of what the standard library's Ed25519 verification takes here.

func BenchmarkProve(b *testing.B) {
	k := key(b, 1)
	for b.Loop() {
		k.Prove(alice)
	}
	reportRatio(b)
}

func BenchmarkVerify(b *testing.B) {
	k := key(b, 1)
	proof, _ := k.Prove(alice)
	for b.Loop() {
		_, err := k.Public().Verify(alice, proof)
		require.NoError(b, err)
	}
	reportRatio(b)
}

func reportRatio(b *testing.B) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, signature := private.Public().(ed25519.PublicKey), ed25519.Sign(private, alice)
	const times = 2000
	start := time.Now()
	for range times {
		require.True(b, ed25519.Verify(public, alice, signature))
	}
	one := float64(time.Since(start).Nanoseconds()) / times
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/one, "×ed25519")
	b.ReportMetric(one, "ed25519-ns")
}
