package federation_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/transparency"
)

// plainPackage is what Emissary's server shows of one; change spells it otherwise.
func plainPackage(owner, id, text string, change ...func(map[string]any)) map[string]any {
	p := map[string]any{
		"@context": []string{"https://www.w3.org/ns/activitystreams", "https://purl.archive.org/socialweb/mls"},
		"type":     []string{"Object", "KeyPackage"}, "id": id, "attributedTo": owner, "to": "https://www.w3.org/ns/activitystreams#Public",
		"summary": "a key package", "mediaType": "message/mls", "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(text)),
		"generator": map[string]any{"id": "https://b.test/client", "type": "Application", "name": "Client"}, "published": "2026-03-01T12:00:00Z",
		"ciphersuite": "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func (h *host) object(path string, doc map[string]any) {
	b, err := json.Marshal(doc)
	require.NoError(h.t, err)
	h.serve(path, "", string(b))
}

type doc = map[string]any

func TestPlainPackagesInAllSpellings(t *testing.T) {
	for name, shape := range map[string]func(h *host, me string, actor doc){
		"Emissary: a Collection of URLs": func(h *host, me string, actor doc) {
			actor["keyPackages"] = me + "/pub/keyPackages"
			h.object("/users/bob/pub/keyPackages", doc{"type": "Collection", "id": me + "/pub/keyPackages", "totalItems": 2, "items": []string{me + "/1", me + "/2"}})
			h.object("/users/bob/1", plainPackage(me, me+"/1", "one"))
			h.object("/users/bob/2", plainPackage(me, me+"/2", "two", func(p map[string]any) { p["generator"] = "https://b.test/client" }))
		},
		"Bonfire: an OrderedCollection of objects": func(h *host, me string, actor doc) {
			actor["keyPackages"] = me + "/kp"
			bare := func(p map[string]any) {
				p["type"], p["generator"], p["mlsSignature"] = "KeyPackage", doc{"type": "Application", "name": "https://b.test/client"}, "x"
			}
			h.object("/users/bob/kp", doc{"type": "OrderedCollection", "id": me + "/kp", "orderedItems": []any{
				plainPackage(me, me+"/1", "one", bare), plainPackage(me, me+"/2", "two", bare)}})
		},
		"Bonfire: inline in the actor": func(_ *host, me string, actor doc) {
			actor["mls:keyPackages"] = doc{"type": "Collection", "items": []any{plainPackage(me, me+"/1", "one"), plainPackage(me, me+"/2", "two")}}
		},
		"Bonfire: prefixed": func(_ *host, me string, actor doc) {
			prefixed := func(p map[string]any) {
				for _, key := range []string{"content", "encoding", "ciphersuite"} {
					p["mls:"+key] = p[key]
					delete(p, key)
				}
				p["type"] = "mls:KeyPackage"
			}
			actor["keyPackages"] = []any{plainPackage(me, me+"/1", "one", prefixed), plainPackage(me, me+"/2", "two", prefixed)}
		},
		"the draft: an array of URLs": func(h *host, me string, actor doc) {
			actor["keyPackages"] = []string{me + "/1", me + "/2"}
			h.object("/users/bob/1", plainPackage(me, me+"/1", "one"))
			h.object("/users/bob/2", plainPackage(me, me+"/2", "two"))
		},
		"the draft: inline Collection of URLs": func(h *host, me string, actor doc) {
			actor["keyPackages"] = doc{"type": "Collection", "id": me + "/kp", "totalItems": 2, "items": []string{me + "/1", me + "/2"}}
			h.object("/users/bob/1", plainPackage(me, me+"/1", "one"))
			h.object("/users/bob/2", plainPackage(me, me+"/2", "two"))
		},
		"pages": func(h *host, me string, actor doc) {
			actor["https://purl.archive.org/socialweb/mls#keyPackages"] = doc{"id": me + "/kp"}
			h.object("/users/bob/kp", doc{"type": "OrderedCollection", "id": me + "/kp", "first": me + "/p1"})
			h.object("/users/bob/p1", doc{"type": "OrderedCollectionPage", "id": me + "/p1", "orderedItems": plainPackage(me, me+"/1", "one"), "next": me + "/p2"})
			h.object("/users/bob/p2", doc{"type": "OrderedCollectionPage", "id": me + "/p2", "orderedItems": []any{doc{"id": me + "/2"}}, "next": me + "/p1"})
			h.object("/users/bob/2", plainPackage(me, me+"/2", "two"))
		},
		"among others": func(h *host, me string, actor doc) {
			actor["keyPackages"] = []any{5, nil, plainPackage(me, me+"/1", "one"), "https://c.test/kp", me + "/gone", "x",
				plainPackage("http://b.test/users/carol", me+"/3", "three"), plainPackage(me, me+"/4", "four", func(p map[string]any) { p["mediaType"] = "text/html" }),
				plainPackage(me, me+"/5", "five", func(p map[string]any) { p["content"] = "!!" }), plainPackage(me, me+"/6", "six", func(p map[string]any) { p["encoding"] = "hex" }),
				doc{"type": "Collection", "items": []any{plainPackage(me, me+"/2", "two")}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "b.test")
			h.actor("/users/bob", keys()[1], func(m map[string]any) {
				delete(m, "keyPackages")
				shape(h, "http://b.test/users/bob", m)
			})
			got, err := remote(t, newClock(), h).PlainPackages(ctx, "http://b.test/users/bob")
			require.NoError(t, err)
			require.Len(t, got, 2)
			for i, text := range []string{"one", "two"} {
				require.Equal(t, text, string(got[i].Content))
				require.Equal(t, fmt.Sprintf("http://b.test/users/bob/%d", i+1), got[i].ID)
				require.Equal(t, "https://b.test/client", got[i].Generator)
			}
		})
	}
}

func TestPlainPackagesAreLookedForWithinBounds(t *testing.T) {
	h, c := newHost(t, "b.test"), newHost(t, "c.test")
	me := "http://b.test/users/bob"
	h.actor("/users/bob", keys()[1], func(m map[string]any) { m["keyPackages"] = me + "/p0" })
	h.answer(func(w http.ResponseWriter, r *http.Request) {
		var n int
		if _, err := fmt.Sscanf(r.URL.Path, "/users/bob/p%d", &n); err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/activity+json")
		_ = json.NewEncoder(w).Encode(doc{"id": fmt.Sprintf("%s/p%d", me, n), "items": []any{plainPackage(me, "", fmt.Sprint(n)), plainPackage(me, "", fmt.Sprint(n)), "http://c.test/x"},
			"next": fmt.Sprintf("%s/p%d", me, n+1)})
	})
	got, err := remote(t, newClock(), h, c).PlainPackages(ctx, me)
	require.NoError(t, err)
	require.NotEmpty(t, got)
	require.LessOrEqual(t, len(got), 32)
	asked := 0
	for n := range 100 {
		asked += h.asked(fmt.Sprintf("/users/bob/p%d", n))
	}
	require.LessOrEqual(t, asked, 20)
	require.Zero(t, c.asked("/x"), "never elsewhere")
}

func TestPlainPackagesOfWhoIsNotPlain(t *testing.T) {
	h := newHost(t, "b.test")
	me := h.actor("/users/bob", keys()[1], func(m map[string]any) { delete(m, "keyPackages") })
	r := remote(t, newClock(), h)
	_, err := r.PlainPackages(ctx, me)
	require.Equal(t, "no_key_packages", codeOf(t, err))
	_, err = r.PlainPackages(ctx, "http://b.test/users/nobody")
	require.Error(t, err)
	for _, status := range []int{401, 403, 500, 503, 200} {
		h.answer(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		_, err = remote(t, newClock(), h).PlainPackages(ctx, me)
		require.Error(t, err, "a directory that is out of order is a directory")
		require.Zero(t, h.asked("/users/bob/key-packages"))
	}
	h.serve("/.well-known/waxwing", "application/json", string(must(json.Marshal(federation.NewDiscovery("http://b.test", transparency.Origin("b.test", make([]byte, 32))+"+1234+AAAA", make([]byte, 32), make([]byte, 32))))))
	_, err = remote(t, newClock(), h).PlainPackages(ctx, me)
	require.Equal(t, "has_directory", codeOf(t, err))
}
