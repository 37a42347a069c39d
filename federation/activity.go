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
}

// Activity gives the Create that carries an envelope to the users of one server.
func (e Envelope) Activity(to []string, published time.Time) ([]byte, error) {
	object := map[string]any{
		"id": strings.Replace(e.ID, PathActivities, PathObjects, 1), "type": []string{"Object", string(e.Kind)},
		"attributedTo": e.Actor, "to": to, "mediaType": mlsMediaType, "encoding": "base64", "content": e.Message, "conversation": e.Conversation,
	}
	if e.Receipt != nil {
		object["waxwing:receipt"] = e.Receipt
	}
	body, err := json.Marshal(map[string]any{
		"@context": contexts, "id": e.ID, "type": "Create", "actor": e.Actor, "to": to,
		"published": published.UTC().Format(time.RFC3339), "object": object,
	})
	if err != nil {
		return nil, fmt.Errorf("federation: writing activity %s: %w", e.ID, err)
	}
	return body, nil
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
	var doc map[string]json.RawMessage
	if err := strictjson.Unmarshal(body, &doc); err != nil {
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
	var object map[string]json.RawMessage
	if !isCreate(kind) || !read(doc, &object, "object") {
		return in, nil
	}
	var mediaType, encoding, content, receipt string
	read(object, &mediaType, "mediaType")
	read(object, &encoding, "encoding", "mls:encoding")
	if mediaType != mlsMediaType || !read(object, &content, "content", "mls:content") || encoding != "base64" && encoding != "" {
		return in, nil
	}
	in.ours = true
	in.to = append(recipients(doc), recipients(object)...)
	read(object, &in.objectID, "id")
	read(object, &in.attributedTo, "attributedTo")
	read(object, &in.conversation, "conversation", "mls:conversation", "context")
	in.message = decode(content) // what is no base64 is no message: I8
	if read(object, &receipt, "waxwing:receipt") {
		in.receipt = decode(receipt)
	}
	return in, nil
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
