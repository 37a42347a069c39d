package transparency_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

func verifier(t testing.TB, key string) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(key)
	require.NoError(t, err)
	return v
}

func signText(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	b, err := note.Sign(&note.Note{Text: text}, signers...)
	require.NoError(t, err)
	return b
}

func TestCheckpointRoundTrip(t *testing.T) {
	l := newLog(t)
	origin := l.signer.Name()
	for _, size := range []int64{0, 1, 255, 256, 1 << 40, 1 << 62} {
		c := transparency.Checkpoint{Origin: origin, Size: size, Root: tlog.Hash{1, byte(size), 31: 0xff}}
		signed, err := transparency.SignCheckpoint(c, l.signer)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(signed), fmt.Sprintf("%s\n%d\n%s\n\n\u2014 %s ", origin, size, c.Root, origin)))
		got, err := transparency.OpenCheckpoint(signed, verifier(t, l.key))
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
}

func TestA1CheckpointRefused(t *testing.T) {
	l := newLog(t)
	origin := l.signer.Name()
	other, _ := newSigner(t, "b.example/waxwing/log")
	twin, _ := newSigner(t, origin) // the same name, another key
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	text := func(lines ...string) []byte { return signText(t, strings.Join(lines, "\n")+"\n", l.signer) }
	good := text(origin, "5", root)
	_, err := transparency.OpenCheckpoint(good, verifier(t, l.key))
	require.NoError(t, err)
	for name, signed := range map[string][]byte{
		"nothing":                    nil,
		"not signed":                 []byte(origin + "\n5\n" + root + "\n"),
		"signature cut off":          good[:bytes.Index(good, []byte("\n\n"))+2],
		"by another key":             signText(t, origin+"\n5\n"+root+"\n", twin),
		"by another log":             signText(t, origin+"\n5\n"+root+"\n", other),
		"of another origin":          text("b.example/waxwing/log", "5", root),
		"origin in capitals":         text(strings.ToUpper(origin), "5", root),
		"no origin":                  text("", "5", root),
		"extension line":             text(origin, "5", root, "more"),
		"empty extension line":       text(origin, "5", root, ""),
		"line missing":               text(origin, "5"),
		"origin only":                text(origin),
		"size missing":               text(origin, "", root),
		"size negative":              text(origin, "-5", root),
		"size with a plus":           text(origin, "+5", root),
		"size with a zero in front":  text(origin, "05", root),
		"size with a space":          text(origin, " 5", root),
		"size in hex":                text(origin, "0x5", root),
		"size beyond 63 bits":        text(origin, "9223372036854775808", root),
		"size that no proof ends in": text(origin, "4611686018427387905", root),
		"root missing":               text(origin, "5", ""),
		"root of 31 bytes":           text(origin, "5", base64.StdEncoding.EncodeToString(make([]byte, 31))),
		"root of 33 bytes":           text(origin, "5", base64.StdEncoding.EncodeToString(make([]byte, 33))),
		"root in another spelling":   text(origin, "5", root[:42]+"B="),
		"root in the URL alphabet":   text(origin, "5", "__"+root[2:]),
		"root with a space":          text(origin, "5", root+" "),
		"carriage return":            text(origin, "5", root+"\r"),
		"more than is ever signed":   text(origin, "5", root, strings.Repeat("x", 17<<10)),
		"something after the note":   append(bytes.Clone(good), "x\n"...),
		"something before the note":  append([]byte("x\n"), good...),
		"two notes":                  append(bytes.Clone(good), good...),
		"good but for many newlines": append(bytes.Clone(good), '\n'),
	} {
		c, err := transparency.OpenCheckpoint(signed, verifier(t, l.key))
		requireCheck(t, "A1", err, name)
		require.Zero(t, c, name)
	}
}

// A cosignature that the reader knows nothing of is not in the way.
func TestA1CosignedCheckpointOpens(t *testing.T) {
	l := newLog(t)
	origin := l.signer.Name()
	witness, _ := newSigner(t, "witness.example")
	signed := signText(t, origin+"\n5\n"+tlog.Hash{9}.String()+"\n", l.signer, witness)
	c, err := transparency.OpenCheckpoint(signed, verifier(t, l.key))
	require.NoError(t, err)
	require.Equal(t, transparency.Checkpoint{Origin: origin, Size: 5, Root: tlog.Hash{9}}, c)
}

// TestA1EveryByteOfTheNote flips each bit of a signed note. The last character of the signature has two bits that mean nothing;
// otherwise no change goes through, and never one that changes what the checkpoint says.
func TestA1EveryByteOfTheNote(t *testing.T) {
	l := newLog(t).grow(3)
	good := l.checkpoint(t, 3)
	want, err := transparency.OpenCheckpoint(good, verifier(t, l.key))
	require.NoError(t, err)
	last := bytes.LastIndexByte(good, '=') - 1
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			got, err := transparency.OpenCheckpoint(b, verifier(t, l.key))
			if err == nil {
				require.Equal(t, last, i, "a flipped bit %d at %d goes unseen", bit, i)
				require.Equal(t, want, got)
				continue
			}
			requireCheck(t, "A1", err, i)
		}
		_, err := transparency.OpenCheckpoint(append(bytes.Clone(good[:i]), good[i+1:]...), verifier(t, l.key))
		requireCheck(t, "A1", err, "left out", i)
	}
}
