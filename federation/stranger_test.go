package federation_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

// call is a request of b.test's service actor to a.test.
func call(t *testing.T, c *clock) *http.Request {
	req, err := http.NewRequest(http.MethodGet, "http://a.test/waxwing/conversations/00", nil)
	require.NoError(t, err)
	require.NoError(t, httpsig.Sign(req, nil, "http://b.test/waxwing/actor#main-key", keys()[1], c.now()))
	return req
}

func TestCaller(t *testing.T) {
	good := discovery(t, "http://b.test", nil)
	for name, x := range map[string]struct {
		prepare func(*host)
		want    string
	}{
		"an instance": {func(b *host) { b.serve(federation.PathDiscovery, "application/json", good) }, ""},
		"none":        {func(*host) {}, "actor_key_mismatch"},
		"gone":        {func(b *host) { b.answer(failing(410)) }, "actor_key_mismatch"},
		"redirected":  {func(b *host) { b.answer(failing(301)) }, "actor_key_mismatch"},
		"malformed":   {func(b *host) { b.serve(federation.PathDiscovery, "application/json", "{") }, "actor_key_mismatch"},
		"empty":       {func(b *host) { b.serve(federation.PathDiscovery, "application/json", "{}") }, "actor_key_mismatch"},
		"of another": {func(b *host) {
			b.serve(federation.PathDiscovery, "application/json", discovery(t, "http://c.test", nil))
		}, "actor_key_mismatch"},
		"names another actor": {func(b *host) {
			b.serve(federation.PathDiscovery, "", strings.Replace(good, "/waxwing/actor", "/users/bob", 1))
		}, "actor_key_mismatch"},
		"claims elsewhere": {func(b *host) {
			b.serve(federation.PathDiscovery, "", strings.Replace(good, "http://b.test/waxwing/claim", "http://c.test/x", 1))
		}, "actor_key_mismatch"},
		"with a huge log key": {func(b *host) {
			b.serve(federation.PathDiscovery, "", strings.Replace(good, `"key":"`, `"key":"`+strings.Repeat("x", 2000), 1))
		}, "actor_key_mismatch"},
		"huge":     {func(b *host) { b.serve(federation.PathDiscovery, "", strings.Repeat(" ", 300<<10)) }, "actor_key_mismatch"},
		"down":     {func(b *host) { b.answer(failing(502)) }, "key_unavailable"},
		"busy":     {func(b *host) { b.answer(failing(429)) }, "key_unavailable"},
		"hangs up": {func(b *host) { b.answer(failing(0)) }, "key_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			c, b := newClock(), newHost(t, "b.test")
			b.actor("/waxwing/actor", keys()[1], nil)
			x.prepare(b)
			instance, err := remote(t, c, b).Caller(call(t, c), nil, "http://a.test")
			require.Equal(t, x.want, codeOf(t, err))
			if x.want == "" {
				require.Equal(t, "http://b.test", instance)
			}
		})
	}
}

// Signatures that name ever new people of a host must not make us flood it.
func TestStrangersMakeUsAskAHostSoOftenOnly(t *testing.T) {
	c, b, other := newClock(), newHost(t, "b.test"), newHost(t, "c.test")
	r := remote(t, c, b, other)
	known := b.actor("/users/known", keys()[1], nil)
	_, err := r.Key(ctx, known+"#main-key", false)
	require.NoError(t, err)
	asked := 0
	b.answer(func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(404) })
	for i := range 500 {
		_, err := r.Key(ctx, b.url(fmt.Sprintf("/users/%d#main-key", i)), i%2 == 0)
		require.Equal(t, i >= 49, codeOf(t, err) == "key_unavailable", i)
	}
	require.Equal(t, 49, asked)
	_, err = r.Key(ctx, known+"#main-key", false)
	require.NoError(t, err, "who is known")
	_, err = r.Key(ctx, known+"#main-key", true)
	require.NoError(t, err, "who was asked for a moment ago")
	_, err = r.Key(ctx, other.actor("/users/carol", keys()[1], nil)+"#main-key", false)
	require.NoError(t, err, "another host")
	bob := b.actor("/users/bob", keys()[1], nil)
	_, err = r.Key(ctx, bob+"#main-key", false)
	require.Equal(t, "key_unavailable", codeOf(t, err))
	c.advance(10 * time.Second)
	_, err = r.Key(ctx, bob+"#main-key", false)
	require.NoError(t, err, "a little later")
}

// Servers that never answer must not hold more than so many of our calls.
func TestStrangersMakeUsWaitSoOftenOnly(t *testing.T) {
	c, b, other, slow, slower := newClock(), newHost(t, "b.test"), newHost(t, "c.test"), newHost(t, "slow.test"), newHost(t, "slower.test")
	r := remote(t, c, b, other, slow, slower)
	_, err := r.Key(ctx, b.actor("/users/alice", keys()[1], nil)+"#main-key", false)
	require.NoError(t, err)
	arrived, stop := make(chan struct{}, 100), make(chan struct{})
	var asking sync.WaitGroup
	for i := range 64 {
		h := []*host{slow, slower}[i%2]
		h.answer(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-stop })
		asking.Go(func() { _, _ = r.Key(ctx, h.url(fmt.Sprintf("/users/%d#main-key", i)), false) })
	}
	for range 64 {
		<-arrived
	}
	_, err = r.Key(ctx, other.actor("/users/carol", keys()[1], nil)+"#main-key", false)
	require.Equal(t, "key_unavailable", codeOf(t, err))
	_, err = r.Key(ctx, b.actor("/users/bob", keys()[1], nil)+"#main-key", false)
	require.NoError(t, err, "a host that has answered before")
	b.answer(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-stop })
	for i := range 8 {
		asking.Go(func() { _, _ = r.Key(ctx, b.url(fmt.Sprintf("/users/%d#main-key", i)), false) })
	}
	for range 8 {
		<-arrived
	}
	_, err = r.Key(ctx, b.url("/users/ninth#main-key"), false)
	require.Equal(t, "key_unavailable", codeOf(t, err), "and of one of those some only")
	close(stop)
	asking.Wait()
	_, err = r.Key(ctx, other.actor("/users/dave", keys()[1], nil)+"#main-key", false)
	require.NoError(t, err)
}

func TestStrangersDocumentsAreSmall(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	r := remote(t, c, b)
	b.actor("/type", keys()[1], func(m map[string]any) { m["type"] = strings.Repeat("x", 3000) })
	id := b.url("/key") + "#" + strings.Repeat("x", 3000)
	b.actor("/key", keys()[1], func(m map[string]any) { m["publicKey"].(map[string]any)["id"] = id })
	for _, keyID := range []string{b.url("/type#main-key"), id} {
		_, err := r.Key(ctx, keyID, false)
		require.Equal(t, "actor_key_mismatch", codeOf(t, err))
	}
}
