package mls

import (
	"crypto"
	_ "crypto/sha256" // SHA-256 of the suites
	"fmt"
)

// CipherSuite is an MLS cipher suite number (RFC 9420 section 17.1).
type CipherSuite uint16

// The suites this package speaks. Both sign with Ed25519, which is strongly unforgeable; MLS's proofs ask for that.
const (
	X25519AES128GCMSHA256Ed25519        CipherSuite = 1
	X25519ChaCha20Poly1305SHA256Ed25519 CipherSuite = 3
)

// suite holds the sizes and numbers of a cipher suite that need no decryption code; what does is in hpke.go.
type suite struct {
	id   CipherSuite
	name string
	hash crypto.Hash
	nh   int // bytes of a hash, a MAC and every secret
	nk   int // bytes of an AEAD key
	nn   int // bytes of an AEAD nonce
	npk  int // bytes of an HPKE public key
}

var suites = map[CipherSuite]*suite{
	1: {1, "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", crypto.SHA256, 32, 16, 12, 32},
	3: {3, "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519", crypto.SHA256, 32, 32, 12, 32},
}

// String gives the name in the IANA registry.
func (cs CipherSuite) String() string {
	if s, ok := suites[cs]; ok {
		return s.name
	}
	return fmt.Sprintf("0x%04X", uint16(cs))
}

func (cs CipherSuite) suite() (*suite, error) {
	if s, ok := suites[cs]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("mls: cipher suite %v: %w", cs, ErrUnsupported)
}
