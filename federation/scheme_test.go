package federation_test

import (
	"context"
	"crypto/ed25519"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

// schemes remembers in memory.
type schemes struct {
	mu    sync.Mutex
	known map[string]federation.Scheme
	at    map[string]time.Time
	wrote int
}

func newSchemes() *schemes {
	return &schemes{known: map[string]federation.Scheme{}, at: map[string]time.Time{}}
}

func (s *schemes) Scheme(_ context.Context, host string) (federation.Scheme, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[host], s.at[host], nil
}

func (s *schemes) SetScheme(_ context.Context, host string, scheme federation.Scheme, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[host], s.at[host] = scheme, at
	s.wrote++
	return nil
}

func (s *schemes) of(host string) federation.Scheme {
	scheme, _, _ := s.Scheme(ctx, host)
	return scheme
}

// signed is how a request was signed: the scheme, and by whom.
func signed(r *http.Request) string {
	text := r.Header.Get("Signature-Input") + r.Header.Get("Signature")
	_, rest, _ := strings.Cut(strings.ToLower(text), `keyid="http://a.test`)
	by, _, _ := strings.Cut(rest, `"`)
	return string(httpsig.SchemeOf(r.Header)) + " " + by
}

// watch keeps how deliveries were signed; it answers them as next says.
func watch(h *host, next func(n int, w http.ResponseWriter)) func() []string {
	var mu sync.Mutex
	var got []string
	h.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		mu.Lock()
		got = append(got, signed(r))
		n := len(got)
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		next(n, w)
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}
}

const (
	byCavage  = "cavage /users/alice#main-key"
	byRFC9421 = "rfc9421 /users/alice#main-key"
	byService = "rfc9421 /waxwing/actor#ed25519-key"
)

func answering(status int, accept string) func(int, http.ResponseWriter) {
	return func(_ int, w http.ResponseWriter) {
		if accept != "" {
			w.Header().Set("Accept-Signature", accept)
		}
		w.WriteHeader(status)
	}
}

// A host that answers 401 and asks for RFC 9421 gets the same delivery again, signed so; no other answer leads to a second try.
func TestAcceptSignatureIsHeeded(t *testing.T) {
	const asks = `sig1=("@method" "@target-uri" "content-digest");keyid="x"`
	for name, c := range map[string]struct {
		status int
		accept string
		second string
	}{
		"asks":              {401, asks, byRFC9421},
		"does not":          {401, "", ""},
		"asks in gibberish": {401, "((", ""},
		"asks for nothing":  {401, " ", ""},
		"asks at length":    {401, asks + `;nonce="` + strings.Repeat("x", 5000) + `"`, ""},
		"asks with 403":     {403, asks, ""},
		"asks with 202":     {202, asks, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHost(t, "b.test")
			bob := b.actor("/users/bob", keys()[1], nil)
			got := watch(b, func(n int, w http.ResponseWriter) {
				if n == 1 {
					answering(c.status, c.accept)(n, w)
					return
				}
				w.WriteHeader(202)
			})
			o := open(t, b)
			o.send(1, bob)
			e := o.next()
			if c.second == "" {
				require.NotEqual(t, "retry", e.what)
				require.Equal(t, []string{byCavage}, got())
				require.Empty(t, o.schemes.of("http://b.test"))
				return
			}
			require.Equal(t, "retry", e.what)
			o.forward(e.at)
			require.Equal(t, event{id: 1, what: "done"}, o.next())
			o.send(2, bob)
			require.Equal(t, event{id: 2, what: "done"}, o.next())
			require.Equal(t, []string{byCavage, c.second, c.second}, got())
		})
	}
}

// A host that refuses both is not asked a third time, whatever it says, and for a day it gets cavage.
func TestHostThatRefusesBothIsLeftAlone(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	got := watch(b, answering(401, `sig1=("@method")`))
	o := open(t, b)
	o.send(1, bob)
	for range 2 {
		e := o.next()
		require.Equal(t, "retry", e.what)
		o.forward(e.at)
	}
	require.Equal(t, "dead", o.next().what)
	require.Equal(t, []string{byCavage, byRFC9421, byCavage}, got())
	o.forward(o.now().Add(23 * time.Hour))
	o.send(2, bob)
	require.Equal(t, "dead", o.next().what)
	require.Equal(t, byCavage, got()[3])
	require.Len(t, got(), 4)
}

// A refusal that is about the clock says nothing about the kind of signature: the next try is signed as the last.
func TestExpiredSignatureIsNoReasonToSignOtherwise(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	got := watch(b, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(401)
		_, _ = io.WriteString(w, `{"code":"signature_expired"}`)
	})
	o := open(t, b)
	require.NoError(t, o.schemes.SetScheme(ctx, "http://b.test", federation.SchemeRFC9421, o.now()))
	o.send(1, bob)
	e := o.next()
	require.Equal(t, "retry", e.what)
	o.forward(e.at)
	require.Equal(t, "retry", o.next().what)
	require.Equal(t, []string{byRFC9421, byRFC9421}, got())
	require.Equal(t, federation.SchemeRFC9421, o.schemes.of("http://b.test"))
}

// What an actor document says of its server, or a discovery document of its sidecar, is used from the next request on.
func TestDocumentsSayWhatAHostTakes(t *testing.T) {
	implements := func(href any) func(map[string]any) {
		return func(m map[string]any) {
			m["generator"] = map[string]any{"type": "Application", "implements": []any{map[string]any{"href": href, "name": "x"}}}
		}
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"nothing":      {nil, byCavage},
		"RFC 9421":     {implements("https://datatracker.ietf.org/doc/html/rfc9421"), byRFC9421},
		"the editor's": {implements("https://www.rfc-editor.org/rfc/rfc9421.html"), byRFC9421},
		"another RFC":  {implements("https://datatracker.ietf.org/doc/html/rfc94210"), byCavage},
		"anywhere":     {implements("https://c.test/rfc9421"), byCavage},
		"no text":      {implements(9421), byCavage},
		"a name only":  {func(m map[string]any) { m["generator"] = "https://datatracker.ietf.org/doc/html/rfc9421" }, byCavage},
	} {
		b := newHost(t, "b.test")
		bob := b.actor("/users/bob", keys()[1], c.change)
		got := watch(b, answering(202, ""))
		o := open(t, b)
		o.send(1, bob)
		require.Equal(t, event{id: 1, what: "done"}, o.next(), name)
		require.Equal(t, []string{c.want}, got(), name)
	}
}

func TestSidecarsSignByTheServiceActor(t *testing.T) {
	for _, text := range []string{`["rfc9421"]`, `["x","rfc9421","rfc9421"]`, `["rfc9422"]`, `[]`} {
		b := newHost(t, "b.test")
		bob := b.actor("/users/bob", keys()[1], nil)
		b.serve(federation.PathDiscovery, "application/json", strings.Replace(discovery(t, "http://b.test", nil), `["rfc9421"]`, text, 1))
		got := watch(b, answering(202, ""))
		o := open(t, b)
		d, err := o.remote.Discovery(ctx, "http://b.test")
		require.NoError(t, err)
		o.send(1, bob)
		require.Equal(t, event{id: 1, what: "done"}, o.next())
		if strings.Contains(text, `"rfc9421"`) {
			require.Equal(t, []string{"rfc9421"}, d.Signatures)
			require.Equal(t, []string{byService}, got())
		} else {
			require.Empty(t, d.Signatures)
			require.Equal(t, []string{byCavage}, got())
		}
	}
}

func TestWhatIsLearntOfAHost(t *testing.T) {
	c, s := newClock(), newSchemes()
	r := remoteWith(t, c, s)
	learn := func(name string) federation.Scheme {
		r.Learn(ctx, "http://b.test", http.Header{name: {"x"}})
		return s.of("http://b.test")
	}
	require.Empty(t, learn("Signature"))
	require.Equal(t, federation.SchemeRFC9421, learn("Signature-Input"))
	require.Equal(t, federation.SchemeRFC9421, learn("Signature"), "cavage is no news")
	require.Empty(t, s.of("http://c.test"))
	c.advance(23 * time.Hour)
	learn("Signature-Input")
	require.Equal(t, 1, s.wrote, "written anew too soon")
	c.advance(2 * time.Hour)
	learn("Signature-Input")
	require.Equal(t, 2, s.wrote)
	require.NoError(t, s.SetScheme(ctx, "http://b.test", federation.SchemeService, c.now()))
	require.Equal(t, federation.SchemeService, learn("Signature-Input"), "less than what is known")
	require.NoError(t, s.SetScheme(ctx, "http://b.test", federation.SchemeCavage, c.now()))
	c.advance(23 * time.Hour)
	require.Equal(t, federation.SchemeCavage, learn("Signature-Input"), "it has refused")
	c.advance(2 * time.Hour)
	require.Equal(t, federation.SchemeRFC9421, learn("Signature-Input"))
}

// The Ed25519 keys of others come out of their documents only whole and their own.
func TestMultikeys(t *testing.T) {
	c, b := newClock(), newHost(t, "b.test")
	bob := b.url("/users/bob")
	public := make(ed25519.PublicKey, 32)
	public[3] = 7
	key := func(change func(map[string]any)) map[string]any {
		a := federation.LocalActor{ID: bob, Name: "x", Inbox: bob + "/inbox", Shared: b.url("/inbox"), Key: &keys()[1].PublicKey, Ed25519: public}
		var got map[string]any
		spoilt(t, a, func(m map[string]any) { got = m["assertionMethod"].([]any)[0].(map[string]any) })
		if change != nil {
			change(got)
		}
		return got
	}
	set := func(name string, value any) func(map[string]any) {
		return func(m map[string]any) { m[name] = value }
	}
	long := key(nil)["publicKeyMultibase"].(string)
	for name, x := range map[string]struct {
		value any
		found bool
	}{
		"one":               {key(nil), true},
		"an array":          {[]any{"https://c.test/x", 7, key(nil)}, true},
		"another's":         {key(set("controller", "http://b.test/users/carol")), false},
		"of no one":         {key(set("controller", nil)), false},
		"another type":      {key(set("type", "Key")), false},
		"elsewhere":         {key(set("id", "http://c.test/users/bob#ed25519-key")), false},
		"base64":            {key(set("publicKeyMultibase", "m"+long[1:])), false},
		"cut short":         {key(set("publicKeyMultibase", long[:40])), false},
		"longer":            {key(set("publicKeyMultibase", long+"2")), false},
		"zeros before":      {key(set("publicKeyMultibase", "z1"+long[1:])), false},
		"not base58":        {key(set("publicKeyMultibase", long[:47]+"0")), false},
		"of another kind":   {key(set("publicKeyMultibase", "zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169")), false},
		"empty":             {key(set("publicKeyMultibase", "")), false},
		"huge":              {key(set("publicKeyMultibase", "z"+strings.Repeat("z", 100_000))), false},
		"the fifth of five": {[]any{key(set("id", bob+"#1")), key(set("id", bob+"#2")), key(set("id", bob+"#3")), key(set("id", bob+"#4")), key(nil)}, false},
		"absent":            {nil, false},
	} {
		b.actor("/users/bob", keys()[1], set("assertionMethod", x.value))
		got, err := remote(t, c, b).Key(ctx, federation.Ed25519KeyID(bob), false)
		if !x.found {
			require.Equal(t, "actor_key_mismatch", codeOf(t, err), name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, httpsig.Key{Owner: bob, Public: public}, got, name)
		got, err = remote(t, c, b).Key(ctx, federation.KeyID(bob), false)
		require.NoError(t, err, name)
		require.Equal(t, httpsig.Key{Owner: bob, Public: &keys()[1].PublicKey}, got, name)
	}
}
