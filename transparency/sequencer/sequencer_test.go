package sequencer_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
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
	log, err := pinned(t), error(nil)
	var known *keydir.Record
	steps := []publication{
		first(alice), update(alice, 1), first(bob), update(alice, 2), publish(alice, transparency.KindReset, 3, 3, account(2)),
		publish(alice, transparency.KindUpdate, 4, 3, account(2)), update(bob, 1),
	}
	for i, p := range steps {
		answered := b.appended(p)
		require.Equal(t, p.entry, answered.Entry)
		require.Equal(t, int64(i), answered.Index)
		require.Equal(t, int64(i+1), b.head().Size)
		a, err := b.Answer(ctx, alice, log.Size)
		require.NoError(t, err)
		var r keydir.Record
		log, r, err = keydir.Verify(log, known, alice, a, 1)
		require.NoError(t, err, "step %d", i)
		require.Equal(t, i == 4, r.Reset, "step %d", i)
		known = &r
	}
	require.Equal(t, []uint32{4, 3}, []uint32{known.Seq, known.LastReset})
	list, err := b.List(ctx, bob)
	require.NoError(t, err)
	require.Equal(t, []any{bob, uint32(1)}, []any{list.Actor, list.Seq})
	var entries [][]byte
	for _, p := range steps {
		entries = append(entries, p.entry)
	}
	require.Equal(t, root(t, entries), b.head().Root)
}

func TestAnswerBounds(t *testing.T) {
	b := newBench(t)
	_, err := b.Answer(ctx, alice, 0)
	require.ErrorIs(t, err, sequencer.ErrUnknown)
	_, err = b.List(ctx, alice)
	require.ErrorIs(t, err, sequencer.ErrUnknown)
	b.fill(3)
	b.appended(first(alice))
	b.fill(9)
	_, err = b.Answer(ctx, bob, 0)
	require.ErrorIs(t, err, sequencer.ErrUnknown)
	for _, from := range []int64{-1, 10, 1<<63 - 1, -1 << 63} {
		_, err := b.Answer(ctx, alice, from)
		require.ErrorIs(t, err, sequencer.ErrBeyondHead, from)
	}
	for from := range int64(10) {
		a, err := b.Answer(ctx, alice, from)
		require.NoError(t, err)
		require.Equal(t, from == 0 || from == 9, len(a.Consistency) == 0, "from %d", from)
		require.Equal(t, int64(3), a.Index)
	}
}

func TestAppendRefuses(t *testing.T) {
	b := newBench(t)
	b.appended(first(alice))
	good := update(alice, 1)
	flipped := bytes.Clone(good.entry)
	flipped[transparency.EntrySize-1] ^= 1
	old := b.head()
	for name, c := range map[string]struct {
		check string
		p     publication
	}{
		"L1 an update of somebody new":   {"L1", update(bob, 0)},
		"L1 a reset of somebody new":     {"L1", publish(bob, transparency.KindReset, 1, 1, account(1))},
		"L1 a first entry with seq":      {"L1", publish(bob, transparency.KindFirst, 1, 0, account(1))},
		"L2 another last_reset":          {"L2", publish(alice, transparency.KindUpdate, 1, 1, account(1))},
		"L3 a reset that counts as none": {"L3", publish(alice, transparency.KindReset, 1, 0, account(2))},
		"L3 a reset with the old key":    {"L3", publish(alice, transparency.KindReset, 1, 1, account(1))},
		"L4 before the previous entry": {"L4", update(alice, 1, func(e *transparency.Entry, _ *keydir.DeviceList) {
			e.Time--
		})},
		"L5 signature":       {"L5", publication{flipped, good.opening, good.list}},
		"L5 no entry":        {"L5", publication{nil, good.opening, good.list}},
		"L5 another opening": {"L5", publication{good.entry, [32]byte{}, good.list}},
		"L5 another list":    {"L5", publication{good.entry, good.opening, update(alice, 2).list}},
		"L5 no list":         {"L5", publication{good.entry, good.opening, nil}},
		"L5 list of another seq": {"L5", update(alice, 1, func(_ *transparency.Entry, l *keydir.DeviceList) {
			l.Seq = 2
		})},
		"L5 list of another actor": {"L5", update(alice, 1, func(_ *transparency.Entry, l *keydir.DeviceList) {
			l.Actor = bob
		})},
		"L5 label of another actor": {"L5", update(alice, 1, func(e *transparency.Entry, _ *keydir.DeviceList) {
			e.Label = transparency.Label(bob)
		})},
	} {
		_, err := b.append(c.p)
		requireCheck(t, c.check, err, name)
		require.Equal(t, old, b.head(), name)
	}
	b.appended(good)
}

func TestL4TheLogsClock(t *testing.T) {
	at := func(ms int64) publication {
		return publish(alice, transparency.KindFirst, 0, 0, account(1), func(e *transparency.Entry, _ *keydir.DeviceList) {
			e.Time = uint64(ms)
		})
	}
	const edge = int64(10 * time.Minute / time.Millisecond)
	now := start.UnixMilli()
	for _, ms := range []int64{0, -1, -1 << 63, 1<<63 - 1, now - edge - 1, now + edge + 1} {
		_, err := newBench(t).append(at(ms))
		requireCheck(t, "L4", err, ms)
	}
	for _, ms := range []int64{now - edge, now, now + edge} {
		newBench(t).appended(at(ms))
	}
}

// TestD2Conflict: who is not the next gets the state to compare with.
func TestD2Conflict(t *testing.T) {
	b := newBench(t)
	b.appended(first(alice))
	b.appended(update(alice, 1))
	newest := b.appended(update(alice, 2))
	b.fill(5)
	for name, p := range map[string]publication{
		"first again": first(alice), "another first": publish(alice, transparency.KindFirst, 0, 0, account(2)),
		"an old seq": update(alice, 1), "the same seq": publish(alice, transparency.KindUpdate, 2, 0, account(3)), "a skipped seq": update(alice, 4),
		"a reset of an old seq": publish(alice, transparency.KindReset, 2, 2, account(2)),
	} {
		_, err := b.append(p)
		var conflict *sequencer.ConflictError
		require.ErrorAs(t, err, &conflict, name)
		require.Equal(t, newest.Entry, conflict.Answer.Entry, name)
		_, e, err := pinned(t).Check(conflict.Answer)
		require.NoError(t, err, name)
		require.Equal(t, uint32(2), e.Seq, name)
		require.Equal(t, int64(5), b.head().Size, name)
	}
}

func TestD2KeyNotCurrent(t *testing.T) {
	b := newBench(t)
	b.appended(publish(alice, transparency.KindFirst, 0, 0, account(1), func(e *transparency.Entry, _ *keydir.DeviceList) {
		e.AuthNext = transparency.AccountKeyHash([32]byte(account(7).Public().(ed25519.PublicKey)))
	}))
	_, err := b.append(update(alice, 1))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent, "the key of before, after another was promised")
	require.Equal(t, int64(1), b.head().Size)
	b.appended(publish(alice, transparency.KindUpdate, 1, 0, account(7)))
	_, err = b.append(publish(alice, transparency.KindUpdate, 2, 0, account(2)))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent)
	b.appended(publish(alice, transparency.KindReset, 2, 2, account(2)))
	_, err = b.append(publish(alice, transparency.KindUpdate, 3, 2, account(7)))
	require.ErrorIs(t, err, sequencer.ErrKeyNotCurrent, "a key of before the reset")
}

// TestTheNewestEntryIsAnsweredAgain: the device lost the answer and asks again, however much later.
func TestTheNewestEntryIsAnsweredAgain(t *testing.T) {
	b := newBench(t)
	b.appended(first(alice))
	p := update(alice, 1)
	once := b.appended(p)
	require.Equal(t, once, b.appended(p))
	b.now = b.now.Add(48 * time.Hour)
	require.Equal(t, once, b.appended(p))
	require.Equal(t, int64(2), b.head().Size)
	p.opening[0] ^= 1
	_, err := b.append(p)
	requireCheck(t, "L5", err)
}

func TestEightWriters(t *testing.T) {
	b := newBench(t)
	const writers, each = 8, 6
	var wg sync.WaitGroup
	errs := make(chan error, writers*each*2)
	for w := range writers {
		own := fmt.Sprintf("https://a.example/users/w%d", w)
		wg.Go(func() {
			for seq := range uint32(each) {
				p := first(own)
				if seq > 0 {
					p = update(own, seq)
				}
				if _, err := b.append(p); err != nil {
					errs <- err
				}
				// All of them also want the same place of one label.
				p = publish(alice, transparency.KindFirst, 0, 0, account(byte(w+1)))
				if _, err := b.append(p); err == nil && seq == 0 {
					errs <- nil
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	won := 0
	for err := range errs {
		require.NoError(t, err)
		won++
	}
	require.Equal(t, 1, won, "one first entry of a label")
	c := b.head()
	require.Equal(t, int64(writers*each+1), c.Size)
	entries, err := b.store.Entries(ctx, 0, c.Size)
	require.NoError(t, err)
	require.Equal(t, root(t, entries), c.Root)
	log := pinned(t)
	for w := range writers {
		a, err := b.Answer(ctx, fmt.Sprintf("https://a.example/users/w%d", w), log.Size)
		require.NoError(t, err)
		var e transparency.Entry
		log, e, err = log.Check(a)
		require.NoError(t, err)
		require.Equal(t, uint32(each-1), e.Seq)
	}
}

func TestRestart(t *testing.T) {
	b := newBench(t)
	empty, err := b.Checkpoint(ctx)
	require.NoError(t, err)
	b.restart()
	again, err := b.Checkpoint(ctx)
	require.NoError(t, err)
	require.Equal(t, empty, again, "also of the empty log there is one checkpoint")
	for i := range 12 {
		before, err := b.Checkpoint(ctx)
		require.NoError(t, err)
		b.restart()
		after, err := b.Checkpoint(ctx)
		require.NoError(t, err)
		require.Equal(t, before, after)
		b.appended(first(fmt.Sprintf("https://a.example/users/%d", i)))
		b.head()
	}
}

// TestAppendFails both ways: nothing was written, and everything was but nobody heard. Asked again, there is one entry and one
// checkpoint.
func TestAppendFails(t *testing.T) {
	b := newBench(t)
	b.appended(first(alice))
	log, _, err := pinned(t).Check(b.appended(first(bob)))
	require.NoError(t, err)
	for seq := uint32(1); seq < 9; seq++ {
		p := update(alice, seq)
		b.store.fail = true
		_, err := b.append(p)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, int64(seq+1), b.head().Size)
		b.store.fail, b.store.lost = false, true
		_, err = b.append(p)
		require.ErrorIs(t, err, errDisk)
		b.store.lost = false
		b.restart()
		b.appended(p)
		require.Equal(t, int64(seq+2), b.head().Size)
		a, err := b.Answer(ctx, alice, log.Size)
		require.NoError(t, err)
		log, _, err = log.Check(a)
		require.NoError(t, err)
	}
}

func TestSignerAndItsKeyBelongTogether(t *testing.T) {
	signer, err := sequencer.NewSigner(origin, logSeed)
	require.NoError(t, err)
	require.Equal(t, origin, signer.Name())
	v, err := pinned(t).Verifier()
	require.NoError(t, err)
	require.Equal(t, v.KeyHash(), signer.KeyHash())
	signed, err := signer.Sign([]byte("text"))
	require.NoError(t, err)
	require.True(t, v.Verify([]byte("text"), signed))
	for _, name := range []string{"", "a b", "a+b", "a\nb", "a\tb", "\xff", strings.Repeat(" ", 3)} {
		_, err := sequencer.NewSigner(name, logSeed)
		require.Error(t, err, "%q", name)
	}
}
