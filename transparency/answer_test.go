package transparency_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
)

// spelt writes an answer by the struct in spec/log-entry.md, whatever it is told.
func spelt(version byte, checkpoint, newest []byte, inclusion, consistency [][]byte, vrf, mapProof []byte, found byte, rest ...[]byte) []byte {
	opaque := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	list := func(hashes [][]byte) []byte { return append([]byte{byte(len(hashes))}, bytes.Join(hashes, nil)...) }
	parts := [][]byte{{version}, opaque(checkpoint), newest, list(inclusion), list(consistency), vrf, opaque(mapProof), {found}}
	return bytes.Join(append(parts, rest...), nil)
}

func hashes(n int) (out [][]byte) {
	for i := range n {
		out = append(out, bytes.Repeat([]byte{byte(i)}, 32))
	}
	return out
}

func TestAnswerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string, least, most int) []byte {
			return rapid.SliceOfN(rapid.Byte(), least, most).Draw(t, name)
		}
		proof := func(name string) (p []tlog.Hash) {
			for range rapid.IntRange(0, 64).Draw(t, name) {
				p = append(p, array[[32]byte](t, "hash"))
			}
			return p
		}
		a := transparency.Answer{
			Checkpoint: some("checkpoint", 0, 600), Newest: some("newest", 242, 242), Inclusion: proof("inclusion"), Consistency: proof("consistency"),
			VRF: [80]byte(some("vrf", 80, 80)), Map: some("map", 0, 900),
		}
		if rapid.Bool().Draw(t, "found") {
			a.Found = &transparency.Found{Statement: some("statement", 210, 210), Opening: array[[32]byte](t, "opening"), Content: some("content", 0, 5000)}
		}
		b := a.Marshal()
		got, err := transparency.ParseAnswer(b)
		require.NoError(t, err)
		require.Equal(t, a, got)
		for range 20 {
			_, err = transparency.ParseAnswer(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
			require.Error(t, err)
		}
	})
}

func TestAnswerStandsAsTheSpecHasIt(t *testing.T) {
	l := newLog(t).grow(5)
	a := l.answer(t, alice, 5, 2)
	raw := func(proof []tlog.Hash) (out [][]byte) {
		for _, h := range proof {
			out = append(out, bytes.Clone(h[:]))
		}
		return out
	}
	require.Equal(t, spelt(2, a.Checkpoint, a.Newest, raw(a.Inclusion), raw(a.Consistency), a.VRF[:], a.Map, 1,
		a.Found.Statement, a.Found.Opening[:], binary.BigEndian.AppendUint16(nil, uint16(len(content))), content), a.Marshal())
	a.Found = nil
	require.Equal(t, spelt(2, a.Checkpoint, a.Newest, raw(a.Inclusion), raw(a.Consistency), a.VRF[:], a.Map, 0), a.Marshal())
}

func TestParseAnswerRefuses(t *testing.T) {
	entry, vrf, state, open := make([]byte, 242), make([]byte, 80), make([]byte, 210), make([]byte, 32)
	opaque := func(n int) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(n)), make([]byte, n)...) }
	long := func(n int) []byte { return make([]byte, n) }
	good := spelt(2, []byte("c"), entry, hashes(2), hashes(3), vrf, []byte("m"), 1, state, open, opaque(7))
	_, err := transparency.ParseAnswer(good)
	require.NoError(t, err)
	cases := map[string][]byte{
		"version 0":           append([]byte{0}, good[1:]...),
		"version 1":           append([]byte{1}, good[1:]...),
		"version 3":           append([]byte{3}, good[1:]...),
		"JSON":                []byte(`{"version":1}`),
		"a byte after":        append(bytes.Clone(good), 0),
		"two":                 append(bytes.Clone(good), good...),
		"checkpoint too long": spelt(2, long(16<<10+1), entry, nil, nil, vrf, nil, 0),
		"map too long":        spelt(2, nil, entry, nil, nil, vrf, long(9<<10+1), 0),
		"content too long":    spelt(2, nil, entry, nil, nil, vrf, nil, 1, state, open, opaque(40<<10+1)),
		"inclusion of 65":     spelt(2, nil, entry, hashes(65), nil, vrf, nil, 0),
		"consistency of 65":   spelt(2, nil, entry, nil, hashes(65), vrf, nil, 0),
		"inclusion of 255":    spelt(2, nil, entry, hashes(255), nil, vrf, nil, 0),
		"found is 2":          spelt(2, nil, entry, nil, nil, vrf, nil, 2, state, open, opaque(7)),
		"nothing found, but":  spelt(2, nil, entry, nil, nil, vrf, nil, 0, state, open, opaque(7)),
		"found nothing":       spelt(2, nil, entry, nil, nil, vrf, nil, 1),
		"larger than any":     spelt(2, long(16<<10), entry, hashes(64), hashes(64), vrf, long(9<<10), 1, state, open, opaque(40<<10)),
	}
	for i := range good {
		cases[fmt.Sprint("cut at ", i)] = good[:i]
	}
	for name, b := range cases {
		a, err := transparency.ParseAnswer(b)
		require.Error(t, err, name)
		require.Zero(t, a, name)
	}
	for name, b := range map[string][]byte{
		"as long as they may be": spelt(2, long(16<<10), entry, hashes(64), hashes(64), vrf, long(9<<10), 1, state, open, opaque(30<<10)),
		"the largest content":    spelt(2, nil, entry, hashes(64), nil, vrf, nil, 1, state, open, opaque(40<<10)),
		"all empty":              spelt(2, nil, entry, nil, nil, vrf, nil, 0),
	} {
		a, err := transparency.ParseAnswer(b)
		require.NoError(t, err, name)
		require.Equal(t, b, a.Marshal(), name)
	}
}

// TestEveryMemberOfAnAnswerIsChecked gives each member in turn the value of another true answer of the same log.
func TestEveryMemberOfAnAnswerIsChecked(t *testing.T) {
	l := newLog(t).grow(4).add(statement(first, 0, 0, of(bob))).grow(9)
	mine, theirs := l.answer(t, alice, 8, 3), l.answer(t, bob, 9, 5)
	known := l.at(3)
	_, _, err := known.Check(alice, mine, transparency.Terms{})
	require.NoError(t, err)
	for member, c := range map[string]struct {
		check string
		mix   func(a *transparency.Answer)
	}{
		"checkpoint":  {"A2", func(a *transparency.Answer) { a.Checkpoint = theirs.Checkpoint }},
		"consistency": {"A2", func(a *transparency.Answer) { a.Consistency = theirs.Consistency }},
		"newest":      {"A3", func(a *transparency.Answer) { a.Newest = theirs.Newest }},
		"inclusion":   {"A3", func(a *transparency.Answer) { a.Inclusion = theirs.Inclusion }},
		"vrf":         {"A5", func(a *transparency.Answer) { a.VRF = theirs.VRF }},
		"map":         {"A6", func(a *transparency.Answer) { a.Map = l.maps[2].Prove(label(l.vrf, bob)).Marshal() }},
		"found":       {"A6", func(a *transparency.Answer) { a.Found = theirs.Found }},
		"not found":   {"A6", func(a *transparency.Answer) { a.Found = nil }},
	} {
		a := mine
		c.mix(&a)
		refused(t, c.check, known, a, member)
	}
}

// TestEveryByteOfAnAnswer turns a bit in each byte of a true answer. Nothing goes through but in the opening and content, which package
// keydir opens, and in the two bits of the signature's text that mean nothing; and then what was found is the same.
func TestEveryByteOfAnAnswer(t *testing.T) {
	l := newLog(t).grow(4).add(statement(first, 0, 0, of(bob))).grow(7)
	for name, actor := range map[string]string{"present": alice, "absent": "nobody"} {
		a := l.answer(t, actor, 7, 3)
		want, found, err := l.at(3).Check(actor, a, transparency.Terms{})
		require.NoError(t, err)
		good := a.Marshal()
		note := 3 + bytes.LastIndexByte(a.Checkpoint, '=') - 1
		free := len(good)
		if a.Found != nil {
			free -= 32 + 2 + len(content)
		}
		for i := range good {
			b := bytes.Clone(good)
			b[i] ^= 1 << (i % 8)
			got, err := transparency.ParseAnswer(b)
			if err != nil {
				continue
			}
			next, f, err := l.at(3).Check(actor, got, transparency.Terms{})
			if err != nil {
				require.Zero(t, f)
				continue
			}
			require.True(t, i == note || i >= free, "%s: byte %d of %d is not looked at", name, i, len(good))
			require.Equal(t, found, f)
			require.Equal(t, want.Root, next.Root)
		}
	}
}
