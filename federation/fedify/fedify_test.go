package fedify_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

func TestFedify(t *testing.T) {
	p := newPeer(t)
	s := newStation(t, p)
	t.Run("its keys", func(t *testing.T) { keysAreFound(t, p) })
	t.Run("signs to us", func(t *testing.T) { signsToUs(t, p, s) })
	t.Run("we sign to it", func(t *testing.T) { weSign(t, p, newStation(t, p)) })
	t.Run("refuses", func(t *testing.T) { fedifyRefuses(t, p) })
}

// forgetful remembers nothing of hosts.
type forgetful struct{}

func (forgetful) Scheme(context.Context, string) (s federation.Scheme, at time.Time, err error) {
	return
}

func (forgetful) SetScheme(context.Context, string, federation.Scheme, time.Time) error { return nil }

// Fedify signs requests by RSA only. Its Ed25519 key, which is for proofs, shows that we read Multikeys as others write them.
func keysAreFound(t *testing.T, p *peer) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	client := safehttp.New(safehttp.Config{Hosts: map[string]string{p.host(): p.host()}})
	t.Cleanup(client.CloseIdle)
	r := federation.NewRemote(client, federation.Signer{Actor: newActor(t, key).id, Key: key}, forgetful{}, time.Now)
	found, err := r.Key(ctx, p.bot()+"#multikey-2", false)
	require.NoError(t, err)
	want, err := base64.RawURLEncoding.DecodeString(p.key)
	require.NoError(t, err)
	require.Equal(t, httpsig.Key{Owner: p.bot(), Public: ed25519.PublicKey(want)}, found)
	found, err = r.Key(ctx, federation.KeyID(p.bot()), false)
	require.NoError(t, err)
	require.IsType(t, &rsa.PublicKey{}, found.Public)
}

func signsToUs(t *testing.T, p *peer, s *station) {
	for _, spec := range []httpsig.Scheme{httpsig.Cavage, httpsig.RFC9421} {
		t.Run(string(spec), func(t *testing.T) {
			before, _ := s.seen()
			for _, inbox := range []string{s.base + "/waxwing/inbox", s.actor() + "/inbox"} {
				p.call("deliver", map[string]any{"actor": s.actor(), "inbox": inbox, "spec": spec, "id": uuid.NewString()})
			}
			in, _ := s.seen()
			require.Equal(t, []httpsig.Scheme{spec, spec}, in[len(before):], "taken at the first knock")

			body := s.activity(p)
			sign := func() map[string]string {
				return p.call("sign", map[string]any{"url": s.base + "/waxwing/inbox", "body": string(body), "spec": spec}).Headers
			}
			status, outcome := s.post(sign(), body, nil)
			require.Equal(t, []any{202, "accepted"}, []any{status, outcome})
			status, outcome = s.post(sign(), body, nil)
			require.Equal(t, []any{202, "duplicate"}, []any{status, outcome})
			body = s.activity(p)
			refusals(t, s, spec, body, sign())
			m, err := s.alice.Mailbox(ctx, 0, 10, 0)
			require.NoError(t, err)
			require.Equal(t, map[httpsig.Scheme]int{httpsig.Cavage: 1, httpsig.RFC9421: 2}[spec], len(m.Items))
		})
	}
}

// refusals changes one thing each of what Fedify has signed.
func refusals(t *testing.T, s *station, spec httpsig.Scheme, body []byte, headers map[string]string) {
	digest := map[httpsig.Scheme]string{httpsig.Cavage: "Digest", httpsig.RFC9421: "Content-Digest"}[spec]
	date := func(r *http.Request) []byte {
		r.Header.Set("Date", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))
		return nil
	}
	for name, c := range map[string]struct {
		change func(*http.Request) []byte
		code   string
	}{
		"body":       {func(*http.Request) []byte { return bytes.Replace(body, []byte("Create"), []byte("create"), 1) }, "digest_mismatch"},
		"no digest":  {func(r *http.Request) []byte { r.Header.Del(digest); return nil }, "digest_required"},
		"date":       {date, "signature_invalid"},
		"query":      {func(r *http.Request) []byte { r.URL.RawQuery = "x"; return nil }, "signature_invalid"},
		"path":       {func(r *http.Request) []byte { r.URL.Path = "/users/alice/inbox"; return nil }, "signature_invalid"},
		"host":       {func(r *http.Request) []byte { r.Host = "a.test"; return nil }, "signature_malformed"},
		"no longer":  {func(r *http.Request) []byte { r.Header.Del("Signature"); return nil }, map[httpsig.Scheme]string{httpsig.Cavage: "signature_missing", httpsig.RFC9421: "signature_malformed"}[spec]},
		"twice":      {func(r *http.Request) []byte { r.Header.Add("Signature", r.Header.Get("Signature")); return nil }, "signature_malformed"},
		"key id":     {func(r *http.Request) []byte { rename(r, "users/bot#", "users/nobody#"); return nil }, "actor_key_mismatch"},
		"fragment":   {func(r *http.Request) []byte { rename(r, "#main-key", "#other-key"); return nil }, "actor_key_mismatch"},
		"made early": {func(r *http.Request) []byte { age(r, -10*time.Minute); return nil }, "signature_expired"},
		"made late":  {func(r *http.Request) []byte { age(r, 10*time.Minute); return nil }, "signature_expired"},
	} {
		status, code := s.post(headers, body, c.change)
		require.Equal(t, c.code, code, "%s: %d", name, status)
	}
}

// rename changes the key id in either kind of header.
func rename(r *http.Request, old, text string) {
	for _, name := range []string{"Signature", "Signature-Input"} {
		if v := r.Header.Get(name); v != "" {
			r.Header.Set(name, strings.Replace(v, old, text, 1))
		}
	}
}

// age moves the time that either kind of signature is of.
func age(r *http.Request, by time.Duration) {
	r.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
	before, at, ok := strings.Cut(r.Header.Get("Signature-Input"), ";created=")
	if ok {
		rest := strings.TrimLeft(at, "0123456789")
		r.Header.Set("Signature-Input", fmt.Sprintf("%s;created=%d%s", before, time.Now().Add(by).Unix(), rest))
	}
}

// Our sidecar sends cavage to a host that it does not know, and RFC 9421 once that host has sent such itself.
func weSign(t *testing.T, p *peer, s *station) {
	n := len(p.call("received", nil).Received)
	send := func() {
		err := s.alice.Send(ctx, clientapi.Message{
			ID: uuid.NewString(), Conversation: s.base + "/waxwing/conversations/67726f7570", Message: message(), To: []string{p.bot()},
		})
		require.NoError(t, err)
		n++
		require.Equal(t, s.actor(), p.got(n).Received[n-1].Actor)
	}
	send()
	_, out := s.seen()
	require.Equal(t, []httpsig.Scheme{httpsig.Cavage}, out)

	body := s.activity(p)
	signed := p.call("sign", map[string]any{"url": s.base + "/waxwing/inbox", "body": string(body), "spec": "rfc9421"}).Headers
	status, outcome := s.post(signed, body, nil)
	require.Equal(t, []any{202, "accepted"}, []any{status, outcome})
	send()
	_, out = s.seen()
	require.Equal(t, []httpsig.Scheme{httpsig.Cavage, httpsig.RFC9421}, out)
}

// What we sign is refused by Fedify, too, once it is changed: that it accepts the rest means something. Its verifier looks at no
// digest that is not covered, and at no expires; so these are not here.
func fedifyRefuses(t *testing.T, p *peer) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	carol := newActor(t, key)
	schemes := map[httpsig.Scheme]func(*http.Request, []byte, string, *rsa.PrivateKey, time.Time) error{
		httpsig.Cavage: httpsig.Sign,
		httpsig.RFC9421: func(req *http.Request, body []byte, keyID string, key *rsa.PrivateKey, at time.Time) error {
			return httpsig.SignRFC9421(req, body, keyID, key, at)
		},
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for scheme, sign := range schemes {
		n := len(p.call("received", nil).Received)
		for name, c := range map[string]struct {
			key    *rsa.PrivateKey
			by     time.Duration
			change func(r *http.Request, body []byte) []byte
			status int
		}{
			"nothing": {key, 0, nil, 202},
			"body": {key, 0, func(_ *http.Request, body []byte) []byte {
				return bytes.Replace(body, []byte(`"content":"x"`), []byte(`"content":"y"`), 1)
			}, 401},
			"date":        {key, 0, func(r *http.Request, body []byte) []byte { age(r, time.Second); return body }, 401},
			"path":        {key, 0, func(r *http.Request, body []byte) []byte { r.URL.Path = "/users/bot/inbox"; return body }, 401},
			"another key": {other, 0, nil, 401},
			"a day old":   {key, -24 * time.Hour, nil, 401},
			"a day early": {key, 24 * time.Hour, nil, 401},
		} {
			body := carol.activity(p)
			req, err := http.NewRequest(http.MethodPost, p.base+"/inbox", nil)
			require.NoError(t, err)
			req.Header.Set("Content-Type", federation.ContentType)
			require.NoError(t, sign(req, body, federation.KeyID(carol.id), c.key, time.Now().Add(c.by)))
			if c.change != nil {
				body = c.change(req, body)
			}
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, c.status, res.StatusCode, "%s: %s", scheme, name)
		}
		p.got(n + 1)
	}
}

// An actor has a document and nothing else.
type actor struct {
	t  *testing.T
	id string
}

func newActor(t *testing.T, key *rsa.PrivateKey) *actor {
	var doc []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", federation.ContentType)
		_, _ = w.Write(doc)
	}))
	t.Cleanup(s.Close)
	a := &actor{t, s.URL + "/users/carol"}
	var err error
	doc, err = federation.LocalActor{ID: a.id, Name: "carol", Inbox: a.id + "/inbox", Shared: s.URL + "/inbox", Key: &key.PublicKey}.Document()
	require.NoError(t, err)
	return a
}

func (a *actor) activity(p *peer) []byte {
	body, err := json.Marshal(map[string]any{
		"@context": "https://www.w3.org/ns/activitystreams", "id": a.id + "/" + uuid.NewString(), "type": "Create", "actor": a.id, "to": p.bot(),
		"object": map[string]any{"id": a.id + "/" + uuid.NewString(), "type": "Note", "attributedTo": a.id, "content": "x"},
	})
	require.NoError(a.t, err)
	return body
}
