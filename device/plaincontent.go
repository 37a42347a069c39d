package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	ap "github.com/go-ap/activitypub"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// silent are activities that are for programs: receipts, and what keeps watchers from seeing that nothing is said.
var silent = map[string]bool{"Acknowledge": true, "Read": true, "View": true, "Listen": true, "IntransitiveActivity": true, "Failure": true}

// parsePlainContent reads what a program of the draft wrote inside the encryption: an activity, whose id may be missing, or its object alone. The
// sender is the leaf's actor, and nobody else may be named. shown is false for what is not for people.
func parsePlainContent(b []byte, sender string) (c content, shown bool, err error) {
	if len(b) > maxApplication {
		return content{}, false, fmt.Errorf("device: reading a message: %d bytes", len(b))
	}
	if err := strictjson.Check(b, maxDepth); err != nil {
		return content{}, false, fmt.Errorf("device: reading a message: %w", err)
	}
	var a struct {
		Type         string          `json:"type"`
		ID           string          `json:"id"`
		Actor        string          `json:"actor"`
		AttributedTo string          `json:"attributedTo"`
		Published    string          `json:"published"`
		Object       json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return content{}, false, fmt.Errorf("device: reading a message: %w", err)
	}
	if a.Actor != "" && a.Actor != sender || a.AttributedTo != "" && a.AttributedTo != sender || len(a.ID) > maxURL {
		return content{}, false, errors.New("device: reading a message: it names another author")
	}
	c = content{id: a.ID, actor: sender, kind: KindUnsupported}
	if at, err := time.Parse(time.RFC3339, a.Published); err == nil && at.UTC().Year() >= 1 && at.UTC().Year() <= 9999 {
		c.published = at.UTC()
	}
	switch {
	case silent[a.Type]:
		return c, false, nil
	case a.Type == string(ap.NoteType):
		return parsePlainNote(c, b)
	case a.Type == string(ap.CreateType):
		return parsePlainNote(c, a.Object)
	}
	return c, true, nil
}

// parsePlainNote reads a note. What comes with it, such as files, is not fetched; its place is kept.
func parsePlainNote(c content, b []byte) (content, bool, error) {
	var n struct {
		Type         string          `json:"type"`
		ID           string          `json:"id"`
		AttributedTo string          `json:"attributedTo"`
		Published    string          `json:"published"`
		Content      string          `json:"content"`
		Source       json.RawMessage `json:"source"`
	}
	if err := json.Unmarshal(b, &n); err != nil || n.Type != string(ap.NoteType) {
		return c, true, nil // an object of another shape is one we do not know
	}
	if n.AttributedTo != "" && n.AttributedTo != c.actor || len(n.ID) > maxURL {
		return content{}, false, errors.New("device: reading a note: it is attributed to somebody other than its sender")
	}
	if n.ID != "" {
		c.id = n.ID
	}
	if at, err := time.Parse(time.RFC3339, n.Published); err == nil && c.published.IsZero() && at.UTC().Year() >= 1 && at.UTC().Year() <= 9999 {
		c.published = at.UTC()
	}
	c.text = textOf(n.Content)
	var source struct {
		MediaType string `json:"mediaType"`
		Content   string `json:"content"`
	}
	if json.Unmarshal(n.Source, &source) == nil && source.MediaType == plainText {
		c.text = source.Content
	}
	if len(c.text) > maxText {
		return content{}, false, fmt.Errorf("device: reading a note: text of %d bytes", len(c.text))
	}
	if c.text != "" {
		c.kind = KindText
	}
	return c, true, nil
}
