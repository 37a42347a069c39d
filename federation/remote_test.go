package federation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

func codeOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var p *problem.Problem
	require.True(t, errors.As(err, &p), err)
	return p.Code
}

func TestActorIsKeptForAWhile(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	id := b.actor("/users/bob", keys()[1], nil)
	r := remote(t, c, b)
	ask := func(fresh bool) int {
		a, err := r.Actor(ctx, id, fresh)
		require.NoError(t, err)
		require.Equal(t, id, a.ID)
		return b.asked("/users/bob")
	}
	require.Equal(t, 1, ask(false))
	require.Equal(t, 1, ask(false))
	require.Equal(t, 1, ask(true), "it is only seconds old")
	c.advance(10 * time.Second)
	require.Equal(t, 1, ask(false))
	require.Equal(t, 2, ask(true))
	require.Equal(t, 2, ask(true))
	c.advance(10*time.Minute - time.Second)
	require.Equal(t, 2, ask(false))
	c.advance(time.Second)
	require.Equal(t, 3, ask(false))
}

func TestKey(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	id := b.actor("/users/bob", keys()[1], nil)
	r := remote(t, c, b)
	key, err := r.Key(ctx, id+"#main-key", false)
	require.NoError(t, err)
	require.Equal(t, id, key.Owner)
	require.True(t, keys()[1].PublicKey.Equal(key.Public))

	// The actor takes another key, under another id: it is found though the old document is still kept.
	b.actor("/users/bob", keys()[0], func(m map[string]any) { m["publicKey"].(map[string]any)["id"] = id + "#second" })
	c.advance(time.Minute)
	key, err = r.Key(ctx, id+"#second", false)
	require.NoError(t, err)
	require.True(t, keys()[0].PublicKey.Equal(key.Public))
	_, err = r.Key(ctx, id+"#main-key", false)
	require.Equal(t, "actor_key_mismatch", codeOf(t, err))
	require.Equal(t, 2, b.asked("/users/bob"))
}

func TestKeysThatAreNobodys(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	type m = map[string]any
	pub := func(d m) m { return d["publicKey"].(m) }
	b.actor("/other-owner", keys()[1], func(d m) { pub(d)["owner"] = b.url("/users/bob") })
	b.actor("/other-id", keys()[1], func(d m) { d["id"] = b.url("/users/bob") })
	b.actor("/other-key-id", keys()[1], func(d m) { pub(d)["id"] = b.url("/users/bob#main-key") })
	b.actor("/other-inbox", keys()[1], func(d m) { d["inbox"] = "http://c.test/inbox" })
	b.actor("/small", keys()[2], nil)
	upload := spoilt(t, federation.LocalActor{ID: b.url("/upload"), Inbox: b.url("/upload/inbox"), Key: &keys()[1].PublicKey}, nil)
	r := remote(t, c, b)
	for _, kind := range []string{"application/json", "text/plain", "application/octet-stream", "image/png", "application/ld+json", "; x"} {
		b.serve("/upload", kind, upload)
		_, err := r.Key(ctx, b.url("/upload#main-key"), true)
		require.Equal(t, "actor_key_mismatch", codeOf(t, err), kind)
		c.advance(time.Minute)
	}
	b.serve("/upload", `application/ld+json; profile="https://www.w3.org/ns/activitystreams"`, upload)
	_, err := r.Key(ctx, b.url("/upload#main-key"), true)
	require.NoError(t, err)
	for _, path := range []string{
		"/other-owner#main-key", "/other-id#main-key", "/other-key-id#main-key", "/other-inbox#main-key", "/small#main-key", "/nobody#main-key", "/upload",
		"/upload#", "/upload#Main-key", "/upload#main-key#", "/upload/#main-key",
	} {
		_, err := r.Key(ctx, b.url(path), false)
		require.Equal(t, "actor_key_mismatch", codeOf(t, err), path)
	}
	for _, id := range []string{"", "#main-key", "acct:bob@b.test", "b.test/users/bob", "http://u@b.test/upload#main-key", "http://B.test/upload#main-key"} {
		_, err := r.Key(ctx, id, false)
		require.Equal(t, "actor_key_mismatch", codeOf(t, err), id)
	}
}

func TestKeysThatCannotBeFetchedNow(t *testing.T) {
	for _, status := range []int{408, 425, 429, 500, 502, 503, 504, 0} {
		c, b := newClock(), newHost(t, "b.test")
		b.answer(failing(status))
		_, err := remote(t, c, b).Key(ctx, b.url("/users/bob#main-key"), false)
		require.Equal(t, "key_unavailable", codeOf(t, err), status)
		var p *problem.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, []any{503, true, 10}, []any{p.Status, p.Retry, p.RetryAfter})
	}
	for _, status := range []int{301, 302, 400, 401, 403, 404, 406, 410} {
		c, b := newClock(), newHost(t, "b.test")
		b.answer(failing(status))
		_, err := remote(t, c, b).Key(ctx, b.url("/users/bob#main-key"), false)
		require.Equal(t, "actor_key_mismatch", codeOf(t, err), status)
	}
	for _, id := range []string{"https://127.0.0.1/x#main-key", "https://localhost/x#main-key", "http://c.test/x#main-key", "https://b.test:8443/x#main-key"} {
		_, err := remote(t, newClock()).Key(ctx, id, false)
		require.Equal(t, "key_unavailable", codeOf(t, err), id)
		require.NotContains(t, err.Error(), "127.0.0.1", "what we may reach is not told")
	}
}

// failing answers with a status; 0 hangs up.
func failing(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
	}
}

func TestFailingKeysAreNotAskedForAgainAtOnce(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	b.answer(failing(503))
	r := remote(t, c, b)
	for i := range 20 {
		_, err := r.Key(ctx, b.url(fmt.Sprintf("/users/bob#%d", i)), i%2 == 0)
		require.Equal(t, "key_unavailable", codeOf(t, err))
	}
	require.Equal(t, 1, b.asked("/users/bob"))

	id := b.actor("/users/bob", keys()[1], nil)
	c.advance(10 * time.Second)
	_, err := r.Key(ctx, id+"#main-key", false)
	require.NoError(t, err)
	require.Equal(t, 2, b.asked("/users/bob"))

	// While a fresh document cannot be had, the one that is kept serves for signatures that verify with it.
	c.advance(time.Minute)
	b.serve("/users/bob", "", "down for maintenance")
	for range 20 {
		_, err = r.Key(ctx, id+"#main-key", true)
		require.Equal(t, "actor_key_mismatch", codeOf(t, err))
		_, err = r.Key(ctx, id+"#main-key", false)
		require.NoError(t, err)
	}
	require.Equal(t, 3, b.asked("/users/bob"))
	for i := range 20 {
		_, err = r.Key(ctx, fmt.Sprintf("%s#%d", id, i), false)
		require.Equal(t, "actor_key_mismatch", codeOf(t, err))
	}
	require.Equal(t, 3, b.asked("/users/bob"))
}

func TestCallerWhoGoesAwayLeavesNoMark(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	id := b.actor("/users/bob", keys()[1], nil)
	r := remote(t, c, b)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.Key(gone, id+"#main-key", false)
	require.Equal(t, "key_unavailable", codeOf(t, err))
	_, err = r.Key(ctx, id+"#main-key", false)
	require.NoError(t, err)
}

func TestDiscoveryIsKeptAndOurRequestsAreSigned(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	b.serve(federation.PathDiscovery, "application/json", discovery(t, "http://b.test", nil))
	var signed []error
	b.answer(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		_, err := httpsig.Verify(ctx, httpsig.Request{Request: r, Body: body.Bytes(), Origin: "http://b.test", Now: c.now()},
			func(_ context.Context, id string, _ bool) (httpsig.Key, error) {
				require.Equal(t, "http://a.test/waxwing/actor#ed25519-key", id, "of a sidecar that says it can read it")
				return httpsig.Key{Public: ed25519Key.Public()}, nil
			})
		signed = append(signed, err)
		_, _ = w.Write([]byte(`{"packages":[{"device":"d","key_package":"AQ==","last_resort":true}]}`))
	})
	r := remote(t, c, b)
	for range 3 {
		answer, err := r.Claim(ctx, "http://b.test/users/bob", "http://a.test/users/alice")
		require.NoError(t, err)
		require.Equal(t, []federation.ClaimedPackage{{Device: "d", KeyPackage: []byte{1}, LastResort: true}}, answer.Packages)
	}
	data, err := r.Directory(ctx, "http://b.test/users/bob?a=b&c", 7)
	require.NoError(t, err)
	require.NotEmpty(t, data)
	require.Equal(t, []error{nil, nil, nil, nil}, signed)
	require.Equal(t, 1, b.asked(federation.PathDiscovery))
	c.advance(10 * time.Minute)
	_, err = r.Claim(ctx, "http://b.test/users/bob", "http://a.test/users/alice")
	require.NoError(t, err)
	require.Equal(t, 2, b.asked(federation.PathDiscovery))
	_, err = r.Claim(ctx, "bob@b.test", "http://a.test/users/alice")
	require.Equal(t, "request_invalid", codeOf(t, err))
}

func TestAnswersOfOthersAreBounded(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	b.serve(federation.PathDiscovery, "application/json", discovery(t, "http://b.test", nil))
	r := remote(t, c, b)
	answer := ""
	b.answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) })
	for _, answer = range []string{"", "[]", "{", `{"packages":[],"Packages":[]}`, `{"packages":5}`, `{} x`} {
		_, err := r.Claim(ctx, "http://b.test/users/bob", "http://a.test/users/alice")
		require.Error(t, err, answer)
	}
	answer = `{"packages":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`
	_, err := r.Claim(ctx, "http://b.test/users/bob", "http://a.test/users/alice")
	require.ErrorIs(t, err, safehttp.ErrTooLarge)
	_, err = r.Directory(ctx, "http://b.test/users/bob", 0)
	require.ErrorIs(t, err, safehttp.ErrTooLarge)
	b.serve("/users/huge", "", strings.Repeat(" ", 300<<10))
	_, err = r.Actor(ctx, "http://b.test/users/huge", false)
	require.ErrorIs(t, err, safehttp.ErrTooLarge)
	var into bytes.Buffer
	answer = "file"
	require.NoError(t, r.Blob(ctx, "http://b.test/waxwing/blobs/1", &into))
	require.Equal(t, "file", into.String())
	b.answer(failing(404))
	require.Equal(t, "not_found", codeOf(t, r.Blob(ctx, "http://b.test/waxwing/blobs/1", &into)))
}
