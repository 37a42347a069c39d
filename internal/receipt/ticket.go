package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// TicketLabel is the label of the MLS exporter for ticket seeds; context is empty, length 32.
const TicketLabel = "waxwing hub ticket"

// TicketKey of an epoch from its exported 32-byte seed.
func TicketKey(seed []byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed) }

// signedText begins what a ticket or lease key signs: a label of its own, and the group.
func signedText(label string, groupID []byte, rest func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	b.AddBytes([]byte(label + "\x00"))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(groupID) })
	rest(&b)
	return b.BytesOrPanic()
}

func submission(groupID []byte, term, epoch uint64, commit []byte, next [32]byte) []byte {
	hash := sha256.Sum256(commit)
	return signedText("waxwing submit v1", groupID, func(b *cryptobyte.Builder) {
		b.AddUint64(term)
		b.AddUint64(epoch)
		b.AddBytes(hash[:])
		b.AddBytes(next[:])
	})
}

// SignSubmit signs a submission with the current epoch's ticket key.
func SignSubmit(ticket ed25519.PrivateKey, groupID []byte, term, epoch uint64, commit []byte, next [32]byte) []byte {
	return ed25519.Sign(ticket, submission(groupID, term, epoch, commit, next))
}

// VerifySubmit is S5.
func VerifySubmit(ticket [32]byte, groupID []byte, term, epoch uint64, commit []byte, next [32]byte, signature []byte) bool {
	return len(groupID) <= MaxGroupID && ed25519.Verify(ticket[:], submission(groupID, term, epoch, commit, next), signature)
}

func leaseText(groupID []byte, term, epoch uint64, key [32]byte) []byte {
	return signedText("waxwing lease v1", groupID, func(b *cryptobyte.Builder) {
		b.AddUint64(term)
		b.AddUint64(epoch)
		b.AddBytes(key[:])
	})
}

// SignLease asks for a lease with the current epoch's ticket key; key is the public half of a fresh one.
func SignLease(ticket ed25519.PrivateKey, groupID []byte, term, epoch uint64, key [32]byte) []byte {
	return ed25519.Sign(ticket, leaseText(groupID, term, epoch, key))
}

// VerifyLease is Q5.
func VerifyLease(ticket [32]byte, groupID []byte, term, epoch uint64, key [32]byte, signature []byte) bool {
	return len(groupID) <= MaxGroupID && ed25519.Verify(ticket[:], leaseText(groupID, term, epoch, key), signature)
}

func leasedText(submit []byte) []byte {
	return append([]byte("waxwing leased submit v1\x00"), submit...)
}

// SignLeased signs a submission's ticket signature with the key of a lease.
func SignLeased(lease ed25519.PrivateKey, submit []byte) []byte {
	return ed25519.Sign(lease, leasedText(submit))
}

// VerifyLeased says whether whoever signed the submission holds the lease.
func VerifyLeased(lease [32]byte, submit, signature []byte) bool {
	return ed25519.Verify(lease[:], leasedText(submit), signature)
}

// NextHub is where a submission's commit moves the conversation to.
type NextHub struct {
	Hub string // origin
	Key [32]byte
}

func moveText(groupID []byte, term, epoch uint64, commit []byte, n NextHub) []byte {
	hash := sha256.Sum256(commit)
	return signedText("waxwing move v1", groupID, func(b *cryptobyte.Builder) {
		b.AddUint64(term)
		b.AddUint64(epoch)
		b.AddBytes(hash[:])
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n.Hub)) })
		b.AddBytes(n.Key[:])
	})
}

// SignMove tells the old hub, with the current epoch's ticket key, what the commit tells the members.
func SignMove(ticket ed25519.PrivateKey, groupID []byte, term, epoch uint64, commit []byte, n NextHub) []byte {
	return ed25519.Sign(ticket, moveText(groupID, term, epoch, commit, n))
}

// VerifyMove says whether a member signed that, about a hub that can be one.
func VerifyMove(ticket [32]byte, groupID []byte, term, epoch uint64, commit []byte, n NextHub, signature []byte) bool {
	return len(groupID) <= MaxGroupID && n.valid() && ed25519.Verify(ticket[:], moveText(groupID, term, epoch, commit, n), signature)
}

func (n NextHub) valid() bool { return len(n.Hub) <= MaxHub && isOrigin(n.Hub) }
