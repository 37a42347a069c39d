package mls

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// CredentialType is a number of RFC 9420 section 17.5.
type CredentialType uint16

const (
	CredentialBasic CredentialType = 1
	CredentialX509  CredentialType = 2
)

// Credential says who a leaf claims to be. The claim is not proven here: the caller decides by Identity and signature key.
//
//	struct {
//	    CredentialType credential_type;
//	    select (Credential.credential_type) {
//	        case basic: opaque identity<V>;
//	        case x509:  Certificate certificates<V>;
//	    };
//	} Credential;
type Credential struct {
	Type         CredentialType
	Identity     []byte   // basic
	Certificates [][]byte // x509, not interpreted
}

// BasicCredential names an identity, for Waxwing an actor URL.
func BasicCredential(identity []byte) Credential {
	return Credential{Type: CredentialBasic, Identity: identity}
}

func (c *Credential) read(s *cryptobyte.String) bool {
	if !s.ReadUint16((*uint16)(&c.Type)) {
		return false
	}
	switch c.Type {
	case CredentialBasic:
		return readOpaque(s, &c.Identity)
	case CredentialX509:
		return readList(s, maxCertificates, func(s *cryptobyte.String) bool {
			var cert []byte
			ok := readOpaque(s, &cert)
			c.Certificates = append(c.Certificates, cert)
			return ok
		})
	}
	return false // the length of an unknown credential cannot be known
}

func (c *Credential) add(b *cryptobyte.Builder) {
	b.AddUint16(uint16(c.Type))
	if c.Type == CredentialX509 {
		addVector(b, func(b *cryptobyte.Builder) {
			for _, cert := range c.Certificates {
				addOpaque(b, cert)
			}
		})
		return
	}
	addOpaque(b, c.Identity)
}

// ExtensionType is a number of RFC 9420 section 17.3.
type ExtensionType uint16

const (
	extensionApplicationID        ExtensionType = 1
	extensionRatchetTree          ExtensionType = 2
	ExtensionRequiredCapabilities ExtensionType = 3
	extensionExternalPub          ExtensionType = 4
	ExtensionExternalSenders      ExtensionType = 5
	ExtensionAppDataDictionary    ExtensionType = 6 // draft-ietf-mls-extensions, as is the next
	extensionLastResort           ExtensionType = 10
)

// Extension is one of a list; its data is not interpreted but for the types above.
type Extension struct {
	Type ExtensionType
	Data []byte
}

func readExtensions(s *cryptobyte.String, out *[]Extension) bool {
	*out = nil
	seen := map[ExtensionType]bool{}
	return readList(s, maxExtensions, func(s *cryptobyte.String) bool {
		var e Extension
		if !s.ReadUint16((*uint16)(&e.Type)) || !readOpaque(s, &e.Data) || seen[e.Type] {
			return false
		}
		seen[e.Type] = true
		*out = append(*out, e)
		return true
	})
}

func addExtensions(b *cryptobyte.Builder, list []Extension) {
	addVector(b, func(b *cryptobyte.Builder) {
		for _, e := range list {
			b.AddUint16(uint16(e.Type))
			addOpaque(b, e.Data)
		}
	})
}

func findExtension(list []Extension, t ExtensionType) ([]byte, bool) {
	for _, e := range list {
		if e.Type == t {
			return e.Data, true
		}
	}
	return nil, false
}

// Capabilities lists what a client supports beyond what every client must (section 7.2).
type Capabilities struct {
	Versions     []uint16
	CipherSuites []CipherSuite
	Extensions   []ExtensionType
	Proposals    []ProposalType
	Credentials  []CredentialType
}

func readNumbers[T ~uint16](s *cryptobyte.String, out *[]T) bool {
	return readList(s, maxCapabilities, func(s *cryptobyte.String) bool {
		var n uint16
		ok := s.ReadUint16(&n)
		*out = append(*out, T(n))
		return ok
	})
}

func addNumbers[T ~uint16](b *cryptobyte.Builder, list []T) {
	addVector(b, func(b *cryptobyte.Builder) {
		for _, n := range list {
			b.AddUint16(uint16(n))
		}
	})
}

func (c *Capabilities) read(s *cryptobyte.String) bool {
	return readNumbers(s, &c.Versions) && readNumbers(s, &c.CipherSuites) && readNumbers(s, &c.Extensions) &&
		readNumbers(s, &c.Proposals) && readNumbers(s, &c.Credentials)
}

func (c *Capabilities) add(b *cryptobyte.Builder) {
	addNumbers(b, c.Versions)
	addNumbers(b, c.CipherSuites)
	addNumbers(b, c.Extensions)
	addNumbers(b, c.Proposals)
	addNumbers(b, c.Credentials)
}

// withDefaults fills what is empty with what this package does. The types that every client must know are not to be listed (7.2).
func (c Capabilities) withDefaults(cs CipherSuite) Capabilities {
	var must Capabilities
	c.Extensions = slices.DeleteFunc(slices.Clone(c.Extensions), must.supportsExtension)
	c.Proposals = slices.DeleteFunc(slices.Clone(c.Proposals), must.supportsProposal)
	if len(c.Versions) == 0 {
		c.Versions = []uint16{version10}
	}
	if len(c.CipherSuites) == 0 {
		c.CipherSuites = []CipherSuite{cs}
	}
	if len(c.Credentials) == 0 {
		c.Credentials = []CredentialType{CredentialBasic}
	}
	return c
}

// supportsExtension also holds for the types every client must know.
func (c *Capabilities) supportsExtension(t ExtensionType) bool {
	return t >= 1 && t <= 5 || slices.Contains(c.Extensions, t)
}

func (c *Capabilities) supportsCredential(t CredentialType) bool {
	return slices.Contains(c.Credentials, t)
}

func (c *Capabilities) supportsProposal(t ProposalType) bool {
	return t >= 1 && t <= 7 || slices.Contains(c.Proposals, t)
}

// Lifetime of a key package, in seconds since 1970.
type Lifetime struct{ NotBefore, NotAfter uint64 }

func (l Lifetime) covers(now time.Time) bool {
	t := now.Unix()
	return t >= 0 && l.NotBefore <= uint64(t)+maxLifetimeMargin && uint64(t) <= l.NotAfter
}

// leafSource says in what a leaf node was made (section 7.2).
type leafSource uint8

const (
	leafFromKeyPackage leafSource = 1
	leafFromUpdate     leafSource = 2
	leafFromCommit     leafSource = 3
)

// LeafNode is a member's public half (section 7.2). It is not changed after it was read or signed.
type LeafNode struct {
	EncryptionKey []byte
	SignatureKey  []byte
	Credential    Credential
	Capabilities  Capabilities
	source        leafSource
	Lifetime      Lifetime // from a key package
	ParentHash    []byte   // from a commit
	Extensions    []Extension
	signature     []byte
	size          int // in bytes, as it was read or signed
}

func (l *LeafNode) read(s *cryptobyte.String) bool {
	before := len(*s)
	ok := l.readUnsigned(s) && readOpaque(s, &l.signature)
	l.size = before - len(*s)
	return ok && l.size <= maxLeaf
}

func (l *LeafNode) readUnsigned(s *cryptobyte.String) bool {
	if !readOpaque(s, &l.EncryptionKey) || !readOpaque(s, &l.SignatureKey) || !l.Credential.read(s) ||
		!l.Capabilities.read(s) || !s.ReadUint8((*uint8)(&l.source)) {
		return false
	}
	switch l.source {
	case leafFromKeyPackage:
		if !s.ReadUint64(&l.Lifetime.NotBefore) || !s.ReadUint64(&l.Lifetime.NotAfter) {
			return false
		}
	case leafFromUpdate:
	case leafFromCommit:
		if !readOpaque(s, &l.ParentHash) {
			return false
		}
	default:
		return false
	}
	return readExtensions(s, &l.Extensions)
}

func (l *LeafNode) addUnsigned(b *cryptobyte.Builder) {
	addOpaque(b, l.EncryptionKey)
	addOpaque(b, l.SignatureKey)
	l.Credential.add(b)
	l.Capabilities.add(b)
	b.AddUint8(uint8(l.source))
	switch l.source {
	case leafFromKeyPackage:
		b.AddUint64(l.Lifetime.NotBefore)
		b.AddUint64(l.Lifetime.NotAfter)
	case leafFromCommit:
		addOpaque(b, l.ParentHash)
	}
	addExtensions(b, l.Extensions)
}

func (l *LeafNode) add(b *cryptobyte.Builder) {
	l.addUnsigned(b)
	addOpaque(b, l.signature)
}

// tbs is LeafNodeTBS: an update or commit binds the leaf to its place in one group.
func (l *LeafNode) tbs(groupID []byte, at leafIndex) []byte {
	return build(func(b *cryptobyte.Builder) {
		l.addUnsigned(b)
		if l.source != leafFromKeyPackage {
			addOpaque(b, groupID)
			b.AddUint32(uint32(at))
		}
	})
}

func (l *LeafNode) sign(key *SignatureKey, groupID []byte, at leafIndex) {
	l.signature = key.signWithLabel("LeafNodeTBS", l.tbs(groupID, at))
	l.size = len(marshal(l))
}

// check holds what section 7.3 asks of a leaf by itself.
func (l *LeafNode) check(s *suite, groupID []byte, at leafIndex) error {
	v := s.signatures()
	if err := l.checkWith(v, s, groupID, at); err != nil {
		return err
	}
	return v.check()
}

// checkWith is check but for the signature, which it adds to v.
func (l *LeafNode) checkWith(v *signatures, s *suite, groupID []byte, at leafIndex) error {
	v.add(l.SignatureKey, "LeafNodeTBS", l.tbs(groupID, at), l.signature, invalid("leaf signature (7.3)"))
	switch {
	case !slices.Contains(l.Capabilities.Versions, version10):
		return invalid("leaf does not support mls10 (7.3)")
	case !slices.Contains(l.Capabilities.CipherSuites, s.id):
		return invalid("leaf does not support the cipher suite (7.3)")
	case !l.Capabilities.supportsCredential(l.Credential.Type):
		return invalid("leaf does not support its own credential type (7.3)")
	}
	for _, e := range l.Extensions {
		if !l.Capabilities.supportsExtension(e.Type) {
			return invalid("leaf has extension %d that it does not support (7.3)", e.Type)
		}
	}
	if err := checkComponents(l.Extensions); err != nil {
		return err
	}
	return s.checkPublicKey("leaf encryption key", l.EncryptionKey)
}

// checkSupports holds what section 7.3 asks of a leaf in a group with those extensions.
func (l *LeafNode) checkSupports(extensions []Extension) error {
	for _, e := range extensions {
		if !l.Capabilities.supportsExtension(e.Type) {
			return invalid("leaf does not support group extension %d (7.3)", e.Type)
		}
	}
	if err := l.checkSupportsComponents(extensions); err != nil {
		return err
	}
	req, err := required(extensions)
	if err != nil {
		return err
	}
	for _, t := range req.extensions {
		if !l.Capabilities.supportsExtension(t) {
			return invalid("leaf lacks required extension %d (7.3)", t)
		}
	}
	for _, t := range req.proposals {
		if !l.Capabilities.supportsProposal(t) {
			return invalid("leaf lacks required proposal type %d (7.3)", t)
		}
	}
	for _, t := range req.credentials {
		if !slices.Contains(l.Capabilities.Credentials, t) {
			return invalid("leaf lacks required credential type %d (7.3)", t)
		}
	}
	return nil
}

// requiredCapabilities is the extension of section 11.1.
type requiredCapabilities struct {
	extensions  []ExtensionType
	proposals   []ProposalType
	credentials []CredentialType
}

// required by a group; nothing if it does not say.
func required(extensions []Extension) (req requiredCapabilities, err error) {
	if data, ok := findExtension(extensions, ExtensionRequiredCapabilities); ok {
		err = unmarshal(data, &req, "required capabilities")
	}
	return req, err
}

func (r *requiredCapabilities) read(s *cryptobyte.String) bool {
	return readNumbers(s, &r.extensions) && readNumbers(s, &r.proposals) && readNumbers(s, &r.credentials)
}

func (r *requiredCapabilities) add(b *cryptobyte.Builder) {
	addNumbers(b, r.extensions)
	addNumbers(b, r.proposals)
	addNumbers(b, r.credentials)
}

func (l *LeafNode) equal(o *LeafNode) bool { return l == o || bytes.Equal(marshal(l), marshal(o)) }
