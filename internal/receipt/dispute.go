package receipt

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Reason of a dispute.
type Reason uint8

const (
	ReasonInvalid    Reason = 1 // not valid MLS
	ReasonNotAllowed Reason = 2 // breaks a rule of the room
	ReasonMismatch   Reason = 3 // not what the receipt says
)

// MaxDisputes is the most disputes in one reopening.
const MaxDisputes = 16

// Dispute is a member's word that a commit, which the hub has granted, is invalid for everybody alike.
type Dispute struct {
	GroupID     []byte
	Term, Seq   uint64
	ReceiptHash [32]byte
	Reason      Reason
	Signature   [64]byte
}

// ParseDispute reads a dispute; its signature is not checked.
func ParseDispute(b []byte) (Dispute, error) {
	var d Dispute
	var id cryptobyte.String
	s := cryptobyte.String(b)
	if !s.ReadUint8LengthPrefixed(&id) || len(id) == 0 || len(id) > MaxGroupID || !s.ReadUint64(&d.Term) || !s.ReadUint64(&d.Seq) ||
		!s.CopyBytes(d.ReceiptHash[:]) || !s.ReadUint8((*uint8)(&d.Reason)) || d.Reason < ReasonInvalid || d.Reason > ReasonMismatch ||
		!s.CopyBytes(d.Signature[:]) || !s.Empty() {
		return Dispute{}, fmt.Errorf("receipt: reading a dispute of %d bytes: malformed", len(b))
	}
	d.GroupID = bytes.Clone(id)
	return d, nil
}

func (d Dispute) unsigned() []byte {
	var b cryptobyte.Builder
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d.GroupID) })
	b.AddUint64(d.Term)
	b.AddUint64(d.Seq)
	b.AddBytes(d.ReceiptHash[:])
	b.AddUint8(uint8(d.Reason))
	return b.BytesOrPanic()
}

// Marshal returns the dispute's bytes.
func (d Dispute) Marshal() []byte { return append(d.unsigned(), d.Signature[:]...) }

func (d Dispute) signed() []byte { return append([]byte("waxwing dispute v1\x00"), d.unsigned()...) }

// Sign with the ticket key of the epoch that the commit was made in.
func (d *Dispute) Sign(ticket ed25519.PrivateKey) {
	copy(d.Signature[:], ed25519.Sign(ticket, d.signed()))
}

// Verify that a member of that epoch signed it (P2).
func (d Dispute) Verify(ticket [32]byte) bool {
	return ed25519.Verify(ticket[:], d.signed(), d.Signature[:])
}

// MarshalReopening is the body of a reopen receipt.
func MarshalReopening(disputes [][]byte) []byte {
	var b cryptobyte.Builder
	for _, d := range disputes {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d) })
	}
	return b.BytesOrPanic()
}

// ParseReopening reads the body of a reopen receipt.
func ParseReopening(b []byte) ([]Dispute, error) {
	var disputes []Dispute
	for s := cryptobyte.String(b); !s.Empty(); {
		var one cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&one) || len(disputes) == MaxDisputes {
			return nil, fmt.Errorf("receipt: reading a reopening of %d bytes: malformed", len(b))
		}
		d, err := ParseDispute(one)
		if err != nil {
			return nil, err
		}
		disputes = append(disputes, d)
	}
	if len(disputes) == 0 {
		return nil, fmt.Errorf("receipt: reading a reopening: no dispute")
	}
	return disputes, nil
}
