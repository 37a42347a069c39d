package localapi_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/agent/localapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// TestLoopbackRefuses is what a page in a browser on this machine, or a program of somebody else, could try. Nothing of it may
// have an effect, so each try is one that would have.
func TestLoopbackRefuses(t *testing.T) {
	alice := world.Person("alice")
	const body = `{"to":["@bob@b.test"],"text":"from a page"}`
	before, err := alice.Conversations(ctx)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(alice.Address)
	require.NoError(t, err)
	tries := []struct {
		name   string
		status int
		code   string
		path   string
		header http.Header
	}{
		{"host of the attacker (rebinding)", 421, "host_refused", "", http.Header{"Host": {"evil.example"}}},
		{"host with the right port", 421, "host_refused", "", http.Header{"Host": {"evil.example:" + port}}},
		{"host without port", 421, "host_refused", "", http.Header{"Host": {"127.0.0.1"}}},
		{"host with another port", 421, "host_refused", "", http.Header{"Host": {"127.0.0.1:1"}}},
		{"another loopback address", 421, "host_refused", "", http.Header{"Host": {"127.0.0.2:" + port}}},
		{"IPv6 loopback", 421, "host_refused", "", http.Header{"Host": {"[::1]:" + port}}},
		{"unspecified address", 421, "host_refused", "", http.Header{"Host": {"0.0.0.0:" + port}}},
		{"decimal address", 421, "host_refused", "", http.Header{"Host": {"2130706433:" + port}}},
		{"name below localhost", 421, "host_refused", "", http.Header{"Host": {"x.localhost:" + port}}},
		{"name that begins with localhost", 421, "host_refused", "", http.Header{"Host": {"localhost.evil.example:" + port}}},
		{"dot at the end", 421, "host_refused", "", http.Header{"Host": {"localhost.:" + port}}},
		{"upper case", 421, "host_refused", "", http.Header{"Host": {"LOCALHOST:" + port}}},
		{"origin of a page", 403, "origin_refused", "", http.Header{"Origin": {"https://evil.example"}}},
		{"origin null", 403, "origin_refused", "", http.Header{"Origin": {"null"}}},
		{"origin on another port", 403, "origin_refused", "", http.Header{"Origin": {"http://127.0.0.1:1"}}},
		{"origin with https", 403, "origin_refused", "", http.Header{"Origin": {"https://" + alice.Address}}},
		{"origin of another spelling", 403, "origin_refused", "", http.Header{"Origin": {"http://localhost:" + port}}},
		{"origin with a slash", 403, "origin_refused", "", http.Header{"Origin": {"http://" + alice.Address + "/"}}},
		{"empty origin", 403, "origin_refused", "", http.Header{"Origin": {""}}},
		{"two origins", 403, "origin_refused", "", http.Header{"Origin": {"http://" + alice.Address, "https://evil.example"}}},
		{"extension", 403, "origin_refused", "", http.Header{"Origin": {"chrome-extension://abc"}}},
		{"cross-site", 403, "origin_refused", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		{"same-site", 403, "origin_refused", "", http.Header{"Sec-Fetch-Site": {"same-site"}}},
		{"unknown site", 403, "origin_refused", "", http.Header{"Sec-Fetch-Site": {"anything"}}},
		{"no token", 401, "token_required", "", http.Header{"Authorization": nil}},
		{"empty token", 401, "token_required", "", http.Header{"Authorization": {"Bearer "}}},
		{"wrong token", 401, "token_required", "", http.Header{"Authorization": {"Bearer " + strings.Repeat("A", 43)}}},
		{"beginning of the token", 401, "token_required", "", http.Header{"Authorization": {"Bearer " + alice.Token[:42]}}},
		{"token and more", 401, "token_required", "", http.Header{"Authorization": {"Bearer " + alice.Token + "x"}}},
		{"basic", 401, "token_required", "", http.Header{"Authorization": {"Basic " + alice.Token}}},
		{"lower case", 401, "token_required", "", http.Header{"Authorization": {"bearer " + alice.Token}}},
		{"two tokens", 401, "token_required", "", http.Header{"Authorization": {"Bearer " + alice.Token, "Bearer x"}}},
		{"cookie", 401, "token_required", "", http.Header{"Authorization": nil, "Cookie": {"token=" + alice.Token}}},
		{"somebody else's token", 401, "token_required", "", http.Header{"Authorization": {"Bearer " + world.Person("bob").Token}}},
		{"token in the URL", 400, "token_in_url", "?token=" + alice.Token, http.Header{"Authorization": nil}},
		{"token in the URL too", 400, "token_in_url", "?access_token=" + alice.Token, nil},
		{"form", 415, "unsupported_media_type", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		{"text", 415, "unsupported_media_type", "", http.Header{"Content-Type": {"text/plain"}}},
		{"multipart", 415, "unsupported_media_type", "", http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}},
		{"no type", 415, "unsupported_media_type", "", http.Header{"Content-Type": nil}},
		{"text that says it is JSON", 415, "unsupported_media_type", "", http.Header{"Content-Type": {"text/plain; application/json"}}},
	}
	for _, try := range tries {
		t.Run(try.name, func(t *testing.T) {
			header := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"page"}}
			for name, values := range try.header {
				header[name] = values
			}
			res := call(t, alice, http.MethodPost, "/messages"+try.path, strings.NewReader(body), header)
			defer res.Body.Close()
			var answer struct{ Code, Detail string }
			require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
			require.Equal(t, try.status, res.StatusCode)
			require.Equal(t, try.code, answer.Code)
			require.Equal(t, problem.ContentType, res.Header.Get("Content-Type"))
			require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"), "no page may read the answer")
		})
	}
	after, err := alice.Conversations(ctx)
	require.NoError(t, err)
	require.Len(t, after, len(before))
	for _, c := range after {
		page, err := alice.Messages(ctx, c.ID, 0, client.MaxPage)
		require.NoError(t, err)
		for _, m := range page.Messages {
			require.NotEqual(t, "from a page", m.Text)
		}
	}
}

func TestLoopbackAnswersItsOwn(t *testing.T) {
	alice := world.Person("alice")
	_, port, err := net.SplitHostPort(alice.Address)
	require.NoError(t, err)
	for name, header := range map[string]http.Header{
		"plain":       nil,
		"localhost":   {"Host": {"localhost:" + port}},
		"same origin": {"Origin": {"http://" + alice.Address}, "Sec-Fetch-Site": {"same-origin"}},
		"typed in":    {"Sec-Fetch-Site": {"none"}},
	} {
		res := call(t, alice, http.MethodGet, "/account", nil, header)
		require.NoError(t, res.Body.Close())
		require.Equal(t, 200, res.StatusCode, name)
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	}
	for path, want := range map[string]int{"/nothing": 404, "/messages": 405, "/conversations/x/y": 404} {
		res := call(t, alice, http.MethodGet, path, nil, nil)
		require.NoError(t, res.Body.Close())
		require.Equal(t, want, res.StatusCode, path)
		require.Equal(t, problem.ContentType, res.Header.Get("Content-Type"))
	}
}

func TestOnlyLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0"} {
		_, err := localapi.ListenLoopback(address)
		require.ErrorContains(t, err, "127.0.0.1", address)
	}
}

func TestLongHome(t *testing.T) {
	_, err := localapi.ListenUnix(filepath.Join(t.TempDir(), strings.Repeat("x", 100), "agent.sock"))
	require.ErrorContains(t, err, "shorter path")
}

func TestUnixSocket(t *testing.T) {
	home := t.TempDir()
	a, err := agent.Open(agent.Config{Home: home, Passphrase: []byte("x")})
	require.NoError(t, err)
	path := localapi.SocketPath(home)
	require.NoError(t, os.WriteFile(path+".other", []byte("x"), 0o600))
	for range 2 { // the second time there is the socket of the first
		l, err := localapi.ListenUnix(path)
		require.NoError(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		serving, end := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- localapi.Serve(serving, a, l, "") }()
		_, err = client.Unix(path).Account(ctx)
		requireProblem(t, err, 409, "not_logged_in")
		h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
		req, err := http.NewRequest(http.MethodGet, "http://localhost/v1/account", nil)
		require.NoError(t, err)
		req.Header.Set("Origin", "http://localhost")
		res, err := h.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, 403, res.StatusCode)
		end()
		require.NoError(t, <-done)
	}
	require.NoError(t, a.Close())
	file := filepath.Join(home, "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	_, err = localapi.ListenUnix(file)
	require.Error(t, err, "what is no socket is left alone")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))
}
