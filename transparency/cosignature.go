package transparency

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"golang.org/x/mod/sumdb/note"
)

// Signature types of C2SP signed-note.
const (
	typeEd25519       = 0x01
	typeEd25519Cosig  = 0x04
	typeMLDSA44Cosig  = 0x06
	timestampSize     = 8
	maxKeyName        = 255 // cosigned_message has one byte for its length, and for the origin's
	maxKeyText        = maxKeyName + 10 + (1+mldsa44.PublicKeySize+2)/3*4
	mldsa44Label      = "subtree/v1\n\x00"
	ed25519CosigLabel = "cosignature/v1\n"
)

// A Cosigner makes the timestamped signatures of C2SP tlog-cosignature. What its word means beyond "the newest consistent tree
// that I have seen" its operator says elsewhere; two statements need two keys.
type Cosigner struct {
	key  *CosignerKey
	sign func(message []byte) []byte
}

// NewEd25519Cosigner makes a cosigner of type 0x04. The key must be used for nothing else: the signed text does not name the
// signer.
func NewEd25519Cosigner(name string, private ed25519.PrivateKey) (*Cosigner, error) {
	key, err := newCosignerKey(name, typeEd25519Cosig, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("transparency: making the cosigner %q: %w", name, err)
	}
	return &Cosigner{key, func(message []byte) []byte { return ed25519.Sign(private, message) }}, nil
}

// NewMLDSA44Cosigner makes a cosigner of type 0x06 from the seed of its key. With a log's origin for a name and time 0 it also
// signs checkpoints as their log.
func NewMLDSA44Cosigner(name string, seed [mldsa44.SeedSize]byte) (*Cosigner, error) {
	public, private := mldsa44.NewKeyFromSeed(&seed)
	key, err := newCosignerKey(name, typeMLDSA44Cosig, public.Bytes())
	if err != nil {
		return nil, fmt.Errorf("transparency: making the cosigner %q: %w", name, err)
	}
	return &Cosigner{key, func(message []byte) []byte {
		sig := make([]byte, mldsa44.SignatureSize)
		// Not randomized: the same checkpoint and time always give the same bytes, so a cosignature need not be stored.
		if err := mldsa44.SignTo(private, message, nil, false, sig); err != nil {
			panic("transparency: signing without a context failed: " + err.Error())
		}
		return sig
	}}, nil
}

// Key is the public half.
func (c *Cosigner) Key() *CosignerKey { return c.key }

// At is the cosigner with its clock at so many seconds since 1970; 0 says nothing of time. The same text and time give the same
// signature.
func (c *Cosigner) At(seconds int64) note.Signer { return cosignerAt{c, seconds} }

type cosignerAt struct {
	*Cosigner
	seconds int64
}

func (c cosignerAt) Name() string    { return c.key.name }
func (c cosignerAt) KeyHash() uint32 { return c.key.hash }

func (c cosignerAt) Sign(text []byte) ([]byte, error) {
	message, err := c.key.message(uint64(c.seconds), text)
	if err != nil {
		return nil, fmt.Errorf("transparency: cosigning as %s: %w", c.key.name, err)
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(c.seconds)), c.sign(message)...), nil
}

// CosignerKey is a cosigner's public key. It is a note.Verifier.
type CosignerKey struct {
	name   string
	hash   uint32
	typ    byte
	public []byte
	verify func(message, signature []byte) bool
}

// ParseCosignerKey reads a vkey (C2SP signed-note, "Verifier keys") of signature type 0x04 or 0x06 in the one spelling it has.
func ParseCosignerKey(vkey string) (*CosignerKey, error) {
	name, typ, public, err := parseKey(vkey)
	if err != nil {
		return nil, fmt.Errorf("transparency: reading a cosigner's key: %w", err)
	}
	key, err := newCosignerKey(name, typ, public)
	if err != nil {
		return nil, fmt.Errorf("transparency: reading the key of the cosigner %q: %w", name, err)
	}
	return key, nil
}

func newCosignerKey(name string, typ byte, public []byte) (*CosignerKey, error) {
	if err := checkKeyName(name); err != nil {
		return nil, err
	}
	k := &CosignerKey{name: name, hash: keyHash(name, typ, public), typ: typ, public: bytes.Clone(public)}
	switch {
	case typ == typeEd25519Cosig && len(public) == ed25519.PublicKeySize:
		k.verify = func(message, signature []byte) bool {
			return len(signature) == ed25519.SignatureSize && ed25519.Verify(k.public, message, signature)
		}
	case typ == typeMLDSA44Cosig && len(public) == mldsa44.PublicKeySize:
		var key mldsa44.PublicKey
		key.Unpack((*[mldsa44.PublicKeySize]byte)(k.public))
		k.verify = func(message, signature []byte) bool {
			return len(signature) == mldsa44.SignatureSize && mldsa44.Verify(&key, message, nil, signature)
		}
	default:
		return nil, fmt.Errorf("%d bytes of signature type %#02x are no cosigner's key", len(public), typ)
	}
	return k, nil
}

// Name of the cosigner, by custom a URL without its scheme.
func (k *CosignerKey) Name() string { return k.name }

// KeyHash is the key ID in signature lines.
func (k *CosignerKey) KeyHash() uint32 { return k.hash }

// String is the vkey.
func (k *CosignerKey) String() string { return keyText(k.name, k.typ, k.public) }

// SamePublicKey says whether two keys are one under two names or types.
func (k *CosignerKey) SamePublicKey(other *CosignerKey) bool {
	return bytes.Equal(k.public, other.public)
}

// Verify says whether signature is this cosigner's of the checkpoint with that text.
func (k *CosignerKey) Verify(text, signature []byte) bool {
	if len(signature) < timestampSize {
		return false
	}
	message, err := k.message(binary.BigEndian.Uint64(signature), text)
	return err == nil && k.verify(message, signature[timestampSize:])
}

// Time reads from a note that was opened with this key the second as of which the cosigner knew of no larger tree. Without a
// verified signature by the key ok is false.
func (k *CosignerKey) Time(n *note.Note) (seconds int64, ok bool) {
	for _, s := range n.Sigs {
		if s.Name != k.name || s.Hash != k.hash {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(s.Base64) // as lenient as note.Open was
		if err != nil || len(raw) < 4+timestampSize {
			return 0, false
		}
		return int64(binary.BigEndian.Uint64(raw[4:])), true
	}
	return 0, false
}

// message is what a cosigner of this key signs for the text of a checkpoint.
func (k *CosignerKey) message(seconds uint64, text []byte) ([]byte, error) {
	if seconds > 1<<63-1 {
		return nil, errors.New("the time is beyond 63 bits")
	}
	c, err := parseCheckpoint(string(text))
	if err != nil {
		return nil, err
	}
	if k.typ == typeEd25519Cosig {
		return fmt.Appendf(nil, "%stime %d\n%s", ed25519CosigLabel, seconds, text), nil
	}
	if len(c.Origin) > maxKeyName {
		return nil, fmt.Errorf("origin of %d bytes", len(c.Origin))
	}
	b := append([]byte(mldsa44Label), byte(len(k.name)))
	b = append(b, k.name...)
	b = binary.BigEndian.AppendUint64(b, seconds)
	b = append(b, byte(len(c.Origin)))
	b = append(b, c.Origin...)
	b = binary.BigEndian.AppendUint64(b, 0) // the subtree starts at the first leaf
	b = binary.BigEndian.AppendUint64(b, uint64(c.Size))
	return append(b, c.Root[:]...), nil
}

// checkKeyName: what a signature line can carry. A control character would make the whole note unreadable.
func checkKeyName(name string) error {
	bad := func(r rune) bool { return unicode.IsSpace(r) || r == '+' || r < 0x20 }
	if name == "" || len(name) > maxKeyName || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%.80q cannot be a key name", name)
	}
	return nil
}

func keyHash(name string, typ byte, public []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n', typ})
	h.Write(public)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func keyText(name string, typ byte, public []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, typ, public), b64.EncodeToString(append([]byte{typ}, public...)))
}

// parseKey reads a vkey of any type.
func parseKey(vkey string) (name string, typ byte, public []byte, err error) {
	if len(vkey) > maxKeyText {
		return "", 0, nil, fmt.Errorf("%d bytes are too long for a verifier key", len(vkey))
	}
	name, rest, _ := strings.Cut(vkey, "+")
	if err := checkKeyName(name); err != nil {
		return "", 0, nil, err
	}
	_, text, _ := strings.Cut(rest, "+")
	raw, err := b64.DecodeString(text)
	if err != nil || len(raw) < 2 {
		return "", 0, nil, fmt.Errorf("the verifier key of %q is not one", name)
	}
	if keyText(name, raw[0], raw[1:]) != vkey {
		return "", 0, nil, fmt.Errorf("the verifier key of %q has another key ID, or is misspelt", name)
	}
	return name, raw[0], raw[1:], nil
}
