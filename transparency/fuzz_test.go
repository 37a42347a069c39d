package transparency_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

func FuzzParseEntry(f *testing.F) {
	for kind := range transparency.Kind(5) {
		f.Add(entry(kind, uint32(kind), 0).Marshal())
	}
	f.Add([]byte{})
	f.Add(make([]byte, transparency.EntrySize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := transparency.ParseEntry(b)
		if err != nil {
			require.Zero(t, e)
			return
		}
		require.Equal(t, b, e.Marshal())
		if e.VerifySignature() == nil {
			b := bytes.Clone(b)
			b[len(b)-1] ^= 1
			changed, err := transparency.ParseEntry(b)
			require.NoError(t, err)
			require.Error(t, changed.VerifySignature())
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	l := newLog(f, origin).grow(7)
	known := l.at(3)
	f.Add(encode(f, l.answer(f, 4, 7, 3)))
	f.Add(encode(f, l.answer(f, 0, 1, 0)))
	f.Add(encode(f, transparency.Answer{Checkpoint: []byte("<&>\u2028")}))
	f.Add([]byte(`{"version":1,"checkpoint":"","index":0,"entry":"","inclusion":null,"consistency":[],"opening":"","devices":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := transparency.ParseAnswer(b)
		if err != nil {
			require.Zero(t, a)
			return
		}
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, b))
		require.Equal(t, compact.Bytes(), encode(t, a))
		if next, e, err := known.Check(a); err != nil {
			require.Equal(t, known, next)
			require.Zero(t, e)
		} else {
			require.Contains(t, l.entries, e.Marshal(), "an entry that nobody appended")
		}
	})
}

// FuzzOpenCheckpoint opens what comes as it is, and with a true signature under it: a log may be hostile too.
func FuzzOpenCheckpoint(f *testing.F) {
	l := newLog(f, origin).grow(3)
	good := l.checkpoint(f, 3)
	f.Add(good)
	f.Add(good[:bytes.Index(good, []byte("\n\n"))+1])
	f.Add([]byte(origin + "\n-1\n\n"))
	f.Add([]byte(origin + "\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\nextension\n"))
	v := verifier(f, l)
	want, err := transparency.OpenCheckpoint(good, v)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := transparency.OpenCheckpoint(b, v); err == nil {
			require.Equal(t, want, c, "a checkpoint that was never signed")
		} else {
			require.Zero(t, c)
		}
		signed, err := note.Sign(&note.Note{Text: string(b)}, l.signer)
		if err != nil {
			return
		}
		c, err := transparency.OpenCheckpoint(signed, v)
		if err != nil {
			requireCheck(t, "A1", err)
			return
		}
		again, err := transparency.SignCheckpoint(c, l.signer)
		require.NoError(t, err)
		require.Equal(t, signed, again, "one checkpoint, one spelling")
	})
}
