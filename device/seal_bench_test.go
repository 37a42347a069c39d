package device

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
)

// BenchmarkSealGroup says what a commit costs more, by the number of devices.
func BenchmarkSealGroup(b *testing.B) {
	for _, n := range []int{2, 10, 50, 250} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			random := rand.NewChaCha8([32]byte{1})
			g := solo(b, random)
			var proposals []mls.Proposal
			for i := range n - 1 {
				signer, err := mls.GenerateSignatureKey(suite, random)
				if err != nil {
					b.Fatal(err)
				}
				kp, err := mls.NewKeyPackage(random, mls.KeyPackageParams{
					Suite: suite, Signer: signer, Credential: mls.BasicCredential(fmt.Appendf(nil, "https://a.example/users/%d", i)),
					Capabilities: capabilities(), Lifetime: lifetime(time.Now()),
				})
				if err != nil {
					b.Fatal(err)
				}
				proposals = append(proposals, mls.AddProposal(kp.KeyPackage()))
			}
			p, err := g.Commit(random, mls.CommitParams{Proposals: proposals, Now: time.Now()})
			if err != nil {
				b.Fatal(err)
			}
			size := 0
			for b.Loop() {
				sealed, err := sealFor(random, p.Next(), len(p.Message()))
				if err != nil {
					b.Fatal(err)
				}
				size = len(sealed)
			}
			b.ReportMetric(float64(size), "B/sealed")
			b.ReportMetric(float64(len(p.Message())), "B/commit")
		})
	}
}
