package agent_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// page is what a proxy shows while there is no sidecar behind it.
func page(rw http.ResponseWriter, status int) bool {
	rw.Header().Set("Content-Type", "text/html")
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte("<h1>moved</h1>"))
	return true
}

// TestInstanceIsAway: whether there is no answer or a proxy's, the person is told what it is, and nothing is given up.
func TestInstanceIsAway(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "one", nil, "")
	require.NoError(t, err)
	bob.await("it comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	var tries atomic.Int32
	for _, answer := range []func(http.ResponseWriter){
		func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		func(rw http.ResponseWriter) { page(rw, http.StatusNotFound) },
		func(rw http.ResponseWriter) { page(rw, http.StatusBadGateway) },
	} {
		w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/waxwing/v1/") || strings.HasSuffix(r.URL.Path, "/mailbox") {
				return false
			}
			if r.Method == http.MethodPost {
				tries.Add(1)
			}
			answer(rw)
			return true
		})
		_, err := alice.Contact(ctx, bob.actor())
		require.ErrorIs(t, err, agent.ErrAway)
		_, err = alice.Login(ctx, alice.handle, alice.code)
		require.ErrorIs(t, err, agent.ErrAway)
		tries.Store(0)
		_, err = alice.Send(m.Conversation, "more", nil, "")
		require.NoError(t, err)
		alice.await("it is tried", func() bool { return tries.Load() > 0 })
	}
	w.bent(nil)
	bob.await("nothing was given up", func() bool { return len(bob.texts(m.Conversation)) == 4 })
}

// TestOneDirectoryKeepsNobodyElseOut: who is named beside somebody whose directory proves nothing is added all the same.
func TestOneDirectoryKeepsNobodyElseOut(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.person("alice").login(), w.person("bob").login(), w.person("carol").login()
	var met atomic.Bool // until then nobody is known, so that both are looked up by one job
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path != "/waxwing/v1/directory":
			return false
		case !met.Load():
			problem.Write(rw, problem.New(503, "busy", "not now"))
		case r.URL.Query().Get("actor") == carol.actor():
			_, _ = rw.Write([]byte(`{"version":1}`))
		default:
			return false
		}
		return true
	})
	id, err := alice.Agent.StartConversation(ctx, []string{bob.actor(), carol.actor()})
	require.NoError(t, err)
	met.Store(true)
	_, err = alice.Send(id, "hello", nil, "")
	require.NoError(t, err)
	bob.await("bob reads it", func() bool { return len(bob.texts(id)) == 1 })
	require.Empty(t, carol.texts(id))
}

// TestClaimsAreNotRepeated: while one instance is away, the packages of those at another are not used up by asking again.
func TestClaimsAreNotRepeated(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.person("alice").login(), w.person("bob").login(), w.person("carol").login()
	var tries atomic.Int32
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/waxwing/v1/claims" {
			return false
		}
		if tries.Add(1) == 1 {
			return false // the first one named: bob
		}
		if tries.Load() < 5 {
			problem.Write(rw, problem.New(503, "peer_unreachable", "not now"))
			return true
		}
		return false
	})
	id, err := alice.Agent.StartConversation(ctx, []string{bob.actor(), carol.actor()})
	require.NoError(t, err)
	alice.await("both are in", func() bool {
		c, err := alice.Conversation(id)
		return err == nil && len(c.Members) == 3
	})
	require.EqualValues(t, 5, tries.Load(), "one claim for bob, four for carol")
}

// TestNothingIsSentBeforeTheMailboxWasRead: what is in it may say that nobody could read the message any more.
func TestNothingIsSentBeforeTheMailboxWasRead(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "one", nil, "")
	require.NoError(t, err)
	bob.await("it comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	alice.stop()
	var mailbox, sent atomic.Int32
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/waxwing/v1/mailbox":
			if strings.Contains(r.Header.Get("Authorization"), " ") && mailbox.Load() < 3 && r.URL.Query().Get("wait") == "0" {
				mailbox.Add(1)
				problem.Write(rw, problem.New(503, "busy", "not now"))
				return true
			}
		case "/waxwing/v1/messages":
			if mailbox.Load() < 3 {
				sent.Add(1)
			}
		}
		return false
	})
	alice.start()
	_, err = alice.Send(m.Conversation, "two", nil, "")
	require.NoError(t, err)
	bob.await("it comes in the end", func() bool { return len(bob.texts(m.Conversation)) == 2 })
	require.Zero(t, sent.Load())
}

// TestQuestionsDoNotTakeAllHands: hubs that let us wait do not keep messages back.
func TestQuestionsDoNotTakeAllHands(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	var ids []string
	for i := range 10 {
		id, err := alice.Agent.StartConversation(ctx, []string{bob.actor()})
		require.NoError(t, err, i)
		ids = append(ids, id)
	}
	bob.await("they are there", func() bool {
		list, err := bob.Conversations()
		return err == nil && len(list) == len(ids)
	})
	alice.stop()
	free, hanging := make(chan struct{}), atomic.Int32{}
	w.bent(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/waxwing/v1/events" && r.URL.Query().Get("after") != "" {
			hanging.Add(1)
			select {
			case <-free:
			case <-r.Context().Done():
			}
		}
		return false
	})
	defer close(free)
	alice.start()
	alice.await("the hubs are asked", func() bool { return hanging.Load() >= 4 })
	time.Sleep(200 * time.Millisecond) // for more of them, if there may be more
	_, err := alice.Send(ids[9], "hello", nil, "")
	require.NoError(t, err)
	alice.await("it is sent", func() bool {
		list, err := alice.Messages(ids[9], 0, 1)
		return err == nil && len(list) == 1 && list[0].State == device.MessageSent
	})
}

// TestMailboxThatDoesNotHold is one that answers at once that there is nothing.
func TestMailboxThatDoesNotHold(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	var asked atomic.Int32
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/waxwing/v1/mailbox" {
			return false
		}
		asked.Add(1)
		_, _ = fmt.Fprint(rw, `{"items":[],"next":0}`)
		return true
	})
	alice.login()
	time.Sleep(time.Second)
	require.Less(t, asked.Load(), int32(10))
}

// TestSlowDirectoryHoldsNoMessageUp: what is to be sent is written down, whoever lets us wait.
func TestSlowDirectoryHoldsNoMessageUp(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.person("alice").login(), w.person("bob").login(), w.person("carol").login()
	free := make(chan struct{})
	w.bent(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/waxwing/v1/directory" {
			select {
			case <-free:
			case <-r.Context().Done():
			}
		}
		return false
	})
	began := time.Now()
	m, err := alice.SendTo(ctx, []string{bob.actor(), carol.actor()}, "hello", nil, "")
	require.NoError(t, err)
	require.Less(t, time.Since(began), 20*time.Second)
	close(free)
	carol.await("it comes", func() bool { return len(carol.texts(m.Conversation)) == 1 })
}
