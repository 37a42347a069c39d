package federation

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// Outgoing is an activity that a client has handed in at its own outbox.
type Outgoing struct {
	ID           string // the client's own; empty if it gave none
	To           []string
	Conversation string
	Message      []byte // MLSMessage; nil if there is none
}

var errOutgoing = errors.New("federation: an outbox takes a Create of an actor's own with one message/mls object inline, addressed to actors")

// ParseOutgoing reads a Create, or the object of one, which stands for a Create of it (ActivityPub 6.2.1). Who is named in it as the actor
// is this one. A client's ids are no URLs, since it is the server that gives those.
func ParseOutgoing(body []byte, actor string) (out Outgoing, err error) {
	var doc map[string]json.RawMessage
	if err := strictjson.Unmarshal(body, &doc); err != nil {
		return Outgoing{}, err
	}
	object := doc
	var kind stringList
	if read(doc, &kind, "type"); isCreate(kind) {
		if object = nil; !read(doc, &object, "object") {
			return Outgoing{}, errOutgoing
		}
	}
	var mediaType, encoding, content string
	read(object, &mediaType, spellings("mediaType")...)
	read(object, &encoding, spellings("encoding")...)
	if mediaType != mlsMediaType || encoding != "base64" && encoding != "" || !read(object, &content, spellings("content")...) {
		return Outgoing{}, errOutgoing
	}
	for _, who := range []map[string]json.RawMessage{doc, object} {
		for _, name := range []string{"actor", "attributedTo"} {
			var named string
			if raw, ok := who[name]; ok && (json.Unmarshal(raw, &named) != nil || named != actor) {
				return Outgoing{}, errOutgoing
			}
		}
	}
	out.To = append(recipients(doc), recipients(object)...)
	slices.Sort(out.To)
	out.To = slices.Compact(out.To)
	for _, to := range out.To {
		if _, err := Origin(to); err != nil || to == public {
			return Outgoing{}, errOutgoing
		}
	}
	if len(out.To) == 0 {
		return Outgoing{}, errOutgoing
	}
	read(doc, &out.ID, "id")
	read(object, &out.Conversation, append(spellings("conversation"), "context")...)
	if len(out.ID) > 2048 || len(out.Conversation) > 2048 {
		return Outgoing{}, errOutgoing
	}
	out.Message = decode(content)
	return out, nil
}
