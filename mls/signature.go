package mls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha3"
	"crypto/sha512"
	"fmt"
	"io"

	"github.com/cloudflare/circl/sign/ed448"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"golang.org/x/crypto/cryptobyte"
)

// Section 5.1.2: signatures.

func signContent(label string, content []byte) []byte {
	return build(func(b *cryptobyte.Builder) {
		addOpaque(b, []byte("MLS 1.0 "+label))
		addOpaque(b, content)
	})
}

// verifyWithLabel is VerifyWithLabel of section 5.1.2.
func (s *suite) verifyWithLabel(public []byte, label string, content, signature []byte) bool {
	return s.sig.verify(public, signContent(label, content), signature)
}

// A signatureScheme is one way to sign. Keys and signatures are bytes as they stand in messages.
type signatureScheme struct {
	load   func(private []byte) (signer, error)
	verify func(public, message, signature []byte) bool
	batch  func(list []signed) bool             // all of them at once, by the rule of verify; nil: the scheme has no way to
	random func(rand io.Reader) ([]byte, error) // a fresh private key
}

type signer interface {
	public() []byte
	sign(message []byte) []byte
}

// A signed is a signature that has to verify, else the refusal holds.
type signed struct {
	public, message, signature []byte
	refusal                    error
}

// signatures are collected and verified together, which costs a third.
type signatures struct {
	scheme *signatureScheme
	list   []signed
}

func (s *suite) signatures() *signatures { return &signatures{scheme: s.sig} }

func (v *signatures) add(public []byte, label string, content, signature []byte, refusal error) {
	v.list = append(v.list, signed{public, signContent(label, content), signature, refusal})
}

// batchFrom is the number of signatures from which on a batch is worth its while.
const batchFrom = 8

// check returns the refusal of the first signature that does not verify.
func (v *signatures) check() error {
	if v.scheme.batch != nil && len(v.list) >= batchFrom && v.scheme.batch(v.list) {
		return nil
	}
	for _, x := range v.list {
		if !v.scheme.verify(x.public, x.message, x.signature) {
			return x.refusal
		}
	}
	return nil
}

// SignatureKey is the private signature key of a member.
type SignatureKey struct {
	private, public []byte
	scheme          *signatureScheme
	signer          signer
}

// GenerateSignatureKey makes a new key for the suite.
func GenerateSignatureKey(cs CipherSuite, rand io.Reader) (*SignatureKey, error) {
	s, err := cs.suite()
	if err != nil {
		return nil, err
	}
	private, err := s.sig.random(rand)
	if err != nil {
		return nil, fmt.Errorf("mls: generating a signature key: %w", err)
	}
	return NewSignatureKey(cs, private)
}

// NewSignatureKey takes a key from its private bytes: the seed of RFC 8032, or the big-endian scalar of an ECDSA key.
func NewSignatureKey(cs CipherSuite, private []byte) (*SignatureKey, error) {
	s, err := cs.suite()
	if err != nil {
		return nil, err
	}
	loaded, err := s.sig.load(private)
	if err != nil {
		return nil, fmt.Errorf("mls: reading a signature key: %w: %w", ErrArgument, err)
	}
	return &SignatureKey{append([]byte{}, private...), loaded.public(), s.sig, loaded}, nil
}

// Public returns the public key as it stands in leaves.
func (k *SignatureKey) Public() []byte { return append([]byte{}, k.public...) }

// Private returns the private bytes, for sealed storage.
func (k *SignatureKey) Private() []byte { return append([]byte{}, k.private...) }

func (k *SignatureKey) signWithLabel(label string, content []byte) []byte {
	return k.signer.sign(signContent(label, content))
}

func readRandom(size int) func(io.Reader) ([]byte, error) {
	return func(rand io.Reader) ([]byte, error) {
		b := make([]byte, size)
		return b, fillRandom(rand, b)
	}
}

// One rule says which Ed25519 signatures count, verified alone or together: the cofactored equation of RFC 8032, with canonical
// encodings and no public key of small order. Members who disagreed here would disagree on who is a member.
var ed25519Rule = &voi.Options{Verify: voi.VerifyOptionsDefault}

var schemeEd25519 = &signatureScheme{
	random: readRandom(ed25519.SeedSize),
	load: func(private []byte) (signer, error) {
		if len(private) != ed25519.SeedSize {
			return nil, fmt.Errorf("it has %d bytes, want %d", len(private), ed25519.SeedSize)
		}
		return ed25519Key{ed25519.NewKeyFromSeed(private)}, nil
	},
	verify: func(public, message, signature []byte) bool {
		return len(public) == ed25519.PublicKeySize && len(signature) == ed25519.SignatureSize && voi.VerifyWithOptions(public, message, signature, ed25519Rule)
	},
	batch: func(list []signed) bool {
		b := voi.NewBatchVerifierWithCapacity(len(list)).ForceNoPublicKeyExpansion()
		seed := sha3.NewSHAKE128() // the coefficients must be beyond the signers' control; bound to all of the batch they are
		for _, x := range list {
			if len(x.public) != ed25519.PublicKeySize || len(x.signature) != ed25519.SignatureSize {
				return false
			}
			b.AddWithOptions(x.public, x.message, x.signature, ed25519Rule)
			digest := sha512.Sum512(x.message)
			for _, part := range [][]byte{x.public, x.signature, digest[:]} {
				_, _ = seed.Write(part) // of one length each; a hash takes everything
			}
		}
		return b.VerifyBatchOnly(seed)
	},
}

type ed25519Key struct{ key ed25519.PrivateKey }

func (k ed25519Key) public() []byte             { return k.key[ed25519.SeedSize:] }
func (k ed25519Key) sign(message []byte) []byte { return ed25519.Sign(k.key, message) }

var schemeEd448 = &signatureScheme{
	random: readRandom(ed448.SeedSize),
	load: func(private []byte) (signer, error) {
		if len(private) != ed448.SeedSize {
			return nil, fmt.Errorf("it has %d bytes, want %d", len(private), ed448.SeedSize)
		}
		return ed448Key{ed448.NewKeyFromSeed(private)}, nil
	},
	verify: func(public, message, signature []byte) bool {
		return len(public) == ed448.PublicKeySize && len(signature) == ed448.SignatureSize && ed448.Verify(public, message, signature, "")
	},
}

type ed448Key struct{ key ed448.PrivateKey }

func (k ed448Key) public() []byte             { return k.key[ed448.SeedSize:] }
func (k ed448Key) sign(message []byte) []byte { return ed448.Sign(k.key, message, "") }

var (
	schemeP256 = ecdsaScheme(elliptic.P256(), crypto.SHA256)
	schemeP384 = ecdsaScheme(elliptic.P384(), crypto.SHA384)
	schemeP521 = ecdsaScheme(elliptic.P521(), crypto.SHA512)
)

// ecdsaScheme signs as TLS 1.3 does: DER signatures, uncompressed points. Nonces are derived from key and message (RFC 6979), so
// that no randomness can be bad.
func ecdsaScheme(curve elliptic.Curve, hash crypto.Hash) *signatureScheme {
	size := (curve.Params().BitSize + 7) / 8
	digest := func(message []byte) []byte {
		h := hash.New()
		h.Write(message)
		return h.Sum(nil)
	}
	return &signatureScheme{
		load: func(private []byte) (signer, error) {
			if len(private) > size {
				return nil, fmt.Errorf("it has %d bytes, at most %d can be", len(private), size)
			}
			private = append(make([]byte, size-len(private), size), private...) // some write the scalar without leading zeros
			key, err := ecdsa.ParseRawPrivateKey(curve, private)
			if err != nil {
				return nil, err
			}
			public, err := key.PublicKey.Bytes()
			return ecdsaKey{key, public, digest, hash}, err
		},
		verify: func(public, message, signature []byte) bool {
			key, err := ecdsa.ParseUncompressedPublicKey(curve, public)
			return err == nil && ecdsa.VerifyASN1(key, digest(message), signature)
		},
		random: func(rand io.Reader) ([]byte, error) {
			for {
				b, err := readRandom(size)(rand)
				if err != nil {
					return nil, err
				}
				b[0] &= byte(1<<(((curve.Params().BitSize-1)%8)+1) - 1) // P-521 has 521 bits in 66 bytes
				if _, err := ecdsa.ParseRawPrivateKey(curve, b); err == nil {
					return b, nil
				}
			}
		},
	}
}

type ecdsaKey struct {
	key    *ecdsa.PrivateKey
	point  []byte
	digest func([]byte) []byte
	hash   crypto.Hash
}

func (k ecdsaKey) public() []byte { return k.point }

func (k ecdsaKey) sign(message []byte) []byte {
	signature, err := k.key.Sign(nil, k.digest(message), k.hash) // without randomness: RFC 6979
	if err != nil {
		panic("mls: signing: " + err.Error()) // fails only for a digest of another length
	}
	return signature
}
