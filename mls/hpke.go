package mls

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"fmt"
	"io"
	"slices"

	"github.com/cloudflare/circl/hpke"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"
)

// Section 5.1.3 and section 8: HPKE, AEAD and key derivation. Only members reach this file.

// primitives of a suite that only members use.
var primitives = map[CipherSuite]struct {
	hpke hpke.Suite
	aead func(key []byte) (cipher.AEAD, error)
}{
	1: {hpke.NewSuite(hpke.KEM_X25519_HKDF_SHA256, hpke.KDF_HKDF_SHA256, hpke.AEAD_AES128GCM), newGCM},
	2: {hpke.NewSuite(hpke.KEM_P256_HKDF_SHA256, hpke.KDF_HKDF_SHA256, hpke.AEAD_AES128GCM), newGCM},
	3: {hpke.NewSuite(hpke.KEM_X25519_HKDF_SHA256, hpke.KDF_HKDF_SHA256, hpke.AEAD_ChaCha20Poly1305), chacha20poly1305.New},
	4: {hpke.NewSuite(hpke.KEM_X448_HKDF_SHA512, hpke.KDF_HKDF_SHA512, hpke.AEAD_AES256GCM), newGCM},
	5: {hpke.NewSuite(hpke.KEM_P521_HKDF_SHA512, hpke.KDF_HKDF_SHA512, hpke.AEAD_AES256GCM), newGCM},
	6: {hpke.NewSuite(hpke.KEM_X448_HKDF_SHA512, hpke.KDF_HKDF_SHA512, hpke.AEAD_ChaCha20Poly1305), chacha20poly1305.New},
	7: {hpke.NewSuite(hpke.KEM_P384_HKDF_SHA384, hpke.KDF_HKDF_SHA384, hpke.AEAD_AES256GCM), newGCM},

	MLKEM768X25519AES256GCMSHA384Ed25519: {hpke.NewSuite(hpke.KEM_XWING, hpke.KDF_HKDF_SHA384, hpke.AEAD_AES256GCM), newGCM},
}

func (s *suite) hpke() hpke.Suite { return primitives[s.id].hpke }

func (s *suite) aead(key []byte) (cipher.AEAD, error) { return primitives[s.id].aead(key) }

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (s *suite) extract(salt, ikm []byte) []byte {
	prk, err := hkdf.Extract(s.hash.New, ikm, salt)
	if err != nil {
		panic("mls: HKDF-Extract: " + err.Error()) // fails only for hashes that are not approved in FIPS mode
	}
	return prk
}

// expandWithLabel is ExpandWithLabel of section 8.
func (s *suite) expandWithLabel(secret []byte, label string, context []byte, length int) []byte {
	info := build(func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(length))
		addOpaque(b, []byte("MLS 1.0 "+label))
		addOpaque(b, context)
	})
	out, err := hkdf.Expand(s.hash.New, secret, string(info), length)
	if err != nil {
		panic("mls: HKDF-Expand: " + err.Error()) // fails only beyond 255 hashes of output, which export checks
	}
	return out
}

func (s *suite) deriveSecret(secret []byte, label string) []byte {
	return s.expandWithLabel(secret, label, nil, s.nh)
}

// deriveTreeSecret is DeriveTreeSecret of section 9.
func (s *suite) deriveTreeSecret(secret []byte, label string, generation uint32, length int) []byte {
	return s.expandWithLabel(secret, label, []byte{byte(generation >> 24), byte(generation >> 16), byte(generation >> 8), byte(generation)}, length)
}

func (s *suite) randomSecret(rand io.Reader) ([]byte, error) {
	secret := make([]byte, s.nh)
	return secret, fillRandom(rand, secret)
}

// deriveKeyPair is DeriveKeyPair of RFC 9180 section 7.1.3 on a node secret. The library's own takes only as many bytes as a
// private key has; a node secret has as many as a hash.
func (s *suite) deriveKeyPair(secret []byte) (public, private []byte) {
	kem, _, _ := s.hpke().Params()
	if kem == hpke.KEM_XWING {
		private = xwingSeed(secret)
		return publicHalf(kem, private), private
	}
	id := []byte{'K', 'E', 'M', byte(kem >> 8), byte(kem)}
	prk := s.extract(nil, slices.Concat([]byte("HPKE-v1"), id, []byte("dkp_prk"), secret))
	size := kem.Scheme().PrivateKeySize()
	expand := func(label string, info ...byte) []byte {
		full := slices.Concat([]byte{byte(size >> 8), byte(size)}, []byte("HPKE-v1"), id, []byte(label), info)
		out, err := hkdf.Expand(s.hash.New, prk, string(full), size)
		if err != nil {
			panic("mls: HKDF-Expand: " + err.Error()) // fails only beyond 255 hashes of output
		}
		return out
	}
	if kem == hpke.KEM_X25519_HKDF_SHA256 || kem == hpke.KEM_X448_HKDF_SHA512 {
		private = expand("sk")
		return publicHalf(kem, private), private
	}
	for counter := range 256 {
		private = expand("candidate", byte(counter))
		if kem == hpke.KEM_P521_HKDF_SHA512 {
			private[0] &= 1
		}
		if public = publicHalf(kem, private); public != nil {
			return public, private
		}
	}
	panic("mls: deriving a key pair: no candidate in 256") // less likely than 2^-8000
}

// publicHalf of a private key; nil if that is none.
func publicHalf(kem hpke.KEM, private []byte) []byte {
	sk, err := kem.Scheme().UnmarshalBinaryPrivateKey(private)
	if err != nil {
		return nil
	}
	public, err := sk.Public().MarshalBinary()
	if err != nil {
		panic("mls: encoding a derived public key: " + err.Error())
	}
	return public
}

func (s *suite) generateKeyPair(rand io.Reader) (public, private []byte, err error) {
	secret, err := s.randomSecret(rand)
	if err != nil {
		return nil, nil, err
	}
	public, private = s.deriveKeyPair(secret)
	return public, private, nil
}

// hpkeCiphertext
//
//	struct {
//	    opaque kem_output<V>;
//	    opaque ciphertext<V>;
//	} HPKECiphertext;
type hpkeCiphertext struct {
	kemOutput, ciphertext []byte
}

func (c *hpkeCiphertext) read(s *cryptobyte.String) bool {
	return readOpaque(s, &c.kemOutput) && readOpaque(s, &c.ciphertext)
}

func (c *hpkeCiphertext) add(b *cryptobyte.Builder) {
	addOpaque(b, c.kemOutput)
	addOpaque(b, c.ciphertext)
}

// sealWithLabel is EncryptWithLabel of section 5.1.3.
func (s *suite) sealWithLabel(rand io.Reader, public []byte, label string, context, plaintext []byte) (hpkeCiphertext, error) {
	if rand == nil {
		return hpkeCiphertext{}, argument("no source of randomness")
	}
	kem, _, _ := s.hpke().Params()
	pk, err := kem.Scheme().UnmarshalBinaryPublicKey(public)
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: reading a public key to encrypt to: %w", err)
	}
	sender, err := s.hpke().NewSender(pk, signContent(label, context))
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: encrypting %q: %w", label, err)
	}
	enc, sealer, err := sender.Setup(rand)
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: encrypting %q: %w", label, err)
	}
	ct, err := sealer.Seal(plaintext, nil)
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: encrypting %q: %w", label, err)
	}
	return hpkeCiphertext{enc, ct}, nil
}

// openWithLabel is DecryptWithLabel of section 5.1.3.
func (s *suite) openWithLabel(private []byte, label string, context []byte, c hpkeCiphertext) ([]byte, error) {
	kem, _, _ := s.hpke().Params()
	if n := kem.Scheme().PrivateKeySize(); len(private) < n {
		private = append(make([]byte, n-len(private), n), private...) // some write a scalar without leading zeros
	}
	sk, err := kem.Scheme().UnmarshalBinaryPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("mls: reading a private key: %w", err)
	}
	receiver, err := s.hpke().NewReceiver(sk, signContent(label, context))
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting %q: %w", label, ErrDecrypt)
	}
	opener, err := receiver.Setup(c.kemOutput)
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting %q: %w", label, ErrDecrypt)
	}
	pt, err := opener.Open(c.ciphertext, nil)
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting %q: %w", label, ErrDecrypt)
	}
	return pt, nil
}

// An exportedInit is an init secret that somebody outside gives to a group (section 8.3).
type exportedInit struct {
	output, secret []byte
}

const externalInitLabel = "MLS 1.0 external init secret"

func (s *suite) sendInit(rand io.Reader, public []byte) (exportedInit, error) {
	if rand == nil {
		return exportedInit{}, argument("no source of randomness")
	}
	kem, _, _ := s.hpke().Params()
	pk, err := kem.Scheme().UnmarshalBinaryPublicKey(public)
	if err != nil {
		return exportedInit{}, fmt.Errorf("mls: reading an external key: %w", err)
	}
	sender, err := s.hpke().NewSender(pk, nil)
	if err != nil {
		return exportedInit{}, fmt.Errorf("mls: making an external init: %w", err)
	}
	output, context, err := sender.Setup(rand)
	if err != nil {
		return exportedInit{}, fmt.Errorf("mls: making an external init: %w", err)
	}
	return exportedInit{output, context.Export([]byte(externalInitLabel), uint(s.nh))}, nil
}

func (s *suite) receiveInit(private, output []byte) ([]byte, error) {
	kem, _, _ := s.hpke().Params()
	sk, err := kem.Scheme().UnmarshalBinaryPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("mls: reading an external key: %w", err)
	}
	receiver, err := s.hpke().NewReceiver(sk, nil)
	if err != nil {
		return nil, fmt.Errorf("mls: reading an external init: %w", ErrDecrypt)
	}
	context, err := receiver.Setup(output)
	if err != nil {
		return nil, fmt.Errorf("mls: reading an external init: %w", ErrDecrypt)
	}
	return context.Export([]byte(externalInitLabel), uint(s.nh)), nil
}
