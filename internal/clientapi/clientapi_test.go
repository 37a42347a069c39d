package clientapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

// server answers every call with what it is told to, and keeps the last request.
type server struct {
	status int
	answer string
	header http.Header
	method string
	target string
	body   string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.header, s.method, s.target, s.body = r.Header, r.Method, r.RequestURI, string(body)
	w.Header().Set("Retry-After", "7")
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.answer)
}

func start(t *testing.T) (*server, *clientapi.Client) {
	s := &server{status: 200, answer: "{}"}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	addr := strings.TrimPrefix(h.URL, "http://")
	client := safehttp.New(safehttp.Config{Hosts: map[string]string{addr: addr}})
	return s, clientapi.New(h.URL+"/waxwing/v1", "secret", client)
}

func TestCalls(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name, answer         string
		call                 func(*clientapi.Client) (any, error)
		method, target, body string
		want                 any
	}{
		{"login", `{"token":"t","actor":"a","handle":"h","device":"d"}`,
			func(c *clientapi.Client) (any, error) {
				return c.Login(ctx, clientapi.Login{Account: "alice", Code: "x", SignatureKey: []byte{1}, Time: 2, Signature: []byte{3}})
			},
			"POST", "/waxwing/v1/devices", `{"account":"alice","code":"x","signature_key":"AQ==","time":2,"signature":"Aw=="}`,
			clientapi.LoggedIn{Token: "t", Actor: "a", Handle: "h", Device: "d"}},
		{"account", `{"actor":"a","handle":"h","device":"d","one_time":12,"last_resort":true}`,
			func(c *clientapi.Client) (any, error) { return c.Account(ctx) },
			"GET", "/waxwing/v1/account", "", clientapi.Account{Actor: "a", Handle: "h", Device: "d", OneTime: 12, LastResort: true}},
		{"publish", `{"index":7,"witnessed":true}`,
			func(c *clientapi.Client) (any, error) {
				return c.Publish(ctx, clientapi.Publication{Statement: []byte{1}, Opening: []byte{2}, Content: []byte{3}})
			},
			"POST", "/waxwing/v1/directory", `{"statement":"AQ==","opening":"Ag==","content":"Aw=="}`, clientapi.Published{Index: 7, Witnessed: true}},
		{"lookup", "\x02any bytes",
			func(c *clientapi.Client) (any, error) { return c.Lookup(ctx, "https://b.test/users/b&ob", 9) },
			"GET", "/waxwing/v1/directory?actor=https%3A%2F%2Fb.test%2Fusers%2Fb%26ob&from=9", "", []byte("\x02any bytes")},
		{"key packages", `{"one_time":50}`,
			func(c *clientapi.Client) (any, error) {
				return c.PutKeyPackages(ctx, clientapi.KeyPackages{OneTime: []clientapi.Bytes{{1}}})
			},
			"PUT", "/waxwing/v1/key-packages", `{"one_time":["AQ=="]}`, 50},
		{"claim", `{"packages":[{"device":"d","key_package":"AQ==","last_resort":true}]}`,
			func(c *clientapi.Client) (any, error) { return c.Claim(ctx, "a") },
			"POST", "/waxwing/v1/claims", `{"actor":"a"}`, []clientapi.ClaimedPackage{{Device: "d", KeyPackage: []byte{1}, LastResort: true}}},
		{"claim of a plain peer", `{"packages":[{"id":"i","generator":"g","key_package":"AQ=="}]}`,
			func(c *clientapi.Client) (any, error) { return c.PlainClaim(ctx, "a") },
			"POST", "/waxwing/v1/plain-claims", `{"actor":"a"}`, []clientapi.PlainPackage{{ID: "i", Generator: "g", KeyPackage: []byte{1}}}},
		{"send to a plain peer", `{"id":"i"}`,
			func(c *clientapi.Client) (any, error) {
				return nil, c.SendPlain(ctx, clientapi.Message{ID: "i", Message: []byte{1}, To: []string{"a"}})
			},
			"POST", "/waxwing/v1/plain-messages", `{"id":"i","conversation":"","message":"AQ==","to":["a"]}`, nil},
		{"open", `{"conversation":"c","receipt":"AQ=="}`,
			func(c *clientapi.Client) (any, error) { return c.OpenConversation(ctx, []byte{1}, []byte{2}) },
			"POST", "/waxwing/v1/conversations", `{"group_id":"AQ==","ticket":"Ag=="}`, clientapi.Opened{Conversation: "c", Receipt: []byte{1}}},
		{"commit", `{"receipt":"AQ=="}`,
			func(c *clientapi.Client) (any, error) {
				return c.Commit(ctx, clientapi.Commit{ID: "i", Conversation: "c", Term: 1, Epoch: 2, Commit: []byte{3}, Ticket: []byte{4},
					Signature: []byte{5}, To: []string{"a"}})
			},
			"POST", "/waxwing/v1/commits", `{"id":"i","conversation":"c","term":1,"epoch":2,"commit":"Aw==","ticket":"BA==","signature":"BQ==",` +
				`"to":["a"],"welcome":null,"welcome_to":null}`, []byte{1}},
		{"events", `{"events":[{"receipt":"AQ==","commit":"Ag=="}]}`,
			func(c *clientapi.Client) (any, error) { return c.Events(ctx, "c", 4) },
			"GET", "/waxwing/v1/events?after=4&conversation=c&hub=", "", []clientapi.Event{{Receipt: []byte{1}, Commit: []byte{2}}}},
		{"send", `{"id":"i"}`,
			func(c *clientapi.Client) (any, error) {
				return nil, c.Send(ctx, clientapi.Message{ID: "i", Conversation: "c", Message: []byte{1}, To: []string{"a"}})
			},
			"POST", "/waxwing/v1/messages", `{"id":"i","conversation":"c","message":"AQ==","to":["a"]}`, nil},
		{"mailbox", `{"items":[{"cursor":7,"activity":"x","actor":"a","conversation":"c","message":"AQ==","received":9}],"next":7}`,
			func(c *clientapi.Client) (any, error) { return c.Mailbox(ctx, 6, 50, 30*time.Second) },
			"GET", "/waxwing/v1/mailbox?after=6&limit=50&wait=30", "",
			clientapi.Mailbox{Next: 7, Items: []clientapi.Item{{Cursor: 7, Activity: "x", Actor: "a", Conversation: "c", Message: []byte{1}, Received: 9}}}},
		{"acknowledge", "", func(c *clientapi.Client) (any, error) { return nil, c.Acknowledge(ctx, 7) },
			"DELETE", "/waxwing/v1/mailbox?upto=7", "", nil},
		{"put a blob", `{"url":"u"}`, func(c *clientapi.Client) (any, error) { return c.PutBlob(ctx, "00ff", []byte("bytes")) },
			"PUT", "/waxwing/v1/blobs/00ff", "bytes", "u"},
		{"fetch a blob", "bytes", func(c *clientapi.Client) (any, error) { return c.Blob(ctx, "https://b.test/x") },
			"GET", "/waxwing/v1/blobs?url=https%3A%2F%2Fb.test%2Fx", "", []byte("bytes")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, client := start(t)
			s.answer = c.answer
			got, err := c.call(client)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.Equal(t, []string{c.method, c.target, c.body}, []string{s.method, s.target, s.body})
			require.Equal(t, "Bearer secret", s.header.Get("Authorization"))
		})
	}
}

func TestRefusals(t *testing.T) {
	s, client := start(t)
	s.status, s.answer = 422, `{"status":422,"code":"kp_expired","detail":"too old","retry":false}`
	_, err := client.PutKeyPackages(context.Background(), clientapi.KeyPackages{})
	var p *problem.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{422, "kp_expired", "too old", false, 7}, []any{p.Status, p.Code, p.Detail, p.Retry, p.RetryAfter})

	s.status, s.answer = 502, "<html>a proxy's page</html>"
	_, err = client.Account(context.Background())
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{502, "http_502", true}, []any{p.Status, p.Code, p.Retry})
}

func TestConflict(t *testing.T) {
	s, client := start(t)
	s.status = 409
	s.answer = `{"code":"epoch_stale","detail":"d","retry":false,"epoch":18446744073709551615,"seq":6,"events":[{"receipt":"AQ==","commit":"Ag=="}]}`
	_, err := client.Commit(context.Background(), clientapi.Commit{})
	var c *clientapi.Conflict
	require.ErrorAs(t, err, &c)
	require.Equal(t, []any{"epoch_stale", uint64(18446744073709551615), uint64(6)}, []any{c.Code, c.Epoch, c.Seq})
	require.Equal(t, []clientapi.Event{{Receipt: []byte{1}, Commit: []byte{2}}}, c.Events)
	var p *problem.Problem
	require.ErrorAs(t, err, &p, "a conflict is a problem too")

	s.answer = `{"code":"version_conflict","detail":"d","retry":false}`
	_, err = client.Publish(context.Background(), clientapi.Publication{})
	require.False(t, errors.As(err, &c))
	require.ErrorAs(t, err, &p)
}

func TestAnswersThatAreNotBelieved(t *testing.T) {
	for name, answer := range map[string]string{
		"cut":               `{"receipt":"AQ`,
		"trailing":          `{"receipt":"AQ=="} {}`,
		"twice the member":  `{"receipt":"AQ==","Receipt":"Ag=="}`,
		"base64 with break": `{"receipt":"AQ\n=="}`,
		"base64 stray bits": `{"receipt":"AR=="}`,
		"base64 unpadded":   `{"receipt":"AQ"}`,
		"too large":         `{"receipt":"` + strings.Repeat("A", clientapi.MaxBody) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, client := start(t)
			s.answer = answer
			_, err := client.Commit(context.Background(), clientapi.Commit{})
			require.Error(t, err)
		})
	}
}

func TestErrorsDoNotShowTheToken(t *testing.T) {
	client := clientapi.New("http://10.0.0.1/waxwing/v1", "secret-token", safehttp.New(safehttp.Config{}))
	_, err := client.Lookup(context.Background(), "https://b.test/users/bob", 0)
	require.ErrorIs(t, err, safehttp.ErrRefused)
	require.NotContains(t, err.Error(), "secret-token")
}

func TestLoginMessage(t *testing.T) {
	require.Equal(t, "waxwing login v1\x00a.test\x00alice\x00\x00\x00\x00\x00\x00\x00\x01\x02", string(clientapi.LoginMessage("a.test", "alice", 258)))
}

func FuzzBytes(f *testing.F) {
	for _, seed := range []string{`"AQ=="`, `"AR=="`, `null`, `"A\nQ=="`, `7`, `""`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b clientapi.Bytes
		if json.Unmarshal(data, &b) != nil || b == nil {
			return
		}
		again, err := json.Marshal(b)
		require.NoError(t, err)
		var text, textAgain string
		require.NoError(t, json.Unmarshal(data, &text))
		require.NoError(t, json.Unmarshal(again, &textAgain))
		require.Equal(t, text, textAgain, "two spellings of the same bytes")
	})
}
