package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
)

func TestMirror(t *testing.T) {
	s := open(t, t.TempDir())
	id := []byte("group")
	_, _, ok, err := s.Mirror.Newest(ctx, id)
	require.NoError(t, err)
	require.False(t, ok)
	event := func(name string, size int) hub.Event {
		return hub.Event{Receipt: []byte(name), Commit: make([]byte, size)}
	}
	keep := func(term, seq uint64, e hub.Event) {
		require.NoError(t, s.Mirror.Keep(ctx, id, term, seq, e, &[32]byte{byte(term)}))
	}
	for seq := uint64(1); seq <= 5; seq++ {
		keep(1, seq, event(string('a'+rune(seq)), 100))
	}
	keep(1, 3, event("twin", 100))
	keep(1, 3, event("third", 100))
	keep(1, 3, event("twin", 100))
	keep(2, 4, event("term", 100))
	read := func(after, upto uint64, events, bytes int) (names []string) {
		kept, err := s.Mirror.Kept(ctx, id, after, upto, events, bytes)
		require.NoError(t, err)
		for _, e := range kept {
			names = append(names, string(e.Receipt))
		}
		return names
	}
	require.ElementsMatch(t, []string{"b", "c", "d", "twin", "e", "term", "f"}, read(0, 9, 100, 1<<20), "two of one place are kept, and no more")
	require.Equal(t, []string{"b", "c"}, read(0, 9, 3, 1<<20), "of one seq all or none")
	require.Equal(t, []string{"b", "c"}, read(0, 9, 100, 350))
	require.ElementsMatch(t, []string{"d", "twin"}, read(2, 9, 1, 1), "and of the first all")
	require.Equal(t, []string{"f"}, read(4, 9, 100, 1<<20))
	require.ElementsMatch(t, []string{"e", "term"}, read(3, 4, 100, 1<<20))
	require.Empty(t, read(5, 9, 100, 1<<20))
	require.Empty(t, read(1<<63, 1<<63, 100, 1<<20))
	term, seq, ok, err := s.Mirror.Newest(ctx, id)
	require.NoError(t, err)
	require.Equal(t, []any{uint64(2), uint64(5), true}, []any{term, seq, ok})
	keys, err := s.Mirror.Keys(ctx, id, 2)
	require.NoError(t, err)
	require.Equal(t, [][32]byte{{2}}, keys)
	require.NoError(t, s.Mirror.Keep(ctx, id, 1<<63, 1, event("x", 1), nil))
	for seq := uint64(6); seq < 20; seq++ {
		keep(1, seq, event("large", hub.MirrorSize/10))
	}
	kept := read(0, 1<<62, 100, hub.MirrorSize)
	require.LessOrEqual(t, len(kept), 10)
	require.Equal(t, "large", kept[0], "the oldest have gone")
}
