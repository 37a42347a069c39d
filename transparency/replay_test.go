package transparency_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// life is a log in which everything happens, in order.
func life(t testing.TB) *signedLog {
	l := newLog(t)
	l.add(transparency.Statement{Kind: pad, Time: 9})
	l.add(statement(first, 0, 0), statement(first, 0, 0, of(bob)), update(1))
	revoked := statement(revoke, 2, 0)
	before := update(1)
	revoked.Sign(account(7), &before)
	l.add(revoked, update(3), statement(move, 4, 0), transparency.Statement{Kind: pad})
	back := statement(reset, 5, 5)
	back.Sign(account(2), nil)
	return l.add(back, erased(6), transparency.Statement{Kind: pad})
}

func TestReplayAcceptsALife(t *testing.T) {
	l := life(t)
	var r, again transparency.Replay
	require.Equal(t, l.root(0, 0), r.Root())
	for i, raw := range l.raw {
		require.NoError(t, r.Add(raw), i)
		require.NoError(t, again.AddChecked(raw), i)
		require.Equal(t, int64(i+1), r.Size())
		require.Equal(t, l.root(0, i+1), r.Root())
		require.Equal(t, r.Root(), again.Root())
	}
}

// TestReplayRefuses puts what is wrong after a log that is in order.
func TestReplayRefuses(t *testing.T) {
	flipped := statement(reset, 7, 7)
	flipped.Signature[0] ^= 1
	elsewhere := statement(revoke, 1, 0, of(bob))
	other := statement(first, 0, 0)
	elsewhere.Sign(account(3), &other)
	bobs := statement(upd, 1, 0, of(bob))
	for name, c := range map[string]struct {
		check string
		add   func(l *signedLog)
	}{
		"L1 a first again":                  {"L1", func(l *signedLog) { l.add(statement(first, 0, 0)) }},
		"L1 somebody new begins in between": {"L1", func(l *signedLog) { l.add(statement(upd, 1, 0, of("carol"))) }},
		"L2 an update after an erase":       {"L2", func(l *signedLog) { l.add(statement(upd, 7, 6)) }},
		"L2 an update by another key":       {"L2", func(l *signedLog) { s := bobs; s.Sign(account(2), nil); l.add(s) }},
		"L3 a reset in disguise":            {"L3", func(l *signedLog) { l.add(statement(reset, 7, 6)) }},
		"L4 a revocation that promises": {"L4", func(l *signedLog) {
			l.add(statement(revoke, 1, 0, of(bob), func(s *transparency.Statement) { s.AuthNext[0]++ }))
		}},
		"L5 padding that says something":     {"L5", func(l *signedLog) { l.add(transparency.Statement{Kind: pad, Seq: 3}) }},
		"L6 a signature":                     {"L6", func(l *signedLog) { l.add(flipped) }},
		"L6 a revocation signed for another": {"L6", func(l *signedLog) { l.add(elsewhere) }},
		"L7 back in time": {"L7", func(l *signedLog) {
			l.add(statement(upd, 1, 0, of(bob), func(s *transparency.Statement) { s.Time = 0 }))
		}},
		"L8 a map without it": {"L8", func(l *signedLog) { l.addWith(bobs, l.tree()) }},
		"L8 a map with something else too": {"L8", func(l *signedLog) {
			l.addWith(bobs, l.tree().Put(bobs.Label, bobs.MapValue()).Put([32]byte{1}, [32]byte{}))
		}},
		"L8 a map of before":              {"L8", func(l *signedLog) { l.addWith(transparency.Statement{Kind: pad}, l.maps[3]) }},
		"L8 padding that changes the map": {"L8", func(l *signedLog) { l.addWith(transparency.Statement{Kind: pad}, l.tree().Put([32]byte{}, [32]byte{})) }},
		"L8 no map":                       {"L8", func(l *signedLog) { l.addWith(bobs, prefixtree.Tree{}) }},
		"not an entry":                    {"", func(l *signedLog) { l.addRaw(l.raw[3][1:]) }},
	} {
		l := life(t)
		c.add(l)
		var r transparency.Replay
		for _, raw := range l.raw[:len(l.raw)-1] {
			require.NoError(t, r.Add(raw))
		}
		err := r.Add(l.raw[len(l.raw)-1])
		var wrong *transparency.EntryError
		require.True(t, errors.As(err, &wrong), "%s: %v", name, err)
		require.Equal(t, int64(len(l.raw)-1), wrong.Index, name)
		if c.check != "" {
			requireCheck(t, c.check, err, name)
		}
		require.Equal(t, int64(len(l.raw)-1), r.Size(), name)
		require.Equal(t, l.root(0, len(l.raw)-1), r.Root(), name)
		require.NoError(t, r.Add(life(t).add(statement(reset, 7, 7)).raw[len(l.raw)-1]), "%s: and it goes on as if nothing had been", name)
		if c.check == "L6" {
			var trusting transparency.Replay
			for _, raw := range l.raw {
				require.NoError(t, trusting.AddChecked(raw), "%s: signatures only are left out", name)
			}
		}
	}
}

// TestReplayNeedsEveryEntry: none can be left out, moved, or said twice, but padding between what says nothing.
func TestReplayNeedsEveryEntry(t *testing.T) {
	l := life(t)
	for skip := range l.raw {
		if l.entries[skip].Kind == pad {
			continue
		}
		var r transparency.Replay
		var err error
		for i, raw := range l.raw {
			if i != skip && err == nil {
				err = r.Add(raw)
			}
		}
		require.Error(t, err, skip)
	}
}

func TestCompactRangeOfEveryTree(t *testing.T) {
	l := pads(t, largest)
	var c transparency.CompactRange
	for i, leaf := range l.leaves {
		require.Equal(t, l.inclusion(i, 0, i+1), c.Path(), i)
		next, complete := c.With(leaf)
		require.Equal(t, int64(i+1), next.Size())
		require.Equal(t, l.root(0, i+1), next.Root(), i)
		require.Equal(t, int64(i), c.Size(), "the one before stays as it was")
		require.Equal(t, l.root(0, i), c.Root(), i)
		require.Equal(t, leaf, complete[0])
		for level, h := range complete {
			require.Equal(t, l.root(i+1-1<<level, i+1), h)
		}
		c = next
	}
}
