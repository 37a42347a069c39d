package federation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
)

const bob = "https://b.example/users/bob"

func local() federation.LocalActor {
	return federation.LocalActor{ID: bob, Name: "bob", Inbox: bob + "/inbox", Shared: "https://b.example/waxwing/inbox", Key: &keys()[0].PublicKey}
}

func TestActorDocumentReadsBack(t *testing.T) {
	for _, service := range []bool{false, true} {
		a := local()
		a.Service = service
		doc, err := a.Document()
		require.NoError(t, err)
		got, err := federation.ParseActor(doc, bob)
		require.NoError(t, err)
		kind := map[bool]string{false: "Person", true: "Service"}[service]
		require.Equal(t, federation.RemoteActor{ID: bob, Type: kind, Inbox: a.Inbox, Shared: a.Shared, KeyID: bob + "#main-key", Key: a.Key}, got)

		var m map[string]any
		require.NoError(t, json.Unmarshal(doc, &m))
		require.Equal(t, "bob", m["preferredUsername"])
		require.Equal(t, bob+"/outbox", m["outbox"])
		require.Equal(t, !service, m["keyPackages"] == bob+"/key-packages" && m["messages"] == bob+"/messages")
		requireInline(t, m, "keyPackages", "messages")
	}
}

// requireInline wants terms to be defined in the document itself and only the two contexts that everybody has.
func requireInline(t *testing.T, doc map[string]any, terms ...string) {
	t.Helper()
	contexts := doc["@context"].([]any)
	require.Equal(t, []any{"https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1"}, contexts[:2])
	require.Len(t, contexts, 3)
	inline := contexts[2].(map[string]any)
	for _, term := range terms {
		require.Contains(t, inline, term)
	}
	require.NotContains(t, string(must(json.Marshal(doc))), "waxwing.example")
	require.Equal(t, "https://github.com/waxwing-dm/waxwing/ns#", inline["waxwing"])
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestKeyPackagesReadBack(t *testing.T) {
	data, err := federation.KeyPackages(bob, []federation.PublishedPackage{
		{ID: bob + "/key-packages/1", Content: []byte{1, 2, 3}, Suite: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519"},
		{ID: bob + "/key-packages/2", Content: []byte{4}, Suite: "x"},
	})
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(data, &m))
	requireInline(t, m, "KeyPackage", "encoding", "ciphersuite", "mls")
	require.Equal(t, []any{"Collection", bob + "/key-packages", 2.0}, []any{m["type"], m["id"], m["totalItems"]})
	require.Equal(t, map[string]any{
		"type": []any{"Object", "KeyPackage"}, "id": bob + "/key-packages/1", "attributedTo": bob, "to": "https://www.w3.org/ns/activitystreams#Public",
		"mediaType": "message/mls", "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte{1, 2, 3}),
		"ciphersuite": "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
		"generator":   map[string]any{"id": "https://github.com/waxwing-dm/waxwing", "type": "Application", "name": "Waxwing"},
	}, m["items"].([]any)[0])

	data, err = federation.KeyPackages(bob, nil)
	require.NoError(t, err)
	require.Contains(t, string(data), `"items":[]`)
}

func key(m map[string]any) map[string]any { return m["publicKey"].(map[string]any) }

func TestActorSpellingsThatAreTaken(t *testing.T) {
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&keys()[0].PublicKey)}))
	for name, change := range map[string]func(m map[string]any){
		"as written":         nil,
		"type in an array":   func(m map[string]any) { m["type"] = []any{"Person", "x"} },
		"key in an array":    func(m map[string]any) { m["publicKey"] = []any{m["publicKey"], map[string]any{"id": "x"}} },
		"PKCS #1":            func(m map[string]any) { key(m)["publicKeyPem"] = pkcs1 },
		"text after the PEM": func(m map[string]any) { key(m)["publicKeyPem"] = key(m)["publicKeyPem"].(string) + "\n\n" },
		"unknown members":    func(m map[string]any) { m["assertionMethod"], m["icon"] = []any{}, map[string]any{"url": 5} },
		"null endpoints":     func(m map[string]any) { m["endpoints"] = nil },
		"key id as a path":   func(m map[string]any) { key(m)["id"] = bob + "/main-key" },
	} {
		a, err := federation.ParseActor([]byte(spoilt(t, local(), change)), bob)
		require.NoError(t, err, name)
		require.True(t, a.Key.Equal(&keys()[0].PublicKey))
		require.Equal(t, "Person", a.Type)
	}
	a, err := federation.ParseActor([]byte(spoilt(t, local(), func(m map[string]any) { delete(m, "endpoints") })), bob)
	require.NoError(t, err)
	require.Empty(t, a.Shared)
}

func TestActorRefused(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der := must(x509.MarshalPKIXPublicKey(&curve.PublicKey))
	notRSA := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	small := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&keys()[2].PublicKey))}))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(keys()[0])}))
	for name, change := range map[string]func(m map[string]any){
		"other id":           func(m map[string]any) { m["id"] = "https://b.example/users/carol" },
		"id with a slash":    func(m map[string]any) { m["id"] = bob + "/" },
		"id in capitals":     func(m map[string]any) { m["id"] = "https://B.example/users/bob" },
		"id with a fragment": func(m map[string]any) { m["id"] = bob + "#me" },
		"no id":              func(m map[string]any) { delete(m, "id") },
		"other owner":        func(m map[string]any) { key(m)["owner"] = "https://b.example/users/carol" },
		"no owner":           func(m map[string]any) { delete(key(m), "owner") },
		"no key":             func(m map[string]any) { delete(m, "publicKey") },
		"null key":           func(m map[string]any) { m["publicKey"] = nil },
		"key by URL":         func(m map[string]any) { m["publicKey"] = bob + "#main-key" },
		"no keys":            func(m map[string]any) { m["publicKey"] = []any{} },
		"other's key first":  func(m map[string]any) { m["publicKey"] = []any{map[string]any{"owner": "x"}, m["publicKey"]} },
		"garbage for PEM":    func(m map[string]any) { key(m)["publicKeyPem"] = "garbage" },
		"garbage in PEM": func(m map[string]any) {
			key(m)["publicKeyPem"] = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
		},
		"garbage in PKCS #1": func(m map[string]any) {
			key(m)["publicKeyPem"] = "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n"
		},
		"empty PEM":             func(m map[string]any) { key(m)["publicKeyPem"] = "" },
		"PEM a number":          func(m map[string]any) { key(m)["publicKeyPem"] = 5 },
		"a private key":         func(m map[string]any) { key(m)["publicKeyPem"] = private },
		"not RSA":               func(m map[string]any) { key(m)["publicKeyPem"] = notRSA },
		"1024 bits":             func(m map[string]any) { key(m)["publicKeyPem"] = small },
		"inbox elsewhere":       func(m map[string]any) { m["inbox"] = "https://c.example/inbox" },
		"inbox on a sub-domain": func(m map[string]any) { m["inbox"] = "https://x.b.example/inbox" },
		"inbox on another port": func(m map[string]any) { m["inbox"] = "https://b.example:8443/inbox" },
		"inbox in clear":        func(m map[string]any) { m["inbox"] = "http://b.example/inbox" },
		"inbox behind a user":   func(m map[string]any) { m["inbox"] = "https://b.example@c.example/inbox" },
		"inbox a path":          func(m map[string]any) { m["inbox"] = "/inbox" },
		"no inbox":              func(m map[string]any) { delete(m, "inbox") },
		"shared elsewhere":      func(m map[string]any) { m["endpoints"] = map[string]any{"sharedInbox": "https://c.example/inbox"} },
		"inbox an object":       func(m map[string]any) { m["inbox"] = map[string]any{"id": bob + "/inbox"} },
		"member twice":          func(m map[string]any) { m["Inbox"] = "https://c.example/inbox" },
		"too large":             func(m map[string]any) { m["summary"] = strings.Repeat("x", 256<<10) },
	} {
		_, err := federation.ParseActor([]byte(spoilt(t, local(), change)), bob)
		require.Error(t, err, name)
	}
	for _, text := range []string{"", "null", "[]", "<html>", `"x"`, "{}", "{} {}"} {
		_, err := federation.ParseActor([]byte(text), bob)
		require.Error(t, err, text)
	}
}
