package sidecar_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
)

// public is the door that needs no token.
func (b *box) public() *clientapi.Client { return clientapi.New(b.instance+"/waxwing", "", b.w.http()) }

// revocation is what the holder of a device key hands in, from what everybody can look up.
func (b *box) revocation(actor string, key ed25519.PrivateKey) clientapi.Revocation {
	t := b.w.t
	raw, err := b.public().Lookup(ctx, actor, 0)
	require.NoError(t, err)
	a, err := transparency.ParseAnswer(raw)
	require.NoError(t, err)
	s, err := transparency.ParseStatement(a.Found.Statement)
	require.NoError(t, err)
	state, err := keydir.Open(actor, s, a.Found.Opening, a.Found.Content)
	require.NoError(t, err)
	var opening [32]byte
	_, _ = rand.Read(opening[:])
	next, content := keydir.RevokeDevice(state, a.Found.Opening, opening, key, uint64(b.w.now().UnixMilli()))
	return clientapi.Revocation{Actor: actor, Publication: clientapi.Publication{Statement: next.Marshal(), Opening: opening[:], Content: content}}
}

// pair is alice with two devices.
func pair(t *testing.T, a *box) (one, two *device, known keydir.Record) {
	one = a.person("alice")
	known = one.current(nil)
	code, err := a.NewCode("alice")
	require.NoError(t, err)
	two = a.login("alice", code)
	two.account = one.account
	_, err = two.Publish(ctx, one.publication(transparency.KindUpdate, &known, one, two))
	require.NoError(t, err)
	return one, two, two.current(&known)
}

func TestTwoRevocations(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	one, two, known := pair(t, a)
	bob := a.person("bob")
	_, err := one.PutKeyPackages(ctx, clientapi.KeyPackages{LastResort: one.keyPackage(true)})
	require.NoError(t, err)

	first := a.revocation(one.actor, one.key)
	published, err := a.public().Revoke(ctx, first)
	require.NoError(t, err)
	require.True(t, published.Witnessed)
	again, err := a.public().Revoke(ctx, first)
	require.NoError(t, err, "an answer that got lost")
	require.Equal(t, published, again)
	_, err = one.Account(ctx)
	requireProblem(t, err, 401, "token_required")
	require.Zero(t, a.rows()["last_resort"])
	_, err = two.Account(ctx)
	require.NoError(t, err, "the other device stays")
	lookup := func(known keydir.Record) keydir.Record {
		answer, err := bob.Lookup(ctx, one.actor, 0)
		require.NoError(t, err)
		_, r := a.verify(a.pin(), &known, one.actor, answer)
		return r
	}
	less := lookup(known)
	require.Equal(t, []bool{false, true, false}, []bool{less.List.Has(one.key[32:]), less.List.Has(two.key[32:]), less.Reset})

	_, err = a.public().Revoke(ctx, a.revocation(one.actor, two.key))
	require.NoError(t, err)
	none := lookup(less)
	require.Empty(t, none.List.Devices)
	require.Equal(t, uint32(3), none.Statement.Seq)
	_, err = two.Account(ctx)
	requireProblem(t, err, 401, "token_required")
	_, err = a.public().Revoke(ctx, first)
	requireProblem(t, err, 409, "version_conflict")
}

func TestRevocationsRefused(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	one, two, known := pair(t, a)
	good := a.revocation(one.actor, one.key)
	with := func(f func(*clientapi.Revocation)) clientapi.Revocation {
		r := good
		r.Statement, r.Opening, r.Content = bytes.Clone(r.Statement), bytes.Clone(r.Opening), bytes.Clone(r.Content)
		f(&r)
		return r
	}
	update := clientapi.Revocation{Actor: one.actor, Publication: one.publication(transparency.KindUpdate, &known, one)}
	stranger := *one
	stranger.account = newKey(t)
	reset := clientapi.Revocation{Actor: one.actor, Publication: stranger.publication(transparency.KindReset, &known, one)}
	before := a.rows()
	for _, c := range []struct {
		name   string
		r      clientapi.Revocation
		status int
		code   string
	}{
		{"by a key that is in no list", a.revocation(one.actor, newKey(t)), 422, "entry_invalid"},
		{"by the account key", a.revocation(one.actor, one.account), 422, "entry_invalid"},
		{"of somebody of another name", with(func(r *clientapi.Revocation) { r.Actor = a.instance + "/users/bob" }), 422, "entry_invalid"},
		{"of somebody of another instance", with(func(r *clientapi.Revocation) { r.Actor = "http://b.test/users/alice" }), 404, "no_such_label"},
		{"of nobody's name", with(func(r *clientapi.Revocation) { r.Actor = a.instance + "/users/" + strings.Repeat("x", 99) }), 404, "no_such_label"},
		{"with another signature", with(func(r *clientapi.Revocation) { r.Statement[len(r.Statement)-1] ^= 1 }), 422, "entry_invalid"},
		{"with another list", with(func(r *clientapi.Revocation) { r.Content[len(r.Content)-2] ^= 1 }), 422, "entry_invalid"},
		{"with a short opening", with(func(r *clientapi.Revocation) { r.Opening = r.Opening[:31] }), 422, "entry_invalid"},
		{"an update", update, 422, "entry_invalid"},
		{"a reset", reset, 422, "entry_invalid"},
	} {
		_, err := a.public().Revoke(ctx, c.r)
		requireProblem(t, err, c.status, c.code)
	}
	require.Equal(t, before, a.rows())
	for _, d := range []*device{one, two} {
		_, err := d.Account(ctx)
		require.NoError(t, err)
	}
	res, body := a.request(http.MethodPost, "/waxwing/log/revocations", bytes.NewReader(make([]byte, 65<<10)), http.Header{"Content-Type": {"application/json"}})
	require.Equal(t, 413, res.StatusCode, string(body))

	// Somebody without the key cannot keep the owner from it, however often they ask; nor can who repeats an older one.
	for range 60 {
		_, err := a.public().Revoke(ctx, with(func(r *clientapi.Revocation) { r.Statement[len(r.Statement)-1] ^= 1 }))
		requireProblem(t, err, 422, "entry_invalid")
	}
	_, err := a.public().Revoke(ctx, good)
	require.NoError(t, err)
	_, err = a.public().Revoke(ctx, a.revocation(one.actor, two.key))
	require.NoError(t, err)
	limited := 0
	for range 60 {
		if _, err := a.public().Revoke(ctx, good); err != nil {
			limited += strings.Count(err.Error(), "rate_limited")
		}
	}
	require.Positive(t, limited)
}

// TestLoggedOutWhileItWaits: a device that waits for mail is told at once that it is not let in any more.
func TestLoggedOutWhileItWaits(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	one, _, _ := pair(t, a)
	r := a.revocation(one.actor, one.key)
	answered := make(chan error, 1)
	go func() {
		_, err := one.Mailbox(ctx, 0, 10, clientapi.MaxWait*time.Second)
		answered <- err
	}()
	_, err := a.public().Revoke(ctx, r)
	require.NoError(t, err)
	select {
	case err := <-answered:
		requireProblem(t, err, 401, "token_required")
	case <-time.After(clientapi.MaxWait / 2 * time.Second):
		t.Fatal("it waits on")
	}
}

// TestRevocationAfterACrash: the log had it and the token was not void yet. Asking again mends that.
func TestRevocationAfterACrash(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	one, _, _ := pair(t, a)
	r := a.revocation(one.actor, one.key)
	_, err := a.public().Revoke(ctx, r)
	require.NoError(t, err)
	a.crash()
	s, err := store.Open(a.dir) // as it was between the two
	require.NoError(t, err)
	hash := sha256.Sum256([]byte(one.token))
	token := clientapi.New(a.instance+"/waxwing/v1", one.token, w.http())
	require.NoError(t, s.Accounts.AddDevice(ctx, store.Device{Actor: one.actor, ID: one.id, SignatureKey: one.key[32:]}, hash[:]))
	require.NoError(t, s.Accounts.Listed(ctx, one.actor, []string{one.id}))
	require.NoError(t, s.Close())
	a.start()
	_, err = token.Account(ctx)
	require.NoError(t, err, "the control")
	_, err = a.public().Revoke(ctx, r)
	require.NoError(t, err)
	_, err = token.Account(ctx)
	requireProblem(t, err, 401, "token_required")
}
