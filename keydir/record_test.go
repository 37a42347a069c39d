package keydir_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	origin = "a.example/waxwing/log"
	alice  = "https://a.example/users/alice"
	bob    = "https://a.example/users/bob"
	now    = uint64(1_700_000_000_000)
)

var opening = [32]byte{1, 2, 3}

func account(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func keyHash(n byte) [32]byte {
	return transparency.AccountKeyHash([32]byte(account(n).Public().(ed25519.PublicKey)))
}

// A hostileLog appends and proves what it is told; nobody checks before.
type hostileLog struct {
	t      testing.TB
	signer note.Signer
	known  transparency.Log
	stored []tlog.Hash
	size   int64
}

func newLog(t testing.TB) *hostileLog {
	private, public, err := note.GenerateKey(nil, origin)
	require.NoError(t, err)
	signer, err := note.NewSigner(private)
	require.NoError(t, err)
	return &hostileLog{t: t, signer: signer, known: transparency.Log{Origin: origin, Key: public}}
}

func (l *hostileLog) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, l.stored[i])
	}
	return out, nil
}

// answer appends an entry and answers with it and a list.
func (l *hostileLog) answer(e transparency.Entry, list []byte) transparency.Answer {
	l.t.Helper()
	raw := e.Marshal()
	h, err := tlog.StoredHashes(l.size, raw, l)
	require.NoError(l.t, err)
	l.stored, l.size = append(l.stored, h...), l.size+1
	a := transparency.Answer{Index: l.size - 1, Entry: raw, Opening: opening, Devices: list}
	root, err := tlog.TreeHash(l.size, l)
	require.NoError(l.t, err)
	a.Checkpoint, err = transparency.SignCheckpoint(transparency.Checkpoint{Origin: origin, Size: l.size, Root: root}, l.signer)
	require.NoError(l.t, err)
	a.Inclusion, err = tlog.ProveRecord(l.size, a.Index, l)
	require.NoError(l.t, err)
	if l.known.Size > 0 && l.known.Size < l.size {
		a.Consistency, err = tlog.ProveTree(l.size, l.known.Size, l)
		require.NoError(l.t, err)
	}
	return a
}

// listOf an actor, whose devices follow from a number.
func listOf(actor string, seq uint32, devices byte) keydir.DeviceList {
	return keydir.DeviceList{Actor: actor, Seq: seq, Devices: []keydir.Device{{SignatureKey: [32]byte{devices}, Added: now}}}
}

// made is an entry with its list; change comes before the signature of account n.
func made(kind transparency.Kind, seq, lastReset uint32, n byte, change ...func(*transparency.Entry, *keydir.DeviceList)) (transparency.Entry, []byte) {
	list := listOf(alice, seq, byte(seq))
	e := transparency.Entry{
		Kind: kind, Time: now + uint64(seq), Label: transparency.Label(alice), Seq: seq, LastReset: lastReset, AuthNext: keyHash(n),
	}
	for _, c := range change {
		c(&e, &list)
	}
	raw := list.Marshal()
	e.Commitment = transparency.Commit(opening, raw)
	e.Sign(account(n))
	return e, raw
}

func requireCheck(t testing.TB, check string, err error, about ...any) {
	t.Helper()
	var failed *transparency.CheckError
	require.True(t, errors.As(err, &failed), "%v: want check %s, got %v", about, check, err)
	require.Equal(t, check, failed.Check, about...)
}

// learn verifies an entry and remembers the log.
func (l *hostileLog) learn(known *keydir.Record, e transparency.Entry, list []byte) (keydir.Record, error) {
	before := l.known
	next, r, err := keydir.Verify(l.known, known, alice, l.answer(e, list), now)
	if err != nil {
		require.Equal(l.t, before, next, "a log assigned on error")
		require.Zero(l.t, r, "a record assigned on error")
		return r, err
	}
	require.Equal(l.t, l.size, next.Size)
	l.known = next
	return r, nil
}

func TestRecordRoundTrip(t *testing.T) {
	for _, r := range []keydir.Record{
		{Actor: alice, Seq: 3, LastReset: 2, AuthNext: [32]byte{1}, EntryHash: [32]byte{2}, List: listOf(alice, 3, 1), Checked: 1 << 63, Reset: true},
		{Actor: bob, List: keydir.DeviceList{Actor: bob}},
	} {
		got, err := keydir.ParseRecord(r.Marshal())
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	good := keydir.Record{Actor: alice, List: listOf(alice, 0, 1)}.Marshal()
	for name, b := range map[string][]byte{
		"nothing": nil, "no members": []byte(`{}`), "cut": good[:len(good)-1], "a list": []byte(`[]`),
		"short hash":    bytes.Replace(good, []byte(`"auth_next":"AAAA`), []byte(`"auth_next":"`), 1),
		"no entry hash": bytes.Replace(good, []byte(`"entry_hash"`), []byte(`"other"`), 1),
		"no list":       bytes.Replace(good, []byte(`"list"`), []byte(`"other"`), 1),
	} {
		r, err := keydir.ParseRecord(b)
		require.Error(t, err, name)
		require.Zero(t, r, name)
	}
}

func TestVerifyRemembersWhatItProved(t *testing.T) {
	l := newLog(t)
	e, raw := made(transparency.KindFirst, 0, 0, 1)
	r, err := l.learn(nil, e, raw)
	require.NoError(t, err)
	require.Equal(t, keydir.Record{
		Actor: alice, AuthNext: keyHash(1), EntryHash: sha256.Sum256(e.Marshal()), List: listOf(alice, 0, 0), Checked: now,
	}, r)
}

func TestA4A5AndL5(t *testing.T) {
	type change = func(*transparency.Entry, *keydir.DeviceList)
	for name, c := range map[string]struct {
		check  string
		change change
	}{
		"A5 another actor's label":  {"A5", func(e *transparency.Entry, _ *keydir.DeviceList) { e.Label = transparency.Label(bob) }},
		"A5 no label":               {"A5", func(e *transparency.Entry, _ *keydir.DeviceList) { e.Label = [32]byte{} }},
		"L5 another actor's list":   {"L5", func(_ *transparency.Entry, l *keydir.DeviceList) { l.Actor = bob }},
		"L5 actor spelt otherwise":  {"L5", func(_ *transparency.Entry, l *keydir.DeviceList) { l.Actor += "/" }},
		"L5 list of a later seq":    {"L5", func(_ *transparency.Entry, l *keydir.DeviceList) { l.Seq++ }},
		"L5 list of an earlier seq": {"L5", func(_ *transparency.Entry, l *keydir.DeviceList) { l.Seq-- }},
		"L5 another's entry altogether": {"L5", func(e *transparency.Entry, l *keydir.DeviceList) {
			e.Label, l.Actor = transparency.Label(bob), bob
		}},
	} {
		e, raw := made(transparency.KindUpdate, 4, 0, 1, c.change)
		_, err := newLog(t).learn(nil, e, raw)
		requireCheck(t, c.check, err, name)
	}
	e, _ := made(transparency.KindFirst, 0, 0, 1)
	_, err := newLog(t).learn(nil, e, listOf(alice, 0, 9).Marshal())
	requireCheck(t, "L5", err, "a list that was not committed to")
	e.Signature[0] ^= 1
	_, err = newLog(t).learn(nil, e, listOf(alice, 0, 0).Marshal())
	requireCheck(t, "L5", err, "signature")
	garbage := []byte("no list")
	e.Commitment = transparency.Commit(opening, garbage)
	e.Sign(account(1))
	_, err = newLog(t).learn(nil, e, garbage)
	require.Error(t, err, "a committed list that cannot be read")
}

// TestA6 is what may follow what a reader remembers: seq 5, last reset 2, account key 1.
func TestA6(t *testing.T) {
	const first, update, reset = transparency.KindFirst, transparency.KindUpdate, transparency.KindReset
	for name, c := range map[string]struct {
		check          string
		reset          bool
		kind           transparency.Kind
		seq, lastReset uint32
		key            byte
	}{
		"the next update": {"", false, update, 6, 2, 1},
		"a later update":  {"", false, update, 9, 2, 1},
		"a later update after the account key moved": {"", false, update, 9, 2, 3},
		"a reset":                                     {"", true, reset, 6, 6, 2},
		"a reset after updates":                       {"", true, reset, 9, 9, 2},
		"an update after a reset":                     {"", true, update, 7, 6, 2},
		"updates after a reset":                       {"", true, update, 30, 9, 2},
		"A6 seq goes back":                            {"A6", false, update, 4, 2, 1},
		"A6 back to the reset":                        {"A6", false, reset, 2, 2, 1},
		"A6 back to the first entry":                  {"A6", false, first, 0, 0, 1},
		"A6 same seq, other entry":                    {"A6", false, update, 5, 2, 2},
		"A6 same seq, a reset":                        {"A6", false, reset, 5, 5, 2},
		"A6 last_reset goes back":                     {"A6", false, update, 6, 0, 1},
		"A6 last_reset goes back, later":              {"A6", false, update, 9, 1, 1},
		"A6 a reset in the past that was not there":   {"A6", false, update, 6, 4, 1},
		"A6 a reset at the seq that was none":         {"A6", false, update, 9, 5, 1},
		"A6 the next update by a key not promised":    {"A6", false, update, 6, 2, 2},
		"L2 an update that claims to be its own":      {"L2", false, update, 6, 6, 2},
		"L3 a reset in disguise":                      {"L3", false, reset, 6, 2, 2},
		"L3 a reset in disguise, later":               {"L3", false, reset, 9, 2, 2},
		"L3 a reset that resets what is not yet":      {"L3", false, reset, 6, 7, 2},
		"L1 a first entry in a place that is not one": {"L1", false, first, 6, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			e, raw := made(update, 5, 2, 1)
			known, err := l.learn(nil, e, raw)
			require.NoError(t, err)
			kept := known
			e, raw = made(c.kind, c.seq, c.lastReset, c.key, func(e *transparency.Entry, list *keydir.DeviceList) { e.Time++ })
			r, err := l.learn(&known, e, raw)
			require.Equal(t, kept, known, "what was remembered is the caller's")
			if c.check != "" {
				requireCheck(t, c.check, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []any{c.seq, c.lastReset, c.reset}, []any{r.Seq, r.LastReset, r.Reset})
			again, err := l.learn(&r, e, raw)
			require.NoError(t, err, "the same entry again")
			require.False(t, again.Reset, "a reset is reported once")
		})
	}
}

func TestL1ofAStranger(t *testing.T) {
	for name, c := range map[string]struct {
		check          string
		kind           transparency.Kind
		seq, lastReset uint32
	}{
		"first late": {"L1", transparency.KindFirst, 3, 0}, "update first": {"L2", transparency.KindUpdate, 0, 0},
		"reset in disguise": {"L3", transparency.KindReset, 3, 0}, "reset first": {"L3", transparency.KindReset, 0, 0},
	} {
		e, raw := made(c.kind, c.seq, c.lastReset, 1)
		_, err := newLog(t).learn(nil, e, raw)
		requireCheck(t, c.check, err, name)
	}
	e, raw := made(transparency.KindUpdate, 7, 4, 1)
	r, err := newLog(t).learn(nil, e, raw)
	require.NoError(t, err)
	require.False(t, r.Reset, "nothing was remembered that a reset could break with")
}

// TestNewEntryFollows builds what a device publishes and holds that it is what the log and the reader want.
func TestNewEntryFollows(t *testing.T) {
	l := newLog(t)
	var known *keydir.Record
	var previous *transparency.Entry
	for i, c := range []struct {
		kind transparency.Kind
		key  byte
	}{
		{transparency.KindFirst, 1}, {transparency.KindUpdate, 1}, {transparency.KindReset, 2}, {transparency.KindUpdate, 2}, {transparency.KindReset, 3},
	} {
		list := listOf(alice, uint32(i), 9)
		e := keydir.NewEntry(c.kind, known, list, opening, account(c.key), now+uint64(i))
		require.NoError(t, e.Follows(previous), fmt.Sprint(i))
		r, err := l.learn(known, e, list.Marshal())
		require.NoError(t, err, fmt.Sprint(i))
		require.Equal(t, c.kind == transparency.KindReset, r.Reset, fmt.Sprint(i))
		known, previous = &r, &e
	}
	require.Equal(t, uint32(4), known.LastReset)
}
