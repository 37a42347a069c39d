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
		"type Welcome in full":   func(_, o map[string]any) { o["type"] = "https://purl.archive.org/socialweb/mls#Welcome" },
		"type GroupInfo, array":  func(_, o map[string]any) { o["type"] = []string{"Object", "GroupInfo"} },
		"type GroupInfo, prefix": func(_, o map[string]any) { o["type"] = "mls:GroupInfo" },
		"type PublicMessage":     func(_, o map[string]any) { o["type"] = "PublicMessage" },
		"type KeyPackage":        func(_, o map[string]any) { o["type"] = "KeyPackage" },
		"type Note":              func(_, o map[string]any) { o["type"] = "Note" },
		"type null":              func(_, o map[string]any) { o["type"] = nil },
		"type an object":         func(_, o map[string]any) { o["type"] = map[string]any{} },
		"type an empty array":    func(_, o map[string]any) { o["type"] = []string{} },
		"media type prefixed":    func(_, o map[string]any) { rename(o, "mediaType", "as:mediaType") },
		"media type by mls":      func(_, o map[string]any) { rename(o, "mediaType", "mls:mediaType") },
		"content prefixed by as": func(_, o map[string]any) { rename(o, "content", "as:content") },
		"keys in full": func(_, o map[string]any) {
			rename(o, "content", "https://www.w3.org/ns/activitystreams#content")
			rename(o, "mediaType", "https://www.w3.org/ns/activitystreams#mediaType")
			rename(o, "encoding", mlsNamespace+"encoding")
			rename(o, "conversation", mlsNamespace+"conversation")
		},
		"context beside":          func(_, o map[string]any) { o["context"] = "uri:uuid:1" },
		"context and activity's":  func(a, _ map[string]any) { a["context"] = "uri:uuid:1" },
		"null conversation":       func(_, o map[string]any) { o["context"] = o["conversation"]; o["conversation"] = nil },
		"addressed in cc as well": func(a, o map[string]any) { a["cc"] = []any{"https://c.example/users/carol"} },
		"instrument a URL":        func(a, _ map[string]any) { a["instrument"] = "https://b.example/client" },
		"published and summary":   func(a, o map[string]any) { a["summary"], o["summary"], o["published"] = "x", "y", "z" },
		"signature beside":        func(a, _ map[string]any) { a["proof"] = map[string]any{"type": "DataIntegrityProof"} },
		"context a list": func(a, o map[string]any) {
			a["@context"] = []any{"x", nil, map[string]any{"mls": "y"}}
			o["@context"] = "z"
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

// What has no URL of its own, as clients send it that their server adds nothing to.
func TestObjectsWithoutAnID(t *testing.T) {
	for name, change := range map[string]func(a, o map[string]any){
		"no object id":     func(_, o map[string]any) { delete(o, "id") },
		"object id null":   func(_, o map[string]any) { o["id"] = nil },
		"object id a UUID": func(_, o map[string]any) { o["id"] = "uri:uuid:5e0ba0a4-3a31-4e9f-a1d7-6e5b8f6c0d11" },
		"object id ap-mls": func(_, o map[string]any) { o["id"] = "ap-mls://group/1" },
	} {
		in, err := parseActivity(create(t, change))
		require.NoError(t, err, name)
		require.True(t, in.ours, name)
		require.Equal(t, in.id, in.objectID, name)
	}
	in, err := parseActivity(create(t, func(_, o map[string]any) { o["context"] = "uri:uuid:1"; delete(o, "conversation") }))
	require.NoError(t, err)
	require.Empty(t, in.conversation, "the id of a group is no collection")
	in, err = parseActivity(create(t, func(_, o map[string]any) { o["id"] = "https://c.example/o" }))
	require.NoError(t, err)
	require.Equal(t, "https://c.example/o", in.objectID, "somebody else's stays to be refused")
}

// To servers of the plain draft the type is one string, the context names the group, and nothing of ours is there.
func TestPlainActivity(t *testing.T) {
	e := Envelope{ID: "https://b.example/waxwing/activities/1", Actor: "https://b.example/users/bob", Conversation: "uri:uuid:1", Kind: KindWelcome,
		Message: []byte("message"), Plain: true}
	body, err := e.Activity([]string{"https://a.example/users/alice"}, time.Unix(1e9, 0))
	require.NoError(t, err)
	var doc struct{ Object map[string]any }
	require.NoError(t, json.Unmarshal(body, &doc))
	require.Equal(t, []any{"Welcome", "uri:uuid:1", nil}, []any{doc.Object["type"], doc.Object["context"], doc.Object["conversation"]})
	in, err := parseActivity(body)
	require.NoError(t, err)
	require.Equal(t, []byte("message"), in.message)
}

func TestOutgoing(t *testing.T) {
	const bob = "https://b.example/users/bob"
	good := func(change func(a, o map[string]any)) []byte { return create(t, change) }
	out, err := ParseOutgoing(good(func(a, o map[string]any) { a["id"] = "uri:uuid:1"; o["conversation"] = "uri:uuid:2" }), bob)
	require.NoError(t, err)
	require.Equal(t, Outgoing{"uri:uuid:1", []string{"https://a.example/users/alice"}, "uri:uuid:2", []byte("message")}, out)
	var doc map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(good(nil), &doc))
	out, err = ParseOutgoing(doc["object"], bob)
	require.NoError(t, err, "a bare object stands for its Create")
	require.Equal(t, []byte("message"), out.Message)
	for name, change := range map[string]func(a, o map[string]any){
		"somebody else's":      func(a, _ map[string]any) { a["actor"] = "https://b.example/users/carol" },
		"object of another":    func(_, o map[string]any) { o["attributedTo"] = "https://b.example/users/carol" },
		"actor an object":      func(a, _ map[string]any) { a["actor"] = map[string]any{"id": bob} },
		"to nobody":            func(a, o map[string]any) { delete(a, "to"); delete(o, "to") },
		"to everybody":         func(a, _ map[string]any) { a["to"] = public },
		"to as:Public":         func(a, _ map[string]any) { a["cc"] = "as:Public" },
		"to what is no URL":    func(a, _ map[string]any) { a["to"] = "alice" },
		"object by URL":        func(a, _ map[string]any) { a["object"] = "https://b.example/o" },
		"a note":               func(_, o map[string]any) { o["mediaType"] = "text/html" },
		"other encoding":       func(_, o map[string]any) { o["encoding"] = "hex" },
		"no content":           func(_, o map[string]any) { delete(o, "content") },
		"id too long":          func(a, _ map[string]any) { a["id"] = strings.Repeat("x", 3000) },
		"conversation is long": func(_, o map[string]any) { o["conversation"] = strings.Repeat("x", 3000) },
	} {
		_, err := ParseOutgoing(good(change), bob)
		require.Error(t, err, name)
	}
	for _, text := range []string{"", "null", "[]", "{} {}", `{"a":1,"a":2}`} {
		_, err := ParseOutgoing([]byte(text), bob)
		require.Error(t, err, text)
	}
}

func FuzzParseOutgoing(f *testing.F) {
	f.Add(create(f, nil))
	f.Add([]byte(`{"mediaType":"message/mls","content":"AAAA","to":["https://a.example/u"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := ParseOutgoing(data, "https://b.example/users/bob")
		if err == nil && (len(out.To) == 0 || len(out.ID) > 2048 || len(out.Conversation) > 2048) {
			t.Fatal(out)
		}
	})
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
