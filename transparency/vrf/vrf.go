// Package vrf is the verifiable random function ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381 (suite 0x03): a keyed hash whose
// output only the holder of the private key can compute, and which everybody who has the public key can check. A log uses it
// to name its entries: whoever reads the log learns nothing of the inputs, and the log has no second name for any of them.
//
//	key, err := vrf.NewPrivateKey(seed)       // the log
//	proof, output := key.Prove(alpha)
//
//	public, err := vrf.ParsePublicKey(bytes)  // the reader, once for each log
//	output, err := public.Verify(alpha, proof)
//
// What holds even if the log chose its key with bad intent:
//
//   - One output for one key and one alpha. A public key with only a small-order part is refused (section 5.4.5); under such
//     a key every alpha would have the same output.
//   - One output is not one proof. Who has the private key can make many proofs for an alpha: with other nonces, and with
//     another small-order point added to Gamma. They verify as section 5.3 says they do, and all give the one output, because
//     the output is the hash of cofactor*Gamma, from which the small-order part is gone. So compare outputs, never proofs.
//   - Every value in a key or proof has one spelling; the others are refused.
//
// What it does not do: an output is not secret from somebody who got it with its proof, and a log that answers whoever asks
// gives everybody what they can guess.
//
// The seed must be of this function's own. With the seed of an Ed25519 key that also signs, a signature over the encoding of
// a hashed alpha shares its nonce with that alpha's proof, and the two give the private key away.
//
// Prove takes the same time for every private key. How long it takes does depend on alpha (section 5.4.1.1), which both sides
// know; so does Verify, of which nothing is secret. Both hash alpha several times, and neither limits its length: that is the
// caller's to do, before the bytes are taken in.
package vrf

import (
	"crypto/sha512"
	"fmt"
	"io"

	"filippo.io/edwards25519"
)

// Sizes in bytes.
const (
	SeedSize      = 32
	PublicKeySize = 32
	ProofSize     = gammaSize + challengeSize + scalarSize
	OutputSize    = sha512.Size
)

// An Error says which part of what was given is not as it must be.
type Error struct {
	Part   string // "seed", "public key", "gamma", "s", "alpha" or "proof"
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("vrf: %s: %s", e.Part, e.Reason) }

// PublicKey is a public key that has been validated. Its zero value verifies nothing.
type PublicKey struct {
	encoded  [PublicKeySize]byte
	negative *edwards25519.Point // -Y, as the equations of section 5.3 want it
}

// ParsePublicKey decodes and validates a key (section 5.4.5).
func ParsePublicKey(encoded []byte) (*PublicKey, error) {
	y, ok := decodePoint(encoded)
	if !ok {
		return nil, &Error{"public key", "not the canonical encoding of a point"}
	}
	if isSmallOrder(y) {
		return nil, &Error{"public key", "a point of small order"}
	}
	return &PublicKey{[PublicKeySize]byte(encoded), y.Negate(y)}, nil
}

// Bytes is the encoded key.
func (k *PublicKey) Bytes() [PublicKeySize]byte { return k.encoded }

// PrivateKey is a seed and what section 5.1.5 of RFC 8032 makes of it.
type PrivateKey struct {
	seed   [SeedSize]byte
	scalar *edwards25519.Scalar
	prefix [32]byte // the half of the hashed seed that nonces come from
	public PublicKey
}

// GenerateKey makes a new key; rand must be fit for cryptography.
func GenerateKey(rand io.Reader) (*PrivateKey, error) {
	var seed [SeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("vrf: making a key: %w", err)
	}
	return NewPrivateKey(seed[:])
}

// NewPrivateKey is the key that belongs to a seed of SeedSize bytes.
func NewPrivateKey(seed []byte) (*PrivateKey, error) {
	if len(seed) != SeedSize {
		return nil, &Error{"seed", fmt.Sprintf("%d bytes, not %d", len(seed), SeedSize)}
	}
	h := sha512.Sum512(seed)
	x, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		return nil, fmt.Errorf("vrf: making a key: %w", err)
	}
	y := edwards25519.NewIdentityPoint().ScalarBaseMult(x)
	return &PrivateKey{
		seed: [SeedSize]byte(seed), scalar: x, prefix: [32]byte(h[32:]),
		public: PublicKey{[PublicKeySize]byte(y.Bytes()), edwards25519.NewIdentityPoint().Negate(y)},
	}, nil
}

// Seed is the secret to keep; NewPrivateKey takes it back.
func (k *PrivateKey) Seed() [SeedSize]byte { return k.seed }

// Public is the key that others verify with.
func (k *PrivateKey) Public() *PublicKey { return &k.public }

// Format keeps the secret out of logs, whatever the verb.
func (k PrivateKey) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "vrf private key of %x", k.public.encoded)
}
