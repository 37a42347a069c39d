package localapi

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestPlainForPrograms: what is plain is marked, said in words, and asked for with a code of its own.
func TestPlainForPrograms(t *testing.T) {
	c := conversationOf(device.Conversation{ID: "p1", State: device.StateActive, Plain: true}, "")
	require.True(t, c.Plain)
	require.Contains(t, c.Note, "nobody vouches")
	require.Empty(t, conversationOf(device.Conversation{}, "").Note)
	require.True(t, messageOf(device.Message{Plain: true}).Plain)
	x := contactOf(device.Contact{Actor: "http://e.test/@erin", State: device.ContactPlain, Devices: []string{"d"}}, "")
	require.Equal(t, []any{"plain", "http://e.test/@erin"}, []any{x.State, x.Handle})
	require.Contains(t, x.Note, "nobody vouches")
	require.Nil(t, x.Believed)

	var f failure
	require.True(t, errors.As(refuse(&device.PlainOnlyError{Actors: []string{"http://e.test/@erin"}}), &f))
	require.Equal(t, []any{409, "plain_only"}, []any{f.Status, f.Code})
	require.Contains(t, f.Detail, "http://e.test/@erin")
	require.True(t, errors.As(refuse(device.ErrPlainFile), &f))
	require.Equal(t, "plain_file", f.Code)
}
