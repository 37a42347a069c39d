package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/store/internal/passphrase"
)

func FuzzHeader(f *testing.F) {
	h, _, err := newHeader([]byte("passphrase"))
	require.NoError(f, err)
	whole := h.encode()
	f.Add(whole)
	f.Add(whole[:headerSize-1])
	f.Add(append(bytes.Clone(whole), 0))
	f.Add([]byte{})
	for _, i := range []int{0, 1, 5, 9} {
		b := bytes.Clone(whole)
		b[i] = 0xff
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrTampered) || errors.Is(err, ErrOlder), err)
			require.Nil(t, h)
			return
		}
		require.True(t, bytes.Equal(b, h.encode()), "two headers say the same")
		require.True(t, h.cost.Time >= passphrase.Least.Time && h.cost.Time <= most.Time, "time %d", h.cost.Time)
		require.True(t, h.cost.Memory >= passphrase.Least.Memory && h.cost.Memory <= 512<<10, "memory %d", h.cost.Memory)
		require.True(t, h.cost.Threads >= 1 && h.cost.Threads <= most.Threads, "threads %d", h.cost.Threads)
	})
}

func FuzzItem(f *testing.F) {
	k, err := newKeys(make([]byte, masterSize))
	require.NoError(f, err)
	f.Add([]byte("\x00\x00\x00\x06bucket\x00\x00\x00\x03keyvalue"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte{})
	// What stands inside a seal is our own; but nothing that does may end the program.
	f.Fuzz(func(t *testing.T, plain []byte) {
		at := place{table: "item", hash: k.item("bucket", "key"), number: 1}
		key, _, err := k.openItem(at, "bucket", k.seal(at, plain))
		if err != nil {
			require.ErrorIs(t, err, ErrTampered)
			return
		}
		require.Equal(t, "key", key)
	})
}
