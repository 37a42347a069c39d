package transparency_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
)

func TestCosignatureRoundTrip(t *testing.T) {
	l := newPlainLog(t, origin).grow(5)
	for kind, made := range kinds {
		t.Run(kind, func(t *testing.T) {
			w := made(t, "witness.example/w1", 7)
			key, err := transparency.ParseCosignerKey(w.Key().String())
			require.NoError(t, err)
			require.Equal(t, w.Key().String(), key.String())
			require.Equal(t, w.Key().KeyHash(), key.KeyHash())
			for _, at := range []int64{0, 1, noon, math.MaxInt64} {
				signed := l.cosigned(t, 5, w.At(at))
				require.Equal(t, signed, l.cosigned(t, 5, w.At(at)), "the same text and time, the same bytes")
				c, n, err := transparency.OpenCosigned(signed, []note.Verifier{verifier(t, l.key)}, []*transparency.CosignerKey{key})
				require.NoError(t, err)
				require.Equal(t, int64(5), c.Size)
				require.Len(t, n.Sigs, 2)
				got, ok := key.Time(n)
				require.True(t, ok)
				require.Equal(t, at, got)
			}
			_, err = w.At(-1).Sign([]byte(behindTheSofa))
			require.Error(t, err, "a time before 1970")
		})
	}
}

// TestCosignedMessages writes what is signed by hand, as the document has it.
func TestCosignedMessages(t *testing.T) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	sig, err := ed(t, "witness.example.com/w1", 7).At(sofaTime).Sign([]byte(behindTheSofa))
	require.NoError(t, err)
	require.Len(t, sig, 8+64)
	require.Equal(t, uint64(sofaTime), binary.BigEndian.Uint64(sig))
	message := "cosignature/v1\ntime 1679315147\n" + behindTheSofa
	require.True(t, ed25519.Verify(private.Public().(ed25519.PublicKey), []byte(message), sig[8:]))

	sig, err = pq(t, "witness.example.com/w1", 7).At(sofaTime).Sign([]byte(behindTheSofa))
	require.NoError(t, err)
	require.Len(t, sig, 8+2420)
	root, err := base64.StdEncoding.DecodeString("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
	require.NoError(t, err)
	message = "subtree/v1\n\x00" + "\x16witness.example.com/w1" + "\x00\x00\x00\x00\x64\x18\x50\xcb" +
		"\x1bexample.com/behind-the-sofa" + strings.Repeat("\x00", 8) + "\x00\x00\x00\x00\x01\x3e\x2d\xc3" + string(root)
	public, _ := mldsa44.NewKeyFromSeed(&[32]byte{7})
	require.True(t, mldsa44.Verify(public, []byte(message), nil, sig[8:]))
}

// TestC2SPExamples holds that the documents' own examples are read as they are meant.
func TestC2SPExamples(t *testing.T) {
	v, err := note.NewVerifier("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
	require.NoError(t, err)
	_, err = note.Open([]byte("This is an example message.\n\n\u2014 example.com/foo "+
		"Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"), note.VerifierList(v))
	require.NoError(t, err)
	_, err = transparency.ParsePolicy([]byte("log example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\nquorum none\n"))
	require.NoError(t, err)

	c, err := transparency.UnverifiedCheckpoint([]byte(behindTheSofa + "\n" + sofaSignature + sofaWitness))
	require.NoError(t, err)
	require.Equal(t, "example.com/behind-the-sofa", c.Origin)
	require.Equal(t, int64(20852163), c.Size)
	require.Equal(t, "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", c.Root.String())
	_, text, _ := strings.Cut(strings.TrimPrefix(sofaWitness, "\u2014 "), " ")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	require.NoError(t, err)
	require.Len(t, raw, 4+8+64)
	require.Equal(t, uint64(sofaTime), binary.BigEndian.Uint64(raw[4:]))
}

func TestCosignatureRefused(t *testing.T) {
	l := newPlainLog(t, origin).grow(5)
	other := newPlainLog(t, "b.example/waxwing/log").grow(5)
	longOrigin := newPlainLog(t, strings.Repeat("o", 256)).grow(5)
	for kind, made := range kinds {
		t.Run(kind, func(t *testing.T) {
			w := made(t, "witness.example/w1", 7)
			text := func(size int64) []byte {
				head, _, _ := strings.Cut(string(l.checkpoint(t, size)), "\n\n")
				return []byte(head + "\n")
			}
			sig, err := w.At(noon).Sign(text(5))
			require.NoError(t, err)
			require.True(t, w.Key().Verify(text(5), sig))
			for at := range 12 {
				b := bytes.Clone(sig)
				b[at] ^= 1
				require.False(t, w.Key().Verify(text(5), b), "byte %d of the time or signature", at)
			}
			late := bytes.Clone(sig)
			late[0] = 0x80
			foreign, _, _ := strings.Cut(string(other.checkpoint(t, 5)), "\n\n")
			for name, ok := range map[string]bool{
				"another size": w.Key().Verify(text(4), sig), "another log": w.Key().Verify([]byte(foreign+"\n"), sig),
				"another name's key": kind == "ML-DSA-44" && made(t, "witness.example/w2", 7).Key().Verify(text(5), sig),
				"another key":        made(t, "witness.example/w1", 8).Key().Verify(text(5), sig),
				"cut":                w.Key().Verify(text(5), sig[:len(sig)-1]), "longer": w.Key().Verify(text(5), append(bytes.Clone(sig), 0)),
				"nothing": w.Key().Verify(text(5), nil), "only a time": w.Key().Verify(text(5), sig[:8]), "a time beyond 63 bits": w.Key().Verify(text(5), late),
				"extension line": w.Key().Verify(append(text(5), "more\n"...), sig), "no checkpoint": w.Key().Verify([]byte("hello\n"), sig),
			} {
				require.False(t, ok, name)
			}
			for _, text := range []string{"", "\n", "hello\n", behindTheSofa + "more\n", strings.Replace(behindTheSofa, "2085", "02085", 1), behindTheSofa[:len(behindTheSofa)-1]} {
				_, err := w.At(noon).Sign([]byte(text))
				require.Error(t, err, "%q is no checkpoint", text)
			}
			head, _, _ := strings.Cut(string(longOrigin.checkpoint(t, 5)), "\n\n")
			_, err = w.At(noon).Sign([]byte(head + "\n"))
			require.Equal(t, kind == "ML-DSA-44", err != nil, "the length of an origin stands in one byte")
			// A known key's bad signature spoils the note; an unknown one's does not.
			bad := l.cosigned(t, 5, forged{w.At(noon)})
			_, _, err = transparency.OpenCosigned(bad, []note.Verifier{verifier(t, l.key)}, keys(w))
			requireCheck(t, "A1", err)
			_, n, err := transparency.OpenCosigned(bad, []note.Verifier{verifier(t, l.key)}, nil)
			require.NoError(t, err)
			_, ok := w.Key().Time(n)
			require.False(t, ok, "the time of a signature that nobody verified")
		})
	}
	_, _, err := transparency.OpenCosigned(l.cosigned(t, 5, other.signer), []note.Verifier{verifier(t, other.key)}, nil)
	requireCheck(t, "A1", err, "signed by a log, but not by the one it names")
}

// forged signs and then spoils the signature.
type forged struct{ note.Signer }

func (f forged) Sign(text []byte) ([]byte, error) {
	b, err := f.Signer.Sign(text)
	b[len(b)-1] ^= 1
	return b, err
}

func TestKeyNames(t *testing.T) {
	for _, name := range []string{"", " ", "a b", "a+b", "a\nb", "a\tb", "a\x01b", "a\u00a0b", "a\u2028b", "\xff", strings.Repeat("n", 256)} {
		_, err := transparency.NewEd25519Cosigner(name, account(1))
		require.Error(t, err, "%q", name)
		_, err = transparency.NewMLDSA44Cosigner(name, [32]byte{1})
		require.Error(t, err, "%q", name)
	}
	for _, name := range []string{"a", "oid/1.2.3", "w.example/ä", strings.Repeat("n", 255)} {
		_, err := transparency.ParseCosignerKey(ed(t, name, 1).Key().String())
		require.NoError(t, err)
	}
}

func TestParseCosignerKeyRefuses(t *testing.T) {
	good := ed(t, "witness.example/w1", 1).Key().String()
	name, rest, _ := strings.Cut(good, "+")
	id, text, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	plain, err := note.NewEd25519VerifierKey(name, raw[1:])
	require.NoError(t, err)
	long := pq(t, "witness.example/w1", 1).Key().String()
	for what, vkey := range map[string]string{
		"nothing": "", "a name": name, "no key": name + "+" + id, "an empty key": name + "+" + id + "+", "a plain Ed25519 key": plain,
		"another name": "witness.example/w2+" + rest, "another ID": name + "+00000000+" + text, "ID in capitals": name + "+" + strings.ToUpper(id) + "+" + text,
		"short ID": name + "+" + id[:7] + "+" + text, "cut": good[:len(good)-1], "something after": good + "=", "a space after": good + " ",
		"a newline within": good[:len(good)-5] + "\n" + good[len(good)-5:], "no name": "+" + rest, "name with a space": "a b+" + rest,
		"an ML-DSA key cut": long[:len(long)-4], "far too long": good + strings.Repeat("A", 4000), "swapped": text + "+" + id + "+" + name,
	} {
		key, err := transparency.ParseCosignerKey(vkey)
		require.Error(t, err, what)
		require.Nil(t, key, what)
	}
	require.True(t, ed(t, "a", 1).Key().SamePublicKey(ed(t, "b", 1).Key()))
	require.False(t, ed(t, "a", 1).Key().SamePublicKey(ed(t, "a", 2).Key()))
}
