package sidecar_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

// Between sidecars the service actor signs by RFC 9421, for its users too; that the other side can read it is known from its
// discovery document, and remembered.
func TestSidecarsSignForTheirUsers(t *testing.T) {
	w := newWorld(t)
	a, b := w.box("a.test"), w.box("b.test")
	var mu sync.Mutex
	var seen []string
	a.wrap = func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == federation.PathInbox {
				_, rest, _ := strings.Cut(strings.ToLower(req.Header.Get("Signature-Input")+req.Header.Get("Signature")), `keyid="http://a.test`)
				by, _, _ := strings.Cut(rest, `"`)
				mu.Lock()
				seen = append(seen, string(httpsig.SchemeOf(req.Header))+" "+by)
				mu.Unlock()
			}
			return next.RoundTrip(req)
		})
	}
	a.start()
	b.start()
	alice, bob := a.person("alice"), b.person("bob")
	bob.upload(1)
	r := alice.open()
	require.NoError(t, alice.Send(ctx, r.message("to a host that nobody knows", bob.actor)))
	bob.await(1)
	_, err := alice.Claim(ctx, bob.actor)
	require.NoError(t, err)
	require.NoError(t, alice.Send(ctx, r.message("to a sidecar", bob.actor)))
	require.Equal(t, alice.actor, bob.await(2)[1].Actor)
	a.crash()
	a.start()
	require.NoError(t, alice.Send(ctx, r.message("after a crash", bob.actor)))
	require.Equal(t, alice.actor, bob.await(3)[2].Actor)
	const service = "rfc9421 /waxwing/actor#ed25519-key"
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"cavage /users/alice#main-key", service, service}, seen)
}
