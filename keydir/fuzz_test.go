package keydir_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

func FuzzParseDeviceList(f *testing.F) {
	f.Add(encoded(2, "https://a.example/users/alice", 3, append(device(1), device(2)...)))
	f.Add(encodedFrom(2, "a", "b", 0, nil))
	f.Add(encoded(2, "a", 0, append(device(2), device(1)...)))
	f.Add([]byte{2, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := keydir.ParseDeviceList(b)
		if err != nil {
			require.Zero(t, l)
			return
		}
		require.Equal(t, b, l.Marshal(), "one list, one spelling")
		require.LessOrEqual(t, len(l.Devices), keydir.MaxDevices)
		require.NotEmpty(t, l.Actor)
	})
}

// FuzzOpen gives content that its statement really commits to: whoever signs may be hostile.
func FuzzOpen(f *testing.F) {
	one := says(first, nil, 1, 1, 1, 2)
	two := revokes(f, one, 1)
	three := revokes(f, two, 2)
	for _, s := range []said{one, two, three, says(move, &one, 1, 1), says(update, &one, 1, 1), says(reset, &one, 2, 2, 3)} {
		f.Add(byte(s.Kind), byte(s.Seq), s.content)
	}
	f.Fuzz(func(t *testing.T, kind, seq byte, content []byte) {
		s := statement{Kind: transparency.Kind(kind), Time: now, Label: aliceLabel, Seq: uint32(seq), AuthNext: one.AuthNext}
		if s.Kind == reset {
			s.LastReset = s.Seq
		}
		s.Commitment = transparency.Commit(openingOf(1), content)
		switch {
		case s.Kind == revoke && seq == 2:
			s.Sign(deviceKey(2), &two.statement)
		case s.Kind == revoke:
			s.Sign(deviceKey(1), &one.statement)
		default:
			s.Sign(account(1), nil)
		}
		state, err := keydir.Open(alice, s, openingOf(1), content)
		if err != nil {
			require.Zero(t, state)
			return
		}
		require.Equal(t, []any{alice, s.Seq}, []any{state.List.Actor, state.List.Seq})
		require.Equal(t, s, state.Since[len(state.Since)-1])
		switch s.Kind {
		case first, update, reset:
			require.Equal(t, content, state.List.Marshal(), "one list, one spelling")
		case move:
			require.Equal(t, content, keydir.Move{Actor: alice, Seq: s.Seq, To: state.MovedTo}.Marshal())
		case revoke:
			require.Subset(t, one.open(t).List.Devices, state.List.Devices, "a device that the account never listed")
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	one := says(first, nil, 1, 1, 1, 2)
	f.Add(keydir.Record{Actor: alice, Statement: one.statement, List: listOf(alice, 1, 2), Checked: 1, Reset: true, First: &one.statement}.Marshal())
	f.Add([]byte(`{"statement":null,"list":"AA=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := keydir.ParseRecord(b)
		if err != nil {
			require.Zero(t, r)
			return
		}
		again, err := keydir.ParseRecord(r.Marshal())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
