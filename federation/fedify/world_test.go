// Package fedify_test exchanges signed requests with Fedify, another implementation of ActivityPub and of both kinds of HTTP
// signature, in a server process of its own: what our own two ends agree on could still be wrong.
package fedify_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/sidecar"
)

var ctx = context.Background()

// installed makes sure that Fedify is here, in the version that the lock file names.
func installed(t *testing.T) {
	t.Helper()
	missing := func(what string, err error) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: %v", what, err)
		}
		t.Skipf("SKIPPED, NOT PASSED: %s: %v; it needs Node.js 20, npm and a registry", what, err)
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing("finding node", err)
	}
	if _, err := os.Stat("node_modules/@fedify/fedify"); err == nil {
		return
	}
	if out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput(); err != nil {
		missing("npm ci: "+string(out), err)
	}
}

// A peer is a server of Fedify's.
type peer struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Reader
	base string // its origin
	key  string // its actor's Ed25519 key, in base64url
}

type answer struct {
	Base     string                       `json:"base"`
	Ed25519  string                       `json:"ed25519"`
	Headers  map[string]string            `json:"headers"`
	Received []struct{ ID, Actor string } `json:"received"`
	Error    string                       `json:"error"`
}

func newPeer(t *testing.T) *peer {
	installed(t)
	cmd := exec.Command("node", "peer.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	p := &peer{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	started := p.call("start", nil)
	p.base, p.key = started.Base, started.Ed25519
	return p
}

func (p *peer) call(op string, args map[string]any) (a answer) {
	p.t.Helper()
	request := map[string]any{"op": op}
	for k, v := range args {
		request[k] = v
	}
	line, err := json.Marshal(request)
	require.NoError(p.t, err)
	_, err = p.in.Write(append(line, '\n'))
	require.NoError(p.t, err)
	line, err = p.out.ReadBytes('\n')
	require.NoError(p.t, err)
	require.NoError(p.t, json.Unmarshal(line, &a))
	require.Empty(p.t, a.Error, op)
	return a
}

func (p *peer) bot() string { return p.base + "/users/bot" }

func (p *peer) host() string { return strings.TrimPrefix(p.base, "http://") }

// got waits until the peer's inbox listener has been given n activities.
func (p *peer) got(n int) answer {
	p.t.Helper()
	for range 200 {
		if a := p.call("received", nil); len(a.Received) >= n {
			require.Len(p.t, a.Received, n)
			return a
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.t.Fatalf("Fedify has not received %d activities", n)
	return answer{}
}

// A station is one of our sidecars, on loopback, with one person in it. It remembers how what it was sent and what it sent to
// inboxes was signed.
type station struct {
	*sidecar.Sidecar
	t      *testing.T
	base   string
	alice  *clientapi.Client
	client *http.Client

	mu      sync.Mutex
	in, out []httpsig.Scheme
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (s *station) note(list *[]httpsig.Scheme, r *http.Request) {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/inbox") {
		s.mu.Lock()
		defer s.mu.Unlock()
		*list = append(*list, httpsig.SchemeOf(r.Header))
	}
}

func (s *station) seen() (in, out []httpsig.Scheme) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]httpsig.Scheme{}, s.in...), append([]httpsig.Scheme{}, s.out...)
}

func newStation(t *testing.T, p *peer) *station {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	here := l.Addr().String()
	s := &station{t: t, base: "http://" + here, client: &http.Client{Timeout: 30 * time.Second}}
	hosts := map[string]string{here: here, p.host(): p.host()}
	s.Sidecar, err = sidecar.Open(sidecar.Config{
		Instance: s.base, DataDir: t.TempDir(), Hosts: hosts,
		WrapTransport: func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				s.note(&s.out, r)
				return next.RoundTrip(r)
			})
		},
	})
	require.NoError(t, err)
	door := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(&s.in, r)
		s.Handler().ServeHTTP(w, r)
	})}
	go func() { _ = door.Serve(l) }()
	unused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, unused) }() // for the deliveries, which run within it
	t.Cleanup(func() {
		require.NoError(t, door.Close())
		require.NoError(t, s.Close())
		require.NoError(t, <-served)
	})
	s.login(safehttp.New(safehttp.Config{Hosts: hosts}))
	return s
}

func (s *station) actor() string { return s.base + "/users/alice" }

func (s *station) login(client *safehttp.Client) {
	s.t.Cleanup(client.CloseIdle)
	code, err := s.AddAccount("alice")
	require.NoError(s.t, err)
	public, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(s.t, err)
	now := uint64(time.Now().UnixMilli())
	in, err := clientapi.New(s.base+"/waxwing/v1", "", client).Login(ctx, clientapi.Login{
		Account: "alice", Code: code, SignatureKey: clientapi.Bytes(public), Time: now,
		Signature: ed25519.Sign(key, clientapi.LoginMessage(strings.TrimPrefix(s.base, "http://"), "alice", now)),
	})
	require.NoError(s.t, err)
	s.alice = clientapi.New(s.base+"/waxwing/v1", in.Token, client)
	require.NoError(s.t, s.alice.AskStrangers(ctx, clientapi.FromEverybody))
}

// message is a PrivateMessage as far as a server can see.
func message() []byte {
	m := []byte{0, 1, 0, 2, 5, 'g', 'r', 'o', 'u', 'p'}
	m = append(binary.BigEndian.AppendUint64(m, 0), 1)
	return append(m, 0, 1, 's', 4, 't', 'e', 'x', 't')
}

// activity is one that a bot of Fedify's could send to alice, if it had an MLS client.
func (s *station) activity(p *peer) []byte {
	id := uuid.NewString()
	body, err := json.Marshal(map[string]any{
		"@context": "https://www.w3.org/ns/activitystreams", "id": p.base + "/activities/" + id, "type": "Create", "actor": p.bot(), "to": []string{s.actor()},
		"object": map[string]any{
			"id": p.base + "/objects/" + id, "type": "PrivateMessage", "attributedTo": p.bot(), "to": []string{s.actor()},
			"mediaType": "message/mls", "encoding": "base64", "content": base64.StdEncoding.EncodeToString(message()),
		},
	})
	require.NoError(s.t, err)
	return body
}

// post sends what Fedify has signed, after change.
func (s *station) post(headers map[string]string, body []byte, change func(*http.Request) []byte) (int, string) {
	req, err := http.NewRequest(http.MethodPost, s.base+"/waxwing/inbox", nil)
	require.NoError(s.t, err)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	if change != nil {
		if changed := change(req); changed != nil {
			body = changed
		}
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res, err := s.client.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	var out struct{ Code, Outcome string }
	require.NoError(s.t, json.NewDecoder(res.Body).Decode(&out))
	return res.StatusCode, out.Code + out.Outcome
}
