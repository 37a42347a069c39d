package localapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/localapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// FuzzRequest sends anything to the door of an agent: what is refused is refused as a problem with a code, and nothing that a
// program can send is the agent's own mistake.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, target, key, body string }{
		{"GET", "/v1/account", "", ""}, {"POST", "/v1/login", "", `{"handle":"@a@","code":"x"}`},
		{"POST", "/v1/messages", "k", `{"to":["@a@"],"text":"x"}`}, {"POST", "/v1/messages", "k", `{"conversation":"ff","text":"x","text":"y"}`},
		{"GET", "/v1/conversations/ff/messages?after=-1&limit=0", "", ""}, {"POST", "/v1/conversations/ff/files?name=x", "k", "bytes"},
		{"GET", "/v1/conversations/ff/messages/1/files/99999999999999999999", "", ""}, {"DELETE", "/v1/conversations/ff/members/%40a%40b", "", ""},
		{"PUT", "/v1/../../etc/passwd", "", "{"}, {"GET", "/v1/openapi.json", "", ""},
	} {
		f.Add(seed.method, seed.target, seed.key, seed.body)
	}
	a, err := agent.Open(agent.Config{Home: f.TempDir(), Passphrase: []byte("x")})
	require.NoError(f, err)
	socket := filepath.Join(f.TempDir(), "s")
	l, err := localapi.ListenUnix(socket)
	require.NoError(f, err)
	serving, end := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- localapi.Serve(serving, a, l, "") }()
	f.Cleanup(func() {
		end()
		require.NoError(f, <-done)
		require.NoError(f, a.Close())
	})
	c := &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	f.Fuzz(func(t *testing.T, method, target, key, body string) {
		if strings.HasPrefix(target, "/v1/events") {
			return // a stream does not end
		}
		req, err := http.NewRequest(method, "http://localhost"+target, strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		res, err := c.Do(req)
		if err != nil {
			return // the client would not send it, or the server not read it
		}
		defer res.Body.Close()
		var answer bytes.Buffer
		_, err = answer.ReadFrom(res.Body)
		require.NoError(t, err)
		require.NotEqual(t, http.StatusInternalServerError, res.StatusCode, answer.String())
		if res.StatusCode >= 400 && res.Header.Get("Content-Type") == problem.ContentType && req.Method != http.MethodHead {
			var p struct{ Code string }
			require.NoError(t, json.Unmarshal(answer.Bytes(), &p), answer.String())
			require.NotEmpty(t, p.Code)
		}
	})
}
