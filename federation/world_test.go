package federation_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

var ctx = context.Background()

var keys = sync.OnceValue(func() (made [3]*rsa.PrivateKey) {
	for i, bits := range []int{2048, 2048, 1024} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		made[i] = key
	}
	return made
})

var ed25519Key = ed25519.NewKeyFromSeed(make([]byte, 32))

// A clock that only tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A host is another server: it serves documents, counts, and does with the rest what a test says.
type host struct {
	t     testing.TB
	name  string
	addr  string
	mu    sync.Mutex
	docs  map[string]string
	kinds map[string]string // content types other than that of actors
	hits  map[string]int
	post  http.HandlerFunc
}

func newHost(t testing.TB, name string) *host {
	h := &host{t: t, name: name, docs: map[string]string{}, kinds: map[string]string{}, hits: map[string]int{}}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	h.addr = s.Listener.Addr().String()
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.hits[r.URL.Path]++
	doc, ok := h.docs[r.URL.Path]
	kind := h.kinds[r.URL.Path]
	post := h.post
	h.mu.Unlock()
	switch {
	case post != nil && (r.Method == http.MethodPost || !ok):
		post(w, r)
	case ok:
		if kind == "" {
			kind = federation.ContentType
		}
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, doc)
	default:
		http.NotFound(w, r)
	}
}

func (h *host) url(path string) string { return "http://" + h.name + path }

func (h *host) serve(path, kind, doc string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.docs[path], h.kinds[path] = doc, kind
}

// answer says what happens to POSTs and to what has no document.
func (h *host) answer(f http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.post = f
}

func (h *host) asked(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits[path]
}

// actor serves an actor document; change may spoil it.
func (h *host) actor(path string, key *rsa.PrivateKey, change func(map[string]any)) string {
	h.t.Helper()
	id := h.url(path)
	a := federation.LocalActor{ID: id, Name: "x", Inbox: id + "/inbox", Shared: h.url("/inbox"), Key: &key.PublicKey}
	h.serve(path, "", spoilt(h.t, a, change))
	return id
}

func spoilt(t testing.TB, a federation.LocalActor, change func(map[string]any)) string {
	t.Helper()
	doc, err := a.Document()
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(doc, &m))
	if change != nil {
		change(m)
	}
	doc, err = json.Marshal(m)
	require.NoError(t, err)
	return string(doc)
}

// remote is the door out of the instance a.test.
func remote(t testing.TB, c *clock, hosts ...*host) *federation.Remote {
	return remoteWith(t, c, newSchemes(), hosts...)
}

func remoteWith(t testing.TB, c *clock, s *schemes, hosts ...*host) *federation.Remote {
	known := map[string]string{}
	for _, h := range hosts {
		known[h.name] = h.addr
	}
	client := safehttp.New(safehttp.Config{Hosts: known})
	t.Cleanup(client.CloseIdle)
	return federation.NewRemote(client, federation.Signer{Actor: "http://a.test/waxwing/actor", Key: keys()[0], Ed25519: ed25519Key}, s, c.now)
}
