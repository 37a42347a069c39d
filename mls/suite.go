package mls

import (
	"crypto"
	_ "crypto/sha256" // the hashes of the suites
	_ "crypto/sha512"
	"fmt"
)

// CipherSuite is an MLS cipher suite number (RFC 9420 section 17.1).
type CipherSuite uint16

// The suites of RFC 9420. Those that sign with Ed25519 or Ed448 are to be preferred: MLS's proofs ask for signatures that nobody can
// change into another one, which ECDSA's can be.
const (
	X25519AES128GCMSHA256Ed25519        CipherSuite = 1
	P256AES128GCMSHA256P256             CipherSuite = 2
	X25519ChaCha20Poly1305SHA256Ed25519 CipherSuite = 3
	X448AES256GCMSHA512Ed448            CipherSuite = 4
	P521AES256GCMSHA512P521             CipherSuite = 5
	X448ChaCha20Poly1305SHA512Ed448     CipherSuite = 6
	P384AES256GCMSHA384P384             CipherSuite = 7
)

const aeadTag = 16 // bytes, of every suite

// suite holds the sizes and numbers of a cipher suite that need no decryption code; what does is in hpke.go.
type suite struct {
	id   CipherSuite
	name string
	hash crypto.Hash
	sig  *signatureScheme
	nh   int // bytes of a hash, a MAC and every secret
	nk   int // bytes of an AEAD key
	nn   int // bytes of an AEAD nonce
	npk  int // bytes of an HPKE public key
	nenc int // bytes of an HPKE KEM output
}

var suites = map[CipherSuite]*suite{
	1: {1, "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", crypto.SHA256, schemeEd25519, 32, 16, 12, 32, 32},
	2: {2, "MLS_128_DHKEMP256_AES128GCM_SHA256_P256", crypto.SHA256, schemeP256, 32, 16, 12, 65, 65},
	3: {3, "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519", crypto.SHA256, schemeEd25519, 32, 32, 12, 32, 32},
	4: {4, "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448", crypto.SHA512, schemeEd448, 64, 32, 12, 56, 56},
	5: {5, "MLS_256_DHKEMP521_AES256GCM_SHA512_P521", crypto.SHA512, schemeP521, 64, 32, 12, 133, 133},
	6: {6, "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448", crypto.SHA512, schemeEd448, 64, 32, 12, 56, 56},
	7: {7, "MLS_256_DHKEMP384_AES256GCM_SHA384_P384", crypto.SHA384, schemeP384, 48, 32, 12, 97, 97},

	MLKEM768X25519AES256GCMSHA384Ed25519: {MLKEM768X25519AES256GCMSHA384Ed25519, "MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519",
		crypto.SHA384, schemeEd25519, 48, 32, 12, 1216, 1120},
}

// String gives the name in the IANA registry, or in the draft.
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
