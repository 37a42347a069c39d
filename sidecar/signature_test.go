package sidecar_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
)

// A row of the matrix: what is done to a request, and what it is answered.
type row struct {
	name   string
	change func(*exchange)
	want   string // status and code, or outcome
}

const (
	taken      = "202 accepted"
	malformed  = "401 signature_malformed"
	missing    = "401 signature_missing"
	invalid    = "401 signature_invalid"
	expired    = "401 signature_expired"
	required   = "401 digest_required"
	mismatched = "401 digest_mismatch"
	notTheirs  = "403 actor_key_mismatch"
)

// after makes a change of what has been signed.
func after(f func(*exchange)) func(*exchange) { return func(x *exchange) { x.after = f } }

func edit(header, old, text string) func(*exchange) {
	return after(func(x *exchange) { x.edit(header, old, text) })
}

// TestSignatureMatrix sends every kind of signed request that somebody has got wrong, or may do right in a way of their own, to an
// inbox over HTTP. The codes are those of H1 to H8 in spec/wire.md.
func TestSignatureMatrix(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	m := newMatrix(w, p, w.peer("d.test"))
	a.start()
	m.alice = a.person("alice")
	m.room = strings.TrimPrefix(m.alice.open().url, "http://a.test") + "?after=0"
	n, accepted := 0, 0
	for scheme, sign := range map[string]func(*exchange){"cavage": (*exchange).cavage, "rfc9421": (*exchange).rfc9421} {
		rows := append(m.either(), m.cavage()...)
		if scheme == "rfc9421" {
			rows = append(m.either(), m.rfc9421()...)
		}
		for _, r := range rows {
			n++
			if r.want == taken {
				accepted++
			}
			t.Run(scheme+"/"+r.name, func(t *testing.T) {
				x := p.exchange(m.alice.actor)
				r.change(x)
				sign(x)
				status, code := x.send()
				require.Equal(t, r.want, strings.TrimSpace(fmt.Sprint(status, " ", code)))
			})
		}
	}
	t.Logf("%d rows", n)
	require.Greater(t, n, 200)
	require.Equal(t, accepted, a.rows()["received"], "what was refused left something")
}

// A matrix knows the people of the requests: mallory of c.test, who signs unless a row says otherwise, and those beside.
type matrix struct {
	p, other *peer
	alice    *device
	room     string // path of a conversation

	edKey      ed25519.PrivateKey // mallory's second key, and that of the service actor of c.test
	edID, edBy string             // of a user, of the service actor
	borrowed   string             // a Multikey that says it is somebody else's
	service    string
}

func newMatrix(w *world, p, other *peer) *matrix {
	m := &matrix{p: p, other: other, edKey: newKey(w.t), service: p.instance + federation.PathActor}
	public := m.edKey.Public().(ed25519.PublicKey)
	document := func(path string) []byte {
		id := p.instance + path
		doc, err := federation.LocalActor{ID: id, Name: "x", Inbox: id + "/inbox", Shared: p.instance + "/inbox", Key: &p.keys[id].PublicKey, Ed25519: public}.Document()
		require.NoError(w.t, err)
		return doc
	}
	p.docs["/users/mallory"], p.docs[federation.PathActor] = document("/users/mallory"), document(federation.PathActor)
	m.edID, m.edBy = federation.Ed25519KeyID(p.mallory()), federation.Ed25519KeyID(m.service)
	m.borrowed = federation.Ed25519KeyID(p.instance + "/users/other")
	p.docs["/users/other"] = []byte(strings.ReplaceAll(string(document("/users/other")), `"controller":"http://c.test/users/other"`, `"controller":"http://c.test/users/mallory"`))
	p.docs["/users/liar"] = p.docs["/users/other"] // somebody else's document
	p.docs["/keys/1"] = []byte(`{"id":"http://c.test/keys/1","owner":"http://c.test/users/mallory","publicKeyPem":"x"}`)
	p.docs["/users/ecdsa"] = []byte(strings.ReplaceAll(replaceKey(w.t, document("/users/mallory")), "/users/mallory", "/users/ecdsa"))
	return m
}

// replaceKey puts an ECDSA key in the place of the RSA key.
func replaceKey(t testing.TB, doc []byte) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	before, rest, ok := strings.Cut(string(doc), `"publicKeyPem":"`)
	require.True(t, ok)
	_, rest, _ = strings.Cut(rest, `"`)
	return before + `"publicKeyPem":"` + strings.ReplaceAll(text, "\n", `\n`) + `"` + rest
}

func tamper(x *exchange) { x.body = []byte(strings.Replace(string(x.body), "Create", "create", 1)) }

// either is what both kinds of signature have in common.
func (m *matrix) either() []row {
	p := m.p
	get := func(x *exchange) {
		x.method, x.target, x.body, x.headers = "GET", m.room, nil, nil
		x.by(m.service)
	}
	return []row{
		{"as it should be", func(*exchange) {}, taken},
		{"own inbox", func(x *exchange) { x.target = "/users/alice/inbox" }, taken},
		{"with a query", func(x *exchange) { x.target += "?x=%41&y=b+c" }, taken},
		{"empty query", func(x *exchange) { x.target += "?" }, taken},
		{"escaped path", func(x *exchange) { x.target = "/users/%61lice/inbox" }, taken},
		{"escaped path, signed without escapes", func(x *exchange) {
			x.target = "/users/alice/inbox"
			x.after = func(x *exchange) { x.target = "/users/%61lice/inbox" }
		}, invalid},
		{"plain path, signed with escapes", func(x *exchange) {
			x.target = "/users/%61lice/inbox"
			x.after = func(x *exchange) { x.target = "/users/alice/inbox" }
		}, invalid},
		{"bytes that are usually escaped", func(x *exchange) { x.target += "?x=^{}|" }, taken},
		{"query added", after(func(x *exchange) { x.target += "?x=1" }), invalid},
		{"query taken away", func(x *exchange) {
			x.target += "?x=1"
			x.after = func(x *exchange) { x.target = "/waxwing/inbox" }
		}, invalid},
		{"query in another order", func(x *exchange) {
			x.target += "?a=1&b=2"
			x.after = func(x *exchange) { x.target = "/waxwing/inbox?b=2&a=1" }
		}, invalid},
		{"other path", after(func(x *exchange) { x.target = "/users/alice/inbox" }), invalid},
		{"slash at the end", func(x *exchange) { x.target += "/" }, "404 not_found"},
		{"two slashes", func(x *exchange) { x.target = "/" + x.target }, "404 not_found"},
		{"a whole URL as the target", after(func(x *exchange) { x.target = "http://a.test" + x.target }), malformed},
		{"other method", after(func(x *exchange) { x.method = "PUT" }), "405 method_not_allowed"},
		{"GET", get, "200"},
		{"GET, query changed", func(x *exchange) {
			get(x)
			x.after = func(x *exchange) { x.target = strings.Replace(x.target, "after=0", "after=1", 1) }
		}, invalid},
		{"GET, signed as POST", func(x *exchange) {
			get(x)
			x.components["(request-target)"], x.components["@method"] = "post "+m.room, "POST"
		}, invalid},
		{"GET by a user", func(x *exchange) { get(x); x.by(p.mallory()) }, notTheirs},
		{"chunked", func(x *exchange) { x.chunked = true }, taken},
		{"empty body", func(x *exchange) { x.body = []byte{} }, "400 json_invalid"},
		{"unsigned", after(func(x *exchange) { x.del("Signature"); x.del("Signature-Input") }), missing},
		{"Signature alone is empty", after(func(x *exchange) { x.set("Signature", "") }), malformed},
		{"Signature is a word", after(func(x *exchange) { x.set("Signature", "Signature") }), malformed},
		{"two Signature headers", after(func(x *exchange) { x.add("Signature", x.get("Signature")) }), malformed},
		{"both kinds at once", after(func(x *exchange) {
			x.del("Date") // the other kind has one as well
			y := *x
			y.headers = nil
			y.covered = nil
			if x.get("Signature-Input") != "" {
				y.cavage()
			} else {
				y.rfc9421()
			}
			x.headers = append(x.headers, y.headers...)
		}), malformed},
		{"both kinds in one Signature", after(func(x *exchange) {
			y := *x
			y.headers, y.covered = nil, nil
			if x.get("Signature-Input") != "" {
				y.cavage()
			} else {
				y.rfc9421()
				x.add("Signature-Input", y.get("Signature-Input"))
			}
			x.set("Signature", x.get("Signature")+", "+y.get("Signature"))
		}), malformed},
		{"other host", func(x *exchange) { x.host, x.origin = "c.test", "http://c.test" }, malformed},
		{"other host, sent to us", after(func(x *exchange) { x.host = "c.test" }), malformed},
		{"forwarded for us", func(x *exchange) {
			x.host, x.origin = "c.test", "http://c.test"
			x.add("X-Forwarded-Host", "a.test")
			x.add("Forwarded", "host=a.test")
		}, malformed},
		{"tampered body", after(tamper), mismatched},
		{"body and digest of something else", after(func(x *exchange) {
			tamper(x)
			x.edit(x.digestHeader(), x.sumBefore(), x.sum())
		}), invalid},
		{"digest of other bytes, signed", func(x *exchange) { x.digestOf = []byte("x") }, mismatched},
		{"digest header lost", after(func(x *exchange) { x.del(x.digestHeader()) }), required},
		{"two digest headers", after(func(x *exchange) { x.add(x.digestHeader(), x.get(x.digestHeader())) }), required},
		{"the other kind's digest", after(func(x *exchange) {
			if name := x.digestHeader(); name == "Digest" {
				x.set("Content-Digest", "sha-256=:"+x.sum()+":")
				x.del(name)
			} else {
				x.set("Digest", "SHA-256="+x.sum())
				x.del(name)
			}
		}), required},
		{"six minutes old", func(x *exchange) { x.at = x.at.Add(-6 * time.Minute); x.created -= 360 }, expired},
		{"six minutes early", func(x *exchange) { x.at = x.at.Add(6 * time.Minute); x.created += 360 }, expired},
		{"four minutes old", func(x *exchange) { x.at = x.at.Add(-4 * time.Minute); x.created -= 240 }, taken},
		{"four minutes early", func(x *exchange) { x.at = x.at.Add(4 * time.Minute); x.created += 240 }, taken},
		{"another's activity", func(x *exchange) { x.asActor(p.instance + "/users/other") }, notTheirs},
		{"an activity from elsewhere", func(x *exchange) { x.asActor("http://d.test/users/mallory") }, notTheirs},
		{"by the service actor", func(x *exchange) { x.by(m.service) }, taken},
		{"by another instance's service actor", func(x *exchange) {
			x.keyID, x.key = federation.KeyID(m.other.instance+federation.PathActor), m.other.keys[m.other.instance+federation.PathActor]
		}, notTheirs},
		{"another's key under this name", func(x *exchange) { x.key = p.keys[p.instance+"/users/other"] }, invalid},
		{"key id without a fragment", func(x *exchange) { x.keyID = p.mallory() }, notTheirs},
		{"key id with another fragment", func(x *exchange) { x.keyID = p.mallory() + "#other-key" }, notTheirs},
		{"key id with a query", func(x *exchange) { x.keyID = p.mallory() + "?x#main-key" }, notTheirs},
		{"key id of no one", func(x *exchange) { x.keyID = p.instance + "/users/nobody#main-key" }, notTheirs},
		{"key id that is no URL", func(x *exchange) { x.keyID = "main-key" }, notTheirs},
		{"a copied document", func(x *exchange) {
			x.by(p.instance + "/users/other")
			x.keyID = p.instance + "/users/liar#main-key"
		}, notTheirs},
		{"a key that is a document of its own", func(x *exchange) { x.keyID = p.instance + "/keys/1" }, notTheirs},
		{"an ECDSA key", func(x *exchange) { x.keyID = p.instance + "/users/ecdsa#main-key" }, notTheirs},
		{"key id at an inner address", func(x *exchange) { x.keyID = "https://127.0.0.1/x#main-key" }, "503 key_unavailable"},
		{"key id with a comma", func(x *exchange) { x.keyID = p.mallory() + ",x#main-key" }, notTheirs},
		{"key id too long", func(x *exchange) { x.keyID = p.mallory() + "#" + strings.Repeat("x", 2048) }, malformed},
		{"RSA with SHA-512", func(x *exchange) { x.hash = crypto.SHA512 }, invalid},
		{"no header in its usual case", after(func(x *exchange) {
			for i := range x.headers {
				x.headers[i][0] = strings.ToUpper(x.headers[i][0])
			}
		}), taken},
		{"headers in another order on the wire", after(func(x *exchange) {
			for i, j := 0, len(x.headers)-1; i < j; i, j = i+1, j-1 {
				x.headers[i], x.headers[j] = x.headers[j], x.headers[i]
			}
		}), taken},
		{"too long to be parsed", after(func(x *exchange) { x.set("Signature", x.get("Signature")+strings.Repeat(" ", 9000)+"x") }), malformed},
		{"another media type", func(x *exchange) { x.set("Content-Type", "text/plain") }, "415 unsupported_media_type"},
	}
}

func (x *exchange) digestHeader() string {
	if x.get("Signature-Input") != "" {
		return "Content-Digest"
	}
	return "Digest"
}

// sumBefore is the digest that stands in the header now.
func (x *exchange) sumBefore() string {
	value := strings.TrimSuffix(x.get(x.digestHeader()), ":")
	return value[len("SHA-256="):][strings.Count(value, ":"):]
}
