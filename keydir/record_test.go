package keydir_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

func TestRecordRoundTrip(t *testing.T) {
	one := says(first, nil, 1, 1, 1, 2)
	for _, r := range []keydir.Record{
		{Actor: alice, Statement: one.statement, List: listOf(alice, 1, 2), Checked: 1 << 63, Reset: true},
		{Actor: bob, Statement: statement{Kind: erase}, List: keydir.DeviceList{Actor: bob, Former: alice}, MovedTo: "c"},
	} {
		got, err := keydir.ParseRecord(r.Marshal())
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	good := keydir.Record{Actor: alice, Statement: one.statement, List: listOf(alice, 1)}.Marshal()
	for name, b := range map[string][]byte{
		"nothing": nil, "no members": []byte(`{}`), "cut": good[:len(good)-1], "a list": []byte(`[]`),
		"no statement":    bytes.Replace(good, []byte(`"statement"`), []byte(`"other"`), 1),
		"short statement": bytes.Replace(good, []byte(`"statement":"AgEA`), []byte(`"statement":"AgEAAAAA`), 1),
		"no list":         bytes.Replace(good, []byte(`"list"`), []byte(`"other"`), 1),
	} {
		r, err := keydir.ParseRecord(b)
		require.Error(t, err, name)
		require.Zero(t, r, name)
	}
}

func TestVerifyRemembersWhatItProved(t *testing.T) {
	l := newLog(t)
	r, err := l.look(nil, nil)
	require.NoError(t, err)
	require.Zero(t, r, "an actor without keys")
	one := says(first, nil, 1, 1, 1)
	r, err = l.learn(nil, one)
	require.NoError(t, err)
	require.Equal(t, keydir.Record{Actor: alice, Statement: one.statement, List: listOf(alice, 1), Checked: now, First: &one.statement}, r)
	two := says(move, &one, 1, 2)
	r, err = l.learn(&r, two)
	require.NoError(t, err)
	require.Equal(t, keydir.Record{Actor: alice, Statement: two.statement, List: keydir.DeviceList{Actor: alice, Seq: 1}, MovedTo: bob, Checked: now, First: &one.statement}, r)
}

// TestVerifyHoldsEveryCheck is one answer for each, so that none of them is left out on the way.
func TestVerifyHoldsEveryCheck(t *testing.T) {
	for check, spoil := range map[string]func(l *hostileLog, a *transparency.Answer){
		"A1": func(_ *hostileLog, a *transparency.Answer) { a.Checkpoint = a.Checkpoint[1:] },
		"A2": func(l *hostileLog, _ *transparency.Answer) { l.known.Size = 99 },
		"A3": func(_ *hostileLog, a *transparency.Answer) { a.Inclusion = nil },
		"A4": func(l *hostileLog, a *transparency.Answer) { // the log's newest is no entry
			l.newest = []byte("entry")
			l.stored = append(l.stored, must(tlogHashes(l, l.newest))...)
			l.size++
			*a = l.answer(nil)
		},
		"A5": func(_ *hostileLog, a *transparency.Answer) { a.VRF[0] ^= 1 },
		"A6": func(_ *hostileLog, a *transparency.Answer) { a.Found = nil },
		"L6": func(_ *hostileLog, a *transparency.Answer) { a.Found.Opening[0] ^= 1 },
	} {
		l := newLog(t)
		one := says(first, nil, 1, 1, 1)
		l.append(one.statement)
		a := l.answer(&one)
		spoil(l, &a)
		_, r, _, err := keydir.Verify(l.known, nil, alice, a, atNow)
		requireCheck(t, check, err)
		require.Nil(t, r)
	}
}

// TestA8 is what may follow what a reader remembers: seq 5, last reset 2, account key 1.
func TestA8(t *testing.T) {
	type change = func(*statement)
	at := func(kind transparency.Kind, seq, lastReset uint32, key byte, changes ...change) said {
		list := listOf(alice, 1, 2, byte(seq)+10)
		list.Seq = seq
		s := said{statement: statement{Kind: kind, Time: now + uint64(seq), Label: aliceLabel, Seq: seq, LastReset: lastReset,
			AuthNext: transparency.AccountKeyHash(public(account(key)))}, content: list.Marshal()}
		return resaid(s, key, s.content, changes...)
	}
	known := at(update, 5, 2, 1)
	early := func(s *statement) { s.Time = now }
	for name, c := range map[string]struct {
		check string
		reset bool
		said
	}{
		"the same":                               {"", false, known},
		"the next":                               {"", false, at(update, 6, 2, 1)},
		"a later one, as far as can be known":    {"", false, at(update, 9, 2, 3)},
		"a reset":                                {"", true, at(reset, 6, 6, 2)},
		"a reset after updates":                  {"", true, at(reset, 9, 9, 2)},
		"an update after a reset":                {"", true, at(update, 7, 6, 2)},
		"updates after a reset":                  {"", true, at(update, 30, 9, 2)},
		"the next, a revocation":                 {"", false, revokes(t, known, 1)},
		"two revocations":                        {"", false, revokes(t, revokes(t, known, 1), 2)},
		"a revocation after an update":           {"", false, revokes(t, at(update, 6, 2, 1), 1)},
		"a revocation after a reset":             {"", true, revokes(t, at(reset, 6, 6, 2), 1)},
		"an erase":                               {"", true, erases(known)},
		"A8 seq goes back":                       {"A8", false, at(update, 4, 2, 1)},
		"A8 back to the reset":                   {"A8", false, at(reset, 2, 2, 1)},
		"A8 back to the first entry":             {"A8", false, at(first, 0, 0, 1)},
		"A8 same seq, other entry":               {"A8", false, at(update, 5, 2, 2)},
		"A8 same seq, signed again":              {"A8", false, at(update, 5, 2, 1, early)},
		"A8 same seq, a reset":                   {"A8", false, at(reset, 5, 5, 2)},
		"A8 last_reset goes back":                {"A8", false, at(update, 6, 0, 1)},
		"A8 last_reset goes back, later":         {"A8", false, at(update, 9, 1, 1)},
		"A8 a reset in the past that was none":   {"A8", false, at(update, 6, 4, 1)},
		"A8 a reset at the seq that was none":    {"A8", false, at(update, 9, 5, 1)},
		"A8 the next by a key not promised":      {"A8", false, at(update, 6, 2, 2)},
		"A8 the next before its time":            {"A8", false, at(update, 6, 2, 1, early)},
		"A8 a later one before its time":         {"A8", false, at(update, 9, 2, 1, early)},
		"A8 a reset that keeps the key":          {"A8", false, at(reset, 6, 6, 1)},
		"A8 a revocation with an older base":     {"A8", false, revokes(t, revokes(t, at(update, 4, 2, 1), 1), 2)},
		"A8 a revocation in place of the list":   {"A8", false, revokes(t, at(update, 4, 2, 1), 1)},
		"A8 revocations after another list":      {"A8", false, revokes(t, at(update, 5, 2, 2), 1)},
		"A8 revocation of a list not promised":   {"A8", false, revokes(t, at(update, 6, 2, 2), 1)},
		"L2 an update that claims to be its own": {"L2", false, at(update, 6, 6, 2)},
		"L3 a reset in disguise":                 {"L3", false, at(reset, 6, 2, 2)},
		"L3 a reset in disguise, later":          {"L3", false, at(reset, 9, 2, 2)},
		"L1 a first entry in a place of others":  {"L1", false, at(first, 6, 2, 2)},
	} {
		l := newLog(t)
		r, err := l.learn(nil, known)
		require.NoError(t, err)
		kept := r
		got, err := l.learn(&r, c.said)
		require.Equal(t, kept, r, "what was remembered is the caller's")
		if c.check != "" {
			requireCheck(t, c.check, err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, []any{c.statement, c.reset}, []any{got.Statement, got.Reset}, name)
		again, err := l.look(&got, &c.said)
		require.NoError(t, err, name)
		require.False(t, again.Reset, "a reset is reported once")
	}
}

// TestA8AListDoesNotVanish: who had keys has an entry for ever, and be it that they were erased.
func TestA8AListDoesNotVanish(t *testing.T) {
	l := newLog(t)
	r, err := l.learn(nil, says(first, nil, 1, 1, 1))
	require.NoError(t, err)
	l.tree = newLog(t).tree
	l.append(statement{Kind: pad})
	_, err = l.look(&r, nil)
	requireCheck(t, "A8", err)
}

// TestA8AfterARevocation: what is known is a statement within the chain, and the chain must have it.
func TestA8AfterARevocation(t *testing.T) {
	base := says(first, nil, 1, 1, 1, 2, 3, 4)
	one := revokes(t, base, 1)
	two := revokes(t, one, 2)
	other := revokes(t, base, 3)
	for name, c := range map[string]struct {
		check string
		known said
		shown said
	}{
		"the base is known":             {"", base, two},
		"the middle is known":           {"", one, two},
		"the end is known":              {"", two, two},
		"another middle":                {"A8", other, two},
		"another end":                   {"A8", revokes(t, one, 3), two},
		"an update instead":             {"A8", says(update, &base, 1, 1, 2), two},
		"an update after":               {"", two, says(update, &two, 1, 1, 4)},
		"an update with what was ended": {"", two, says(update, &two, 1, 1, 1, 2)},
		"an update by another key":      {"A8", two, says(update, &two, 2, 2, 4)},
	} {
		l := newLog(t)
		r, err := l.learn(nil, c.known)
		require.NoError(t, err, name)
		_, err = l.learn(&r, c.shown)
		if c.check == "" {
			require.NoError(t, err, name)
			continue
		}
		requireCheck(t, c.check, err, name)
	}
}

// TestMoveAndBack: each side of a move names the other, and by a reset the account comes back, for all to see.
func TestMoveAndBack(t *testing.T) {
	one := says(first, nil, 1, 2, 1)
	gone := says(move, &one, 2, 3)
	there := keydir.Change{Kind: first, Label: label(bob), List: listOf(bob, 1), Next: public(account(3))}
	there.List.Former = alice
	s, content := there.Sign(nil, account(3), now)
	state, err := keydir.Open(bob, s, there.Opening, content)
	require.NoError(t, err)
	require.Equal(t, alice, state.List.Former)
	require.Equal(t, gone.AuthNext, transparency.AccountKeyHash(s.AuthKey))
	require.Equal(t, bob, gone.open(t).MovedTo)

	l := newLog(t)
	r, err := l.learn(nil, one)
	require.NoError(t, err)
	r, err = l.learn(&r, gone)
	require.NoError(t, err)
	require.Equal(t, bob, r.MovedTo)
	require.Empty(t, r.List.Devices)
	_, err = l.learn(&r, says(update, &gone, 3, 3, 1))
	requireCheck(t, "A8", err, "the account is elsewhere")
	l = newLog(t)
	r, err = l.learn(nil, gone)
	require.NoError(t, err)
	_, err = l.learn(&r, says(reset, &gone, 3, 3, 1))
	requireCheck(t, "A8", err, "a reset by the key that was promised to the other side")
	l = newLog(t)
	r, err = l.learn(nil, gone)
	require.NoError(t, err)
	r, err = l.learn(&r, says(reset, &gone, 4, 4, 1))
	require.NoError(t, err)
	require.True(t, r.Reset)
	require.Equal(t, []any{"", true}, []any{r.MovedTo, slices.Equal(keysOf(r.List), []byte{1})})
}
