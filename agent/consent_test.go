package agent_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestRequests: while somebody waits, the agent asks the own sidecar for its mailbox and its own affairs, and nothing else; after
// accepting, across restarts, all is there.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	require.NoError(t, bob.SetConsent(ctx, device.FromRequests))
	account, _, _, err := bob.Account()
	require.NoError(t, err)
	var asked []string
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer "+account.Token {
			w.mu.Lock()
			defer w.mu.Unlock()
			asked = append(asked, r.URL.Path+"?"+r.URL.RawQuery)
		}
		return false
	})
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "hello bob", nil, "")
	require.NoError(t, err)
	waiting := func() bool {
		list, err := bob.Requests()
		return err == nil && len(list) == 1 && list[0].Waiting == 1
	}
	bob.await("alice waits", waiting)
	p, err := bob.LookAt(m.Conversation)
	require.NoError(t, err)
	require.Equal(t, "hello bob", p.Messages[0].Text)
	bob.stop()
	bob.start()
	time.Sleep(time.Second)
	require.True(t, waiting())
	w.mu.Lock()
	for _, call := range asked {
		path, query, _ := strings.Cut(call, "?")
		require.Contains(t, []string{"/waxwing/v1/mailbox", "/waxwing/v1/account", "/waxwing/v1/key-packages", "/waxwing/v1/log", "/waxwing/v1/directory"}, path)
		require.NotContains(t, query, "alice")
	}
	require.NotEmpty(t, asked)
	w.mu.Unlock()

	w.bent(func(rw http.ResponseWriter, r *http.Request) bool { // the line is down while bob decides
		if r.URL.Path == "/waxwing/v1/consents" {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	require.NoError(t, bob.AcceptRequest(ctx, m.Conversation))
	bob.stop()
	w.bent(nil)
	bob.start()
	bob.await("it is there", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	_, err = bob.Send(m.Conversation, "hello alice", nil, "")
	require.NoError(t, err)
	alice.await("the answer", func() bool { return len(alice.texts(m.Conversation)) == 2 })
	_, err = alice.Send(m.Conversation, strings.Repeat("long ", 10000), nil, "")
	require.NoError(t, err)
	bob.await("there is room for more", func() bool { return len(bob.texts(m.Conversation)) == 3 })
}

// TestLongFirstMessage: what has no room in a request is kept on alice's device, as bob is of her own instance, and comes once he has accepted.
func TestLongFirstMessage(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	require.NoError(t, bob.SetConsent(ctx, device.FromRequests))
	m, err := alice.SendTo(ctx, []string{bob.actor()}, strings.Repeat("long ", 5000), nil, "")
	require.NoError(t, err)
	bob.await("alice waits", func() bool { list, err := bob.Requests(); return err == nil && len(list) == 1 })
	time.Sleep(time.Second)
	list, err := alice.Messages(m.Conversation, 0, 1)
	require.NoError(t, err)
	require.Equal(t, device.MessageSending, list[0].State)
	require.NoError(t, bob.AcceptRequest(ctx, m.Conversation))
	bob.await("it comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	alice.await("it is sent", func() bool {
		list, err := alice.Messages(m.Conversation, 0, 1)
		return err == nil && list[0].State == device.MessageSent
	})
}

// TestWhoWantsToHearFromNobody: the person who writes is told.
func TestWhoWantsToHearFromNobody(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	require.NoError(t, bob.SetConsent(ctx, device.FromNobody))
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "hello", nil, "")
	require.NoError(t, err)
	alice.await("it fails", func() bool {
		list, err := alice.Messages(m.Conversation, 0, 1)
		return err == nil && list[0].State == device.MessageFailed
	})
	require.Equal(t, []string{"consent_required"}, alice.told(device.EventMemberFailed))
}
