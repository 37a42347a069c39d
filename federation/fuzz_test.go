package federation

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency"
)

func FuzzParseActivity(f *testing.F) {
	f.Add(create(f, nil))
	f.Add(create(f, func(_, o map[string]any) { rename(o, "content", "mls:content"); o["type"] = "mls:Welcome" }))
	f.Add(create(f, func(a, _ map[string]any) { a["object"] = "x"; a["to"] = []any{1, "x"} }))
	f.Add([]byte(`{"id":"x","type":["Create"],"actor":"y","object":{"mediaType":"message/mls","content":"AA=="}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := parseActivity(data)
		if err != nil {
			require.Equal(t, incoming{}, in)
			require.Error(t, shapeError(err))
			return
		}
		require.True(t, json.Valid(data))
		if !in.ours {
			require.Nil(t, in.message)
			require.Nil(t, in.receipt)
		}
		require.LessOrEqual(t, len(in.message), len(data))
	})
}

// FuzzPlainPackages walks through what an actor document may have for keyPackages, without a server to follow links to.
func FuzzPlainPackages(f *testing.F) {
	f.Add([]byte(`{"type":"Collection","items":[{"id":"https://b.example/1","mediaType":"message/mls","content":"AAAA","generator":{"name":"x"}},"https://b.example/2"]}`))
	f.Add([]byte(`[[[[[[[[[{"mls:content":"AAAA","mediaType":"message/mls","attributedTo":["https://b.example/users/bob"]}]]]]]]]]]`))
	f.Add([]byte(`{"first":{"next":{"orderedItems":{"content":"x","generator":"y"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := walk{actor: "https://b.example/users/bob", origin: "nowhere", seen: map[string]bool{}}
		w.value(t.Context(), data, 0)
		require.LessOrEqual(t, len(w.found), maxPlainPackages)
		for _, p := range w.found {
			require.NotEmpty(t, p.Content)
			require.LessOrEqual(t, len(p.Generator), 200)
		}
	})
}

func FuzzParseActor(f *testing.F) {
	const id = "https://b.example/users/bob"
	const pem = `-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL0=\n-----END PUBLIC KEY-----\n`
	f.Add([]byte(`{"id":"`+id+`","type":"Person","inbox":"`+id+`/inbox","publicKey":{"id":"`+id+`#main-key","owner":"`+id+`","publicKeyPem":"`+pem+`"}}`), id)
	f.Add([]byte(`{"id":"`+id+`","type":["Person"],"publicKey":[{"owner":"`+id+`"}],"endpoints":{"sharedInbox":"https://b.example/inbox"}}`), id)
	f.Add([]byte(`{"id":"x","publicKey":null}`), "x")
	f.Add([]byte(`{"id":"`+id+`","assertionMethod":[{"type":"Multikey","controller":"`+id+`","id":"`+id+`#x","publicKeyMultibase":"z6Mk"}],"generator":{"implements":[{"href":"x"}]}}`), id)
	f.Fuzz(func(t *testing.T, data []byte, u string) {
		a, err := ParseActor(data, u)
		if err != nil {
			require.ErrorIs(t, err, errActor)
			require.Equal(t, RemoteActor{}, a)
			return
		}
		origin, err := Origin(u)
		require.NoError(t, err)
		require.Equal(t, u, a.ID)
		require.True(t, on(origin, a.Inbox))
		require.True(t, a.Shared == "" || on(origin, a.Shared))
		require.GreaterOrEqual(t, a.Key.N.BitLen(), minKey)
		require.LessOrEqual(t, len(a.ed25519), maxMultikeys)
	})
}

func FuzzMultikey(f *testing.F) {
	f.Add(encodeMultikey(make([]byte, 32)))
	f.Add("z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")
	f.Add("z" + strings.Repeat("1", 63))
	f.Add("zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169")
	f.Fuzz(func(t *testing.T, s string) {
		if key, ok := decodeMultikey(s); ok {
			require.Len(t, key, 32)
			require.Equal(t, s, encodeMultikey(key))
		}
	})
}

func FuzzParseDiscovery(f *testing.F) {
	doc, err := json.Marshal(NewDiscovery("https://b.example", "key", make([]byte, 32), make([]byte, 32)))
	require.NoError(f, err)
	f.Add(doc, "https://b.example")
	f.Add([]byte(strings.Replace(string(doc), "b.example/waxwing/claim", "c.example/", 1)), "https://b.example")
	f.Add([]byte(`{"version":1,"hub":{"key":""}}`), "")
	f.Fuzz(func(t *testing.T, data []byte, instance string) {
		d, err := ParseDiscovery(data, instance)
		if err != nil {
			require.Equal(t, Discovery{}, d)
			return
		}
		for _, u := range []string{d.Actor, d.API, d.Claim, d.Directory, d.Log.URL} {
			require.True(t, on(instance, u), u)
		}
		require.Equal(t, transparency.Origin(Host(instance), d.Log.VRF), d.Log.Origin)
		again, err := json.Marshal(d)
		require.NoError(t, err)
		same, err := ParseDiscovery(again, instance)
		require.NoError(t, err)
		require.Equal(t, d, same)
	})
}

func FuzzParseAccount(f *testing.F) {
	for _, seed := range []string{"alice@a.example", "acct:alice@a.example:8443", "@alice@[::1]", "a@b@c", "alice@a.example/x?y#z", "alice@\n", "alice@%41"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, host, err := ParseAccount(s)
		if err != nil {
			return
		}
		require.True(t, ValidName(name))
		require.True(t, strings.HasSuffix(s, name+"@"+host))
		origin, err := Origin("https://" + host + "/users/" + name)
		require.NoError(t, err)
		require.Equal(t, host, Host(origin))
	})
}

// FuzzSightings: whatever a header has, at most four sightings come out of it, each of which could have been put in.
func FuzzSightings(f *testing.F) {
	h := http.Header{}
	SetSightings(h, []transparency.Sighting{{Size: 1}, {Size: 1 << 62}})
	f.Add(h.Get(headerSightings))
	f.Add("AAAA,,=, ,")
	f.Fuzz(func(t *testing.T, value string) {
		seen := Sightings(http.Header{headerSightings: {value}})
		if len(seen) > maxSightings {
			t.Fatal(len(seen))
		}
		again := http.Header{}
		SetSightings(again, seen)
		if got := Sightings(again); !slices.Equal(got, seen) {
			t.Fatal(got, seen)
		}
	})
}
