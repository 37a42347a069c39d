package keydir_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

func TestContentStandsAsTheSpecHasIt(t *testing.T) {
	m := keydir.Move{Actor: "a", Seq: 0x01020304, To: "bc"}
	require.Equal(t, []byte("\x04\x00\x01a\x01\x02\x03\x04\x00\x02bc"), m.Marshal())

	base := says(first, nil, 1, 1, 1, 2, 3)
	one := revokes(t, base, 1)
	two := revokes(t, one, 2)
	list := base.content
	want := append([]byte{3}, base.Marshal()...)
	want = append(want, base.opening[:]...)
	want = append(want, byte(len(list)>>8), byte(len(list)))
	want = append(want, list...)
	require.Equal(t, append(bytes.Clone(want), 0), one.content)
	require.Equal(t, append(append(want, 1), one.Marshal()...), two.content)
}

// TestOpen is each kind of content as the account, the device or the log makes it.
func TestOpen(t *testing.T) {
	one := says(first, nil, 1, 1, 1, 2, 3)
	state := one.open(t)
	require.Equal(t, []byte{1, 2, 3}, keysOf(state.List))
	require.Equal(t, []statement{one.statement}, state.Since)

	two := revokes(t, one, 2)
	state = two.open(t)
	require.Equal(t, []byte{1, 3}, keysOf(state.List))
	require.Equal(t, uint32(1), state.List.Seq)
	three := revokes(t, two, 1)
	four := revokes(t, three, 3)
	state = four.open(t)
	require.Empty(t, state.List.Devices)
	require.Equal(t, []statement{one.statement, two.statement, three.statement, four.statement}, state.Since)

	five := says(update, &four, 1, 4, 7)
	require.Equal(t, []byte{7}, keysOf(five.open(t).List))
	six := says(move, &five, 4, 5)
	state = six.open(t)
	require.Equal(t, []any{bob, alice, uint32(5), 0}, []any{state.MovedTo, state.List.Actor, state.List.Seq, len(state.List.Devices)})
	seven := says(reset, &six, 6, 6, 1)
	eight := erases(seven)
	state = eight.open(t)
	require.Equal(t, keydir.DeviceList{Actor: alice, Seq: 7}, state.List)
	require.Empty(t, state.MovedTo)
}

// resaid commits a statement to other content, and signs it again.
func resaid(s said, key byte, content []byte, change ...func(*statement)) said {
	s.content = content
	s.Commitment = transparency.Commit(s.opening, content)
	for _, c := range change {
		c(&s.statement)
	}
	s.Sign(account(key), nil)
	return s
}

func TestOpenRefuses(t *testing.T) {
	one := says(first, nil, 1, 1, 1, 2)
	two := says(update, &one, 1, 1, 3)
	moved := says(move, &two, 1, 1)
	gone := erases(two)
	list := func(actor string, seq uint32) []byte {
		l := listOf(actor, 3)
		l.Seq = seq
		return l.Marshal()
	}
	with := func(s said, change func(*said)) said { change(&s); return s }
	for name, c := range map[string]struct {
		check string
		said
	}{
		"L1 first that is not the first":    {"L1", resaid(two, 1, two.content, func(s *statement) { s.Kind = first })},
		"L2 update as first":                {"L2", resaid(one, 1, one.content, func(s *statement) { s.Kind = update })},
		"L3 reset in disguise":              {"L3", resaid(two, 1, two.content, func(s *statement) { s.Kind = reset })},
		"L5 erase with an opening":          {"L5", with(gone, func(s *said) { s.opening[0] = 1 })},
		"L5 erase with content":             {"L5", with(gone, func(s *said) { s.content = []byte{1} })},
		"L5 erase that is no reset":         {"L5", with(gone, func(s *said) { s.LastReset = 0 })},
		"L6 erase with a signature":         {"L6", with(gone, func(s *said) { s.Sign(account(1), nil) })},
		"L6 padding of somebody":            {"L6", with(said{}, func(s *said) { s.Kind = pad })},
		"L6 signature":                      {"L6", with(two, func(s *said) { s.Signature[3] ^= 1 })},
		"L6 another account's signature":    {"L6", with(two, func(s *said) { s.AuthKey = public(account(2)) })},
		"L6 opening":                        {"L6", with(two, func(s *said) { s.opening[3] ^= 1 })},
		"L6 content":                        {"L6", with(two, func(s *said) { s.content = one.content })},
		"L6 no content":                     {"L6", with(two, func(s *said) { s.content = nil })},
		"L6 another actor's list":           {"L6", resaid(two, 1, list(bob, 1))},
		"L6 actor spelt otherwise":          {"L6", resaid(two, 1, list(alice+"/", 1))},
		"L6 list of a later seq":            {"L6", resaid(two, 1, list(alice, 2))},
		"L6 list of an earlier seq":         {"L6", resaid(two, 1, list(alice, 0))},
		"L6 a committed list that is none":  {"L6", resaid(two, 1, []byte("no list"))},
		"L6 a move in an update":            {"L6", resaid(two, 1, keydir.Move{Actor: alice, Seq: 1, To: bob}.Marshal())},
		"L6 a list in a move":               {"L6", resaid(moved, 1, list(alice, 2))},
		"L6 another actor's move":           {"L6", resaid(moved, 1, keydir.Move{Actor: bob, Seq: 2, To: bob}.Marshal())},
		"L6 a move of another seq":          {"L6", resaid(moved, 1, keydir.Move{Actor: alice, Seq: 1, To: bob}.Marshal())},
		"L6 a move to nowhere":              {"L6", resaid(moved, 1, keydir.Move{Actor: alice, Seq: 2}.Marshal())},
		"L6 a move and a byte":              {"L6", resaid(moved, 1, append(bytes.Clone(moved.content), 0))},
		"L6 a revocation in an update":      {"L6", resaid(two, 1, revokes(t, one, 1).content)},
		"L6 a list in a revocation":         {"L6", resaid(two, 1, two.content, func(s *statement) { s.Kind = revoke })},
		"L6 nothing in a revocation":        {"L6", resaid(two, 1, nil, func(s *statement) { s.Kind = revoke })},
		"L6 half of a move":                 {"L6", resaid(moved, 1, moved.content[:9])},
		"L6 an unknown content":             {"L6", resaid(two, 1, append([]byte{1}, two.content[1:]...))},
		"L2 a move that counts as a reset":  {"L2", resaid(moved, 1, moved.content, func(s *statement) { s.LastReset = s.Seq })},
		"L6 another's label is not content": {"L6", with(two, func(s *said) { s.Label = label(bob) })},
	} {
		state, err := keydir.Open(alice, c.statement, c.opening, c.content)
		requireCheck(t, c.check, err, name)
		require.Zero(t, state, name)
	}
	_, err := keydir.Open(bob, two.statement, two.opening, two.content)
	requireCheck(t, "L6", err, "asked for another actor")
}

// chain is a revocation made of any parts, signed by device n to come after the last of them.
func chain(n byte, base said, list keydir.DeviceList, earlier ...statement) said {
	r := keydir.Revocation{Base: base.statement, Opening: base.opening, List: list, Earlier: earlier}
	last := base.statement
	if len(earlier) > 0 {
		last = earlier[len(earlier)-1]
	}
	s := said{statement{Kind: revoke, Time: last.Time, Label: last.Label, Seq: last.Seq + 1, LastReset: last.LastReset, AuthNext: last.AuthNext}, openingOf(9), r.Marshal()}
	s.Commitment = transparency.Commit(s.opening, s.content)
	s.Sign(deviceKey(n), &last)
	return s
}

func TestL4Revocation(t *testing.T) {
	base := says(first, nil, 1, 1, 1, 2, 3)
	list := base.open(t).List
	good := chain(1, base, list)
	require.Equal(t, []byte{2, 3}, keysOf(good.open(t).List))
	earlier := good.statement
	two := chain(2, base, list, earlier)
	require.Equal(t, []byte{3}, keysOf(two.open(t).List))

	more := list
	more.Devices = listOf(alice, 1, 2, 3, 4).Devices
	otherSeq := list
	otherSeq.Seq = 1
	committedOtherwise := resaid(base, 1, otherSeq.Marshal())
	moved := says(move, &base, 1, 1)
	byAccount := func(s said) said { s.Sign(account(1), &base.statement); return s }
	change := func(s said, key byte, after statement, c func(*statement)) said {
		c(&s.statement)
		s.Sign(deviceKey(key), &after)
		return s
	}
	forged := earlier
	forged.Time++
	for name, c := range map[string]struct {
		check string
		said
	}{
		"L4 by a key that is not in the list":        {"L4", chain(4, base, list)},
		"L4 by the account key":                      {"L4", byAccount(good)},
		"L4 twice by one device":                     {"L4", chain(1, base, list, earlier)},
		"L4 earlier by a key not in the list":        {"L4", chain(2, base, list, chain(4, base, list).statement)},
		"L6 with a list that has one more":           {"L6", chain(4, base, more)},
		"L4 with a list of another seq":              {"L4", chain(1, committedOtherwise, otherSeq)},
		"L4 on a move":                               {"L4", chain(1, moved, list)},
		"L4 on an erase":                             {"L4", chain(1, erases(base), list)},
		"L4 on a revocation as if it were a list":    {"L4", chain(2, good, list)},
		"L4 an update among the earlier":             {"L4", chain(2, base, list, says(update, &base, 1, 1, 2).statement)},
		"L6 a base whose signature is broken":        {"L6", chain(1, said{flip(base.statement), base.opening, base.content}, list)},
		"L6 a base that opens to nothing":            {"L6", chain(1, said{base.statement, [32]byte{1}, base.content}, list)},
		"L4 skips a seq":                             {"L4", change(good, 1, base.statement, func(s *statement) { s.Seq++ })},
		"L4 promises another key":                    {"L4", change(good, 1, base.statement, func(s *statement) { s.AuthNext[0] ^= 1 })},
		"L4 counts as a reset":                       {"L4", change(good, 1, base.statement, func(s *statement) { s.LastReset = s.Seq })},
		"L7 before what it comes after":              {"L7", change(good, 1, base.statement, func(s *statement) { s.Time-- })},
		"L6 of another label":                        {"L6", change(good, 1, base.statement, func(s *statement) { s.Label = label(bob) })},
		"L6 signed to come after something else":     {"L6", change(two, 2, forged, func(*statement) {})},
		"L6 an earlier one signed for another place": {"L6", chain(3, base, list, earlier, change(two, 2, forged, func(*statement) {}).statement)},
		"L6 a base with another account key":         {"L6", chain(1, said{withKey(base.statement, 2), base.opening, base.content}, list)},
	} {
		state, err := keydir.Open(alice, c.statement, c.opening, c.content)
		requireCheck(t, c.check, err, name)
		require.Zero(t, state, name)
	}
	for i := range two.content {
		_, err := keydir.Open(alice, two.statement, two.opening, two.content[:i])
		requireCheck(t, "L6", err, i)
		cut := chain(2, base, list, earlier)
		cut.content = two.content[:i]
		cut.Commitment = transparency.Commit(cut.opening, cut.content)
		cut.Sign(deviceKey(2), &earlier)
		_, err = keydir.Open(alice, cut.statement, cut.opening, cut.content)
		require.Error(t, err, "committed to a part, %d", i)
	}
}

func flip(s statement) statement { s.Signature[0] ^= 1; return s }

func withKey(s statement, n byte) statement { s.AuthKey = public(account(n)); return s }

// TestL4TheLongestChain: a hundred devices go one by one, and there can be no more.
func TestL4TheLongestChain(t *testing.T) {
	var all []byte
	for n := range byte(keydir.MaxDevices) {
		all = append(all, n)
	}
	s := says(first, nil, 1, 1, all...)
	for i, n := range all {
		s = revokes(t, s, n)
		require.Len(t, s.open(t).List.Devices, keydir.MaxDevices-1-i)
	}
	largest := transparency.Answer{Newest: make([]byte, transparency.EntrySize), Found: &transparency.Found{Statement: s.Marshal(), Content: s.content}}
	_, err := transparency.ParseAnswer(largest.Marshal())
	require.NoError(t, err, "it fits into an answer")
	state := s.open(t)
	require.Error(t, func() error {
		s, content := keydir.RevokeDevice(state, s.opening, openingOf(1), deviceKey(1), now)
		_, err := keydir.Open(alice, s, openingOf(1), content)
		return err
	}())
}

// A change is signed at a time that is not before the previous one's, whatever the clock says.
func TestChangesKeepTheOrderOfTime(t *testing.T) {
	s := says(first, nil, 1, 1, 1)
	s.Time = math.MaxUint64 - 1
	s.Sign(account(1), nil)
	next := says(update, &s, 1, 1, 1)
	require.NoError(t, next.Follows(&s.statement))
	after := revokes(t, s, 1)
	require.NoError(t, after.Follows(&s.statement))
	require.Equal(t, fmt.Sprint(s.Time), fmt.Sprint(after.Time))
}

// TestL4OnlyRevocationsShorten: what the account says with the key of a device of its own list is an update all the same.
func TestL4OnlyRevocationsShorten(t *testing.T) {
	list := listOf(alice, 1)
	list.Devices = append(list.Devices, keydir.Device{SignatureKey: public(account(1))})
	slices.SortFunc(list.Devices, func(a, b keydir.Device) int { return bytes.Compare(a.SignatureKey[:], b.SignatureKey[:]) })
	c := keydir.Change{Kind: first, Label: aliceLabel, List: list, Next: public(account(1))}
	s, content := c.Sign(nil, account(1), now)
	base := said{s, c.Opening, content}
	require.Len(t, base.open(t).List.Devices, 2)
	last := chain(1, base, list, says(update, &base, 1, 1, 1).statement)
	_, err := keydir.Open(alice, last.statement, last.opening, last.content)
	requireCheck(t, "L4", err)
}
