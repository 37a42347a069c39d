package mls

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"fmt"
	"io"

	"github.com/cloudflare/circl/hpke"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"
)

// Section 5.1.3 and section 8: HPKE, AEAD and key derivation. Only members reach this file.

func (s *suite) hpke() hpke.Suite {
	if s.id == X25519ChaCha20Poly1305SHA256Ed25519 {
		return hpke.NewSuite(hpke.KEM_X25519_HKDF_SHA256, hpke.KDF_HKDF_SHA256, hpke.AEAD_ChaCha20Poly1305)
	}
	return hpke.NewSuite(hpke.KEM_X25519_HKDF_SHA256, hpke.KDF_HKDF_SHA256, hpke.AEAD_AES128GCM)
}

func (s *suite) aead(key []byte) (cipher.AEAD, error) {
	if s.id == X25519ChaCha20Poly1305SHA256Ed25519 {
		return chacha20poly1305.New(key)
	}
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
	if _, err := io.ReadFull(rand, secret); err != nil {
		return nil, fmt.Errorf("mls: reading randomness: %w", err)
	}
	return secret, nil
}

// deriveKeyPair is KEM.DeriveKeyPair of RFC 9180 on a node secret.
func (s *suite) deriveKeyPair(secret []byte) (public, private []byte) {
	kem, _, _ := s.hpke().Params()
	pk, sk := kem.Scheme().DeriveKeyPair(secret)
	public, err := pk.MarshalBinary()
	if err != nil {
		panic("mls: encoding a derived public key: " + err.Error())
	}
	private, err = sk.MarshalBinary()
	if err != nil {
		panic("mls: encoding a derived private key: " + err.Error())
	}
	return public, private
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
	kem, _, _ := s.hpke().Params()
	pk, err := kem.Scheme().UnmarshalBinaryPublicKey(public)
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: reading a public key to encrypt to: %w", err)
	}
	sender, err := s.hpke().NewSender(pk, signContent(label, context))
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: encrypting %s: %w", label, err)
	}
	enc, sealer, err := sender.Setup(rand)
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: encrypting %s: %w", label, err)
	}
	ct, err := sealer.Seal(plaintext, nil)
	if err != nil {
		return hpkeCiphertext{}, fmt.Errorf("mls: encrypting %s: %w", label, err)
	}
	return hpkeCiphertext{enc, ct}, nil
}

// openWithLabel is DecryptWithLabel of section 5.1.3.
func (s *suite) openWithLabel(private []byte, label string, context []byte, c hpkeCiphertext) ([]byte, error) {
	kem, _, _ := s.hpke().Params()
	sk, err := kem.Scheme().UnmarshalBinaryPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("mls: reading a private key: %w", err)
	}
	receiver, err := s.hpke().NewReceiver(sk, signContent(label, context))
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting %s: %w", label, ErrDecrypt)
	}
	opener, err := receiver.Setup(c.kemOutput)
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting %s: %w", label, ErrDecrypt)
	}
	pt, err := opener.Open(c.ciphertext, nil)
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting %s: %w", label, ErrDecrypt)
	}
	return pt, nil
}
