package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
)

// MaxEvidence is the most bytes that the text of a piece of evidence has.
const MaxEvidence = 8 << 10

const evidenceHeader = "waxwing/hub-evidence@v1"

// Evidence proves offline, to anybody, that a hub told two stories: two receipts of one place that its key signed. Nothing in it counts
// before [Evidence.Verify].
type Evidence struct {
	Conversation string // URL
	HubKey       [32]byte
	Receipts     [2][]byte // ascending
}

// FindEvidence makes evidence of two receipts, in any order. The error says why they prove nothing.
func FindEvidence(conversation string, hub [32]byte, a, b []byte) (Evidence, error) {
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	e := Evidence{conversation, hub, [2][]byte{a, b}}
	_, _, err := e.Verify(hub)
	return e, err
}

// Verify is E2, with a key that the caller has from elsewhere, or with e.HubKey to learn what is proven of whoever has that one.
func (e Evidence) Verify(hub [32]byte) (a, b Receipt, err error) {
	refuse := func(why string) (Receipt, Receipt, error) {
		return Receipt{}, Receipt{}, fmt.Errorf("receipt: judging evidence: %s", why)
	}
	_, groupID, err := ParseConversationURL(e.Conversation)
	switch {
	case err != nil:
		return refuse("not about a conversation")
	case hub != e.HubKey:
		return refuse("it is about a hub with another key")
	case bytes.Compare(e.Receipts[0], e.Receipts[1]) >= 0:
		return refuse("the two receipts agree, or stand in the wrong order")
	case !Contradicts(e.Receipts[0], e.Receipts[1], hub[:]):
		return refuse("not two receipts of one place, signed by that hub")
	}
	if a, err = Parse(e.Receipts[0]); err == nil {
		b, err = Parse(e.Receipts[1])
	}
	if err != nil || !bytes.Equal(a.GroupID, groupID) {
		return refuse("about another conversation")
	}
	return a, b, nil
}

// Marshal gives the text.
func (e Evidence) Marshal() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nconversation %s\nhub %s\n", evidenceHeader, e.Conversation, base64.StdEncoding.EncodeToString(e.HubKey[:]))
	for _, r := range e.Receipts {
		fmt.Fprintf(&b, "receipt %s\n", base64.StdEncoding.EncodeToString(r))
	}
	return []byte(b.String())
}

// ParseEvidence is E1. Nothing is verified.
func ParseEvidence(text []byte) (Evidence, error) {
	var e Evidence
	malformed := fmt.Errorf("receipt: reading evidence of %d bytes: malformed", len(text))
	lines := strings.Split(string(text[:min(len(text), MaxEvidence+1)]), "\n")
	if len(text) > MaxEvidence || len(lines) != 6 || lines[0] != evidenceHeader || lines[5] != "" {
		return Evidence{}, malformed
	}
	var fields [4]string
	for i, name := range []string{"conversation ", "hub ", "receipt ", "receipt "} {
		var ok bool
		if fields[i], ok = strings.CutPrefix(lines[1+i], name); !ok {
			return Evidence{}, malformed
		}
	}
	hub, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil || len(hub) != ed25519.PublicKeySize {
		return Evidence{}, malformed
	}
	e.Conversation, e.HubKey = fields[0], [32]byte(hub)
	for i := range e.Receipts {
		if e.Receipts[i], err = base64.StdEncoding.Strict().DecodeString(fields[2+i]); err != nil {
			return Evidence{}, malformed
		}
	}
	if !bytes.Equal(e.Marshal(), text) {
		return Evidence{}, malformed
	}
	return e, nil
}
