package keydir_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// A history is all that was ever said of alice, and what it should come to: a second, simpler account of the same rules.
type history struct {
	all       []said
	devices   []byte
	movedTo   string
	promised  byte // account key
	used      byte // the account key that signed last
	lastReset uint32
}

func (h *history) last() *said {
	if len(h.all) == 0 {
		return nil
	}
	return &h.all[len(h.all)-1]
}

// goesOn says whether there is a list that an update, a move or a revocation could change.
func (h *history) goesOn() bool {
	return len(h.all) > 0 && h.last().Kind != move && h.last().Kind != erase
}

// step says something next.
func (h *history) step(t *rapid.T, tb testing.TB) {
	kinds := []transparency.Kind{first}
	if len(h.all) > 0 {
		kinds = []transparency.Kind{reset, erase}
	}
	if h.goesOn() {
		kinds = append(kinds, update, update, move)
	}
	if h.goesOn() && len(h.devices) > 0 {
		kinds = append(kinds, revoke, revoke, revoke)
	}
	kind := rapid.SampledFrom(kinds).Draw(t, "kind")
	devices := rapid.SliceOfNDistinct(rapid.ByteRange(1, 9), 0, 6, rapid.ID[byte]).Draw(t, "devices")
	slices.Sort(devices)
	next := rapid.ByteRange(1, 200).Draw(t, "next account key")
	var s said
	switch kind {
	case first:
		h.used = 201
		s = says(first, nil, h.used, next, devices...)
		h.devices, h.promised = devices, next
	case update:
		h.used = h.promised
		s = says(update, h.last(), h.promised, next, devices...)
		h.devices, h.promised = devices, next
	case reset:
		h.used = 202 + (h.used+1)%40
		s = says(reset, h.last(), h.used, next, devices...)
		h.devices, h.promised, h.movedTo, h.lastReset = devices, next, "", s.Seq
	case move:
		s = says(move, h.last(), h.promised, next)
		h.used, h.devices, h.movedTo, h.promised = h.promised, nil, bob, next
	case erase:
		s = erases(*h.last())
		h.devices, h.movedTo, h.lastReset = nil, "", s.Seq
	case revoke:
		gone := rapid.SampledFrom(h.devices).Draw(t, "revoked")
		s = revokes(tb, *h.last(), gone)
		h.devices = slices.DeleteFunc(slices.Clone(h.devices), func(d byte) bool { return d == gone })
	}
	require.Equal(tb, kind, s.Kind)
	h.all = append(h.all, s)
}

// TestAnyHistoryIsBelieved: whatever the account, its devices and the log say in turn, an auditor finds every step in order, and a
// reader who looks now and then knows just what the history comes to, and of every reset since.
func TestAnyHistoryIsBelieved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l, h := newLog(t), &history{}
		var known *keydir.Record
		for range rapid.IntRange(1, 9).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "pad") {
				l.append(statement{Kind: pad})
			}
			before := h.last()
			h.step(rt, t)
			now := h.last()
			l.append(now.statement)
			var previous *statement
			if before != nil {
				previous = &before.statement
			}
			require.NoError(t, now.Follows(previous))
			require.NoError(t, now.VerifySignature(previous))
			if rapid.Bool().Draw(rt, "look") {
				known = h.requireSeen(t, l, known)
			}
		}
		h.requireSeen(t, l, nil) // a stranger
	})
}

func (h *history) requireSeen(t testing.TB, l *hostileLog, known *keydir.Record) *keydir.Record {
	r, err := l.look(known, h.last())
	require.NoError(t, err)
	require.Equal(t, h.last().statement, r.Statement)
	require.Equal(t, h.lastReset, r.Statement.LastReset)
	require.True(t, slices.Equal(h.devices, keysOf(r.List)), "%v, not %v", h.devices, keysOf(r.List))
	require.Equal(t, h.movedTo, r.MovedTo)
	require.Equal(t, known != nil && h.lastReset > known.Statement.Seq, r.Reset)
	stored, err := keydir.ParseRecord(r.Marshal())
	require.NoError(t, err)
	require.Equal(t, r, stored)
	return &stored
}

// TestAnyForkIsFound: of two histories that part somewhere, who has seen the end of the one does not believe the other, unless a
// reset is shown with it, or it is so much longer that what lies between is not shown.
func TestAnyForkIsFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		one := &history{}
		for range rapid.IntRange(1, 5).Draw(rt, "common") {
			one.step(rt, t)
		}
		two := *one
		two.all = slices.Clone(one.all)
		common := len(one.all)
		for range rapid.IntRange(1, 4).Draw(rt, "mine") {
			one.step(rt, t)
		}
		for range rapid.IntRange(1, 4).Draw(rt, "theirs") {
			two.step(rt, t)
		}
		known, shown := one.last().statement, two.last().statement
		told, hidden := shown.LastReset > known.Seq, shown.Seq > known.Seq+1
		same := one.all[common].statement == two.all[common].statement || known == shown // an erase hides where it came from
		if same || told || hidden || shown.Follows(&known) == nil {                      // the last: the account itself forks
			return
		}
		l := newLog(t)
		r, err := l.learn(nil, *one.last())
		require.NoError(t, err)
		_, err = l.learn(&r, *two.last())
		requireCheck(t, "A8", err)
	})
}
