package agent_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar"
)

// again is the same person with a new home and a new login code, as after a loss.
func (p *person) again() *person {
	code, err := p.w.server.NewCode(p.handle[1 : len(p.handle)-len("@a.test")])
	require.NoError(p.w.t, err)
	next := &person{w: p.w, home: filepath.Join(p.w.t.TempDir(), "again"), handle: p.handle, code: code, log: new(bytes.Buffer)}
	next.start()
	return next
}

func (p *person) removed() string {
	account, _, _, err := p.Account()
	require.NoError(p.w.t, err)
	return account.Removed
}

func (p *person) told(kind device.EventType) (codes []string) {
	events, err := p.Events(0, 10000)
	require.NoError(p.w.t, err)
	for _, e := range events {
		if e.Type == kind {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

// TestLostDevice: somebody loses their device, logs in on another with --reset, and everybody is told.
func TestLostDevice(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := bob.SendTo(ctx, []string{alice.actor()}, "before", nil, "")
	require.NoError(t, err)
	alice.await("it comes", func() bool { return len(alice.texts(m.Conversation)) == 1 })
	_, err = alice.LoginReset(ctx, alice.handle, alice.code)
	require.NoError(t, err, "a device that is in the list has nothing to reset")

	fresh := alice.again()
	_, err = fresh.Login(ctx, fresh.handle, fresh.code)
	require.ErrorIs(t, err, agent.ErrHasDevice)
	_, err = fresh.Send(m.Conversation, "hello", nil, "")
	require.Error(t, err)
	require.Empty(t, alice.removed(), "nothing has happened to the old one")
	_, err = fresh.LoginReset(ctx, fresh.handle, fresh.code)
	require.NoError(t, err)
	require.NoError(t, fresh.SetConsent(ctx, device.FromEverybody))

	alice.await("the old device tells", func() bool { return alice.removed() == "list_reset" })
	require.Equal(t, []string{"list_reset"}, alice.told(device.EventDeviceRemoved))
	_, err = alice.Send(m.Conversation, "still me", nil, "")
	require.ErrorIs(t, err, device.ErrDeviceRemoved)
	require.Equal(t, []string{"before"}, alice.texts(m.Conversation))

	c, err := bob.Contact(ctx, alice.actor())
	require.NoError(t, err)
	require.Equal(t, 1, c.Resets)
	require.Len(t, bob.told(device.EventContactReset), 1)
	bob.await("the old device is out of the conversation", func() bool {
		c, err := bob.Conversation(m.Conversation)
		return err == nil && len(c.Members) == 1
	})
	var reset *device.KeysResetError
	_, err = bob.SendTo(ctx, []string{alice.actor()}, "is it you?", nil, "")
	require.ErrorAs(t, err, &reset)
	_, err = bob.AcceptKeys(alice.actor(), 1)
	require.NoError(t, err)
	next, err := bob.SendTo(ctx, []string{alice.actor()}, "is it you?", nil, "")
	require.NoError(t, err)
	require.Equal(t, m.Conversation, next.Conversation, "she is in it again, with her new device")
	fresh.await("it comes", func() bool { return len(fresh.texts(next.Conversation)) == 1 })
	require.Equal(t, []string{"is it you?"}, fresh.texts(next.Conversation))
	require.Equal(t, []string{"before"}, alice.texts(m.Conversation))
}

// TestResetSurvivesEveryBrokenAnswer breaks the connection after each call of a login with a reset in turn: what is there is
// one reset, whatever was asked again.
func TestResetSurvivesEveryBrokenAnswer(t *testing.T) {
	every := 1
	if testing.Short() {
		every = 5
	}
	for broken := 1; ; broken += every {
		w := newWorld(t)
		alice := w.person("alice").login()
		alice.stop()
		fresh := alice.again()
		reached := w.breakCall(broken, "/waxwing/v1/mailbox", "/waxwing/v1/key-packages")
		_, _ = fresh.LoginReset(ctx, fresh.handle, fresh.code)
		w.bent(nil)
		fresh.stop()
		fresh.start()
		_, err := fresh.LoginReset(ctx, fresh.handle, fresh.code)
		require.NoError(t, err)
		c, err := fresh.Contact(ctx, fresh.actor())
		require.NoError(t, err)
		require.Equal(t, 1, c.Resets)
		if !reached() {
			require.Greater(t, broken, 4, "the login has more calls than that")
			return
		}
	}
}

// breakCall lets the n-th call be carried out and not answered. It tells whether there were so many.
func (w *world) breakCall(n int, but ...string) (reached func() bool) {
	calls := 0
	next := w.server.Handler()
	w.bent(func(_ http.ResponseWriter, r *http.Request) bool {
		for _, path := range but {
			if r.URL.Path == path {
				return false
			}
		}
		w.mu.Lock()
		calls++
		now := calls
		w.mu.Unlock()
		if now == n {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return calls >= n
	}
}

// TestRevokeDevice: a device takes itself off the list, however often the line breaks, and stays off.
func TestRevokeDevice(t *testing.T) {
	for broken := 1; ; broken++ {
		w := newWorld(t)
		alice, bob := w.person("alice").login(), w.person("bob").login()
		m, err := bob.SendTo(ctx, []string{alice.actor()}, "before", nil, "")
		require.NoError(t, err)
		alice.await("it comes", func() bool { return len(alice.texts(m.Conversation)) == 1 })
		alice.stop() // nothing else calls meanwhile
		bob.stop()
		alice.Agent, err = agent.Open(agent.Config{Home: alice.home, Passphrase: []byte("pass"), Hosts: w.hosts})
		require.NoError(t, err)
		reached := w.breakCall(broken)
		_, _ = alice.RevokeDevice(ctx)
		w.bent(nil)
		require.NoError(t, alice.Close())
		alice.start()
		bob.start()
		seen, err := alice.RevokeDevice(ctx)
		require.NoError(t, err)
		require.True(t, seen)
		require.Equal(t, "device_revoked", alice.removed())
		require.Equal(t, []string{"device_revoked"}, alice.told(device.EventDeviceRemoved))
		require.Equal(t, []string{"before"}, alice.texts(m.Conversation))
		_, err = alice.Login(ctx, alice.handle, alice.code)
		require.ErrorIs(t, err, agent.ErrRevoked)

		c, err := bob.Contact(ctx, alice.actor())
		require.NoError(t, err)
		require.Equal(t, []any{device.ContactNone, 0}, []any{c.State, c.Resets})
		bob.await("her device is out of the conversation", func() bool {
			c, err := bob.Conversation(m.Conversation)
			return err == nil && len(c.Members) == 1
		})
		if !reached() {
			require.Greater(t, broken, 3, "it takes more calls than that")
			return
		}
	}
}

// TestRevokeDeviceWithoutToken: who is logged out, or whose machine somebody else has, needs the key alone.
func TestRevokeDeviceWithoutToken(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			return false
		}
		problem.Write(rw, problem.New(401, "token_required", "no"))
		return true
	})
	seen, err := alice.RevokeDevice(ctx)
	require.NoError(t, err)
	require.True(t, seen)
	w.bent(nil)
	fresh := alice.again()
	_, err = fresh.Login(ctx, fresh.handle, fresh.code)
	require.ErrorIs(t, err, agent.ErrHasDevice, "a list without devices is one all the same")
	_, err = fresh.LoginReset(ctx, fresh.handle, fresh.code)
	require.NoError(t, err)
}

// newServedWorld has a sidecar that serves, for what only happens then.
func newServedWorld(t *testing.T) (w *world, dir string) {
	w, dir = &world{t: t, host: "a.test", hosts: map[string]string{}}, t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.hosts["a.test"] = l.Addr().String()
	w.server, err = sidecar.Open(sidecar.Config{Instance: "http://a.test", DataDir: dir, Hosts: w.hosts})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		require.NoError(t, w.server.Close())
		require.NoError(t, <-served)
	})
	return w, dir
}

// TestErasedAndBack: the device of somebody who was erased says so; made anew, the account can be logged in to, and who knew it is told.
func TestErasedAndBack(t *testing.T) {
	w, dir := newServedWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	_, err := bob.Contact(ctx, alice.actor())
	require.NoError(t, err)
	admin, err := sidecar.Open(sidecar.Config{DataDir: dir})
	require.NoError(t, err)
	require.NoError(t, admin.Erase(ctx, "alice", func(sidecar.EraseStep) {}))
	require.NoError(t, admin.Close())
	alice.await("her device tells", func() bool { return alice.removed() == "list_erased" })
	_, err = alice.Login(ctx, alice.handle, alice.code)
	var refused *problem.Problem
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "login_refused", refused.Code)
	c, err := bob.Contact(ctx, alice.actor())
	require.NoError(t, err)
	require.Zero(t, c.Resets)

	code, err := w.server.AddAccount("alice")
	require.NoError(t, err)
	fresh := &person{w: w, home: filepath.Join(t.TempDir(), "again"), handle: alice.handle, code: code, log: new(bytes.Buffer)}
	fresh.start()
	fresh.login()
	c, err = bob.Contact(ctx, alice.actor())
	require.NoError(t, err)
	require.Equal(t, []any{device.ContactReady, 1}, []any{c.State, c.Resets})
	_, err = bob.AcceptKeys(alice.actor(), 1)
	require.NoError(t, err)
	m, err := bob.SendTo(ctx, []string{alice.actor()}, "back?", nil, "")
	require.NoError(t, err)
	fresh.await("it comes", func() bool { return len(fresh.texts(m.Conversation)) == 1 })
}
