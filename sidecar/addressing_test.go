package sidecar_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// An overheard transport keeps what is sent, by host.
type overheard struct {
	http.RoundTripper
	mu   sync.Mutex
	sent map[string][]byte
}

func (o *overheard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		o.mu.Lock()
		o.sent[r.URL.Host] = append(o.sent[r.URL.Host], body...)
		o.mu.Unlock()
	}
	return o.RoundTripper.RoundTrip(r)
}

// TestServersAreToldOfTheirOwnUsers: of whom else a message, a commit or a welcome is for, a server hears nothing.
func TestServersAreToldOfTheirOwnUsers(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.box("a.test"), w.box("b.test"), w.box("c.test")
	heard := &overheard{sent: map[string][]byte{}}
	a.wrap = func(t http.RoundTripper) http.RoundTripper { heard.RoundTripper = t; return heard }
	a.start()
	b.start()
	c.start()
	alice, bob, carol := a.person("alice"), b.person("bob"), c.person("carol")
	r := alice.open()
	all := []string{bob.actor, carol.actor}
	require.NoError(t, alice.Send(ctx, r.message("hello", all...)))
	_, err := alice.Commit(ctx, r.commit(0, "x", all, all...))
	require.NoError(t, err)
	bob.await(3)
	carol.await(3)
	heard.mu.Lock()
	defer heard.mu.Unlock()
	require.Contains(t, string(heard.sent["b.test"]), bob.actor)
	require.Contains(t, string(heard.sent["c.test"]), carol.actor)
	require.NotContains(t, string(heard.sent["b.test"]), "c.test")
	require.NotContains(t, string(heard.sent["c.test"]), "b.test")
}
