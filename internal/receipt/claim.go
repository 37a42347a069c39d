package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Limits of claims.
const (
	MaxHub        = 255  // bytes of a hub's origin
	MaxSignatures = 129  // of a claim: more than half of 256 people
	maxActor      = 2048 // bytes
	maxSignatures = 32 << 10
)

// Claim says which hub opens the next term of a conversation, and from where on.
type Claim struct {
	GroupID []byte
	Term    uint64 // the new one
	Seq     uint64 // of the last receipt that counts
	Head    [32]byte
	Epoch   uint64 // the group's after it
	Ticket  [32]byte
	Next    NextHub
	Time    uint64 // milliseconds
}

// ClaimSignature is that of one device of an actor, by the signature key of its leaf.
type ClaimSignature struct {
	Actor     string
	Key       [32]byte
	Signature [64]byte
}

// SignedClaim is a claim with those who want it, and the proof that its bearer is a member.
type SignedClaim struct {
	Claim
	Signatures []ClaimSignature // strictly ascending by actor
	Member     [64]byte
}

func (c Claim) add(b *cryptobyte.Builder) {
	b.AddUint8(version)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.GroupID) })
	b.AddUint64(c.Term)
	b.AddUint64(c.Seq)
	b.AddBytes(c.Head[:])
	b.AddUint64(c.Epoch)
	b.AddBytes(c.Ticket[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(c.Next.Hub)) })
	b.AddBytes(c.Next.Key[:])
	b.AddUint64(c.Time)
}

func (c Claim) text() []byte {
	var b cryptobyte.Builder
	b.AddBytes([]byte("waxwing hub claim v1\x00"))
	c.add(&b)
	return b.BytesOrPanic()
}

// Sign the claim with a leaf's signature key, for its actor.
func (c Claim) Sign(actor string, key ed25519.PrivateKey) ClaimSignature {
	s := ClaimSignature{Actor: actor, Key: [32]byte(key.Public().(ed25519.PublicKey))}
	copy(s.Signature[:], ed25519.Sign(key, c.text()))
	return s
}

// Verify one signature. Whose key it is has to be known from the group (H3).
func (c Claim) Verify(s ClaimSignature) bool {
	return ed25519.Verify(s.Key[:], c.text(), s.Signature[:])
}

func (c SignedClaim) add(b *cryptobyte.Builder) {
	c.Claim.add(b)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, s := range c.Signatures {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s.Actor)) })
			b.AddBytes(s.Key[:])
			b.AddBytes(s.Signature[:])
		}
	})
}

func (c SignedClaim) memberText() []byte {
	var b cryptobyte.Builder
	b.AddBytes([]byte("waxwing hub claim member v1\x00"))
	c.add(&b)
	return b.BytesOrPanic()
}

// SignMember signs everything before it with the ticket key of the claim's epoch.
func (c *SignedClaim) SignMember(ticket ed25519.PrivateKey) {
	copy(c.Member[:], ed25519.Sign(ticket, c.memberText()))
}

// VerifyMember is T2, for whoever knows that the ticket is the epoch's.
func (c SignedClaim) VerifyMember() bool {
	return ed25519.Verify(c.Ticket[:], c.memberText(), c.Member[:])
}

// Marshal returns the bytes of the signed claim: the body of a term receipt.
func (c SignedClaim) Marshal() []byte {
	var b cryptobyte.Builder
	c.add(&b)
	b.AddBytes(c.Member[:])
	return b.BytesOrPanic()
}

// ParseClaim reads a signed claim; no signature is checked.
func ParseClaim(raw []byte) (SignedClaim, error) {
	var c SignedClaim
	var v uint8
	var id, hub, signatures cryptobyte.String
	s := cryptobyte.String(raw)
	ok := s.ReadUint8(&v) && v == version && s.ReadUint8LengthPrefixed(&id) && len(id) > 0 && len(id) <= MaxGroupID &&
		s.ReadUint64(&c.Term) && c.Term > 1 && s.ReadUint64(&c.Seq) && s.CopyBytes(c.Head[:]) && s.ReadUint64(&c.Epoch) && s.CopyBytes(c.Ticket[:]) &&
		s.ReadUint8LengthPrefixed(&hub) && s.CopyBytes(c.Next.Key[:]) && s.ReadUint64(&c.Time) &&
		s.ReadUint16LengthPrefixed(&signatures) && len(signatures) <= maxSignatures && s.CopyBytes(c.Member[:]) && s.Empty()
	c.GroupID, c.Next.Hub = bytes.Clone(id), string(hub)
	if ok && c.Next.valid() && c.Seq+1 > c.Seq {
		c.Signatures, ok = parseSignatures(signatures)
	} else {
		ok = false
	}
	if !ok {
		return SignedClaim{}, fmt.Errorf("receipt: reading a claim of %d bytes: malformed", len(raw))
	}
	return c, nil
}

func parseSignatures(s cryptobyte.String) (all []ClaimSignature, ok bool) {
	for !s.Empty() {
		var one ClaimSignature
		var actor cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&actor) || len(actor) == 0 || len(actor) > maxActor || !s.CopyBytes(one.Key[:]) || !s.CopyBytes(one.Signature[:]) {
			return nil, false
		}
		one.Actor = string(actor)
		if n := len(all); n == MaxSignatures || n > 0 && all[n-1].Actor >= one.Actor {
			return nil, false
		}
		all = append(all, one)
	}
	return all, true
}

// SignaturesFit tells whether a claim can carry them, in number and in bytes.
func SignaturesFit(all []ClaimSignature) bool {
	size := 0
	for _, s := range all {
		size += 2 + len(s.Actor) + len(s.Key) + len(s.Signature)
	}
	return len(all) <= MaxSignatures && size <= maxSignatures
}

// Receipt is what the claim's hub answers it with, to be signed.
func (c SignedClaim) Receipt(time uint64) Receipt {
	return Receipt{
		Kind: KindTerm, GroupID: c.GroupID, Term: c.Term, Seq: c.Seq + 1, Epoch: c.Epoch, MessageHash: sha256.Sum256(c.Marshal()), Previous: c.Head,
		Ticket: c.Ticket, Time: time,
	}
}

// CheckTerm is R1 and R2 for a term receipt and its body: that its hub signed what the claim says. Whether the claim counts is for the
// follower to say (R6), who goes on from the chain.
func CheckTerm(b, body, groupID []byte) (Chain, SignedClaim, error) {
	r, err := Parse(b)
	if err != nil {
		return Chain{}, SignedClaim{}, err
	}
	c, err := ParseClaim(body)
	if err != nil {
		return Chain{}, SignedClaim{}, err
	}
	if !r.Verify(c.Next.Key[:]) {
		return Chain{}, SignedClaim{}, fmt.Errorf("receipt: of term %d: %w", r.Term, ErrForged)
	}
	want := c.Receipt(r.Time)
	if want.Signature = r.Signature; !bytes.Equal(want.Marshal(), b) || !bytes.Equal(r.GroupID, groupID) {
		return Chain{}, SignedClaim{}, fmt.Errorf("receipt: of term %d: not what its claim says: %w", r.Term, ErrChain)
	}
	return after(r.GroupID, c.Next.Key, b, r), c, nil
}
