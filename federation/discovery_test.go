package federation_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
)

func discovery(t testing.TB, instance string, change func(d, log map[string]any)) string {
	t.Helper()
	doc, err := json.Marshal(federation.NewDiscovery(instance, "b.example+1234+AAAA", make([]byte, 32), make([]byte, 32)))
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(doc, &m))
	if change != nil {
		change(m, m["log"].(map[string]any))
	}
	return string(must(json.Marshal(m)))
}

func TestDiscoveryReadsBack(t *testing.T) {
	for _, instance := range []string{"https://b.example", "http://b.test:8080", "https://[2606:4700::1]"} {
		want := federation.NewDiscovery(instance, "b.example+1234+AAAA", make([]byte, 32), make([]byte, 32))
		got, err := federation.ParseDiscovery([]byte(discovery(t, instance, func(d, _ map[string]any) { d["more"] = 1 })), instance)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestDiscoveryRefused(t *testing.T) {
	type m = map[string]any
	for name, change := range map[string]func(d, log m){
		"version 2":               func(d, _ m) { d["version"] = 2 },
		"no version":              func(d, _ m) { delete(d, "version") },
		"another instance":        func(d, _ m) { d["instance"] = "https://c.example" },
		"instance with a slash":   func(d, _ m) { d["instance"] = "https://b.example/" },
		"actor elsewhere":         func(d, _ m) { d["actor"] = "https://c.example/waxwing/actor" },
		"api elsewhere":           func(d, _ m) { d["api"] = "https://b.example.c.example/" },
		"claim in clear":          func(d, _ m) { d["claim"] = "http://b.example/waxwing/claim" },
		"claim on another port":   func(d, _ m) { d["claim"] = "https://b.example:8443/waxwing/claim" },
		"claim behind a user":     func(d, _ m) { d["claim"] = "https://b.example@c.example/" },
		"directory a path":        func(d, _ m) { d["directory"] = "/waxwing/directory" },
		"no directory":            func(d, _ m) { delete(d, "directory") },
		"log elsewhere":           func(_, l m) { l["url"] = "https://c.example/" },
		"log of another":          func(_, l m) { l["origin"] = "c.example/waxwing/log" },
		"no log":                  func(d, _ m) { delete(d, "log") },
		"short hub key":           func(d, _ m) { d["hub"] = m{"key": "AAAA"} },
		"no hub key":              func(d, _ m) { delete(d, "hub") },
		"hub key not base64":      func(d, _ m) { d["hub"] = m{"key": strings.Repeat("!", 44)} },
		"witness elsewhere":       func(d, _ m) { d["witness"] = m{"url": "https://c.example/waxwing/witness"} },
		"long key of a witness":   func(d, _ m) { d["witness"] = m{"key": strings.Repeat("x", 2000)} },
		"member in two spellings": func(d, _ m) { d["Actor"] = "https://c.example/waxwing/actor" },
	} {
		got, err := federation.ParseDiscovery([]byte(discovery(t, "https://b.example", change)), "https://b.example")
		require.Error(t, err, name)
		require.Zero(t, got)
	}
}

func TestOrigin(t *testing.T) {
	for u, want := range map[string]string{
		"https://b.example/users/bob": "https://b.example", "http://b.test:8080": "http://b.test:8080", "https://b.example?x": "https://b.example",
		"https://[::1]:8443/": "https://[::1]:8443", "https://b.example/a%2F..%2f#f": "https://b.example",
	} {
		got, err := federation.Origin(u)
		require.NoError(t, err, u)
		require.Equal(t, want, got)
	}
	for _, u := range []string{
		"", "b.example", "//b.example/", "https://", "https:b.example", "https:///x", "https://B.example/", "https://u@b.example/", "https://u:p@b.example/",
		"ftp://b.example/", "javascript:alert(1)", "https://b.example:/", "https://:443/", "https://b example/", "https://b.example\n/", "https://b.example:x/",
		"https://b.example\\@c.example/", "https://%62.example/", "https://b.example/" + strings.Repeat("x", 2048), "acct:bob@b.example",
	} {
		_, err := federation.Origin(u)
		require.Error(t, err, u)
	}
}

func TestAccounts(t *testing.T) {
	for s, want := range map[string][2]string{
		"alice@a.example": {"alice", "a.example"}, "@alice@a.example": {"alice", "a.example"}, "acct:alice@a.example": {"alice", "a.example"},
		"acct:@alice@a.example": {"alice", "a.example"}, "a_1@a.test:8080": {"a_1", "a.test:8080"}, "x@localhost": {"x", "localhost"},
		"acct@a.example": {"acct", "a.example"},
	} {
		name, host, err := federation.ParseAccount(s)
		require.NoError(t, err, s)
		require.Equal(t, want, [2]string{name, host})
	}
	for _, s := range []string{
		"", "@", "alice", "@alice", "alice@", "@a.example", "Alice@a.example", "alice@A.example", "al ice@a.example", "alice@a.example ", " alice@a.example",
		"alice@a.example/users", "alice@a.example?x", "alice@a.example#x", "alice@b@a.example", "alice@@a.example", "@@alice@a.example", "al.ice@a.example",
		"al-ice@a.example", "älice@a.example", "alice@a.example\n", "alice@a.example\x00", "alice@a.example:", "alice@:443", "alice@a.example:x", "alice@%61.example",
		"alice@[::1", "alice@a\\b", "https://a.example/users/alice", strings.Repeat("a", 31) + "@a.example", "ACCT:alice@a.example",
	} {
		_, _, err := federation.ParseAccount(s)
		require.Error(t, err, "%q", s)
	}
	require.True(t, federation.ValidName(strings.Repeat("a", 30)))
}

func TestWebFinger(t *testing.T) {
	data, err := federation.WebFinger("bob@b.example", bob)
	require.NoError(t, err)
	require.JSONEq(t, `{"subject":"acct:bob@b.example","aliases":["`+bob+`"],"links":[{"rel":"self","type":"application/activity+json","href":"`+bob+`"}]}`, string(data))
}
