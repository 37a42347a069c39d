package witness_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

// FuzzCollect has a witness answer anything: the note stays one that everybody can open, and only what the witness has signed of this
// very checkpoint counts.
func FuzzCollect(f *testing.F) {
	const url = "https://w0.example"
	log, w := newHistory(f, origin).grow(f, 20, "x"), ed(f, "w0.example", 1)
	checkpoint := log.checkpoint(f, 20)
	cosign := func(checkpoint []byte) []byte {
		text := textOf(checkpoint)
		signed, err := note.Sign(&note.Note{Text: string(text)}, w.At(1_700_000_000))
		require.NoError(f, err)
		return signed[len(text)+1:]
	}
	good := cosign(checkpoint)
	p, err := transparency.ParsePolicy([]byte("witness w " + w.Key().String() + " " + url + "\nquorum w\n"))
	require.NoError(f, err)
	f.Add(200, "text/plain", good)
	f.Add(200, "", append(bytes.Clone(good), good...))
	f.Add(200, "", cosign(log.checkpoint(f, 7)))
	f.Add(200, "", append([]byte("another text\n\n"), good...))
	f.Add(409, "text/x.tlog.size", []byte("7\n"))
	f.Add(409, "text/x.tlog.size", []byte("21\n"))
	f.Add(404, "", []byte{})
	f.Fuzz(func(t *testing.T, status int, contentType string, answer []byte) {
		said := func(context.Context, []byte) (int, string, []byte, error) { return status, contentType, answer, nil }
		_, rest, err := round(log, 20, checkpoint, p, script{url: said}).Collect(ctx)
		require.NoError(t, err)
		got := rest()
		v, err := p.Evaluate(got.Note, log.key)
		require.NoError(t, err, "the note is spoilt")
		require.Equal(t, v.Met, got.Verdict.Met)
		require.Equal(t, v.Met, len(got.Outcomes[0].Signed) == 1)
		require.NotEqual(t, v.Met, got.Outcomes[0].Err != nil)
		if v.Met {
			require.Contains(t, string(answer), string(bytes.TrimSpace(good)), "a cosignature that was never made")
		}
	})
}
