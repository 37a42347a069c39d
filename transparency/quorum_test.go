package transparency_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
)

// TestW16WhoMustBeHeard: as soon as those not heard do not suffice, every set that meets the quorum has one in it who was heard, and
// not before. Held against Evaluate, on nested groups, for every set.
func TestW16WhoMustBeHeard(t *testing.T) {
	l := newPlainLog(t, origin).grow(3)
	var cs []*transparency.Cosigner
	for i := range 6 {
		cs = append(cs, ed(t, fmt.Sprintf("w%d.example/w", i), byte(i+1)))
	}
	pick := func(set int) func(transparency.PolicyWitness) bool {
		return func(w transparency.PolicyWitness) bool {
			i := slices.IndexFunc(cs, func(c *transparency.Cosigner) bool { return c.Key().Name() == w.Key.Name() })
			return set>>i&1 == 1
		}
	}
	key, err := note.NewVerifier(l.key)
	require.NoError(t, err)
	var signed [64][]byte
	for set := range signed {
		var by []note.Signer
		for i, c := range cs {
			if set>>i&1 == 1 {
				by = append(by, c.At(noon))
			}
		}
		signed[set] = l.cosigned(t, 3, by...)
	}
	rapid.Check(t, func(t2 *rapid.T) {
		k, inner, outer := rapid.IntRange(1, 3).Draw(t2, "k"), rapid.IntRange(1, 2).Draw(t2, "inner"), rapid.IntRange(1, 3).Draw(t2, "outer")
		p := policy(t, fmt.Sprintf("witness a {0}\nwitness b {1}\nwitness c {2}\ngroup abc %d a b c\nwitness d {3}\nwitness e {4}\ngroup de %d d e\n"+
			"witness f {5}\ngroup q %d abc de f\nquorum q\n", k, inner, outer), cs...)
		except := []string{rapid.SampledFrom([]string{"own.example/log", "w0.example/log", "w4.example:8443"}).Draw(t2, "except")}
		var met [64]bool
		for set := range 64 {
			v, err := p.Evaluate(signed[set], key, except...)
			require.NoError(t, err)
			met[set] = v.Met
			require.Equal(t, v.Met, p.Suffice(pick(set), except...), "%06b", set)
		}
		for heard := range 64 {
			every := true
			for set, m := range met {
				every = every && (!m || set&heard != 0)
			}
			require.Equal(t, every, !p.Suffice(pick(^heard), except...), "%06b", heard)
		}
	})
}

func TestW16OfNThatWantK(t *testing.T) {
	var cs []*transparency.Cosigner
	text := ""
	for i := range 5 {
		cs = append(cs, ed(t, fmt.Sprintf("w%d.example/w", i), byte(i+1)))
		text += fmt.Sprintf("witness w%d {%d}\n", i, i)
	}
	for k := 1; k <= 5; k++ {
		p := policy(t, fmt.Sprintf("%sgroup g %d w0 w1 w2 w3 w4\nquorum g\n", text, k), cs...)
		for heard := range 6 {
			rest := func(w transparency.PolicyWitness) bool { return w.Name >= fmt.Sprint("w", heard) }
			require.Equal(t, heard >= 5-k+1, !p.Suffice(rest), "%d heard of %d-of-5", heard, k)
		}
	}
	p := policy(t, text+"quorum none\n", cs...)
	require.True(t, p.Suffice(func(transparency.PolicyWitness) bool { return false }), "no quorum is always there")
}
