// Package receipt has the hub's receipts and tickets (spec/receipt.md): bytes that the hub in package federation makes and
// the agent in package device checks. They share the format here and nothing else.
package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Kind of a receipt.
type Kind uint8

const (
	KindOpen   Kind = 1
	KindCommit Kind = 2
)

const version = 1

// MaxGroupID is the most bytes a group id may have.
const MaxGroupID = 64

// Receipt is the hub's word that a commit is the one of its epoch.
type Receipt struct {
	Kind        Kind
	GroupID     []byte
	Term        uint64
	Seq         uint64
	Epoch       uint64 // the commit was made in
	MessageHash [32]byte
	Previous    [32]byte
	Ticket      [32]byte // of the epoch that follows
	Time        uint64   // milliseconds
	Signature   [64]byte
}

// Parse reads a receipt; its signature is not checked.
func Parse(b []byte) (Receipt, error) {
	var r Receipt
	s := cryptobyte.String(b)
	var v uint8
	var id cryptobyte.String
	ok := s.ReadUint8(&v) && v == version && s.ReadUint8((*uint8)(&r.Kind)) && (r.Kind == KindOpen || r.Kind == KindCommit) &&
		s.ReadUint8LengthPrefixed(&id) && len(id) > 0 && len(id) <= MaxGroupID &&
		s.ReadUint64(&r.Term) && s.ReadUint64(&r.Seq) && s.ReadUint64(&r.Epoch) &&
		s.CopyBytes(r.MessageHash[:]) && s.CopyBytes(r.Previous[:]) && s.CopyBytes(r.Ticket[:]) && s.ReadUint64(&r.Time) &&
		s.CopyBytes(r.Signature[:]) && s.Empty()
	if !ok || !r.wellFormed() {
		return Receipt{}, fmt.Errorf("receipt: reading %d bytes: malformed", len(b))
	}
	r.GroupID = bytes.Clone(id)
	return r, nil
}

// wellFormed: an open receipt is the first and follows nothing, a commit's is never the first.
func (r Receipt) wellFormed() bool {
	if r.Kind == KindOpen {
		return r.Seq == 0 && r.Epoch == 0 && r.MessageHash == [32]byte{} && r.Previous == [32]byte{}
	}
	return r.Seq > 0
}

func (r Receipt) unsigned() []byte {
	var b cryptobyte.Builder
	b.AddUint8(version)
	b.AddUint8(uint8(r.Kind))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.GroupID) })
	b.AddUint64(r.Term)
	b.AddUint64(r.Seq)
	b.AddUint64(r.Epoch)
	b.AddBytes(r.MessageHash[:])
	b.AddBytes(r.Previous[:])
	b.AddBytes(r.Ticket[:])
	b.AddUint64(r.Time)
	return b.BytesOrPanic()
}

// Marshal returns the receipt's bytes.
func (r Receipt) Marshal() []byte { return append(r.unsigned(), r.Signature[:]...) }

func (r Receipt) signed() []byte { return append([]byte("waxwing receipt v1\x00"), r.unsigned()...) }

// Sign with the hub's key.
func (r *Receipt) Sign(key ed25519.PrivateKey) {
	copy(r.Signature[:], ed25519.Sign(key, r.signed()))
}

// Verify the hub's signature (R1).
func (r Receipt) Verify(hub ed25519.PublicKey) bool {
	return len(hub) == ed25519.PublicKeySize && ed25519.Verify(hub, r.signed(), r.Signature[:])
}

// Head of a chain whose newest receipt has these bytes.
func Head(receipt []byte) [32]byte { return sha256.Sum256(receipt) }

// What a chain's follower branches on.
var (
	ErrForged = errors.New("not signed by the hub") // R1
	ErrChain  = errors.New("does not continue the chain")
)

// Chain is a place in a hub's chain, as a follower remembers it.
type Chain struct {
	GroupID []byte
	HubKey  [32]byte
	Term    uint64
	Seq     uint64
	Head    [32]byte
}

// Start begins a chain at any receipt of the hub: at the open one for the creator, at the one that added it for a newcomer.
func Start(b []byte, groupID []byte, hub [32]byte) (Chain, Receipt, error) {
	r, err := Parse(b)
	if err != nil {
		return Chain{}, r, err
	}
	if !r.Verify(hub[:]) {
		return Chain{}, r, fmt.Errorf("receipt: of seq %d: %w", r.Seq, ErrForged)
	}
	if !bytes.Equal(r.GroupID, groupID) {
		return Chain{}, r, fmt.Errorf("receipt: of another group: %w", ErrChain)
	}
	return Chain{bytes.Clone(groupID), hub, r.Term, r.Seq, Head(b)}, r, nil
}

// Next is R1 and R2: the chain after a receipt.
func (c Chain) Next(b []byte) (Chain, Receipt, error) {
	r, err := Parse(b)
	if err != nil {
		return c, r, err
	}
	switch {
	case !r.Verify(c.HubKey[:]):
		return c, r, fmt.Errorf("receipt: of seq %d: %w", r.Seq, ErrForged)
	case !bytes.Equal(r.GroupID, c.GroupID) || r.Kind != KindCommit || r.Term != c.Term || r.Seq != c.Seq+1 || r.Previous != c.Head:
		return c, r, fmt.Errorf("receipt: of seq %d after %d: %w", r.Seq, c.Seq, ErrChain)
	}
	return Chain{c.GroupID, c.HubKey, r.Term, r.Seq, Head(b)}, r, nil
}

// Contradicts says whether two receipts are proof that the hub lied: both signed, one place, different bytes.
func Contradicts(a, b []byte, hub ed25519.PublicKey) bool {
	x, errX := Parse(a)
	y, errY := Parse(b)
	return errX == nil && errY == nil && x.Verify(hub) && y.Verify(hub) &&
		bytes.Equal(x.GroupID, y.GroupID) && x.Term == y.Term && x.Seq == y.Seq && !bytes.Equal(a, b)
}

// TicketLabel is the label of the MLS exporter for ticket seeds; context is empty, length 32.
const TicketLabel = "waxwing hub ticket"

// TicketKey of an epoch from its exported 32-byte seed.
func TicketKey(seed []byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed) }

func submission(groupID []byte, term, epoch uint64, commit []byte, next [32]byte) []byte {
	hash := sha256.Sum256(commit)
	var b cryptobyte.Builder
	b.AddBytes([]byte("waxwing submit v1\x00"))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(groupID) })
	b.AddUint64(term)
	b.AddUint64(epoch)
	b.AddBytes(hash[:])
	b.AddBytes(next[:])
	return b.BytesOrPanic()
}

// SignSubmit signs a submission with the current epoch's ticket key.
func SignSubmit(ticket ed25519.PrivateKey, groupID []byte, term, epoch uint64, commit []byte, next [32]byte) []byte {
	return ed25519.Sign(ticket, submission(groupID, term, epoch, commit, next))
}

// VerifySubmit is S5.
func VerifySubmit(ticket [32]byte, groupID []byte, term, epoch uint64, commit []byte, next [32]byte, signature []byte) bool {
	return len(groupID) <= MaxGroupID && ed25519.Verify(ticket[:], submission(groupID, term, epoch, commit, next), signature)
}

const conversations = "/waxwing/conversations/"

// ConversationURL is the hub's resource for a group.
func ConversationURL(instance string, groupID []byte) string {
	return instance + conversations + hex.EncodeToString(groupID)
}

// ParseConversationURL splits a conversation's URL into the hub's instance and the group id.
func ParseConversationURL(u string) (instance string, groupID []byte, err error) {
	instance, id, ok := strings.Cut(u, conversations)
	groupID, err = hex.DecodeString(id)
	if !ok || err != nil || len(groupID) == 0 || len(groupID) > MaxGroupID || ConversationURL(instance, groupID) != u || !isOrigin(instance) {
		return "", nil, fmt.Errorf("receipt: %.100q is not the URL of a conversation", u)
	}
	return instance, groupID, nil
}

// isOrigin: nothing but scheme and host, so that no path, query or user name stands before the conversation's path.
func isOrigin(instance string) bool {
	u, err := url.Parse(instance)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.Scheme+"://"+u.Host == instance
}
