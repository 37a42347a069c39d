package transparency_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	noon = int64(1_700_000_000) // seconds
	// behindTheSofa is the example of C2SP tlog-cosignature. The document has no keys for it.
	behindTheSofa = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
	sofaSignature = "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
	sofaWitness   = "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
	sofaTime      = 1679315147
)

// ed and pq make cosigners whose keys follow from a number.
func ed(t testing.TB, name string, n byte) *transparency.Cosigner {
	t.Helper()
	c, err := transparency.NewEd25519Cosigner(name, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)))
	require.NoError(t, err)
	return c
}

func pq(t testing.TB, name string, n byte) *transparency.Cosigner {
	t.Helper()
	c, err := transparency.NewMLDSA44Cosigner(name, [32]byte{n})
	require.NoError(t, err)
	return c
}

var kinds = map[string]func(testing.TB, string, byte) *transparency.Cosigner{"Ed25519": ed, "ML-DSA-44": pq}

// cosigned is a checkpoint of the log with these signatures under the log's own.
func (l *plainLog) cosigned(t testing.TB, size int64, by ...note.Signer) []byte {
	t.Helper()
	text, _, _ := strings.Cut(string(l.checkpoint(t, size)), "\n\n")
	return signText(t, text+"\n", append([]note.Signer{l.signer}, by...)...)
}

func keys(cs ...*transparency.Cosigner) (out []*transparency.CosignerKey) {
	for _, c := range cs {
		out = append(out, c.Key())
	}
	return out
}

// policy parses a policy in which {0}, {1}, … stand for the keys of cosigners.
func policy(t testing.TB, text string, cs ...*transparency.Cosigner) *transparency.Policy {
	t.Helper()
	p, err := transparency.ParsePolicy([]byte(fill(text, cs...)))
	require.NoError(t, err)
	return p
}

func fill(text string, cs ...*transparency.Cosigner) string {
	for i, c := range cs {
		text = strings.ReplaceAll(text, fmt.Sprintf("{%d}", i), c.Key().String())
	}
	return text
}
