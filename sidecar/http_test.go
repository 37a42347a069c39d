package sidecar_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar"
)

func requireAnswer(t *testing.T, res *http.Response, body []byte, status int, code string) {
	t.Helper()
	require.Equal(t, status, res.StatusCode, string(body))
	require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
		Retry                     *bool
	}
	require.NoError(t, json.Unmarshal(body, &p))
	require.Equal(t, []any{code, status, "about:blank"}, []any{p.Code, p.Status, p.Type})
	require.NotEmpty(t, p.Detail)
	require.NotNil(t, p.Retry)
}

func TestEveryRefusalIsAProblem(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	before := a.rows()
	big := func() io.Reader { return strings.NewReader(`{"id":"` + strings.Repeat("x", 4<<20) + `"}`) }
	for _, c := range []struct {
		method, path, contentType string
		body                      io.Reader
		status                    int
		code                      string
	}{
		{"GET", "/", "", nil, 404, "not_found"},
		{"GET", "/nothing", "", nil, 404, "not_found"},
		{"GET", "/waxwing/v1/nothing", "", nil, 404, "not_found"},
		{"DELETE", "/waxwing/inbox", "", nil, 405, "method_not_allowed"},
		{"PATCH", "/waxwing/v1/messages", "", nil, 405, "method_not_allowed"},
		{"TRACE", "/users/alice", "", nil, 405, "method_not_allowed"},
		{"GET", "/users/nobody", "", nil, 404, "no_such_recipient"},
		{"GET", "/users/nobody/key-packages", "", nil, 404, "no_such_recipient"},
		{"GET", "/users/bob/outbox", "", nil, 403, "not_allowed"},
		{"GET", "/users/bob/messages", "", nil, 403, "not_allowed"},
		{"GET", "/users/alice/inbox", "", nil, 403, "not_allowed"},
		{"GET", "/waxwing/actor/outbox", "", nil, 403, "not_allowed"},
		{"GET", "/.well-known/webfinger", "", nil, 400, "request_invalid"},
		{"GET", "/.well-known/webfinger?resource=acct:nobody@a.test", "", nil, 404, "no_such_recipient"},
		{"GET", "/.well-known/webfinger?resource=acct:alice@b.test", "", nil, 404, "no_such_recipient"},
		{"GET", "/waxwing/directory", "", nil, 404, "no_such_label"},
		{"GET", "/waxwing/directory?actor=http://a.test/users/alice&from=7", "", nil, 400, "beyond_head"},
		{"GET", "/waxwing/directory?actor=http://a.test/users/alice&from=x", "", nil, 400, "request_invalid"},
		{"GET", "/waxwing/blobs/x", "", nil, 404, "not_found"},
		{"GET", "/waxwing/blobs/..%2f..%2fwaxwingd.db", "", nil, 404, "not_found"},
		{"POST", "/waxwing/v1/messages", "text/plain", strings.NewReader("{}"), 415, "unsupported_media_type"},
		{"POST", "/waxwing/v1/messages", "", strings.NewReader("{}"), 415, "unsupported_media_type"},
		{"POST", "/waxwing/v1/messages", "application/json", strings.NewReader("{"), 400, "json_invalid"},
		{"POST", "/waxwing/v1/messages", "application/json", strings.NewReader(`{"to":7}`), 400, "json_invalid"},
		{"POST", "/waxwing/v1/messages", "application/json", strings.NewReader(`{"message":"A"}`), 400, "json_invalid"},
		{"POST", "/waxwing/v1/messages", "application/json", strings.NewReader(`{} {}`), 400, "json_invalid"},
		{"POST", "/waxwing/v1/messages", "application/json", strings.NewReader(`{"id":"a","ID":"b"}`), 400, "json_invalid"},
		{"POST", "/waxwing/v1/messages", "application/json", strings.NewReader(`{}`), 400, "request_invalid"},
		{"POST", "/waxwing/v1/messages", "application/json", big(), 413, "too_large"},
		{"POST", "/waxwing/v1/claims", "application/json", strings.NewReader(`{"actor":"` + strings.Repeat("x", 64<<10) + `"}`), 413, "too_large"},
		{"POST", "/waxwing/v1/claims", "application/json", strings.NewReader(`{}`), 400, "request_invalid"},
		{"POST", "/waxwing/v1/directory", "application/json", strings.NewReader(`{}`), 422, "entry_invalid"},
		{"POST", "/waxwing/inbox", "", strings.NewReader(`{}`), 415, "unsupported_media_type"},
	} {
		t.Run(c.method+" "+strings.ReplaceAll(c.path, "/", "_")+" "+c.code, func(t *testing.T) {
			header := http.Header{"Authorization": {"Bearer " + alice.token}, "Content-Type": {c.contentType}}
			res, body := a.request(c.method, c.path, c.body, header)
			requireAnswer(t, res, body, c.status, c.code)
		})
	}
	compressed := http.Header{"Authorization": {"Bearer " + alice.token}, "Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	res, body := a.request("POST", "/waxwing/v1/messages", strings.NewReader("{}"), compressed)
	requireAnswer(t, res, body, 415, "encoding_not_supported")
	res, _ = a.request("DELETE", "/waxwing/v1/messages", nil, nil)
	require.Equal(t, "POST", res.Header.Get("Allow"))
	require.Equal(t, before, a.rows())
	require.NotContains(t, w.logs(), "internal error")
}

func TestOversizedHeadersAndLies(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	res, _ := a.request("GET", "/users/alice", nil, http.Header{"X-Padding": {strings.Repeat("x", 60<<10)}})
	require.Equal(t, 431, res.StatusCode)

	conn, err := net.Dial("tcp", w.hosts["a.test"])
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /waxwing/inbox HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/activity+json\r\nSignature: x\r\nContent-Length: 99\r\n\r\n{}")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	half, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer half.Body.Close()
	require.Equal(t, 400, half.StatusCode)
}

func TestDocuments(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	res, body := a.get("/.well-known/waxwing")
	require.Equal(t, 200, res.StatusCode)
	_, err := federation.ParseDiscovery(body, a.instance)
	require.NoError(t, err)

	for path, id := range map[string]string{"/users/alice": alice.actor, "/waxwing/actor": "http://a.test/waxwing/actor"} {
		res, body = a.get(path)
		require.Equal(t, []any{200, "application/activity+json"}, []any{res.StatusCode, res.Header.Get("Content-Type")})
		actor, err := federation.ParseActor(body, id)
		require.NoError(t, err)
		require.Equal(t, []any{id + "#main-key", "http://a.test/waxwing/inbox", 2048}, []any{actor.KeyID, actor.Shared, actor.Key.N.BitLen()})
	}
	res, body = a.get("/.well-known/webfinger?resource=acct:alice@a.test")
	require.Equal(t, []any{200, "application/jrd+json"}, []any{res.StatusCode, res.Header.Get("Content-Type")})
	require.Contains(t, string(body), `"href":"http://a.test/users/alice"`)

	a.crash()
	a.start()
	_, again := a.get("/.well-known/waxwing")
	_, before := a.get("/waxwing/actor")
	a.crash()
	a.start()
	_, after := a.get("/.well-known/waxwing")
	_, actor := a.get("/waxwing/actor")
	require.Equal(t, string(again), string(after), "keys changed")
	require.JSONEq(t, string(before), string(actor))
}

func TestLogHasNoContent(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	a.get("/.well-known/webfinger?resource=acct:alice@a.test")
	a.get("/users/alice")
	a.request("POST", "/waxwing/v1/messages", strings.NewReader("the body"), http.Header{"Authorization": {"Bearer " + alice.token}})
	logs := w.logs()
	require.Contains(t, logs, `route="GET /users/{name}" status=200`)
	for _, secret := range []string{"alice", alice.token, "the body", "acct"} {
		require.NotContains(t, logs, secret)
	}
}

func FuzzHandler(f *testing.F) {
	s, err := sidecar.Open(sidecar.Config{Instance: "https://a.test", DataDir: f.TempDir()})
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	_, err = s.AddAccount("alice")
	require.NoError(f, err)
	for _, seed := range [][4]string{
		{"GET", "/users/alice", "", ""}, {"GET", "/waxwing/log/tile/0/000.p/1", "", ""}, {"POST", "/waxwing/inbox", "application/activity+json", `{"id":"x"}`},
		{"POST", "/waxwing/v1/devices", "application/json", `{"account":"alice","code":"x","signature_key":"AA==","time":1,"signature":"AA=="}`},
		{"GET", "/waxwing/v1/mailbox?after=1", "", ""}, {"GET", "/.well-known/webfinger?resource=acct:alice@a.test", "", ""},
		{"POST", "/waxwing/claim", "application/json", `{"actor":"https://a.test/users/alice"}`}, {"GET", "/waxwing/directory?actor=x&from=1", "", ""},
		{"GET", "/waxwing/conversations/00?after=1", "", ""}, {"GET", "/waxwing/blobs/00", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	h := s.Handler()
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		r, err := http.NewRequest(method, "https://a.test"+target, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(target, "/") || strings.Contains(contentType, "\n") {
			return
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", "Bearer alice.x")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.NotEqual(t, http.StatusInternalServerError, w.Code, w.Body.String())
	})
}
