package transparency_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	first  = transparency.KindFirst
	upd    = transparency.KindUpdate
	reset  = transparency.KindReset
	revoke = transparency.KindRevoke
	move   = transparency.KindMove
	erase  = transparency.KindErase
	pad    = transparency.KindPad
)

// regions of an encoded statement, by the struct in spec/log-entry.md.
var regions = []struct {
	name      string
	at, bytes int
}{
	{"version", 0, 1}, {"kind", 1, 1}, {"time", 2, 8}, {"label", 10, 32}, {"seq", 42, 4}, {"last_reset", 46, 4},
	{"auth_next", 50, 32}, {"commitment", 82, 32}, {"auth_key", 114, 32}, {"signature", 146, 64},
}

func array[A [32]byte | [64]byte](t *rapid.T, name string) (a A) {
	n := len(a)
	for i, b := range rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name) {
		a[i] = b
	}
	return a
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := transparency.Statement{
			Kind: transparency.Kind(rapid.IntRange(1, 7).Draw(t, "kind")), Time: rapid.Uint64().Draw(t, "time"),
			Seq: rapid.Uint32().Draw(t, "seq"), LastReset: rapid.Uint32().Draw(t, "last reset"),
			Label: array[[32]byte](t, "label"), AuthNext: array[[32]byte](t, "next"), Commitment: array[[32]byte](t, "commitment"),
			AuthKey: array[[32]byte](t, "key"), Signature: array[[64]byte](t, "signature"),
		}
		b := s.Marshal()
		require.Len(t, b, 210)
		got, err := transparency.ParseStatement(b)
		require.NoError(t, err)
		require.Equal(t, s, got)
		e := transparency.Entry{Statement: s, MapRoot: array[[32]byte](t, "root")}
		b = e.Marshal()
		require.Len(t, b, 242)
		entry, err := transparency.ParseEntry(b)
		require.NoError(t, err)
		require.Equal(t, e, entry)
	})
}

func TestEntryStandsAsTheSpecHasIt(t *testing.T) {
	s := statement(reset, 0x01020304, 0x05060708)
	b := transparency.Entry{Statement: s, MapRoot: [32]byte{4, 5}}.Marshal()
	end := 0
	for _, r := range regions {
		require.Equal(t, end, r.at, r.name)
		end += r.bytes
	}
	require.Equal(t, transparency.StatementSize, end)
	require.Equal(t, []byte{2, 3}, b[:2])
	require.Equal(t, s.Time, binary.BigEndian.Uint64(b[2:]))
	require.Equal(t, s.Label[:], b[10:42])
	require.Equal(t, []byte{1, 2, 3, 4, 5, 6, 7, 8}, b[42:50])
	require.Equal(t, s.AuthNext[:], b[50:82])
	require.Equal(t, s.Commitment[:], b[82:114])
	require.Equal(t, s.AuthKey[:], b[114:146])
	require.Equal(t, s.Signature[:], b[146:210])
	require.Equal(t, append([]byte{4, 5}, make([]byte, 30)...), b[210:])
	require.True(t, ed25519.Verify(s.AuthKey[:], append([]byte("waxwing statement v2\x00"), b[:146]...), s.Signature[:]))

	s.Kind = revoke
	before := update(3)
	s.Sign(account(2), &before)
	value := sha256.Sum256(append([]byte("waxwing map value v1\x00"), before.Marshal()...))
	signed := append([]byte("waxwing statement v2\x00"), s.Marshal()[:146]...)
	require.True(t, ed25519.Verify(s.AuthKey[:], append(signed, value[:]...), s.Signature[:]), "a revocation takes in what it comes after")
}

func TestHashesStandAsTheSpecHasThem(t *testing.T) {
	key := public(account(3))
	require.Equal(t, sha256.Sum256(key[:]), transparency.AccountKeyHash(key))
	m := hmac.New(sha256.New, opening[:])
	m.Write(content)
	require.Equal(t, [32]byte(m.Sum(nil)), transparency.Commit(opening, content))
	leaf := transparency.LeafHash([]byte("entry"))
	require.Equal(t, sha256.Sum256([]byte("\x00entry")), [32]byte(leaf))
	s := update(3)
	require.Equal(t, sha256.Sum256(append([]byte("waxwing map value v1\x00"), s.Marshal()...)), s.MapValue())
}

func TestParseEntryRefuses(t *testing.T) {
	good := transparency.Entry{Statement: statement(first, 0, 0)}.Marshal()
	with := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	cases := map[string][]byte{
		"one byte more": append(bytes.Clone(good), 0), "two entries": append(bytes.Clone(good), good...), "version 0": with(0, 0),
		"version 1": with(0, 1), "version 3": with(0, 3), "kind 0": with(1, 0), "kind 8": with(1, 8), "kind 255": with(1, 255),
	}
	for i := range good {
		cases[fmt.Sprint("cut at ", i)] = good[:i]
	}
	for name, b := range cases {
		e, err := transparency.ParseEntry(b)
		require.Error(t, err, name)
		require.Zero(t, e, name)
		if len(b) == transparency.StatementSize {
			continue
		}
		s, err := transparency.ParseStatement(b[:min(len(b), transparency.StatementSize+1)])
		require.Error(t, err, name)
		require.Zero(t, s, name)
	}
}

type change = func(*transparency.Statement)

// made changes what a signature would cover: the account key is part of what follows what, and the signature is not.
func made(kind transparency.Kind, seq, lastReset uint32, key byte, changes ...change) transparency.Statement {
	s := statement(kind, seq, lastReset, changes...)
	s.AuthKey = public(account(key))
	return s
}

func erased(seq uint32, changes ...change) transparency.Statement {
	s := transparency.Statement{Kind: erase, Time: update(seq).Time, Label: update(0).Label, Seq: seq, LastReset: seq}
	for _, c := range changes {
		c(&s)
	}
	return s
}

func TestL1toL5AndL7(t *testing.T) {
	previous := made(upd, 5, 2, 1)
	afterReset, afterErase, afterMove := made(reset, 5, 5, 1), erased(5), made(move, 5, 2, 1)
	afterRevoke := made(revoke, 5, 2, 8)
	last := made(upd, math.MaxUint32, 2, 1)
	next := func(key byte) change {
		return func(s *transparency.Statement) { s.AuthNext = transparency.AccountKeyHash(public(account(key))) }
	}
	promised := made(upd, 5, 2, 1, next(3))
	at := func(time uint64) change { return func(s *transparency.Statement) { s.Time = time } }
	for name, c := range map[string]struct {
		check    string
		previous *transparency.Statement
		s        transparency.Statement
	}{
		"first":                                {"", nil, made(first, 0, 0, 1)},
		"update":                               {"", &previous, made(upd, 6, 2, 1)},
		"update, later":                        {"", &previous, made(upd, 6, 2, 1, at(previous.Time+1000))},
		"update at the same time":              {"", &previous, made(upd, 6, 2, 1, at(previous.Time))},
		"update after a reset":                 {"", &afterReset, made(upd, 6, 5, 1)},
		"update after a revocation":            {"", &afterRevoke, made(upd, 6, 2, 1)},
		"update by a new promised key":         {"", &promised, made(upd, 6, 2, 3)},
		"reset":                                {"", &previous, made(reset, 6, 6, 2)},
		"reset after a reset":                  {"", &afterReset, made(reset, 6, 6, 2)},
		"reset after an erase":                 {"", &afterErase, made(reset, 6, 6, 1)},
		"reset after a move":                   {"", &afterMove, made(reset, 6, 6, 2)},
		"revocation":                           {"", &previous, made(revoke, 6, 2, 9)},
		"revocation after a revocation":        {"", &afterRevoke, made(revoke, 6, 2, 9)},
		"move":                                 {"", &previous, made(move, 6, 2, 1, next(4))},
		"erase":                                {"", &previous, erased(6)},
		"erase of a move":                      {"", &afterMove, erased(6)},
		"padding after anything":               {"", &previous, transparency.Statement{Kind: pad}},
		"padding after nothing":                {"", nil, transparency.Statement{Kind: pad, Time: 9}},
		"L1 first with seq":                    {"L1", nil, made(first, 1, 0, 1)},
		"L1 first with last_reset":             {"L1", nil, made(first, 0, 1, 1)},
		"L1 begins with an update":             {"L1", nil, made(upd, 1, 0, 1)},
		"L1 begins with a reset":               {"L1", nil, made(reset, 1, 1, 1)},
		"L1 begins with a revocation":          {"L1", nil, made(revoke, 1, 0, 1)},
		"L1 begins with a move":                {"L1", nil, made(move, 1, 0, 1)},
		"L1 begins with an erase":              {"L1", nil, erased(1)},
		"L1 a second first":                    {"L1", &previous, made(first, 0, 0, 1)},
		"L1 first after an erase":              {"L1", &afterErase, made(first, 0, 0, 1)},
		"L1 first in the next place":           {"L1", &previous, made(first, 6, 2, 1)},
		"L2 same seq":                          {"L2", &previous, made(upd, 5, 2, 1)},
		"L2 skipped seq":                       {"L2", &previous, made(upd, 7, 2, 1)},
		"L2 seq goes back":                     {"L2", &previous, made(upd, 4, 2, 1, at(previous.Time))},
		"L2 seq wraps":                         {"L2", &last, made(upd, 0, 0, 1, at(last.Time))},
		"L2 last_reset forgotten":              {"L2", &previous, made(upd, 6, 0, 1)},
		"L2 last_reset raised":                 {"L2", &previous, made(upd, 6, 5, 1)},
		"L2 last_reset its own seq":            {"L2", &previous, made(upd, 6, 6, 1)},
		"L2 last_reset beyond":                 {"L2", &previous, made(upd, 6, 9, 1)},
		"L2 key not promised":                  {"L2", &previous, made(upd, 6, 2, 2)},
		"L2 the key of before the promise":     {"L2", &promised, made(upd, 6, 2, 1)},
		"L2 a device key after its revocation": {"L2", &afterRevoke, made(upd, 6, 2, 8)},
		"L2 update after an erase":             {"L2", &afterErase, made(upd, 6, 5, 1)},
		"L2 update after a move":               {"L2", &afterMove, made(upd, 6, 2, 1)},
		"L2 move by a key not promised":        {"L2", &previous, made(move, 6, 2, 2)},
		"L2 move that resets":                  {"L2", &previous, made(move, 6, 6, 1)},
		"L2 move of what has moved":            {"L2", &afterMove, made(move, 6, 2, 1)},
		"L2 move of what was erased":           {"L2", &afterErase, made(move, 6, 5, 1)},
		"L2 move skips a seq":                  {"L2", &previous, made(move, 7, 2, 1)},
		"L3 reset with the old last_reset":     {"L3", &previous, made(reset, 6, 2, 2)},
		"L3 reset with last_reset 0":           {"L3", &previous, made(reset, 6, 0, 2)},
		"L3 reset skips a seq":                 {"L3", &previous, made(reset, 7, 7, 2)},
		"L3 reset in place":                    {"L3", &previous, made(reset, 5, 5, 2)},
		"L3 reset wraps":                       {"L3", &last, made(reset, 0, 0, 2, at(last.Time))},
		"L3 reset keeps the key":               {"L3", &previous, made(reset, 6, 6, 1)},
		"L3 reset by the promised key":         {"L3", &promised, made(reset, 6, 6, 3)},
		"L4 revocation with another promise":   {"L4", &previous, made(revoke, 6, 2, 9, next(9))},
		"L4 revocation that resets":            {"L4", &previous, made(revoke, 6, 6, 9)},
		"L4 revocation that hides a reset":     {"L4", &afterReset, made(revoke, 6, 2, 9)},
		"L4 revocation skips a seq":            {"L4", &previous, made(revoke, 7, 2, 9)},
		"L4 revocation in place":               {"L4", &previous, made(revoke, 5, 2, 9)},
		"L4 revocation after an erase":         {"L4", &afterErase, made(revoke, 6, 5, 9, func(s *transparency.Statement) { s.AuthNext = [32]byte{} })},
		"L4 revocation after a move":           {"L4", &afterMove, made(revoke, 6, 2, 9)},
		"L5 erase in place":                    {"L5", &previous, erased(5)},
		"L5 erase skips a seq":                 {"L5", &previous, erased(7)},
		"L5 erase that is no reset":            {"L5", &previous, erased(6, func(s *transparency.Statement) { s.LastReset = 2 })},
		"L5 erase that promises a key":         {"L5", &previous, erased(6, next(1))},
		"L5 erase that commits":                {"L5", &previous, erased(6, func(s *transparency.Statement) { s.Commitment[9] = 1 })},
		"L5 erase as the first":                {"L5", nil, erased(0)},
		"L5 padding with a label":              {"L5", nil, transparency.Statement{Kind: pad, Label: [32]byte{1}}},
		"L5 padding with a seq":                {"L5", nil, transparency.Statement{Kind: pad, Seq: 1}},
		"L5 padding with a reset":              {"L5", nil, transparency.Statement{Kind: pad, LastReset: 1}},
		"L5 padding with a promise":            {"L5", nil, transparency.Statement{Kind: pad, AuthNext: [32]byte{1}}},
		"L5 padding that commits":              {"L5", nil, transparency.Statement{Kind: pad, Commitment: [32]byte{1}}},
		"L5 padding with a key":                {"L5", nil, transparency.Statement{Kind: pad, AuthKey: [32]byte{1}}},
		"L5 padding with a signature":          {"L5", nil, transparency.Statement{Kind: pad, Signature: [64]byte{1}}},
		"L6 another person's label":            {"L6", &previous, made(upd, 6, 2, 1, func(s *transparency.Statement) { s.Label[0] ^= 1 })},
		"L7 update before the previous entry":  {"L7", &previous, made(upd, 6, 2, 1, at(previous.Time-1))},
		"L7 reset before the previous entry":   {"L7", &previous, made(reset, 6, 6, 2, at(0))},
		"L7 revocation before it":              {"L7", &previous, made(revoke, 6, 2, 9, at(previous.Time-1))},
		"L7 erase before it":                   {"L7", &previous, erased(6, at(previous.Time-1))},
	} {
		err := c.s.Follows(c.previous)
		if c.check == "" {
			require.NoError(t, err, name)
			continue
		}
		requireCheck(t, c.check, err, name)
	}
}

// TestL6SignatureCovers flips every bit of a signed statement.
func TestL6SignatureCovers(t *testing.T) {
	before := update(6)
	for name, s := range map[string]transparency.Statement{"update": statement(upd, 7, 3), "revocation": signedAfter(statement(revoke, 7, 3), before)} {
		require.NoError(t, s.VerifySignature(&before), name)
		good := s.Marshal()
		for _, r := range regions {
			for i := r.at; i < r.at+r.bytes; i++ {
				for bit := range 8 {
					b := bytes.Clone(good)
					b[i] ^= 1 << bit
					got, err := transparency.ParseStatement(b)
					if err != nil {
						require.Contains(t, []string{"version", "kind"}, r.name)
						continue
					}
					requireCheck(t, "L6", got.VerifySignature(&before), fmt.Sprintf("%s: %s byte %d bit %d", name, r.name, i, bit))
				}
			}
		}
		other := s
		other.AuthKey = public(account(2))
		requireCheck(t, "L6", other.VerifySignature(&before), "another account's key")
	}
}

func signedAfter(s, before transparency.Statement) transparency.Statement {
	s.Sign(account(1), &before)
	return s
}

// TestL6ARevocationIsSignedForItsPlace: that which a device key signed to come after one statement does not come after another.
func TestL6ARevocationIsSignedForItsPlace(t *testing.T) {
	before, other := update(6), statement(upd, 6, 0, func(s *transparency.Statement) { s.Time++ })
	s := signedAfter(statement(revoke, 7, 0), before)
	require.NoError(t, s.VerifySignature(&before))
	requireCheck(t, "L6", s.VerifySignature(&other), "another past of the same seq")
	requireCheck(t, "L6", s.VerifySignature(nil), "no past")
	resigned := before
	resigned.Signature[0] ^= 1
	requireCheck(t, "L6", s.VerifySignature(&resigned), "the same words, signed otherwise")
	s.Sign(account(1), nil)
	requireCheck(t, "L6", s.VerifySignature(&before), "signed as if the place did not matter")
	u := update(7)
	require.NoError(t, u.VerifySignature(&other), "of an update the promised key says enough")
}

// TestL6WhatTheLogSaysByItself has no signature to check, and none to hide something in.
func TestL6WhatTheLogSaysByItself(t *testing.T) {
	for _, s := range []transparency.Statement{erased(3), {Kind: pad, Time: 4}} {
		require.NoError(t, s.VerifySignature(nil))
		s.Signature[63] = 1
		requireCheck(t, "L6", s.VerifySignature(nil))
		s.Signature[63], s.AuthKey[0] = 0, 1
		requireCheck(t, "L6", s.VerifySignature(nil))
		s.Sign(account(1), nil)
		requireCheck(t, "L6", s.VerifySignature(nil))
	}
}

func TestL6CommitmentOpensToOneContent(t *testing.T) {
	s := statement(first, 0, 0)
	require.NoError(t, s.Opens(opening, content))
	for i := range content {
		b := bytes.Clone(content)
		b[i] ^= 1
		requireCheck(t, "L6", s.Opens(opening, b))
	}
	for i := range opening {
		o := opening
		o[i] ^= 1
		requireCheck(t, "L6", s.Opens(o, content))
	}
	requireCheck(t, "L6", s.Opens(opening, nil))
	requireCheck(t, "L6", s.Opens(opening, append(bytes.Clone(content), 0)))
	requireCheck(t, "L6", s.Opens(opening, content[:len(content)-1]))
	requireCheck(t, "L6", s.Opens([32]byte{}, content))
}
