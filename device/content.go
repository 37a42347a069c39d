package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	ap "github.com/go-ap/activitypub"
	"github.com/go-ap/jsonld"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// Application data is a Create of a Note (spec/conversation.md). The plain vocabulary is written with go-ap. What it has no words for (salt, keys of
// files) is put beside it, and so is what the person wrote: go-ap reads escapes like \a in natural language values and would change it.
// Reading uses structures of our own: a decoder that drops what it does not know cannot tell that it was there.

// content is a message as the person sees it, with what is needed to open its files.
type content struct {
	id          string
	actor       string
	kind        MessageKind
	text        string
	published   time.Time
	salt        []byte
	attachments []attachment
	shown       *shown   // instead of all that a person could see
	instead     [][]byte // SHA-256 of the messages that this one takes the place of
}

// attachment is the wire form of a file, and the stored one.
type attachment struct {
	Type      string `json:"type"`
	MediaType string `json:"mediaType"`
	Name      string `json:"name"`
	URL       string `json:"url"`
	Size      int64  `json:"size"`
	Digest    []byte `json:"digest"`
	Key       []byte `json:"key"`
}

const (
	saltSize  = 32
	uuidIRI   = "uri:uuid:"
	plainText = "text/plain"
	insteadOf = "waxwing:insteadOf"
)

// marshal writes the application data.
func (c content) marshal(activityID string) ([]byte, error) {
	note := &ap.Note{ID: ap.IRI(c.id), Type: ap.NoteType, AttributedTo: ap.IRI(c.actor)}
	create := &ap.Create{ID: ap.IRI(activityID), Type: ap.CreateType, Actor: ap.IRI(c.actor), Published: c.published, Object: note}
	plain, err := jsonld.WithContext(jsonld.IRI(ap.ActivityBaseURI)).Marshal(create)
	if err != nil {
		return nil, fmt.Errorf("device: writing a message: %w", err)
	}
	extra := map[string]any{}
	if c.salt != nil {
		extra["frankingSalt"] = c.salt
	}
	if len(c.instead) > 0 {
		extra[insteadOf] = c.instead
	}
	object := map[string]any{
		"content": htmlOf(c.text),
		"source":  map[string]string{"mediaType": plainText, "content": c.text},
	}
	if len(c.attachments) > 0 {
		object["attachment"] = c.attachments
	}
	return withExtra(plain, extra, object)
}

// withExtra adds members to an activity and to its object.
func withExtra(plain []byte, activity, object map[string]any) ([]byte, error) {
	var outer, inner map[string]any
	if err := json.Unmarshal(plain, &outer); err != nil {
		return nil, fmt.Errorf("device: writing a message: %w", err)
	}
	inner, ok := outer["object"].(map[string]any)
	if !ok {
		return nil, errors.New("device: writing a message: the object is not inline")
	}
	for k, v := range object {
		inner[k] = v
	}
	for k, v := range activity {
		outer[k] = v
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // six bytes for each & and < are not needed where no browser looks
	if err := enc.Encode(outer); err != nil {
		return nil, fmt.Errorf("device: writing a message: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// parseContent reads application data. Malformed data is an error; an activity or object of a kind we do not know is not.
func parseContent(b []byte) (content, error) {
	if len(b) > maxApplication {
		return content{}, fmt.Errorf("device: reading a message: %d bytes", len(b))
	}
	if err := strictjson.Check(b, maxDepth); err != nil {
		return content{}, fmt.Errorf("device: reading a message: %w", err)
	}
	var a struct {
		Type      string          `json:"type"`
		ID        string          `json:"id"`
		Actor     string          `json:"actor"`
		Salt      string          `json:"frankingSalt"`
		Published string          `json:"published"`
		Object    json.RawMessage `json:"object"`
		Instead   []string        `json:"waxwing:insteadOf"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return content{}, fmt.Errorf("device: reading a message: %w", err)
	}
	c := content{id: a.ID, actor: a.Actor, kind: KindUnsupported}
	var err error
	if c.salt, err = exactBase64(a.Salt, saltSize); err != nil {
		return content{}, fmt.Errorf("device: reading a message's franking salt: %w", err)
	}
	if c.instead, err = parseInstead(a.Instead); err != nil {
		return content{}, err
	}
	if err := checkID(a.ID); err != nil {
		return content{}, err
	}
	if a.Published != "" {
		if c.published, err = time.Parse(time.RFC3339, a.Published); err != nil {
			return content{}, errors.New("device: reading a message: published is not a time")
		}
		// Not every time that RFC 3339 can write can be written again: offsets of a day, and years that leave four digits in UTC.
		if c.published = c.published.UTC(); c.published.Year() < 1 || c.published.Year() > 9999 {
			return content{}, errors.New("device: reading a message: published is not a time of ours")
		}
	}
	if a.Type != string(ap.CreateType) {
		return c, nil
	}
	return parseNote(c, a.Object)
}

// parseInstead reads which messages a message takes the place of.
func parseInstead(list []string) (hashes [][]byte, err error) {
	if len(list) > maxInstead {
		return nil, fmt.Errorf("device: reading a message: it takes the place of %d others", len(list))
	}
	for _, s := range list {
		hash, err := exactBase64(s, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("device: reading a message: which others it takes the place of: %w", err)
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

// parseNote reads the object of a Create into c.
func parseNote(c content, b []byte) (content, error) {
	var kind struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(b, &kind)
	switch {
	case err == nil && isShown(kind.Type):
		return parseShown(c, b)
	case err != nil || kind.Type != string(ap.NoteType):
		return c, nil // an object of another shape is one we do not know, and its place is kept
	}
	var n struct {
		ID           string `json:"id"`
		AttributedTo string `json:"attributedTo"`
		Content      string `json:"content"`
		Source       struct {
			MediaType string `json:"mediaType"`
			Content   string `json:"content"`
		} `json:"source"`
		Attachment json.RawMessage `json:"attachment"`
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return content{}, fmt.Errorf("device: reading a note: %w", err)
	}
	if n.AttributedTo != c.actor {
		return content{}, errors.New("device: reading a note: it is attributed to somebody other than the activity's actor")
	}
	if err := checkID(n.ID); err != nil {
		return content{}, err
	}
	c.id, c.kind = n.ID, KindText
	c.text = textOf(n.Content)
	if n.Source.MediaType == plainText {
		c.text = n.Source.Content
	}
	if len(c.text) > maxText {
		return content{}, fmt.Errorf("device: reading a note: text of %d bytes", len(c.text))
	}
	c.attachments, err = parseAttachments(n.Attachment)
	return c, err
}

// parseAttachments reads one attachment or a list of them; those that are not encrypted files in our sense are left out.
func parseAttachments(b json.RawMessage) ([]attachment, error) {
	if len(b) == 0 {
		return nil, nil
	}
	list := []json.RawMessage{b}
	if b[0] == '[' {
		if err := json.Unmarshal(b, &list); err != nil {
			return nil, fmt.Errorf("device: reading attachments: %w", err)
		}
	}
	if len(list) > maxAttachments {
		return nil, fmt.Errorf("device: reading attachments: %d of them", len(list))
	}
	var files []attachment
	for i, raw := range list {
		var a attachment
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, fmt.Errorf("device: reading attachment %d: %w", i, err)
		}
		if len(a.Key) == 0 {
			continue
		}
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("device: reading attachment %d: %w", i, err)
		}
		files = append(files, a)
	}
	return files, nil
}

func (a attachment) check() error {
	u, err := url.Parse(a.URL)
	switch {
	case len(a.Key) != blobKeySize || len(a.Digest) != blobDigestSize:
		return errors.New("key or digest of the wrong length")
	case a.Size < 0 || a.Size > maxFile:
		return fmt.Errorf("a file of %d bytes", a.Size)
	case len(a.Name) > maxName || len(a.MediaType) > maxMediaType:
		return errors.New("name or media type too long")
	case len(a.URL) > maxURL || err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil:
		return errors.New("not the URL of a blob")
	case !blobName(a.URL[strings.LastIndexByte(a.URL, '/')+1:]):
		return errors.New("the URL does not end in a blob's name")
	}
	return nil
}

// blobName tells whether s is the lower-case hex of a SHA-256.
func blobName(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == blobDigestSize && s == hex.EncodeToString(b)
}

func checkID(id string) error {
	if id == "" || len(id) > maxURL || !utf8.ValidString(id) {
		return errors.New("device: reading a message: no id, or one too long")
	}
	return nil
}

// exactBase64 decodes n bytes and accepts their one spelling.
func exactBase64(s string, n int) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != n || base64.StdEncoding.EncodeToString(b) != s {
		return nil, fmt.Errorf("not the base64 of %d bytes", n)
	}
	return b, nil
}
