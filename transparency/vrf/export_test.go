package vrf

import "filippo.io/edwards25519"

var (
	TryAndIncrement = tryAndIncrement
	EncodePoints    = encodePoints
)

// Unvalidated is ParsePublicKey without section 5.4.5, for the tests that show what it is there for.
func Unvalidated(y *edwards25519.Point) *PublicKey {
	return &PublicKey{[PublicKeySize]byte(y.Bytes()), edwards25519.NewIdentityPoint().Negate(y)}
}
