package transparency_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency"
)

// FuzzPin takes what an instance says of its log when it is met first.
func FuzzPin(f *testing.F) {
	l := newLog(f)
	good := l.pinned()
	f.Add("a.example", good.Origin, good.Key, good.VRF)
	f.Add("A.EXAMPLE", good.Origin, good.Key, good.VRF)
	f.Add("", "", "a+00000000+AQ==", []byte{})
	f.Add("b.example", transparency.Origin("b.example", good.VRF), good.Key, good.VRF)
	f.Add("a.example", transparency.Origin("a.example", make([]byte, 32)), good.Key, make([]byte, 32))
	f.Fuzz(func(t *testing.T, host, origin, key string, vrfKey []byte) {
		p, err := transparency.Pin(host, origin, key, vrfKey)
		if err != nil {
			require.Zero(t, p)
			return
		}
		require.Equal(t, transparency.Origin(host, vrfKey), p.Origin)
		require.Zero(t, p.Size)
	})
}

// FuzzReplay puts any entry after a log that is in order, as a hostile log can: it is refused and leaves no trace, or it can be read.
func FuzzReplay(f *testing.F) {
	l := life(f)
	for _, raw := range l.raw {
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		var r, same transparency.Replay
		for _, raw := range l.raw {
			require.NoError(t, r.AddChecked(raw))
			require.NoError(t, same.AddChecked(raw))
		}
		if err := r.Add(bytes.Clone(entry)); err != nil {
			var wrong *transparency.EntryError
			require.True(t, errors.As(err, &wrong))
			require.Equal(t, int64(len(l.raw)), wrong.Index)
			require.Equal(t, same, r)
			return
		}
		e, err := transparency.ParseEntry(entry)
		require.NoError(t, err)
		require.Equal(t, entry, e.Marshal())
		require.Equal(t, same.Size()+1, r.Size())
	})
}
