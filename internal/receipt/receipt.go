// Package receipt has the hub's receipts and tickets (spec/receipt.md): bytes that the hub in package federation makes and
// the agent in package device checks. They share the format here and nothing else.
//
// A [Chain] is followed receipt by receipt ([Chain.Next]) and, when another hub takes over, by its claim ([CheckTerm],
// [Claim.Chain]). Whether a claim counts, and which of two commits of one epoch, only members can say: R5 and R6 are theirs.
package receipt

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Kind of a receipt.
type Kind uint8

const (
	KindOpen   Kind = 1
	KindCommit Kind = 2
	KindReopen Kind = 3
	KindMove   Kind = 4
	KindTerm   Kind = 5
)

const version = 1

// MaxGroupID is the most bytes a group id may have.
const MaxGroupID = 64

// Receipt is the hub's word about what comes next in a conversation: that a commit is the one of its epoch, for the most part.
type Receipt struct {
	Kind        Kind
	GroupID     []byte
	Term        uint64
	Seq         uint64
	Epoch       uint64 // the commit was made in; the one that is open, for a reopen or term
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
	ok := s.ReadUint8(&v) && v == version && s.ReadUint8((*uint8)(&r.Kind)) && r.Kind >= KindOpen && r.Kind <= KindTerm &&
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

// wellFormed: an open receipt is the first and follows nothing, no other is the first, and the first term needs no claim.
func (r Receipt) wellFormed() bool {
	switch r.Kind {
	case KindOpen:
		return r.Seq == 0 && r.Epoch == 0 && r.MessageHash == [32]byte{} && r.Previous == [32]byte{}
	case KindTerm:
		return r.Seq > 0 && r.Term > 1
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
