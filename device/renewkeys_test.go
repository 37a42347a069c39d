package device_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKeysAreRenewed: after a week, and after a thousand messages.
func TestKeysAreRenewed(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	before := a.conversation(id).Epoch
	w.now = w.now.Add(7*24*time.Hour - time.Minute)
	w.wake()
	require.Equal(t, before, a.conversation(id).Epoch)
	w.now = w.now.Add(time.Minute)
	leaf := string(a.group(id).Members()[0].Node.EncryptionKey)
	w.wake()
	require.Equal(t, before+2, a.conversation(id).Epoch, "one commit each")
	require.NotEqual(t, leaf, string(a.group(id).Members()[0].Node.EncryptionKey))
	w.wake()
	require.Equal(t, before+2, a.conversation(id).Epoch)

	w.now = w.now.Add(time.Minute)
	for i := range 1000 {
		a.say(id, fmt.Sprint(i))
		a.work()
	}
	w.wake()
	require.Equal(t, before+3, a.conversation(id).Epoch)
	requireAgreement(t, id, a, b)
}
