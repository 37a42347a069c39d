// Package federation is what a server knows of ActivityPub and of the other sidecars (spec/wire.md): documents and
// activities, the door in ([Inbox]) and the door out ([Remote], [Deliverer]). It never opens an MLS message, and it does not
// know package device. Foreign documents are read into small structs of its own over the raw bytes; no JSON-LD is run on them.
package federation

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

const mlsMediaType = "message/mls"

// Kind of an MLS message, which decides what an object is, whatever its ActivityStreams type says.
type Kind string

const (
	KindWelcome Kind = "Welcome"
	KindPrivate Kind = "PrivateMessage"
	KindPublic  Kind = "PublicMessage"
)

// Envelope is one MLS message on its way: what stands outside the encryption.
type Envelope struct {
	ID           string // of the activity
	Actor        string
	To           []string
	Conversation string
	Kind         Kind
	Message      []byte // MLSMessage
	Receipt      []byte // of the hub; nil if none
	Plain        bool   // to servers that know the draft and nothing of ours
}

// Activity gives the Create that carries an envelope to the users of one server.
func (e Envelope) Activity(to []string, published time.Time) ([]byte, error) {
	return document(e.create(to, published), "activity "+e.ID)
}

func (e Envelope) create(to []string, published time.Time) map[string]any {
	activity := map[string]any{
		"id": e.ID, "type": "Create", "actor": e.Actor, "to": to, "published": published.UTC().Format(time.RFC3339), "object": e.object(to),
	}
	if e.Plain {
		activity["instrument"] = generator["id"]
	}
	return activity
}

// object has the draft's form, but to plain servers the type is one string: one of the two implementations looks for exactly that, and
// the other for no type at all. To them the context says which group it is; for others that is the conversation.
func (e Envelope) object(to []string) map[string]any {
	object := map[string]any{
		"id": strings.Replace(e.ID, PathActivities, PathObjects, 1), "type": []string{"Object", string(e.Kind)},
		"attributedTo": e.Actor, "to": to, "mediaType": mlsMediaType, "encoding": "base64", "content": e.Message,
	}
	if e.Plain {
		object["type"] = string(e.Kind)
	}
	if e.Plain && e.Conversation != "" {
		object["context"] = e.Conversation
	}
	if _, err := Origin(e.Conversation); err == nil || !e.Plain && e.Conversation != "" {
		object["conversation"] = e.Conversation
	}
	if e.Receipt != nil {
		object["waxwing:receipt"] = e.Receipt
	}
	return object
}

// incoming is an activity as read: nothing in it has been verified. ours is false for what is well-formed and not for us.
type incoming struct {
	id, actor    string
	to           []string
	objectID     string
	attributedTo string
	conversation string
	message      []byte
	receipt      []byte
	ours         bool
}

// parseActivity reads an activity in any of the spellings that are in use: types and recipients as a string or an array, keys
// with or without the mls: prefix (I3, I6).
func parseActivity(body []byte) (in incoming, err error) {
	doc, err := strictjson.Members(body)
	if err != nil {
		return incoming{}, err
	}
	var kind stringList
	for _, f := range []struct {
		into any
		name string
	}{{&in.id, "id"}, {&in.actor, "actor"}, {&kind, "type"}} {
		if !read(doc, f.into, f.name) {
			return incoming{}, fmt.Errorf("federation: reading an activity: it has no usable %s", f.name)
		}
	}
	if !isCreate(kind) {
		return in, nil
	}
	object, err := strictjson.Members(doc["object"])
	if err != nil || object == nil {
		return in, nil
	}
	var mediaType, encoding, content, receipt string
	read(object, &mediaType, spellings("mediaType")...)
	read(object, &encoding, spellings("encoding")...)
	if mediaType != mlsMediaType || !read(object, &content, spellings("content")...) || encoding != "base64" && encoding != "" {
		return in, nil
	}
	in.ours = true
	in.to = append(recipients(doc), recipients(object)...)
	read(object, &in.attributedTo, "attributedTo")
	readObjectID(object, &in)
	readConversation(object, &in)
	in.message = decode(content) // what is no base64 is no message: I8
	if read(object, &receipt, "waxwing:receipt") {
		in.receipt = decode(receipt)
	}
	return in, nil
}

// spellings of a key: by itself, with a prefix, or in full.
func spellings(name string) []string {
	return []string{name, "mls:" + name, "as:" + name, mlsNamespace + name, "https://www.w3.org/ns/activitystreams#" + name}
}

const mlsNamespace = "https://purl.archive.org/socialweb/mls#"

// readObjectID: an object that has no URL of its own is part of its activity, and shares the activity's id here.
func readObjectID(object map[string]json.RawMessage, in *incoming) {
	if !read(object, &in.objectID, "id") || !strings.HasPrefix(in.objectID, "http:") && !strings.HasPrefix(in.objectID, "https:") {
		in.objectID = in.id
	}
}

// readConversation: what stands in context instead is often the bare id of the group. That is no collection, and says nothing that the
// message does not say itself.
func readConversation(object map[string]json.RawMessage, in *incoming) {
	if read(object, &in.conversation, spellings("conversation")...) {
		return
	}
	var where string
	if read(object, &where, "context") {
		if _, err := Origin(where); err == nil {
			in.conversation = where
		}
	}
}

func isCreate(kind stringList) bool {
	for _, spelling := range []string{"Create", "as:Create", "https://www.w3.org/ns/activitystreams#Create"} {
		if slices.Contains(kind, spelling) {
			return true
		}
	}
	return false
}

// decode gives nil for anything but canonical base64; the decoder would skip line breaks.
func decode(s string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil
	}
	return b
}

// read decodes the first of the names that is there and has the right type.
func read(doc map[string]json.RawMessage, into any, names ...string) bool {
	for _, name := range names {
		if raw, ok := doc[name]; ok && string(raw) != "null" && json.Unmarshal(raw, into) == nil {
			return true
		}
	}
	return false
}

func recipients(doc map[string]json.RawMessage) (all []string) {
	for _, name := range []string{"to", "cc", "bto", "bcc"} {
		var some stringList
		read(doc, &some, name)
		all = append(all, some...)
	}
	return all
}
