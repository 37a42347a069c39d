package device_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

func TestSendToFindsTheConversation(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	m, err := a.SendTo([]string{bob}, "one", nil, "")
	require.NoError(t, err)
	require.Equal(t, id, m.Conversation)

	// What is asked for counts, done or not: the conversation is one of three from now on.
	require.NoError(t, a.AddMembers(id, []string{carol}))
	m, err = a.SendTo([]string{carol, bob}, "two", nil, "")
	require.NoError(t, err)
	require.Equal(t, id, m.Conversation)
	m, err = a.SendTo([]string{bob}, "three", nil, "")
	require.NoError(t, err)
	require.NotEqual(t, id, m.Conversation)
	again, err := a.SendTo([]string{bob}, "four", nil, "")
	require.NoError(t, err)
	require.Equal(t, m.Conversation, again.Conversation, "begun, with nobody in it yet")

	w.quiet()
	require.Equal(t, []string{"one", "two"}, w.people[bob].texts(id))
	require.Equal(t, []string{"two"}, w.people[carol].texts(id))
	require.Equal(t, []string{"three", "four"}, w.people[bob].texts(m.Conversation))
}

func TestSendToIsIdempotent(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	first, err := a.SendTo([]string{bob}, "one", nil, "key")
	require.NoError(t, err)
	require.NoError(t, a.AddMembers(id, []string{carol}))
	again, err := a.SendTo([]string{bob}, "one", nil, "key")
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID, "wherever it went")
	for _, other := range []func() (device.Message, error){
		func() (device.Message, error) { return a.SendTo([]string{bob}, "two", nil, "key") },
		func() (device.Message, error) { return a.SendTo([]string{bob, carol}, "one", nil, "key") },
		func() (device.Message, error) { return a.Send(id, "one", nil, "key") },
	} {
		_, err := other()
		require.ErrorIs(t, err, device.ErrIdempotencyConflict)
	}
	list, err := a.Conversations()
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestMessageToNobodyFails(t *testing.T) {
	w, _ := talk(t, bob)
	a := w.people[alice]
	w.unlisted(dave) // has an account and no list, which nobody has looked at
	m, err := a.SendTo([]string{dave}, "hello?", nil, "")
	require.NoError(t, err)
	w.quiet()
	list, err := a.Messages(m.Conversation, 0, 10)
	require.NoError(t, err)
	require.Equal(t, device.MessageFailed, list[0].State, "a message that nobody can read was not sent")
	require.Contains(t, a.codes(device.EventMessageState), device.CodeRecipientNotReady)
}
