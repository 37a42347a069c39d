// Package jsonld holds federation's documents to JSON-LD: what others' processors make of them is what they mean. It is a module of its
// own, so that the processor is not in the go.mod of whoever imports this one.
package jsonld_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/piprate/json-gold/ld"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
)

const (
	as      = "https://www.w3.org/ns/activitystreams#"
	mls     = "https://purl.archive.org/socialweb/mls#"
	sec     = "https://w3id.org/security#"
	bob     = "https://b.example/users/bob"
	alice   = "https://a.example/users/alice"
	waxwing = "https://github.com/waxwing-dm/waxwing/ns#"
)

// meant is what each key and type of ours means. It is written down here from the vocabularies, and not read from any context.
var meant = map[string]string{
	"keyPackages": mls + "keyPackages", "messages": mls + "messages", "conversation": mls + "conversation", "encoding": mls + "encoding",
	"ciphersuite": mls + "ciphersuite", "KeyPackage": mls + "KeyPackage", "PublicMessage": mls + "PublicMessage",
	"PrivateMessage": mls + "PrivateMessage", "Welcome": mls + "Welcome",
	"eventStream": "https://purl.archive.org/socialweb/sse#eventStream", "seekItem": "https://purl.archive.org/socialweb/seekitem#seekItem",
	"publicKey": sec + "publicKey", "owner": sec + "owner", "publicKeyPem": sec + "publicKeyPem", "assertionMethod": sec + "assertionMethod",
	"Multikey": sec + "Multikey", "controller": sec + "controller", "publicKeyMultibase": sec + "publicKeyMultibase",
	"inbox": "http://www.w3.org/ns/ldp#inbox", "orderedItems": as + "items", "waxwing:receipt": waxwing + "receipt",
}

func init() {
	for _, name := range strings.Fields(`actor attributedTo content context endpoints first generator instrument items last mediaType name next object outbox
		partOf preferredUsername prev published sharedInbox target to totalItems
		Add Application Collection Create Object OrderedCollection OrderedCollectionPage Person Service`) {
		meant[name] = as + name
	}
}

// urls are the keys whose values are IRIs.
var urls = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`keyPackages messages conversation eventStream seekItem owner controller inbox outbox actor attributedTo context first
		instrument last next partOf prev sharedInbox target to`) {
		urls[name] = true
	}
}

// bundled gives the two contexts that everybody has, and nothing else: a document that needs the network fails.
type bundled struct{}

func (bundled) LoadDocument(u string) (*ld.RemoteDocument, error) {
	file, ok := map[string]string{"https://www.w3.org/ns/activitystreams": "activitystreams", "https://w3id.org/security/v1": "security-v1"}[u]
	if !ok {
		return nil, ld.NewJsonLdError(ld.LoadingRemoteContextFailed, u+" is not bundled")
	}
	f, err := os.Open("testdata/" + file + ".jsonld")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := ld.DocumentFromReader(f)
	return &ld.RemoteDocument{DocumentURL: u, Document: doc}, err
}

func expand(t *testing.T, doc []byte) map[string]any {
	t.Helper()
	var in any
	require.NoError(t, json.Unmarshal(doc, &in))
	options := ld.NewJsonLdOptions("")
	options.DocumentLoader = bundled{}
	options.ProcessingMode = ld.JsonLd_1_1
	out, err := ld.NewJsonLdProcessor().Expand(in, options)
	require.NoError(t, err)
	require.Len(t, out, 1)
	return out[0].(map[string]any)
}

// check walks a node and what it was expanded to: every key is there under its meaning, with each of its values.
func check(t *testing.T, at string, node, expanded map[string]any) {
	t.Helper()
	keys := 0
	for key, value := range node {
		here := at + "." + key
		switch key {
		case "@context":
			continue
		case "id":
			require.Equal(t, value, expanded["@id"], here)
		case "type":
			var want []any
			for _, kind := range list(value) {
				require.Contains(t, meant, kind, here)
				want = append(want, meant[kind.(string)])
			}
			require.Equal(t, want, expanded["@type"], here)
		default:
			require.Contains(t, meant, key, here)
			require.Contains(t, expanded, meant[key], "%s is dropped", here)
			values(t, here, key, list(value), expanded[meant[key]].([]any))
		}
		keys++
	}
	require.Len(t, expanded, keys, "%s: two keys became one, or something came from nowhere", at)
}

func values(t *testing.T, at, key string, in, out []any) {
	t.Helper()
	if len(out) == 1 {
		if ordered, ok := out[0].(map[string]any)["@list"]; ok {
			require.Equal(t, "orderedItems", key, at)
			out = ordered.([]any)
		}
	}
	require.Len(t, out, len(in), at)
	for i := range in {
		got := out[i].(map[string]any)
		switch v := in[i].(type) {
		case map[string]any:
			check(t, fmt.Sprint(at, i), v, got)
		default:
			if urls[key] {
				require.Equal(t, map[string]any{"@id": v}, got, at)
			} else {
				require.Equal(t, v, got["@value"], at)
			}
		}
	}
}

func list(v any) []any {
	if many, ok := v.([]any); ok {
		return many
	}
	return []any{v}
}

func TestDocumentsMeanWhatTheySay(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	envelope := federation.Envelope{
		ID: "https://b.example/waxwing/activities/1", Actor: bob, To: []string{alice}, Conversation: "https://b.example/waxwing/conversations/67",
		Kind: federation.KindPrivate, Message: []byte("message"), Receipt: []byte("receipt"),
	}
	plain, public := envelope, envelope
	plain.Plain, plain.Kind, plain.Receipt = true, federation.KindWelcome, nil
	public.Kind = federation.KindPublic
	item := federation.Item(envelope, time.Unix(1e9, 0))
	actor := federation.LocalActor{ID: bob, Name: "bob", Inbox: bob + "/inbox", Shared: "https://b.example/waxwing/inbox", Key: &key.PublicKey}
	service := actor
	service.Service, service.Ed25519 = true, ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	packages := []federation.PublishedPackage{{ID: bob + "/key-packages/1", Content: []byte("one"), Suite: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519"},
		{ID: bob + "/key-packages/2", Content: []byte("two"), Suite: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519"}}
	collection := federation.Collection{ID: bob + "/messages", Total: 3, First: bob + "/messages?upto=3", Last: bob + "/messages?upto=1", EventStream: bob + "/messages/events", SeekItem: bob + "/messages"}
	page := federation.Page{ID: bob + "/messages?upto=2", Of: bob + "/messages", Next: bob + "/messages?upto=1", Prev: bob + "/messages?since=2",
		Items: []any{item, federation.Item(public, time.Unix(1e9, 0))}}
	granted := federation.Page{ID: envelope.Conversation + "?after=0", Of: envelope.Conversation,
		Items: []any{federation.Granted(envelope.Conversation, 1, 1, federation.KindPrivate, []byte("commit"), []byte("receipt"))}}
	for name, write := range map[string]func() ([]byte, error){
		"person":        actor.Document,
		"service":       service.Document,
		"activity":      func() ([]byte, error) { return envelope.Activity([]string{alice, bob}, time.Unix(1e9, 0)) },
		"public":        func() ([]byte, error) { return public.Activity([]string{alice}, time.Unix(1e9, 0)) },
		"plain":         func() ([]byte, error) { return plain.Activity([]string{alice}, time.Unix(1e9, 0)) },
		"key packages":  func() ([]byte, error) { return federation.KeyPackages(bob, packages) },
		"a key package": func() ([]byte, error) { return packages[0].Document(bob) },
		"collection":    collection.Document,
		"page":          page.Document,
		"conversation":  granted.Document,
		"event":         func() ([]byte, error) { return federation.Added(bob+"/messages", item) },
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := write()
			require.NoError(t, err)
			var node map[string]any
			require.NoError(t, json.Unmarshal(doc, &node))
			check(t, name, node, expand(t, doc))
		})
	}
}

// The control: without our terms the same document loses what matters.
func TestTermsAreNeeded(t *testing.T) {
	doc, err := federation.KeyPackages(bob, []federation.PublishedPackage{{ID: bob + "/key-packages/1", Content: []byte("one"), Suite: "x"}})
	require.NoError(t, err)
	var node map[string]any
	require.NoError(t, json.Unmarshal(doc, &node))
	node["@context"] = node["@context"].([]any)[:2]
	bare, err := json.Marshal(node)
	require.NoError(t, err)
	out, err := json.Marshal(expand(t, bare))
	require.NoError(t, err)
	require.NotContains(t, string(out), mls)
}
