package agent_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
)

// TestPersonIsToldWhatWasNotDelivered: what the sidecar notes in the mailbox becomes an event, once.
func TestPersonIsToldWhatWasNotDelivered(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "one", nil, "")
	require.NoError(t, err)
	bob.await("it comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	c, err := alice.Conversation(m.Conversation)
	require.NoError(t, err)
	account, _, _, err := alice.Account()
	require.NoError(t, err)
	note, err := json.Marshal(clientapi.Mailbox{Next: 1000, Items: []clientapi.Item{{
		Cursor: 1000, Actor: alice.actor(), Conversation: c.URL, Undelivered: &clientapi.Undelivered{
			Message: make([]byte, 32), To: []clientapi.Missed{{Actor: bob.actor(), Code: "host_unreachable", Detail: "b.test could not be reached for 14 days"}},
		},
	}}})
	require.NoError(t, err)
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || r.URL.Path != "/waxwing/v1/mailbox" || r.Header.Get("Authorization") != "Bearer "+account.Token {
			return false
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write(note)
		return true
	})
	bob.say(m.Conversation, "two") // ends the call that is held: the next is answered with the note
	failed := func() (list []device.Event) {
		events, err := alice.Events(0, 1000)
		require.NoError(t, err)
		for _, e := range events {
			if e.Type == device.EventDeliveryFailed {
				list = append(list, e)
			}
		}
		return list
	}
	alice.await("she is told", func() bool { return len(failed()) > 0 })
	require.Len(t, failed(), 1)
	require.Equal(t, []string{bob.actor(), "host_unreachable", m.Conversation}, []string{failed()[0].Actor, failed()[0].Code, failed()[0].Conversation})
}
