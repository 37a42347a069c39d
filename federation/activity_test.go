package federation

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// create is an activity in our own spelling; change gets the activity and its object.
func create(t testing.TB, change func(activity, object map[string]any)) []byte {
	t.Helper()
	e := Envelope{
		ID: "https://b.example/waxwing/activities/1", Actor: "https://b.example/users/bob", Conversation: "https://b.example/waxwing/conversations/67",
		Kind: KindPrivate, Message: []byte("message"), Receipt: []byte("receipt"),
	}
	body, err := e.Activity([]string{"https://a.example/users/alice"}, time.Unix(1e9, 0))
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(body, &doc))
	if change != nil {
		change(doc, doc["object"].(map[string]any))
	}
	body, err = json.Marshal(doc)
	require.NoError(t, err)
	return body
}

func rename(m map[string]any, from, to string) {
	m[to] = m[from]
	delete(m, from)
}

func TestActivityInAllSpellings(t *testing.T) {
	want := incoming{
		id: "https://b.example/waxwing/activities/1", actor: "https://b.example/users/bob", objectID: "https://b.example/waxwing/objects/1",
		attributedTo: "https://b.example/users/bob", conversation: "https://b.example/waxwing/conversations/67", message: []byte("message"),
		receipt: []byte("receipt"), ours: true,
	}
	for name, change := range map[string]func(a, o map[string]any){
		"our own":              nil,
		"object type a string": func(_, o map[string]any) { o["type"] = "PrivateMessage" },
		"prefixed type":        func(_, o map[string]any) { o["type"] = "mls:PrivateMessage" },
		"prefixed in array":    func(_, o map[string]any) { o["type"] = []string{"Object", "mls:PrivateMessage"} },
		"commit as GroupInfo":  func(_, o map[string]any) { o["type"] = "GroupInfo" },
		"type unknown":         func(_, o map[string]any) { o["type"] = "x" },
		"no object type":       func(_, o map[string]any) { delete(o, "type") },
		"Create in an array":   func(a, _ map[string]any) { a["type"] = []string{"Create"} },
		"Create among others":  func(a, _ map[string]any) { a["type"] = []any{"Activity", 5, "Create"} },
		"Create prefixed":      func(a, _ map[string]any) { a["type"] = "as:Create" },
		"Create in full":       func(a, _ map[string]any) { a["type"] = "https://www.w3.org/ns/activitystreams#Create" },
		"keys prefixed": func(_, o map[string]any) {
			rename(o, "content", "mls:content")
			rename(o, "encoding", "mls:encoding")
			rename(o, "conversation", "mls:conversation")
		},
		"no encoding":          func(_, o map[string]any) { delete(o, "encoding") },
		"context for a group":  func(_, o map[string]any) { rename(o, "conversation", "context") },
		"null before a prefix": func(_, o map[string]any) { o["mls:content"] = o["content"]; o["content"] = nil },
		"unknown members":      func(a, o map[string]any) { a["instrument"], o["generator"] = []any{1}, map[string]any{"id": "x"} },
		"any context":          func(a, _ map[string]any) { a["@context"] = "https://purl.archive.org/socialweb/mls" },
		"no context":           func(a, _ map[string]any) { delete(a, "@context") },
		"to as a string":       func(a, o map[string]any) { a["to"] = "https://a.example/users/alice"; delete(o, "to") },
		"to in the object":     func(a, _ map[string]any) { delete(a, "to") },
		"to in cc":             func(a, o map[string]any) { rename(a, "to", "cc"); delete(o, "to") },
		"to in bto":            func(a, o map[string]any) { rename(o, "to", "bto"); delete(a, "to") },
		"to in bcc as a string": func(a, o map[string]any) {
			delete(a, "to")
			delete(o, "to")
			o["bcc"] = "https://a.example/users/alice"
		},
		"to among what is no URL": func(a, o map[string]any) { a["to"] = []any{1, nil, map[string]any{}, "https://a.example/users/alice"} },
	} {
		t.Run(name, func(t *testing.T) {
			in, err := parseActivity(create(t, change))
			require.NoError(t, err)
			require.Contains(t, in.to, "https://a.example/users/alice")
			in.to = nil
			require.Equal(t, want, in)
		})
	}
}

func TestActivitiesThatAreNotOurs(t *testing.T) {
	for name, change := range map[string]func(a, o map[string]any){
		"a note":             func(_, o map[string]any) { o["type"], o["mediaType"] = "Note", "text/html" },
		"no media type":      func(_, o map[string]any) { delete(o, "mediaType") },
		"media type array":   func(_, o map[string]any) { o["mediaType"] = []string{mlsMediaType} },
		"other encoding":     func(_, o map[string]any) { o["encoding"] = "hex" },
		"no content":         func(_, o map[string]any) { delete(o, "content") },
		"content an object":  func(_, o map[string]any) { o["content"] = map[string]any{"en": "x"} },
		"an update":          func(a, _ map[string]any) { a["type"] = "Update" },
		"create in lower":    func(a, _ map[string]any) { a["type"] = "create" },
		"mls Create":         func(a, _ map[string]any) { a["type"] = "mls:Create" },
		"object by URL":      func(a, _ map[string]any) { a["object"] = "https://b.example/o" },
		"several objects":    func(a, o map[string]any) { a["object"] = []any{o} },
		"no object":          func(a, _ map[string]any) { delete(a, "object") },
		"Object for object":  func(a, _ map[string]any) { rename(a, "object", "Object") },
		"Content in capital": func(_, o map[string]any) { rename(o, "content", "Content") },
	} {
		t.Run(name, func(t *testing.T) {
			in, err := parseActivity(create(t, change))
			require.NoError(t, err)
			require.False(t, in.ours)
			require.Nil(t, in.message)
			require.Equal(t, "https://b.example/users/bob", in.actor, "the signature is checked all the same")
		})
	}
}

func TestActivitiesThatCannotBeRead(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": "", "array": "[]", "null": "null", "string": `"x"`, "two": "{} {}",
		"no id":           `{"type":"Create","actor":"x"}`,
		"no type":         `{"id":"x","actor":"x"}`,
		"no actor":        `{"id":"x","type":"Create"}`,
		"null id":         `{"id":null,"type":"Create","actor":"x"}`,
		"id an object":    `{"id":{},"type":"Create","actor":"x"}`,
		"actor an object": `{"id":"x","type":"Create","actor":{"id":"x"}}`,
		"actors":          `{"id":"x","type":"Create","actor":["x"]}`,
		"type a number":   `{"id":"x","type":1,"actor":"x"}`,
		"Actor":           `{"id":"x","type":"Create","Actor":"x"}`,
		"two actors":      `{"id":"x","type":"Create","actor":"x","Actor":"y"}`,
		"two objects":     `{"id":"x","type":"Create","actor":"x","object":{},"object":{}}`,
		"half character":  `{"id":"x\ud800","type":"Create","actor":"x"}`,
	} {
		_, err := parseActivity([]byte(body))
		require.Error(t, err, name)
		require.Error(t, shapeError(err))
	}
}

func TestContentIsCanonicalBase64(t *testing.T) {
	for name, content := range map[string]string{
		"line breaks": "bWVz\nc2FnZQ==", "carriage return": "bWVz\rc2FnZQ==", "no padding": "bWVzc2FnZQ", "url alphabet": "-_-_", "spaces": "bWVz c2FnZQ==",
		"bits left over": "bWVzc2FnZR==", "trailing": "bWVzc2FnZQ==x", "not base64": "!",
	} {
		in, err := parseActivity(create(t, func(_, o map[string]any) { o["content"], o["waxwing:receipt"] = content, content }))
		require.NoError(t, err)
		require.True(t, in.ours, name)
		require.Empty(t, in.message, name)
		require.Nil(t, in.receipt, name)
	}
}

func TestActivityIsInlineAndOfOneOrigin(t *testing.T) {
	var doc struct {
		Context []any `json:"@context"`
		ID      string
		Object  struct {
			ID, Content string
			Type        []string
		}
	}
	require.NoError(t, json.Unmarshal(create(t, nil), &doc))
	require.Equal(t, []string{"Object", "PrivateMessage"}, doc.Object.Type)
	require.NotEqual(t, doc.ID, doc.Object.ID)
	inline := doc.Context[2].(map[string]any)
	for _, term := range []string{"PrivateMessage", "Welcome", "PublicMessage", "encoding", "conversation", "waxwing:receipt", "waxwing", "mls"} {
		require.Contains(t, inline, term)
	}
	const namespace = "https://github.com/waxwing-dm/waxwing/ns#"
	require.Equal(t, namespace, inline["waxwing"])
	require.True(t, strings.HasPrefix(inline["waxwing:receipt"].(map[string]any)["@id"].(string), namespace))

	e := Envelope{ID: "https://b.example/waxwing/activities/1", Kind: KindWelcome}
	body, err := e.Activity(nil, time.Unix(0, 0))
	require.NoError(t, err)
	require.NotContains(t, string(body), `"waxwing:receipt":"`, "no receipt, no member")
}
