package httpsig_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

const (
	owner = "https://a.example/users/alice"
	keyID = owner + "#main-key"
	here  = "b.example"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// keyOf makes one key of each size for all tests.
var keyOf = func() func(t testing.TB, bits int) *rsa.PrivateKey {
	var mu sync.Mutex
	made := map[int]*rsa.PrivateKey{}
	return func(t testing.TB, bits int) *rsa.PrivateKey {
		mu.Lock()
		defer mu.Unlock()
		if made[bits] == nil {
			key, err := rsa.GenerateKey(rand.Reader, bits)
			require.NoError(t, err)
			made[bits] = key
		}
		return made[bits]
	}
}()

// A message is a request on its way to Verify. Tests spoil it.
type message struct {
	t    testing.TB
	req  *http.Request
	body []byte
	now  time.Time
	key  crypto.PublicKey
}

// signed is what Sign makes of a request, as a server receives it.
func signed(t testing.TB, method, target string, body []byte, key *rsa.PrivateKey) *message {
	t.Helper()
	out, err := http.NewRequest(method, "https://"+here+target, bytes.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, httpsig.Sign(out, body, keyID, key, at))
	in := httptest.NewRequest(method, target, nil)
	in.Header, in.Host = out.Header.Clone(), out.Header.Get("Host")
	in.Header.Del("Host") // the server takes it out
	in.Header.Set("Content-Type", "application/activity+json")
	return &message{t, in, body, at, &key.PublicKey}
}

func (m *message) verify(keys httpsig.Keys) (string, error) {
	return m.verifyAt(here, keys)
}

// give is a key source that has one key.
func (m *message) give(context.Context, string, bool) (httpsig.Key, error) {
	return httpsig.Key{Owner: owner, Public: m.key}, nil
}

// param changes one parameter of the Signature header; without a value it removes it.
func (m *message) param(name, value string) {
	var kept []string
	for p := range strings.SplitSeq(m.req.Header.Get("Signature"), ",") {
		if !strings.HasPrefix(p, name+"=") {
			kept = append(kept, p)
		}
	}
	if value != "" {
		kept = append(kept, name+`="`+value+`"`)
	}
	m.req.Header.Set("Signature", strings.Join(kept, ","))
}

// sign makes a signature over lines of the test's own choice.
func (m *message) sign(hash crypto.Hash, covered string, lines ...string) {
	h := hash.New()
	h.Write([]byte(strings.Join(lines, "\n")))
	sig, err := rsa.SignPKCS1v15(rand.Reader, keyOf(m.t, 2048), hash, h.Sum(nil))
	require.NoError(m.t, err)
	m.param("headers", covered)
	m.param("signature", base64.StdEncoding.EncodeToString(sig))
}

// lines are what Sign covers of a POST.
func (m *message) lines() []string {
	return []string{"(request-target): post " + m.req.URL.RequestURI(), "host: " + m.req.Host, "date: " + m.req.Header.Get("Date"),
		"digest: " + m.req.Header.Get("Digest")}
}

func digestOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
}

func codeOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var p *problem.Problem
	require.True(t, errors.As(err, &p), err)
	require.Equal(t, http.StatusUnauthorized, p.Status)
	return p.Code
}
