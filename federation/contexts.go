package federation

import (
	_ "embed"
	"encoding/json"
)

// The terms that we use and that are in neither of the two contexts everybody has. What the draft's editors serve under their own
// URL is a bare map, without the "@context" around it that a processor looks for, and it takes ciphersuite for an IRI.
//
//go:embed contexts/mls.jsonld
var termsDocument []byte

// contexts go into every document. Those terms are defined inline: a remote context that cannot be loaded makes other servers
// refuse the whole document. The two URLs are names that every processor has at hand; nothing here ever fetches them.
var contexts = []any{"https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1", inlineTerms()}

func inlineTerms() json.RawMessage {
	var doc struct {
		Context json.RawMessage `json:"@context"`
	}
	if err := json.Unmarshal(termsDocument, &doc); err != nil {
		panic("federation: the embedded context: " + err.Error())
	}
	return doc.Context
}
