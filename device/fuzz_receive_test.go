package device_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// FuzzReceive: whatever a mailbox holds, Receive takes it without an error and without a change to what is known.
func FuzzReceive(f *testing.F) {
	w := newWorld(f, 11)
	a, b := w.enrol(alice), w.enrol(bob)
	id, err := a.StartConversation([]string{bob})
	require.NoError(f, err)
	a.work()
	welcome := b.mail[0]
	w.quiet()
	f.Add(welcome.Message, welcome.Receipt, welcome.Conversation, alice)
	f.Add([]byte{0, 1, 0, 2}, []byte{1}, "", "")
	f.Add([]byte{}, []byte{}, "https://a.example/waxwing/conversations/00", "x")
	a.say(id, "hello")
	a.work()
	message := b.mail[0]
	b.mail = nil
	f.Add(flip(message.Message, 60), []byte{}, message.Conversation, alice)
	f.Fuzz(func(t *testing.T, message, receipt []byte, conversation, actor string) {
		w.t = t
		before := b.conversation(id)
		b.receive(device.Incoming{Actor: actor, Conversation: conversation, Message: message, Receipt: receipt})
		require.Equal(t, before.EpochAuthenticator, b.conversation(id).EpochAuthenticator)
	})
}
