package federation

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"

	vocab "github.com/go-ap/activitypub"
	"github.com/go-ap/jsonld"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// ContentType of ActivityPub documents.
const ContentType = "application/activity+json"

// KeyID of an actor's HTTP signature key.
func KeyID(actor string) string { return actor + "#main-key" }

// LocalActor is what there is to say of an actor that lives here.
type LocalActor struct {
	ID      string
	Name    string // preferredUsername
	Service bool   // the instance's own actor
	Inbox   string
	Shared  string // inbox
	Key     *rsa.PublicKey
	Ed25519 ed25519.PublicKey // the service actor's
}

// Document gives the actor document.
func (a LocalActor) Document() ([]byte, error) {
	kind := vocab.PersonType
	if a.Service {
		kind = vocab.ServiceType
	}
	person := vocab.ActorNew(vocab.ID(a.ID), kind)
	person.PreferredUsername = vocab.NaturalLanguageValuesNew(vocab.LangRefValueNew(vocab.NilLangRef, a.Name))
	person.Inbox, person.Outbox = vocab.IRI(a.Inbox), vocab.IRI(a.ID+"/outbox")
	person.Endpoints = &vocab.Endpoints{SharedInbox: vocab.IRI(a.Shared)}
	keyPEM, err := publicPEM(a.Key)
	if err != nil {
		return nil, fmt.Errorf("federation: writing actor %s: %w", a.ID, err)
	}
	person.PublicKey = vocab.PublicKey{ID: vocab.ID(KeyID(a.ID)), Owner: vocab.IRI(a.ID), PublicKeyPem: keyPEM}
	plain, err := jsonld.WithContext(jsonld.IRI(vocab.ActivityBaseURI)).Marshal(person)
	if err != nil {
		return nil, fmt.Errorf("federation: writing actor %s: %w", a.ID, err)
	}
	extra := map[string]any{"@context": contexts}
	if a.Ed25519 != nil {
		extra["assertionMethod"] = []multikeyDocument{newMultikey(a.ID, a.Ed25519)}
	}
	if !a.Service {
		extra["keyPackages"], extra["messages"] = a.ID+"/key-packages", a.ID+"/messages"
	}
	return extend(plain, extra)
}

// extend adds members to a document that the vocabulary library has written: those it does not know.
func extend(doc []byte, extra map[string]any) ([]byte, error) {
	var m map[string]any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("federation: extending a document: %w", err)
	}
	maps.Copy(m, extra)
	return json.Marshal(m)
}

func publicPEM(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// RemoteActor is what we use of somebody else's actor document.
type RemoteActor struct {
	ID     string
	Type   string
	Inbox  string
	Shared string // inbox; empty if there is none
	KeyID  string
	Key    *rsa.PublicKey

	ed25519 []actorKey
	rfc9421 bool // says that its server verifies RFC 9421
}

// key finds the one of exactly that id (H6).
func (a RemoteActor) key(id string) (crypto.PublicKey, bool) {
	if a.KeyID == id {
		return a.Key, true
	}
	for _, k := range a.ed25519 {
		if k.id == id {
			return k.public, true
		}
	}
	return nil, false
}

// Bits of a key. What is kept of a stranger's document must be small.
const (
	minKey = 2048
	maxKey = 8192
)

var errActor = errors.New("not an actor document that can be used")

type keyDocument struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	PEM   string `json:"publicKeyPem"`
}

// ParseActor reads an actor document fetched from u. Its id, key and inboxes must be its own (H6).
func ParseActor(data []byte, u string) (RemoteActor, error) {
	fail := func(reason string) (RemoteActor, error) {
		return RemoteActor{}, fmt.Errorf("federation: reading actor %.200q: %s: %w", u, reason, errActor)
	}
	var doc struct {
		ID        string          `json:"id"`
		Type      stringList      `json:"type"`
		Inbox     string          `json:"inbox"`
		PublicKey json.RawMessage `json:"publicKey"`
		Assertion json.RawMessage `json:"assertionMethod"`
		Generator json.RawMessage `json:"generator"`
		Endpoints struct {
			SharedInbox string `json:"sharedInbox"`
		} `json:"endpoints"`
	}
	if len(data) > maxDocument || strictjson.Unmarshal(data, &doc) != nil {
		return fail("malformed")
	}
	if doc.ID != u {
		return fail("it has another id")
	}
	key, err := parseKey(doc.PublicKey)
	if err != nil {
		return fail("its key cannot be read")
	}
	a := RemoteActor{ID: doc.ID, Inbox: doc.Inbox, Shared: doc.Endpoints.SharedInbox, KeyID: key.ID}
	if len(doc.Type) > 0 {
		a.Type = doc.Type[0]
	}
	if key.Owner != a.ID {
		return fail("its key is somebody else's")
	}
	if len(a.KeyID) > 2048 || len(a.Type) > 2048 {
		return fail("its type or key id is too long")
	}
	if a.Key, err = parsePEM(key.PEM); err != nil {
		return fail("its key cannot be read")
	}
	if bits := a.Key.N.BitLen(); bits < minKey || bits > maxKey {
		return fail("its key is too small or too large")
	}
	origin, err := Origin(a.ID)
	if err != nil {
		return fail("its id")
	}
	for _, inbox := range []string{a.Inbox, a.Shared} {
		if o, err := Origin(inbox); inbox != "" && (err != nil || o != origin) {
			return fail("an inbox on another origin")
		}
	}
	if a.Inbox == "" {
		return fail("no inbox")
	}
	a.ed25519, a.rfc9421 = parseMultikeys(doc.Assertion, a.ID), implementsRFC9421(parseImplements(doc.Generator))
	return a, nil
}

// parseImplements reads the links of a generator (FEP-844e), if they have the form that is usual.
func parseImplements(generator json.RawMessage) (links []string) {
	var doc struct {
		Implements []struct {
			Href string `json:"href"`
		} `json:"implements"`
	}
	if json.Unmarshal(generator, &doc) != nil {
		return nil
	}
	for _, link := range doc.Implements {
		links = append(links, link.Href)
	}
	return links
}

// parseKey takes one key, or the first of an array, as most servers do.
func parseKey(raw json.RawMessage) (keyDocument, error) {
	var many []keyDocument
	if json.Unmarshal(raw, &many) == nil && len(many) > 0 {
		return many[0], nil
	}
	var one keyDocument
	return one, json.Unmarshal(raw, &one)
}

func parsePEM(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errActor
	}
	if block.Type == "RSA PUBLIC KEY" {
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, errActor
	}
	return public, nil
}

// stringList is one string or an array of them.
type stringList []string

func (l *stringList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = stringList{one}
		return nil
	}
	var many []any
	if err := json.Unmarshal(b, &many); err != nil {
		return err
	}
	for _, v := range many {
		if s, ok := v.(string); ok {
			*l = append(*l, s)
		}
	}
	return nil
}
