package federation

import (
	"encoding/json"
	"fmt"
)

// public addresses an object to everybody.
const public = "https://www.w3.org/ns/activitystreams#Public"

// generator says by what program a key package was made, in the three words that others look for.
var generator = map[string]string{"id": "https://github.com/waxwing-dm/waxwing", "type": "Application", "name": "Waxwing"}

// PublishedPackage is a key package as the keyPackages collection shows it.
type PublishedPackage struct {
	ID      string
	Content []byte // raw, which is what both other implementations send, though the draft's text has it framed
	Suite   string // registry name
}

func (p PublishedPackage) object(actor string) map[string]any {
	return map[string]any{
		"type": []string{"Object", "KeyPackage"}, "id": p.ID, "attributedTo": actor, "to": public, "generator": generator,
		"mediaType": mlsMediaType, "encoding": "base64", "content": p.Content, "ciphersuite": p.Suite,
	}
}

// Document gives the package by itself, as its URL has it.
func (p PublishedPackage) Document(actor string) ([]byte, error) {
	return document(p.object(actor), p.ID)
}

// KeyPackages gives the collection of an actor's packages, inline.
func KeyPackages(actor string, packages []PublishedPackage) ([]byte, error) {
	items := make([]any, 0, len(packages))
	for _, p := range packages {
		items = append(items, p.object(actor))
	}
	id := actor + "/key-packages"
	return document(map[string]any{"type": "Collection", "id": id, "attributedTo": actor, "totalItems": len(items), "items": items}, id)
}

// document puts the contexts in front.
func document(object map[string]any, id string) ([]byte, error) {
	object["@context"] = contexts
	doc, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("federation: writing %s: %w", id, err)
	}
	return doc, nil
}
