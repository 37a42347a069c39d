package sidecar_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
)

func TestLogin(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	code, err := a.AddAccount("alice")
	require.NoError(t, err)
	_, err = a.AddAccount("alice")
	require.ErrorContains(t, err, "exists")
	for _, name := range []string{"", "Alice", "al/ice", "al ice", strings.Repeat("a", 31)} {
		_, err = a.AddAccount(name)
		require.Error(t, err, name)
	}
	d := a.login("alice", code)
	require.Equal(t, "http://a.test/users/alice", d.actor)
	account, err := d.Account(ctx)
	require.NoError(t, err)
	require.Equal(t, clientapi.Account{Actor: d.actor, Handle: "@alice@a.test", Device: d.id}, account)

	typed := a.login("alice", " "+strings.ToUpper(strings.ReplaceAll(code, "-", " ")))
	require.NotEqual(t, d.id, typed.id)

	// The same device again: the answer of the first login may have been lost. The first token is void.
	again, err := a.anonymous().Login(ctx, a.loginBody("alice", code, d.key))
	require.NoError(t, err)
	require.Equal(t, d.id, again.Device)
	_, err = d.Account(ctx)
	requireProblem(t, err, 401, "token_required")
	require.NotContains(t, w.logs(), again.Token)
	require.NotContains(t, w.logs(), code)
}

func TestLoginRefused(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	code, err := a.AddAccount("alice")
	require.NoError(t, err)
	_, err = a.AddAccount("bob")
	require.NoError(t, err)
	key := newKey(t)
	require.Eventually(t, func() bool { return a.rows()["log_entry"] == 1 }, 10*time.Second, 5*time.Millisecond, "the log begins with padding")
	before := a.rows()
	for name, spoil := range map[string]func(*clientapi.Login){
		"wrong code":      func(l *clientapi.Login) { l.Code = "aaaaa-aaaaa-aaaaa-aaaaa" },
		"no code":         func(l *clientapi.Login) { l.Code = "" },
		"unknown account": func(l *clientapi.Login) { *l = a.loginBody("carol", code, key) },
		"another account": func(l *clientapi.Login) { *l = a.loginBody("bob", code, key) },
		"path in account": func(l *clientapi.Login) { *l = a.loginBody("../users/alice", code, key) },
		"other host signed": func(l *clientapi.Login) {
			l.Signature = ed25519.Sign(key, clientapi.LoginMessage("b.test", "alice", l.Time))
		},
		"other name signed": func(l *clientapi.Login) {
			l.Signature = ed25519.Sign(key, clientapi.LoginMessage("a.test", "bob", l.Time))
		},
		"other key":    func(l *clientapi.Login) { l.SignatureKey = clientapi.Bytes(newKey(t).Public().(ed25519.PublicKey)) },
		"short key":    func(l *clientapi.Login) { l.SignatureKey = l.SignatureKey[:31] },
		"no key":       func(l *clientapi.Login) { l.SignatureKey = nil },
		"no signature": func(l *clientapi.Login) { l.Signature = nil },
		"old": func(l *clientapi.Login) {
			l.Time -= uint64((6 * time.Minute).Milliseconds())
			l.Signature = ed25519.Sign(key, clientapi.LoginMessage("a.test", "alice", l.Time))
		},
		"future": func(l *clientapi.Login) {
			l.Time = 1<<64 - 1
			l.Signature = ed25519.Sign(key, clientapi.LoginMessage("a.test", "alice", l.Time))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := a.loginBody("alice", code, key)
			spoil(&l)
			_, err := a.anonymous().Login(ctx, l)
			p := requireProblem(t, err, 401, "login_refused")
			require.Equal(t, "this account, login code or signature is not right", p.Detail, "all of them are one answer")
		})
	}
	require.Equal(t, before, a.rows())

	fresh, err := a.NewCode("alice")
	require.NoError(t, err)
	_, err = a.anonymous().Login(ctx, a.loginBody("alice", code, key))
	requireProblem(t, err, 401, "login_refused")
	a.login("alice", fresh)
	_, err = a.NewCode("nobody")
	require.Error(t, err)
}

func TestTokenRefused(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	room := alice.open()
	before := a.rows()
	_, secret, _ := strings.Cut(alice.token, ".")
	for name, token := range map[string]string{
		"none": "", "no dot": "alice", "empty secret": "alice.", "made up": "alice.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"other person's name": "bob." + secret, "cut": alice.token[:len(alice.token)-1], "longer": alice.token + "A",
		"endless": "alice." + strings.Repeat("A", 20_000), "device id": "alice." + bob.id, "injection": "alice' OR 1=1 --." + secret,
	} {
		t.Run(name, func(t *testing.T) {
			c := clientapi.New(a.instance+"/waxwing/v1", token, w.http())
			for _, call := range []func() error{
				func() error { _, err := c.Account(ctx); return err },
				func() error { _, err := c.Mailbox(ctx, 0, 10, 0); return err },
				func() error { return c.Acknowledge(ctx, 5) },
				func() error { return c.Send(ctx, room.message("hello", bob.actor)) },
				func() error { _, err := c.Commit(ctx, room.commit(0, "c", []string{bob.actor})); return err },
				func() error { _, err := c.OpenConversation(ctx, []byte("another"), make([]byte, 32)); return err },
				func() error { _, err := c.PutKeyPackages(ctx, clientapi.KeyPackages{}); return err },
				func() error { _, err := c.Claim(ctx, bob.actor); return err },
				func() error { _, err := c.Publish(ctx, clientapi.Publication{}); return err },
				func() error { _, err := c.Lookup(ctx, bob.actor, 0); return err },
				func() error { _, err := c.Events(ctx, room.url, 0); return err },
				func() error { _, err := c.PutBlob(ctx, strings.Repeat("0", 64), []byte("x")); return err },
				func() error {
					_, err := c.Blob(ctx, "http://a.test/waxwing/blobs/"+strings.Repeat("0", 64))
					return err
				},
			} {
				requireProblem(t, call(), 401, "token_required")
			}
		})
	}
	require.Equal(t, before, a.rows())
}
