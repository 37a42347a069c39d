package mls

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

const version10 uint16 = 1 // ProtocolVersion mls10

const secretVersion = 1 // of KeyPackageSecret.Marshal

// KeyPackage is what a client publishes so that others can add it while it is away (section 10). It is not changed after
// it was read or signed.
//
//	struct {
//	    ProtocolVersion version;
//	    CipherSuite cipher_suite;
//	    HPKEPublicKey init_key;
//	    LeafNode leaf_node;
//	    Extension extensions<V>;
//	    opaque signature<V>;
//	} KeyPackage;
type KeyPackage struct {
	Suite      CipherSuite
	InitKey    []byte
	Leaf       LeafNode
	Extensions []Extension
	version    uint16
	signature  []byte
}

// ParseKeyPackage reads a raw KeyPackage (not framed as an MLSMessage) to its end. Nothing is verified.
func ParseKeyPackage(raw []byte) (*KeyPackage, error) {
	kp := new(KeyPackage)
	if err := unmarshalUpTo(maxKeyPackage, raw, kp, "key package"); err != nil {
		return nil, err
	}
	return kp, nil
}

func (kp *KeyPackage) read(s *cryptobyte.String) bool {
	before := len(*s)
	return s.ReadUint16(&kp.version) && s.ReadUint16((*uint16)(&kp.Suite)) && readOpaque(s, &kp.InitKey) &&
		kp.Leaf.read(s) && readExtensions(s, &kp.Extensions) && readOpaque(s, &kp.signature) && before-len(*s) <= maxKeyPackage
}

func (kp *KeyPackage) addUnsigned(b *cryptobyte.Builder) {
	b.AddUint16(kp.version)
	b.AddUint16(uint16(kp.Suite))
	addOpaque(b, kp.InitKey)
	kp.Leaf.add(b)
	addExtensions(b, kp.Extensions)
}

func (kp *KeyPackage) add(b *cryptobyte.Builder) {
	kp.addUnsigned(b)
	addOpaque(b, kp.signature)
}

// Marshal returns the raw KeyPackage.
func (kp *KeyPackage) Marshal() []byte { return marshal(kp) }

// Ref is the KeyPackageRef of section 5.2, by which a Welcome names its receivers; nil for a suite that is not known here.
func (kp *KeyPackage) Ref() []byte {
	s, err := kp.Suite.suite()
	if err != nil {
		return nil
	}
	return s.refHash("MLS 1.0 KeyPackage Reference", marshal(kp))
}

// LastResort says whether the package may be handed out more than once (draft-ietf-mls-extensions). The extension is empty.
func (kp *KeyPackage) LastResort() bool {
	data, ok := findExtension(kp.Extensions, extensionLastResort)
	return ok && len(data) == 0
}

// Verify checks the package by itself (section 10.1): version, suite, both signatures, keys, lifetime. Whether the
// signature key really belongs to the identity is for the caller to find out.
func (kp *KeyPackage) Verify(now time.Time) error {
	s, err := kp.Suite.suite()
	if err != nil {
		return err
	}
	v := s.signatures()
	if err := kp.check(s, now, v); err != nil {
		return err
	}
	return v.check()
}

// check is Verify but for the signatures, which it adds to v.
func (kp *KeyPackage) check(s *suite, now time.Time, v *signatures) error {
	switch {
	case kp.version != version10:
		return invalid("key package of version %d (10.1)", kp.version)
	case kp.Leaf.source != leafFromKeyPackage:
		return invalid("key package with a leaf of another source (10.1)")
	case bytes.Equal(kp.InitKey, kp.Leaf.EncryptionKey):
		return invalid("init key is also the leaf's encryption key (10.1)")
	case !kp.Leaf.Lifetime.covers(now):
		return invalid("key package is not valid now (7.3)")
	case kp.LastResort() && !kp.Leaf.Capabilities.supportsExtension(extensionLastResort):
		// Who makes a package is to name all its extensions in the leaf, but who reads it ignores those it does not know
		// (section 10). mlspp puts GREASE here that its leaves do not name.
		return invalid("last-resort key package whose leaf does not support them (10)")
	}
	if err := s.checkPublicKey("init key", kp.InitKey); err != nil {
		return err
	}
	v.add(kp.Leaf.SignatureKey, "KeyPackageTBS", build(kp.addUnsigned), kp.signature, invalid("key package signature (10.1)"))
	if err := checkAppData(kp.Extensions); err != nil {
		return err
	}
	return kp.Leaf.checkWith(v, s, nil, 0)
}

// KeyPackageParams says what goes into a new key package. Capabilities left empty become what this package supports.
type KeyPackageParams struct {
	Suite          CipherSuite
	Signer         *SignatureKey
	Credential     Credential
	Capabilities   Capabilities
	Lifetime       Lifetime
	LeafExtensions []Extension
	Extensions     []Extension
	LastResort     bool
}

// KeyPackageSecret is a key package with its private keys. It goes once it was used, unless it is one of last resort.
type KeyPackageSecret struct {
	public   *KeyPackage
	initPriv []byte
	leafPriv []byte
}

// NewKeyPackage makes keys and signs the package.
func NewKeyPackage(rand io.Reader, p KeyPackageParams) (*KeyPackageSecret, error) {
	s, err := p.Suite.suite()
	if err != nil {
		return nil, err
	}
	if err := s.checkSigner(p.Signer); err != nil {
		return nil, err
	}
	initPub, initPriv, err := s.generateKeyPair(rand)
	if err != nil {
		return nil, fmt.Errorf("mls: new key package: %w", err)
	}
	leafPub, leafPriv, err := s.generateKeyPair(rand)
	if err != nil {
		return nil, fmt.Errorf("mls: new key package: %w", err)
	}
	grease, err := newGrease(rand)
	if err != nil {
		return nil, err
	}
	caps, extensions := grease.capabilities(p.Capabilities.withDefaults(p.Suite)), grease.extensions(p.Extensions)
	if p.LastResort {
		caps.Extensions = append(caps.Extensions, extensionLastResort)
		extensions = append(extensions, Extension{Type: extensionLastResort})
	}
	kp := &KeyPackage{
		version: version10, Suite: p.Suite, InitKey: initPub, Extensions: extensions,
		Leaf: LeafNode{
			EncryptionKey: leafPub, SignatureKey: p.Signer.Public(), Credential: p.Credential, Capabilities: caps,
			source: leafFromKeyPackage, Lifetime: p.Lifetime, Extensions: grease.leafExtensions(p.LeafExtensions),
		},
	}
	if err := kp.Leaf.checkAdvertises(); err != nil {
		return nil, err
	}
	kp.Leaf.sign(p.Signer, nil, 0)
	kp.signature = p.Signer.signWithLabel("KeyPackageTBS", build(kp.addUnsigned))
	own := new(KeyPackage) // of memory that is not the caller's
	if err := readable(kp, own, "a key package"); err != nil {
		return nil, err
	}
	return &KeyPackageSecret{own, initPriv, leafPriv}, nil
}

// KeyPackage returns the public half.
func (k *KeyPackageSecret) KeyPackage() *KeyPackage { return k.public }

func (k *KeyPackageSecret) add(b *cryptobyte.Builder) {
	b.AddUint8(secretVersion)
	addOpaque(b, k.public.Marshal())
	addOpaque(b, k.initPriv)
	addOpaque(b, k.leafPriv)
}

func (k *KeyPackageSecret) read(s *cryptobyte.String) bool {
	var version uint8
	var raw []byte
	if !s.ReadUint8(&version) || version != secretVersion || !readOpaque(s, &raw) || !readOpaque(s, &k.initPriv) || !readOpaque(s, &k.leafPriv) {
		return false
	}
	var err error
	k.public, err = ParseKeyPackage(raw)
	return err == nil
}

// Marshal returns public and private parts, for sealed storage.
func (k *KeyPackageSecret) Marshal() []byte { return marshal(k) }

// UnmarshalKeyPackageSecret reads what Marshal wrote.
func UnmarshalKeyPackageSecret(data []byte) (*KeyPackageSecret, error) {
	k := new(KeyPackageSecret)
	if err := unmarshalUpTo(maxSecret, data, k, "stored key package"); err != nil {
		return nil, err
	}
	return k, nil
}
