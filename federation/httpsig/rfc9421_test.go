package httpsig_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

var edKey = ed25519.NewKeyFromSeed(make([]byte, 32))

// sent is what SignRFC9421 makes of a request, as a server receives it.
func sent(t testing.TB, method, target string, body []byte, key crypto.Signer) *message {
	t.Helper()
	out, err := http.NewRequest(method, "https://"+here+target, bytes.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, httpsig.SignRFC9421(out, body, keyID, key, at))
	in := httptest.NewRequest(method, target, nil)
	in.Header, in.Host = out.Header.Clone(), here
	return &message{t, in, body, at, key.Public()}
}

func TestRFC9421RequestVerifies(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"RSA": keyOf(t, 2048), "Ed25519": edKey} {
		for what, c := range map[string]struct {
			method, target string
			body           []byte
		}{
			"POST":        {http.MethodPost, "/waxwing/inbox", []byte(body)},
			"empty POST":  {http.MethodPost, "/waxwing/inbox", []byte{}},
			"GET":         {http.MethodGet, "/users/bob", nil},
			"query":       {http.MethodGet, "/waxwing/directory?actor=https%3A%2F%2Fb&from=0", nil},
			"empty query": {http.MethodGet, "/users/bob?", nil},
			"escaped":     {http.MethodGet, "/users/b%C3%B6b/a%2Fb%20c", nil},
			"root":        {http.MethodGet, "/", nil},
		} {
			m := sent(t, c.method, c.target, c.body, key)
			got, err := m.verify(m.give)
			require.NoError(t, err, "%s, %s", name, what)
			require.Equal(t, owner, got)
			require.Empty(t, m.req.Header.Get("Digest"))
			m.req.Host = "c.example"
			_, err = m.verify(m.give)
			require.Equal(t, "signature_malformed", codeOf(t, err))
		}
	}
}

func TestSigningOtherwiseLeavesOneSignature(t *testing.T) {
	req, err := http.NewRequest(http.MethodPost, "https://b.example/inbox", nil)
	require.NoError(t, err)
	for _, key := range []crypto.Signer{keyOf(t, 2048), edKey} {
		require.NoError(t, httpsig.Sign(req, []byte(body), keyID, keyOf(t, 2048), at))
		require.NoError(t, httpsig.SignRFC9421(req, []byte(body), keyID, key, at))
		require.Empty(t, req.Header.Values("Digest"))
	}
	require.Len(t, req.Header.Values("Signature"), 1)
	require.Len(t, req.Header.Values("Signature-Input"), 1)
	require.NoError(t, httpsig.Sign(req, []byte(body), keyID, keyOf(t, 2048), at))
	require.Equal(t, httpsig.Cavage, httpsig.SchemeOf(req.Header))
	require.Empty(t, req.Header.Values("Content-Digest"))
}

func TestOtherKeysDoNotSign(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "https://b.example/inbox", nil)
	require.NoError(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	require.Error(t, httpsig.SignRFC9421(req, nil, keyID, other, at))
	require.Error(t, httpsig.SignRFC9421(req, nil, "https://a.example/bøb", edKey, at), "a key id that is not ASCII")
}

// The key and the request of RFC 9421, appendix B.1.4, B.2 and B.2.6. Its signature is over other parts than we demand, so it is
// made anew by its rules, from the base that the appendix prints.
func TestSignatureBaseIsThatOfTheRFC(t *testing.T) {
	const seed = "n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU"
	raw, err := base64.RawURLEncoding.DecodeString(seed)
	require.NoError(t, err)
	key := ed25519.NewKeyFromSeed(raw)
	base := `"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`
	signature, err := base64.StdEncoding.DecodeString("wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==")
	require.NoError(t, err)
	require.True(t, ed25519.Verify(key.Public().(ed25519.PublicKey), []byte(base), signature), "the RFC's own signature")

	covered := `"date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length"`
	digest := "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
	params := "(" + covered + `);created=1618884473;keyid="test-key-ed25519"`
	ours := strings.Replace(base, `"@authority"`, `"@query": ?param=Value&Pet=dog`+"\n"+`"@authority"`, 1)
	ours = strings.Replace(ours, `"content-length"`, `"content-digest": `+digest+"\n"+`"content-length"`, 1)
	ours, _, _ = strings.Cut(ours, `"@signature-params"`)
	signed := ed25519.Sign(key, []byte(ours+`"@signature-params": `+params))

	req := httptest.NewRequest(http.MethodPost, "/foo?param=Value&Pet=dog", nil)
	req.Host = "example.com"
	req.Header = http.Header{
		"Date": {"Tue, 20 Apr 2021 02:07:55 GMT"}, "Content-Type": {"application/json"}, "Content-Digest": {digest}, "Content-Length": {"18"},
		"Signature-Input": {"sig-b26=" + params}, "Signature": {"sig-b26=:" + base64.StdEncoding.EncodeToString(signed) + ":"},
	}
	for origin, want := range map[string]string{"https://example.com": "", "http://example.com": "", "https://example.com:443": "signature_malformed"} {
		m := &message{t: t, req: req, body: []byte(`{"hello": "world"}`), now: time.Unix(1618884473, 0), key: key.Public()}
		_, err = httpsig.Verify(context.Background(), httpsig.Request{Request: m.req, Body: m.body, Origin: origin, Now: m.now}, m.give)
		require.Equal(t, want, codeOf(t, err), origin)
	}
}

// TestEveryByteOfASignedRequestCounts flips a bit of every byte that is signed.
func TestEveryByteOfASignedRequestCounts(t *testing.T) {
	for _, key := range []crypto.Signer{keyOf(t, 2048), edKey} {
		m := sent(t, http.MethodPost, "/waxwing/inbox?x=1", []byte(body), key)
		check := func(what string, i int) {
			_, err := m.verify(m.give)
			require.Error(t, err, "byte %d of %s", i, what)
		}
		for i := range m.body {
			m.body[i] ^= 1
			check("the body", i)
			m.body[i] ^= 1
		}
		for _, name := range []string{"Content-Digest", "Signature-Input", "Signature"} {
			value := m.req.Header.Get(name)
			for i := range value {
				if name == "Signature-Input" && i < 5 || name == "Signature" && (i < 5 || value[i] == '=') {
					continue // the label, alone; padding
				}
				m.req.Header.Set(name, flipped(value, i))
				check(name, i)
			}
			m.req.Header.Set(name, value)
		}
		_, err := m.verify(m.give)
		require.NoError(t, err)
	}
}

// A key of a kind or size that does not count verifies nothing, whatever it is asked.
func TestKeysThatDoNotCount(t *testing.T) {
	for name, public := range map[string]crypto.PublicKey{
		"none": nil, "by value": keyOf(t, 2048).PublicKey, "short Ed25519": make(ed25519.PublicKey, 31), "empty Ed25519": ed25519.PublicKey{},
		"1024 bits": &keyOf(t, 1024).PublicKey, "another": &keyOf(t, 2056).PublicKey, "private": keyOf(t, 2048),
	} {
		for _, key := range []crypto.Signer{keyOf(t, 2048), edKey, keyOf(t, 1024)} {
			m := sent(t, http.MethodGet, "/users/bob", nil, key)
			m.key = public
			_, err := m.verify(m.give)
			require.Equal(t, "signature_invalid", codeOf(t, err), name)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	key := keyOf(b, 2048)
	large := bytes.Repeat([]byte("x"), 4<<10)
	rsaOut, edOut := sent(b, http.MethodPost, "/waxwing/inbox", large, key), sent(b, http.MethodPost, "/waxwing/inbox", large, edKey)
	for name, m := range map[string]*message{
		"cavage-rsa2048": signed(b, http.MethodPost, "/waxwing/inbox", large, key), "rfc9421-rsa2048": rsaOut, "rfc9421-ed25519": edOut,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.verify(m.give); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	large := bytes.Repeat([]byte("x"), 4<<10)
	req, err := http.NewRequest(http.MethodPost, "https://"+here+"/waxwing/inbox", nil)
	require.NoError(b, err)
	rsaKey := keyOf(b, 2048)
	for name, sign := range map[string]func() error{
		"cavage-rsa2048":  func() error { return httpsig.Sign(req, large, keyID, rsaKey, at) },
		"rfc9421-rsa2048": func() error { return httpsig.SignRFC9421(req, large, keyID, rsaKey, at) },
		"rfc9421-ed25519": func() error { return httpsig.SignRFC9421(req, large, keyID, edKey, at) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := sign(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
