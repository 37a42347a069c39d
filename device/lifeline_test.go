package device

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDamagedKeyIsFoundLate: the true key of a leaf is kept as long as the leaf is there, whatever the MLS state says it is, and its time begins when
// the leaf is replaced.
func TestDamagedKeyIsFoundLate(t *testing.T) {
	was := lifeline{Keys: [][]byte{{1}}, Leaf: []byte{1}, Public: []byte{101}}
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for range 3 { // the state is damaged
		l := lifeline{Keys: [][]byte{{2}}, Leaf: []byte{2}, Public: []byte{101}}
		l.replaces(was, now)
		require.Contains(t, l.all(), []byte{1})
		was, now = l, now.Add(oldLeafKeys+time.Hour)
	}
	for range 2 {
		l := lifeline{Keys: [][]byte{{3}}, Leaf: []byte{3}, Public: []byte{103}}
		l.replaces(was, now)
		require.Contains(t, l.all(), []byte{1})
		was, now = l, now.Add(oldLeafKeys-time.Hour)
	}
	l := lifeline{Keys: [][]byte{{4}}, Leaf: []byte{4}, Public: []byte{104}}
	l.replaces(was, now)
	require.NotContains(t, l.all(), []byte{1})
	require.Contains(t, l.all(), []byte{3})
}
