package transparency_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

func FuzzParseStatement(f *testing.F) {
	before := update(8)
	for kind := range transparency.Kind(9) {
		s := statement(kind, uint32(kind), 0)
		f.Add(s.Marshal())
		f.Add(signedAfter(s, before).Marshal())
	}
	f.Add([]byte{})
	f.Add(make([]byte, transparency.StatementSize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := transparency.ParseStatement(b)
		if err != nil {
			require.Zero(t, s)
			return
		}
		require.Equal(t, b, s.Marshal())
		if s.VerifySignature(&before) == nil {
			s.Signature[63] ^= 1
			requireCheck(t, "L6", s.VerifySignature(&before))
		}
		if s.Follows(&before) == nil && s.Kind != pad {
			require.Equal(t, before.Label, s.Label)
			require.Equal(t, before.Seq+1, s.Seq)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	for kind := range transparency.Kind(9) {
		f.Add(transparency.Entry{Statement: statement(kind, uint32(kind), 0), MapRoot: [32]byte{1}}.Marshal())
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
	})
}

func FuzzParseAnswer(f *testing.F) {
	l := newLog(f).grow(4).add(statement(first, 0, 0, of(bob))).grow(7)
	known := l.at(3)
	f.Add(l.answer(f, alice, 7, 3).Marshal())
	f.Add(l.answer(f, bob, 7, 3).Marshal())
	f.Add(l.answer(f, "nobody", 4, 3).Marshal())
	f.Add([]byte{2, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := transparency.ParseAnswer(b)
		if err != nil {
			require.Zero(t, a)
			return
		}
		require.Equal(t, b, a.Marshal(), "one answer, one spelling")
		next, found, err := known.Check(alice, a, transparency.Terms{})
		if err != nil {
			require.Equal(t, known, next)
			require.Zero(t, found)
			return
		}
		require.NotNil(t, found.Statement, "an absence that is none")
		require.True(t, slices.ContainsFunc(l.entries, func(e transparency.Entry) bool { return e.Statement == *found.Statement }))
	})
}

func FuzzParseLog(f *testing.F) {
	l := newLog(f).grow(3)
	f.Add(l.at(3).Marshal())
	f.Add(l.pinned().Marshal())
	f.Add([]byte(`{"size":-1,"vrf":null,"note":""}`))
	a := l.answer(f, alice, 3, 0)
	_, wants := twoOf(f, "w.example/w", "x.example/w", "y.example/w")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := transparency.ParseLog(b)
		if err != nil {
			require.Zero(t, p)
			return
		}
		again, err := transparency.ParseLog(p.Marshal())
		require.NoError(t, err)
		require.Equal(t, p.Marshal(), again.Marshal())
		_, _, _ = p.Check(alice, a, transparency.Terms{})                         // and no panic
		_, _, _ = p.Check(alice, a, transparency.Terms{Policy: wants, Now: noon}) // a stored note may be anything, too
	})
}

// FuzzOpenCheckpoint opens what comes as it is, and with a true signature under it: a log may be hostile too.
func FuzzOpenCheckpoint(f *testing.F) {
	l := newLog(f).grow(3)
	origin := l.signer.Name()
	good := l.checkpoint(f, 3)
	f.Add(good)
	f.Add(good[:bytes.Index(good, []byte("\n\n"))+1])
	f.Add([]byte(origin + "\n-1\n\n"))
	f.Add([]byte(origin + "\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\nextension\n"))
	v := verifier(f, l.key)
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

func FuzzParseCosignerKey(f *testing.F) {
	for _, made := range kinds {
		f.Add(made(f, "witness.example/w1", 7).Key().String())
	}
	f.Add("a+00000000+BAAA")
	f.Fuzz(func(t *testing.T, vkey string) {
		key, err := transparency.ParseCosignerKey(vkey)
		if err != nil {
			require.Nil(t, key)
			return
		}
		require.Equal(t, vkey, key.String(), "one key, one spelling")
	})
}

// FuzzCosignature verifies what comes, and holds that whatever can be cosigned verifies.
func FuzzCosignature(f *testing.F) {
	cosigners := []*transparency.Cosigner{ed(f, "witness.example/w1", 7), pq(f, "witness.example/w1", 7)}
	for _, c := range cosigners {
		sig, err := c.At(sofaTime).Sign([]byte(behindTheSofa))
		require.NoError(f, err)
		f.Add([]byte(behindTheSofa), sig, int64(sofaTime))
	}
	f.Add([]byte("a\n0\n\n"), []byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, text, sig []byte, at int64) {
		for _, c := range cosigners {
			if c.Key().Verify(text, sig) {
				require.Equal(t, behindTheSofa, string(text), "a cosignature that was never made")
			}
			if made, err := c.At(at).Sign(text); err == nil {
				require.True(t, c.Key().Verify(text, made))
			}
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	a, b, c := ed(f, "w.example/a", 1), pq(f, "x.example/b", 2), ed(f, "y.example/c", 3)
	l := newPlainLog(f, origin).grow(3)
	signed := l.cosigned(f, 3, a.At(noon), b.At(noon), c.At(noon))
	f.Add([]byte(fill("# all\nwitness a {0} https://w.example/\nwitness b {1}\ngroup g 2 a b\nwitness c {2}\ngroup h any g c\nquorum h\n", a, b, c)))
	f.Add([]byte("log " + l.key + "\nquorum none\n"))
	f.Add([]byte("group g all g\nquorum g\n"))
	v := verifier(f, l.key)
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := transparency.ParsePolicy(file)
		if err != nil {
			require.Nil(t, p)
			return
		}
		verdict, err := p.Evaluate(signed, v)
		if err != nil {
			requireCheck(t, "A1", err)
			return
		}
		require.Len(t, p.Witnesses, len(verdict.Cosigned)+len(verdict.Missing))
		require.LessOrEqual(t, verdict.AsOf, verdict.Newest)
	})
}

func FuzzParseProof(f *testing.F) {
	l := newPlainLog(f, origin).grow(9)
	pol, v := policy(f, "quorum none\n"), verifier(f, l.key)
	f.Add([]byte(exampleProof))
	for _, index := range []int64{0, 3, 8} {
		f.Add(transparency.Proof{Index: index, Extra: []byte("x"), Inclusion: inclusion(index, l.leaves(9)), Checkpoint: l.checkpoint(f, 9)}.Marshal())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := transparency.ParseProof(text)
		if err != nil {
			require.Zero(t, p)
			return
		}
		require.Equal(t, string(text), string(p.Marshal()), "one proof, one spelling")
		if _, err := p.Verify(transparency.LeafHash(l.entries[3]), pol, v); err == nil {
			require.Equal(t, int64(3), p.Index, "an entry at a place where it is not")
		}
	})
}
