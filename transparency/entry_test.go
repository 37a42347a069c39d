package transparency_test

import (
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

// regions of an encoded entry, by the struct in spec/log-entry.md.
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
		e := transparency.Entry{
			Kind: transparency.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Time: rapid.Uint64().Draw(t, "time"),
			Seq: rapid.Uint32().Draw(t, "seq"), LastReset: rapid.Uint32().Draw(t, "last reset"),
			Label: array[[32]byte](t, "label"), AuthNext: array[[32]byte](t, "next"), Commitment: array[[32]byte](t, "commitment"),
			AuthKey: array[[32]byte](t, "key"), Signature: array[[64]byte](t, "signature"),
		}
		b := e.Marshal()
		require.Len(t, b, transparency.EntrySize)
		got, err := transparency.ParseEntry(b)
		require.NoError(t, err)
		require.Equal(t, e, got)
	})
}

func TestEntryStandsAsTheSpecHasIt(t *testing.T) {
	e := entry(transparency.KindReset, 0x01020304, 0x05060708)
	b := e.Marshal()
	end := 0
	for _, r := range regions {
		require.Equal(t, end, r.at, r.name)
		end += r.bytes
	}
	require.Equal(t, transparency.EntrySize, end)
	require.Equal(t, []byte{1, 3}, b[:2])
	require.Equal(t, e.Time, binary.BigEndian.Uint64(b[2:]))
	require.Equal(t, e.Label[:], b[10:42])
	require.Equal(t, []byte{1, 2, 3, 4, 5, 6, 7, 8}, b[42:50])
	require.Equal(t, e.AuthNext[:], b[50:82])
	require.Equal(t, e.Commitment[:], b[82:114])
	require.Equal(t, e.AuthKey[:], b[114:146])
	require.Equal(t, e.Signature[:], b[146:])
}

func TestHashesStandAsTheSpecHasThem(t *testing.T) {
	require.Equal(t, sha256.Sum256([]byte("waxwing label v1\x00"+alice)), transparency.Label(alice))
	key := public(account(3))
	require.Equal(t, sha256.Sum256(key[:]), transparency.AccountKeyHash(key))
	m := hmac.New(sha256.New, opening[:])
	m.Write(devices)
	require.Equal(t, [32]byte(m.Sum(nil)), transparency.Commit(opening, devices))
	leaf := transparency.LeafHash([]byte("entry"))
	require.Equal(t, sha256.Sum256([]byte("\x00entry")), [32]byte(leaf))
}

func TestParseEntryRefuses(t *testing.T) {
	good := entry(transparency.KindFirst, 0, 0).Marshal()
	with := func(at int, v byte) []byte {
		b := append([]byte{}, good...)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "one byte short": good[:len(good)-1], "one byte more": append(append([]byte{}, good...), 0),
		"two entries": append(append([]byte{}, good...), good...), "version 0": with(0, 0), "version 2": with(0, 2),
		"kind 0": with(1, 0), "kind 4": with(1, 4), "kind 255": with(1, 255),
	} {
		e, err := transparency.ParseEntry(b)
		require.Error(t, err, name)
		require.Zero(t, e, name)
	}
}

func TestL1toL4(t *testing.T) {
	const first, update, reset = transparency.KindFirst, transparency.KindUpdate, transparency.KindReset
	previous := entry(update, 5, 2)
	afterReset := entry(reset, 5, 5)
	last := entry(update, math.MaxUint32, 2)
	promised := entry(update, 5, 2, func(e *transparency.Entry) { e.AuthNext = transparency.AccountKeyHash(public(account(3))) })
	later := func(e *transparency.Entry) { e.Time = previous.Time + 1000 }
	by := func(key byte) func(*transparency.Entry) {
		return func(e *transparency.Entry) { e.AuthKey = public(account(key)) }
	}
	// The account key is part of what follows what; the signature is not, so a key may be put in after signing.
	made := func(kind transparency.Kind, seq, lastReset uint32, key byte, change ...func(*transparency.Entry)) transparency.Entry {
		e := entry(kind, seq, lastReset, change...)
		by(key)(&e)
		return e
	}
	for name, c := range map[string]struct {
		check    string
		previous *transparency.Entry
		e        transparency.Entry
	}{
		"first":                                {"", nil, made(first, 0, 0, 1)},
		"update":                               {"", &previous, made(update, 6, 2, 1)},
		"update, later":                        {"", &previous, made(update, 6, 2, 1, later)},
		"update at the same time":              {"", &previous, made(update, 6, 2, 1, func(e *transparency.Entry) { e.Time = previous.Time })},
		"update after a reset":                 {"", &afterReset, made(update, 6, 5, 1)},
		"reset":                                {"", &previous, made(reset, 6, 6, 2)},
		"L1 first with seq":                    {"L1", nil, made(first, 1, 0, 1)},
		"L1 first with last_reset":             {"L1", nil, made(first, 0, 1, 1)},
		"L1 begins with an update":             {"L1", nil, made(update, 0, 0, 1)},
		"L1 begins with a reset":               {"L1", nil, made(reset, 0, 0, 1)},
		"L1 a second first":                    {"L1", &previous, made(first, 0, 0, 1)},
		"L1 first in the next place":           {"L1", &previous, made(first, 6, 2, 1)},
		"L2 same seq":                          {"L2", &previous, made(update, 5, 2, 1, later)},
		"L2 skipped seq":                       {"L2", &previous, made(update, 7, 2, 1)},
		"L2 seq goes back":                     {"L2", &previous, made(update, 4, 2, 1, later)},
		"L2 seq wraps":                         {"L2", &last, made(update, 0, 0, 1, func(e *transparency.Entry) { e.Time = last.Time })},
		"L2 last_reset forgotten":              {"L2", &previous, made(update, 6, 0, 1)},
		"L2 last_reset raised":                 {"L2", &previous, made(update, 6, 5, 1)},
		"L2 last_reset its own seq":            {"L2", &previous, made(update, 6, 6, 1)},
		"L2 last_reset beyond":                 {"L2", &previous, made(update, 6, 9, 1)},
		"L2 key not promised":                  {"L2", &previous, made(update, 6, 2, 2)},
		"L3 reset with the old last_reset":     {"L3", &previous, made(reset, 6, 2, 2)},
		"L3 reset with last_reset 0":           {"L3", &previous, made(reset, 6, 0, 2)},
		"L3 reset skips a seq":                 {"L3", &previous, made(reset, 7, 7, 2)},
		"L3 reset in place":                    {"L3", &previous, made(reset, 5, 5, 2)},
		"L3 reset wraps":                       {"L3", &last, made(reset, 0, 0, 2, func(e *transparency.Entry) { e.Time = last.Time })},
		"L3 reset keeps the key":               {"L3", &previous, made(reset, 6, 6, 1)},
		"L3 reset by the promised key":         {"L3", &promised, made(reset, 6, 6, 3)},
		"L4 update before the previous entry":  {"L4", &previous, made(update, 6, 2, 1, func(e *transparency.Entry) { e.Time = previous.Time - 1 })},
		"L4 reset before the previous entry":   {"L4", &previous, made(reset, 6, 6, 2, func(e *transparency.Entry) { e.Time = 0 })},
		"L5 an entry of another person's list": {"L5", &previous, made(update, 6, 2, 1, func(e *transparency.Entry) { e.Label[0] ^= 1 })},
	} {
		err := c.e.Follows(c.previous)
		if c.check == "" {
			require.NoError(t, err, name)
			continue
		}
		requireCheck(t, c.check, err, name)
	}
}

// TestL5SignatureCovers flips every bit of a signed entry.
func TestL5SignatureCovers(t *testing.T) {
	signed := entry(transparency.KindUpdate, 7, 3)
	require.NoError(t, signed.VerifySignature())
	good := signed.Marshal()
	for _, r := range regions {
		t.Run(r.name, func(t *testing.T) {
			for i := r.at; i < r.at+r.bytes; i++ {
				for bit := range 8 {
					b := append([]byte{}, good...)
					b[i] ^= 1 << bit
					e, err := transparency.ParseEntry(b)
					if err != nil {
						require.Contains(t, []string{"version", "kind"}, r.name)
						continue
					}
					requireCheck(t, "L5", e.VerifySignature(), fmt.Sprintf("byte %d bit %d", i, bit))
				}
			}
		})
	}
	other := signed
	other.AuthKey = public(account(2))
	requireCheck(t, "L5", other.VerifySignature(), "another account's key")
}

func TestL5CommitmentOpensToOneList(t *testing.T) {
	e := entry(transparency.KindFirst, 0, 0)
	require.NoError(t, e.Opens(opening, devices))
	for i := range devices {
		b := append([]byte{}, devices...)
		b[i] ^= 1
		requireCheck(t, "L5", e.Opens(opening, b))
	}
	for i := range opening {
		o := opening
		o[i] ^= 1
		requireCheck(t, "L5", e.Opens(o, devices))
	}
	requireCheck(t, "L5", e.Opens(opening, nil))
	requireCheck(t, "L5", e.Opens(opening, append(append([]byte{}, devices...), 0)))
	requireCheck(t, "L5", e.Opens(opening, devices[:len(devices)-1]))
	requireCheck(t, "L5", e.Opens([32]byte{}, devices))
}
