package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"

	"github.com/waxwing-dm/waxwing/transparency"
)

func FuzzParseRoom(f *testing.F) {
	f.Add(sampleRoom().marshal())
	f.Add([]byte{1, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRoom(b)
		if err == nil && !bytes.Equal(r.marshal(), b) {
			t.Fatal("a room has a second spelling")
		}
	})
}

func FuzzParseFence(f *testing.F) {
	f.Add(fence{place: place{Term: 1}}.marshal())
	f.Add(fence{seen: []transparency.Sighting{{Size: 1}, {Size: 2}}}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseFence(b, 1)
		if err == nil && !bytes.Equal(x.marshal(), b) {
			t.Fatal("a fence has a second spelling")
		}
	})
}

func FuzzParseContent(f *testing.F) {
	c := content{id: "uri:uuid:1", actor: "https://a.example/a", text: "hi <b>", salt: make([]byte, saltSize), instead: [][]byte{make([]byte, 32)}, attachments: []attachment{{
		Type: "Document", Digest: make([]byte, 32), Key: make([]byte, 32), URL: "https://a.example/waxwing/blobs/00",
	}}}
	b, err := c.marshal("uri:uuid:2")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for _, s := range []shown{{Type: typeCheckpoint, AttributedTo: "x", Note: "n"}, {Type: typeEvidence, AttributedTo: "x", Evidence: "e"},
		{Type: typeUnread, AttributedTo: "x", Unread: make([]byte, 32)}, {Type: typeClaim, AttributedTo: "x", Claim: []byte("c"), Receipt: []byte("r")},
		{Type: typeReceipt, AttributedTo: "x", Receipt: []byte("r"), Asks: "y"}, {Type: typeHubEvidence, AttributedTo: "x", Evidence: "e"},
	} {
		if b, err = s.marshal(make([]byte, saltSize), "uri:uuid:2"); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"type":"Create","object":{"type":"Note","attachment":[[]]}}`))
	f.Add([]byte(`{"type":["Create"],"object":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseContent(b)
		if err != nil {
			return
		}
		if len(c.text) > maxText || len(c.attachments) > maxAttachments || len(c.salt) != saltSize {
			t.Fatal("a message beyond the limits")
		}
		if s := c.shown; s != nil && (len(s.Note) > maxShownNote || len(s.Evidence) > maxShownEvidence || s.AttributedTo != c.actor) {
			t.Fatal("a checkpoint beyond the limits")
		}
		if len(c.instead) > maxInstead || slices.ContainsFunc(c.instead, func(h []byte) bool { return len(h) != 32 }) {
			t.Fatal("it takes the place of too many messages, or of none")
		}
		for _, a := range c.attachments {
			if a.check() != nil {
				t.Fatal("an attachment that was not checked")
			}
		}
	})
}

func FuzzTextOf(f *testing.F) {
	f.Add("<p>a</p>")
	f.Add("<<<&#x;")
	f.Fuzz(func(t *testing.T, s string) {
		if len(textOf(s)) > 2*len(s) {
			t.Fatal("text grows out of markup")
		}
	})
}

func FuzzOpenBlob(f *testing.F) {
	f.Add(make([]byte, 64<<10))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		name := sha256.Sum256(b)
		a := attachment{Key: make([]byte, blobKeySize), Digest: make([]byte, blobDigestSize), URL: "/" + hex.EncodeToString(name[:]), Size: 1}
		if _, err := a.open(b); err == nil {
			t.Fatal("a blob nobody made opens")
		}
	})
}

func FuzzParsePlainContent(f *testing.F) {
	const sender = "https://e.example/@erin"
	f.Add([]byte(`{"type":"Create","actor":"https://e.example/@erin","object":{"type":"Note","id":"uri:uuid:1","content":"<p>hi</p>","published":"2026-11-21T08:00:00Z"}}`))
	f.Add([]byte(`{"type":"Note","content":"x","source":{"mediaType":"text/plain","content":"x"}}`))
	f.Add([]byte(`{"type":"Acknowledge","object":"uri:uuid:1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _, err := parsePlainContent(b, sender)
		if err != nil {
			return
		}
		if c.actor != sender || len(c.text) > maxText || len(c.id) > maxURL {
			t.Fatal("a message of another's, or too long")
		}
		if _, err := json.Marshal(Message{ID: c.id, Text: c.text, Published: c.published}); err != nil {
			t.Fatal(err)
		}
	})
}
