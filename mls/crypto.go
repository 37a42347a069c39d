package mls

import (
	"crypto/ed25519"
	"crypto/hmac"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// Section 5: hashes, MACs and signatures. Everything here is public-key side; what opens ciphertexts is in hpke.go.

func (s *suite) digest(data ...[]byte) []byte {
	h := s.hash.New()
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

func (s *suite) mac(key, data []byte) []byte {
	m := hmac.New(s.hash.New, key)
	m.Write(data)
	return m.Sum(nil)
}

// checkMAC compares in constant time, and only tags of the full length.
func (s *suite) checkMAC(key, data, tag []byte) bool {
	return len(tag) == s.nh && hmac.Equal(s.mac(key, data), tag)
}

// refHash is RefHash of section 5.2.
func (s *suite) refHash(label string, value []byte) []byte {
	return s.digest(build(func(b *cryptobyte.Builder) {
		addOpaque(b, []byte(label))
		addOpaque(b, value)
	}))
}

func signContent(label string, content []byte) []byte {
	return build(func(b *cryptobyte.Builder) {
		addOpaque(b, []byte("MLS 1.0 "+label))
		addOpaque(b, content)
	})
}

// verifyWithLabel is VerifyWithLabel of section 5.1.2.
func (s *suite) verifyWithLabel(public []byte, label string, content, signature []byte) bool {
	if len(public) != ed25519.PublicKeySize || len(signature) != ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(public, signContent(label, content), signature)
}

// SignatureKey is the private signature key of a member (Ed25519).
type SignatureKey struct {
	key ed25519.PrivateKey
}

// GenerateSignatureKey makes a new key for the suite.
func GenerateSignatureKey(cs CipherSuite, rand io.Reader) (*SignatureKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("mls: generating a signature key: %w", err)
	}
	return NewSignatureKey(cs, seed)
}

// NewSignatureKey takes a key from its 32-byte seed (RFC 8032 section 5.1.5).
func NewSignatureKey(cs CipherSuite, seed []byte) (*SignatureKey, error) {
	if _, err := cs.suite(); err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("mls: signature key of %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	return &SignatureKey{ed25519.NewKeyFromSeed(seed)}, nil
}

// Public returns the 32-byte public key.
func (k *SignatureKey) Public() []byte { return append([]byte{}, k.key[ed25519.SeedSize:]...) }

// Seed returns the 32-byte private seed, for sealed storage.
func (k *SignatureKey) Seed() []byte { return k.key.Seed() }

func (k *SignatureKey) signWithLabel(label string, content []byte) []byte {
	return ed25519.Sign(k.key, signContent(label, content))
}
