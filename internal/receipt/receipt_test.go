package receipt_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

var group = []byte("a group")

func key(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func public(n byte) ed25519.PublicKey { return key(n).Public().(ed25519.PublicKey) }

// signed gives the bytes of a receipt by key(1), after a change.
func signed(r receipt.Receipt, change ...func(*receipt.Receipt)) []byte {
	for _, c := range change {
		c(&r)
	}
	r.Sign(key(1))
	return r.Marshal()
}

func openReceipt() receipt.Receipt {
	return receipt.Receipt{Kind: receipt.KindOpen, GroupID: group, Term: 1, Ticket: [32]byte{9}, Time: 100}
}

// after is the receipt of the commit that follows one.
func after(previous []byte, seq uint64) receipt.Receipt {
	return receipt.Receipt{
		Kind: receipt.KindCommit, GroupID: group, Term: 1, Seq: seq, Epoch: seq - 1, MessageHash: sha256.Sum256([]byte{byte(seq)}),
		Previous: receipt.Head(previous), Ticket: [32]byte{byte(seq)}, Time: 100 + seq,
	}
}

// regions of an encoded receipt of group, by the struct in spec/receipt.md.
var regions = []struct {
	name  string
	bytes int
}{
	{"version", 1}, {"kind", 1}, {"group_id length", 1}, {"group_id", len(group)}, {"term", 8}, {"seq", 8}, {"epoch", 8},
	{"message_hash", 32}, {"previous", 32}, {"ticket", 32}, {"time", 8}, {"signature", 64},
}

func array[A [32]byte | [64]byte](t *rapid.T, name string) (a A) {
	n := len(a)
	for i, b := range rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name) {
		a[i] = b
	}
	return a
}

func TestReceiptRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := receipt.Receipt{
			Kind: receipt.KindOpen, GroupID: rapid.SliceOfN(rapid.Byte(), 1, receipt.MaxGroupID).Draw(t, "group"),
			Term: rapid.Uint64().Draw(t, "term"), Ticket: array[[32]byte](t, "ticket"), Time: rapid.Uint64().Draw(t, "time"),
			Signature: array[[64]byte](t, "signature"),
		}
		if rapid.Bool().Draw(t, "commit") {
			r.Kind, r.Seq, r.Epoch = receipt.KindCommit, rapid.Uint64Min(1).Draw(t, "seq"), rapid.Uint64().Draw(t, "epoch")
			r.MessageHash, r.Previous = array[[32]byte](t, "hash"), array[[32]byte](t, "previous")
		}
		got, err := receipt.Parse(r.Marshal())
		require.NoError(t, err)
		require.Equal(t, r, got)
	})
}

func TestReceiptStandsAsTheSpecHasIt(t *testing.T) {
	r := after([]byte("previous"), 0x0102)
	r.Sign(key(1))
	b := r.Marshal()
	at := map[string][]byte{}
	rest := b
	for _, part := range regions {
		at[part.name], rest = rest[:part.bytes], rest[part.bytes:]
	}
	require.Empty(t, rest)
	u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	previous := sha256.Sum256([]byte("previous"))
	require.Equal(t, map[string][]byte{
		"version": {1}, "kind": {2}, "group_id length": {byte(len(group))}, "group_id": group, "term": u64(1), "seq": u64(0x0102), "epoch": u64(0x0101),
		"message_hash": r.MessageHash[:], "previous": previous[:], "ticket": r.Ticket[:], "time": u64(100 + 0x0102), "signature": r.Signature[:],
	}, at)
	require.True(t, ed25519.Verify(public(1), append([]byte("waxwing receipt v1\x00"), b[:len(b)-64]...), r.Signature[:]))
}

func TestParseRefuses(t *testing.T) {
	open := signed(openReceipt())
	commit := signed(after(open, 1))
	with := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	cases := map[string][]byte{
		"version 0": with(commit, 0, 0), "version 2": with(commit, 0, 2), "kind 0": with(commit, 1, 0), "kind 6": with(commit, 1, 6),
		"no group id": append([]byte{1, 2, 0}, commit[3+len(group):]...), "group id longer than there is": with(commit, 2, 64),
		"group id one shorter": with(commit, 2, byte(len(group)-1)), "a byte after": append(bytes.Clone(commit), 0),
		"group id of 65":             signed(after(open, 1), func(r *receipt.Receipt) { r.GroupID = make([]byte, 65) }),
		"open with seq":              signed(openReceipt(), func(r *receipt.Receipt) { r.Seq = 1 }),
		"open with epoch":            signed(openReceipt(), func(r *receipt.Receipt) { r.Epoch = 1 }),
		"open with message hash":     signed(openReceipt(), func(r *receipt.Receipt) { r.MessageHash[31] = 1 }),
		"open with previous":         signed(openReceipt(), func(r *receipt.Receipt) { r.Previous[0] = 1 }),
		"commit with seq 0":          signed(after(open, 1), func(r *receipt.Receipt) { r.Seq = 0 }),
		"a commit that became open":  with(commit, 1, 1),
		"an open that became commit": with(open, 1, 2),
	}
	for i := range commit {
		cases[fmt.Sprintf("cut at %d", i)] = commit[:i]
	}
	for name, b := range cases {
		r, err := receipt.Parse(b)
		require.Error(t, err, name)
		require.Zero(t, r, name)
	}
	largest := signed(after(open, 1), func(r *receipt.Receipt) { r.GroupID = make([]byte, receipt.MaxGroupID) })
	_, err := receipt.Parse(largest)
	require.NoError(t, err)
}

func TestParseKeepsNothingOfItsInput(t *testing.T) {
	b := signed(after(signed(openReceipt()), 1))
	r, err := receipt.Parse(b)
	require.NoError(t, err)
	clear(b)
	require.Equal(t, group, r.GroupID)
	require.True(t, r.Verify(public(1)))
}

// TestR1SignatureCovers flips every byte of a receipt.
func TestR1SignatureCovers(t *testing.T) {
	good := signed(after(signed(openReceipt()), 1))
	at := 0
	for _, part := range regions {
		for i := at; i < at+part.bytes; i++ {
			b := bytes.Clone(good)
			b[i] ^= 0x40
			if r, err := receipt.Parse(b); err == nil {
				require.False(t, r.Verify(public(1)), "%s, byte %d", part.name, i)
			}
		}
		at += part.bytes
	}
	r, err := receipt.Parse(good)
	require.NoError(t, err)
	require.True(t, r.Verify(public(1)))
	require.False(t, r.Verify(public(2)))
	require.False(t, r.Verify(nil))
	require.False(t, r.Verify(public(1)[:31]))
}

func TestChain(t *testing.T) {
	newest := signed(openReceipt())
	c, r, err := receipt.Start(newest, group, [32]byte(public(1)))
	require.NoError(t, err)
	require.Equal(t, receipt.KindOpen, r.Kind)
	for seq := uint64(1); seq < 6; seq++ {
		newest = signed(after(newest, seq))
		c, r, err = c.Next(newest)
		require.NoError(t, err)
		require.Equal(t, seq, r.Seq)
		require.Equal(t, receipt.Chain{GroupID: group, HubKey: [32]byte(public(1)), Term: 1, Seq: seq, Head: sha256.Sum256(newest)}, c)
		joined, _, err := receipt.Start(newest, group, [32]byte(public(1)))
		require.NoError(t, err, "a newcomer starts here")
		require.Equal(t, c, joined)
	}
}

func TestR1AndR2(t *testing.T) {
	open := signed(openReceipt())
	second := signed(after(open, 1))
	start, _, err := receipt.Start(open, group, [32]byte(public(1)))
	require.NoError(t, err)
	c, _, err := start.Next(second)
	require.NoError(t, err)
	forged := after(second, 2)
	forged.Sign(key(2))
	tampered := signed(after(second, 2))
	tampered[len(tampered)-70] ^= 1
	for name, x := range map[string]struct {
		want error
		b    []byte
	}{
		"R1 another hub's signature":       {receipt.ErrForged, forged.Marshal()},
		"R1 changed after it was signed":   {receipt.ErrForged, tampered},
		"R2 another group":                 {receipt.ErrChain, signed(after(second, 2), func(r *receipt.Receipt) { r.GroupID = []byte("b group") })},
		"R2 a group with more in its name": {receipt.ErrChain, signed(after(second, 2), func(r *receipt.Receipt) { r.GroupID = []byte("a groups") })},
		"R2 a later term":                  {receipt.ErrChain, signed(after(second, 2), func(r *receipt.Receipt) { r.Term = 2 })},
		"R2 an earlier term":               {receipt.ErrChain, signed(after(second, 2), func(r *receipt.Receipt) { r.Term = 0 })},
		"R2 a skipped seq":                 {receipt.ErrChain, signed(after(second, 3))},
		"R2 the same receipt again":        {receipt.ErrChain, second},
		"R2 another of the same seq":       {receipt.ErrChain, signed(after(open, 1), func(r *receipt.Receipt) { r.Time++ })},
		"R2 follows another receipt":       {receipt.ErrChain, signed(after(open, 2))},
		"R2 follows nothing":               {receipt.ErrChain, signed(after(second, 2), func(r *receipt.Receipt) { r.Previous = [32]byte{} })},
		"R2 the open receipt again":        {receipt.ErrChain, open},
		"nothing":                          {nil, nil},
		"cut":                              {nil, second[:40]},
	} {
		next, _, err := c.Next(x.b)
		require.Error(t, err, name)
		if x.want != nil {
			require.ErrorIs(t, err, x.want, name)
		}
		require.Equal(t, c, next, "%s: the place moved", name)
	}
	_, _, err = c.Next(signed(after(second, 2)))
	require.NoError(t, err)
}

func TestStartRefuses(t *testing.T) {
	open := signed(openReceipt())
	for name, x := range map[string]struct {
		want  error
		b     []byte
		group []byte
		hub   ed25519.PublicKey
	}{
		"R1 another hub's":    {receipt.ErrForged, open, group, public(2)},
		"R2 of another group": {receipt.ErrChain, open, []byte("b group"), public(1)},
		"R2 of no group":      {receipt.ErrChain, open, nil, public(1)},
		"nothing":             {nil, nil, group, public(1)},
	} {
		c, _, err := receipt.Start(x.b, x.group, [32]byte(x.hub))
		require.Error(t, err, name)
		if x.want != nil {
			require.ErrorIs(t, err, x.want, name)
		}
		require.Zero(t, c, name)
	}
}

func TestContradicts(t *testing.T) {
	open := signed(openReceipt())
	one, two := signed(after(open, 1)), signed(after(open, 1), func(r *receipt.Receipt) { r.Ticket[0]++ })
	require.True(t, receipt.Contradicts(one, two, public(1)))
	require.True(t, receipt.Contradicts(two, one, public(1)))
	forged := after(open, 1)
	forged.Sign(key(2))
	for name, other := range map[string][]byte{
		"the same": one, "the next": signed(after(one, 2)), "another hub's": forged.Marshal(), "none": nil, "cut": two[:60],
		"another group's": signed(after(open, 1), func(r *receipt.Receipt) { r.GroupID = []byte("b") }),
		"another term's":  signed(after(open, 1), func(r *receipt.Receipt) { r.Term = 2 }),
	} {
		require.False(t, receipt.Contradicts(one, other, public(1)), name)
		require.False(t, receipt.Contradicts(other, one, public(1)), name)
	}
	require.False(t, receipt.Contradicts(one, two, public(2)))
	require.False(t, receipt.Contradicts(one, two, nil))
}

func TestConversationURL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		instance := rapid.SampledFrom([]string{"https://a.example", "http://127.0.0.1:8080", "https://[::1]:9"}).Draw(t, "instance")
		id := rapid.SliceOfN(rapid.Byte(), 1, receipt.MaxGroupID).Draw(t, "id")
		got, gotID, err := receipt.ParseConversationURL(receipt.ConversationURL(instance, id))
		require.NoError(t, err)
		require.Equal(t, []any{instance, id}, []any{got, gotID})
	})
	require.Equal(t, "https://a.example/waxwing/conversations/00ff", receipt.ConversationURL("https://a.example", []byte{0, 255}))
	const path = "/waxwing/conversations/"
	for _, u := range []string{
		"", "https://a.example", "https://a.example" + path, "https://a.example" + path + "0", "https://a.example" + path + "0g",
		"https://a.example" + path + "AB", "https://a.example" + path + "ab/", "https://a.example" + path + "ab?x=1", "https://a.example" + path + "ab#x",
		"https://a.example" + path + "ab" + path + "ab", "https://a.example" + path + strings.Repeat("ab", 65), "https://a.example/waxwing/conversation/ab",
		path + "ab", "a.example" + path + "ab", "//a.example" + path + "ab", "ftp://a.example" + path + "ab", "https://" + path + "ab",
		"https://a.example/" + path + "ab", "https://a.example/x" + path + "ab", "https://a.example?q=" + path + "ab", "https://a.example#" + path + "ab",
		"https://u@a.example" + path + "ab", "https://u:p@a.example" + path + "ab", "https://a b" + path + "ab", "HTTPS://a.example" + path + "ab",
		" https://a.example" + path + "ab", "https://a.example" + path + "ab\n", "https://a.example\x00" + path + "ab",
	} {
		instance, id, err := receipt.ParseConversationURL(u)
		require.Error(t, err, "%q", u)
		require.Zero(t, instance, "%q", u)
		require.Nil(t, id, "%q", u)
	}
	_, _, err := receipt.ParseConversationURL(strings.Repeat("x", 1<<20))
	require.Less(t, len(err.Error()), 300, "an error repeats what it was given")
}
