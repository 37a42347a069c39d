package sequencer_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) sequencer.Store { return new(storetest.Memory) })
}

// TestAReaderFollowsTheLog is the whole way: what is appended is answered, and the reader's checks hold at every size.
func TestAReaderFollowsTheLog(t *testing.T) {
	b := newBench(t)
	r := b.reader()
	r.seesNothing(alice)
	one := b.appended(b.first(alice))
	r.sees(one)
	r.seesNothing(bob)
	two := b.appended(b.says(update, alice, &one, 1, 2, 3, 4))
	r.sees(two)
	three := b.appended(b.revokes(two, 2))
	require.Len(t, r.sees(three).List.Devices, 2)
	other := b.appended(b.first(bob))
	r.sees(other)
	four := b.appended(b.revokes(three, 4))
	require.Len(t, r.sees(four).List.Devices, 1)
	five := b.appended(b.says(update, alice, &four, 1, 5))
	require.False(t, r.sees(five).Reset)
	six := b.appended(b.says(reset, alice, &five, 2, 6))
	require.True(t, r.sees(six).Reset)
	seven := b.appended(b.says(move, alice, &six, 2))
	require.Equal(t, elsewhere, r.sees(seven).MovedTo)
	eight := b.appended(b.says(reset, alice, &seven, 3, 7))
	require.True(t, r.sees(eight).Reset)
	state, ok, err := b.State(ctx, alice)
	require.NoError(t, err)
	require.Equal(t, []any{true, uint32(7), 1}, []any{ok, state.List.Seq, len(state.List.Devices)})
	_, ok, err = b.State(ctx, "https://a.example/users/nobody")
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, int64(10), b.head().Size)
	b.replayed()
}

func TestAnEmptyLogIsPadded(t *testing.T) {
	b := newBench(t)
	require.Equal(t, int64(1), b.head().Size)
	b.restart()
	require.Equal(t, int64(1), b.head().Size, "once")
	require.NoError(t, b.Pad(ctx))
	require.Equal(t, int64(2), b.head().Size)
	b.reader().seesNothing(alice)
	b.replayed()
}

func TestAnswerBounds(t *testing.T) {
	b := newBench(t)
	b.appended(b.first(alice))
	b.fill(9)
	for _, from := range []int64{-1, 10, 1<<63 - 1, -1 << 63} {
		_, err := b.Answer(ctx, alice, from)
		require.ErrorIs(t, err, sequencer.ErrBeyondHead, from)
	}
	for from := range int64(10) {
		a, err := b.Answer(ctx, alice, from)
		require.NoError(t, err)
		require.Equal(t, from == 0 || from == 9, len(a.Consistency) == 0, "from %d", from)
	}
}

func TestAppendRefuses(t *testing.T) {
	b := newBench(t)
	one := b.appended(b.first(alice))
	good := b.says(update, alice, &one, 1, 3)
	old := b.head()
	with := func(s said, change func(*said)) said { change(&s); return s }
	list := func(change func(*keydir.DeviceList)) said {
		l, err := keydir.ParseDeviceList(good.content)
		require.NoError(t, err)
		change(&l)
		s := good
		s.content = l.Marshal()
		return s.signed(1, func(s2 *transparency.Statement) { s2.Commitment = transparency.Commit(s.opening, s.content) })
	}
	for name, c := range map[string]struct {
		check string
		said
	}{
		"L1 a reset of somebody new":     {"L1", b.says(reset, bob, &one, 2).signed(2, func(s *transparency.Statement) { s.Label = b.Label(bob) })},
		"L1 a first entry with seq":      {"L1", with(b.first(bob), func(s *said) { *s = s.signed(1, func(s *transparency.Statement) { s.Seq = 1 }) })},
		"L2 another last_reset":          {"L2", good.signed(1, func(s *transparency.Statement) { s.LastReset = 1 })},
		"L3 a reset that counts as none": {"L3", b.says(reset, alice, &one, 2).signed(2, func(s *transparency.Statement) { s.LastReset = 0 })},
		"L3 a reset with the old key":    {"L3", b.says(reset, alice, &one, 1)},
		"L4 by a device not in the list": {"L4", b.revokes(one, 9)},
		"L5 an erase":                    {"L5", said{transparency.Statement{Kind: erase, Label: one.Label, Seq: 1, LastReset: 1, Time: one.Time}, alice, [32]byte{}, nil}},
		"L5 padding":                     {"L5", said{transparency.Statement{Kind: pad}, alice, [32]byte{}, nil}},
		"L7 before the previous entry":   {"L7", good.signed(1, func(s *transparency.Statement) { s.Time-- })},
		"L6 signature":                   {"L6", with(good, func(s *said) { s.Signature[9] ^= 1 })},
		"L6 another opening":             {"L6", with(good, func(s *said) { s.opening[0] ^= 1 })},
		"L6 another content":             {"L6", with(good, func(s *said) { s.content = one.content })},
		"L6 no content":                  {"L6", with(good, func(s *said) { s.content = nil })},
		"L6 list of another seq":         {"L6", list(func(l *keydir.DeviceList) { l.Seq = 2 })},
		"L6 list of another actor":       {"L6", list(func(l *keydir.DeviceList) { l.Actor = bob })},
		"L6 label of another actor":      {"L6", good.signed(1, func(s *transparency.Statement) { s.Label = b.Label(bob) })},
		"L6 another actor":               {"L6", with(good, func(s *said) { s.actor = bob })},
	} {
		_, err := b.append(c.said)
		requireCheck(t, c.check, err, name)
		require.Equal(t, old, b.head(), name)
	}
	for _, raw := range [][]byte{nil, good.Marshal()[:209], append(good.Marshal(), 0), make([]byte, 210)} {
		_, err := b.Append(ctx, sequencer.Submission{Actor: alice, Statement: raw, Opening: good.opening, Content: good.content})
		requireCheck(t, "L6", err)
	}
	b.appended(good)
	b.replayed()
}

func TestL7TheLogsClock(t *testing.T) {
	b := newBench(t)
	const edge = int64(10 * time.Minute / time.Millisecond)
	now := start.UnixMilli()
	at := func(actor string, ms int64) said {
		return b.first(actor).signed(1, func(s *transparency.Statement) { s.Time = uint64(ms) })
	}
	for _, ms := range []int64{0, -1, -1 << 63, 1<<63 - 1, now - edge - 1, now + edge + 1} {
		_, err := b.append(at(alice, ms))
		requireCheck(t, "L7", err, ms)
	}
	for i, ms := range []int64{now - edge, now, now + edge} {
		b.appended(at(fmt.Sprint(i), ms))
	}
}

// TestNotNext: who is not the next is told so, and finds with a lookup what is there.
func TestNotNext(t *testing.T) {
	b := newBench(t)
	one := b.appended(b.first(alice))
	two := b.appended(b.says(update, alice, &one, 1, 2))
	three := b.appended(b.says(update, alice, &two, 1, 3))
	four := b.says(update, alice, &three, 1)
	for name, s := range map[string]said{
		"first again": one, "another first": b.says(first, alice, nil, 2, 2), "an old one": two, "an old seq": b.says(update, alice, &one, 1, 9),
		"the same seq": b.says(update, alice, &two, 1, 9), "the same seq, a reset": b.says(reset, alice, &two, 2), "a revocation of before": b.revokes(two, 2),
		"a skipped seq": b.says(update, alice, &four, 1),
	} {
		_, err := b.append(s)
		require.ErrorIs(t, err, sequencer.ErrNotNext, name)
	}
	b.reader().sees(three)
	require.Equal(t, int64(4), b.size())
}

func TestKeyNotCurrent(t *testing.T) {
	b := newBench(t)
	promise := func(n byte) change { return func(c *keydir.Change) { c.Next = public(account(n)) } }
	one := b.appended(b.saysWith(first, alice, nil, 1, promise(7), 1, 2))
	_, err := b.append(b.says(update, alice, &one, 1, 1))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent, "the key of before, after another was promised")
	_, err = b.append(b.says(move, alice, &one, 1))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent)
	two := b.appended(b.says(update, alice, &one, 7, 1, 2))
	_, err = b.append(b.says(update, alice, &two, 2, 1))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent)
	three := b.appended(b.revokes(two, 1))
	_, err = b.append(b.says(update, alice, &three, 2, 1))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent, "a revocation promises nothing new")
	four := b.appended(b.says(reset, alice, &three, 2, 2))
	_, err = b.append(b.says(update, alice, &four, 7, 2))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent, "a key of before the reset")
	b.appended(b.says(update, alice, &four, 2, 2))
}

// TestTheNewestIsAnsweredAgain: the device lost the answer and asks again, however much later.
func TestTheNewestIsAnsweredAgain(t *testing.T) {
	b := newBench(t)
	one := b.appended(b.first(alice))
	two := b.says(update, alice, &one, 1, 2)
	for range 3 {
		index, err := b.append(two)
		require.NoError(t, err)
		require.Equal(t, int64(2), index)
		b.now = b.now.Add(48 * time.Hour)
		b.restart()
	}
	require.Equal(t, int64(3), b.size())
	two.opening[0] ^= 1
	_, err := b.append(two)
	requireCheck(t, "L6", err)
}

// TestARevocationOfAnOlderList: {1,2,3}, of which the account then took off 1 and 3 and put in 4. Who holds the old keys 1 and 3 makes up
// a past in which 1 had revoked itself instead, and lets 3 follow: the seq and the promised key are right, and still it is refused.
func TestARevocationOfAnOlderList(t *testing.T) {
	b := newBench(t)
	one := b.appended(b.says(first, alice, nil, 1, 1, 2, 3))
	two := b.appended(b.says(update, alice, &one, 1, 2, 4))
	made := b.revokes(b.revokes(one, 1), 3)
	require.Equal(t, two.Seq+1, made.Seq)
	_, err := keydir.Open(alice, made.Statement, made.opening, made.content)
	require.NoError(t, err, "nothing is wrong with it by itself")
	_, err = b.append(made)
	require.ErrorIs(t, err, sequencer.ErrNotNext)
	require.Error(t, made.VerifySignature(&two.Statement), "and an auditor would see it in a log that took it")

	three := b.appended(b.revokes(two, 2))
	forged := b.revokes(b.revokes(b.revokes(one, 1), 3), 2)
	require.Equal(t, three.Seq, forged.Seq-1)
	_, err = b.append(forged)
	require.ErrorIs(t, err, sequencer.ErrNotNext, "the same after a revocation")
	b.reader().sees(three)
}

func TestEraseAndBegin(t *testing.T) {
	b := newBench(t)
	r := b.reader()
	require.ErrorIs(t, b.Erase(ctx, alice), sequencer.ErrNotFound, "nobody there")
	one := b.appended(b.first(alice))
	r.sees(one)
	require.NoError(t, b.Erase(ctx, alice))
	_, err := b.Answer(ctx, alice, 0)
	require.ErrorIs(t, err, sequencer.ErrErased)
	_, _, err = b.State(ctx, alice)
	require.ErrorIs(t, err, sequencer.ErrErased)
	require.ErrorIs(t, b.Erase(ctx, alice), sequencer.ErrNotFound, "twice")
	b.restart()
	_, err = b.Answer(ctx, alice, 0)
	require.ErrorIs(t, err, sequencer.ErrErased)
	_, err = b.append(b.first(alice))
	require.ErrorIs(t, err, sequencer.ErrNotNext)
	_, err = b.append(b.says(update, alice, &one, 1))
	require.ErrorIs(t, err, sequencer.ErrNotNext)
	_, err = b.append(one)
	require.ErrorIs(t, err, sequencer.ErrNotNext, "what is forgotten does not come back by being sent again")

	gone := said{Statement: transparency.Statement{Kind: erase, Seq: 1, LastReset: 1, Label: one.Label, Time: one.Time}, actor: alice}
	back := b.appended(b.says(reset, alice, &gone, 1, 5))
	require.True(t, r.sees(back).Reset, "by the same account key, and yet a reset")
	b.appended(b.says(update, alice, &back, 1, 5, 6))
	b.replayed()
}

// TestErasedIsGone: neither the opening nor the content of somebody erased, nor of any of their earlier lists, is in the store.
func TestErasedIsGone(t *testing.T) {
	for _, alone := range []bool{true, false} {
		b := newBenchOf(t, alone)
		var all []said
		one := b.appended(b.first(alice))
		two := b.appended(b.says(update, alice, &one, 1, 2, 3))
		all = append(all, one, two, b.appended(b.revokes(two, 3)))
		other := b.appended(b.first(bob))
		if !alone {
			b.cosign()
			b.reader().sees(all[2])
		}
		require.NoError(t, b.Erase(ctx, alice))
		if !alone {
			b.reader().sees(all[2])
			b.restart() // what is to be forgotten is not forgotten over that
			b.cosign()
		}
		_, err := b.Answer(ctx, alice, 0)
		require.ErrorIs(t, err, sequencer.ErrErased)
		for _, s := range all {
			require.False(t, b.store.Holds(s.opening[:]), "an opening, alone %v", alone)
			require.False(t, b.store.Holds(s.content), "content, alone %v", alone)
		}
		require.True(t, b.store.Holds(other.opening[:]), "the control")
		b.reader().sees(other)
	}
}

func TestOriginNamesTheKey(t *testing.T) {
	b := newBench(t)
	require.Equal(t, transparency.Origin(host, b.VRFKey()), b.Origin())
	key := public(logKey)
	h := sha256.Sum256(append([]byte(b.Origin()+"\n\x01"), key[:]...))
	require.Equal(t, fmt.Sprintf("%s+%x+", b.Origin(), h[:4]), must(b.VerifierKey())[:len(b.Origin())+10])
	for _, host := range []string{"a b", "a+b", "a\nb", "a\tb"} {
		c := b.config()
		c.Host, c.Store = host, new(storetest.Memory)
		_, err := sequencer.New(ctx, c)
		require.Error(t, err, "%q", host)
	}
	c := b.config()
	c.Host = "b.example"
	_, err := sequencer.New(ctx, c)
	require.Error(t, err, "a log is not continued under another name")
}
