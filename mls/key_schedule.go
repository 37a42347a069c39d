package mls

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// groupContext is what all members agree on in an epoch (section 8.1).
//
//	struct {
//	    ProtocolVersion version;
//	    CipherSuite cipher_suite;
//	    opaque group_id<V>;
//	    uint64 epoch;
//	    opaque tree_hash<V>;
//	    opaque confirmed_transcript_hash<V>;
//	    Extension extensions<V>;
//	} GroupContext;
type groupContext struct {
	suite      CipherSuite
	groupID    []byte
	epoch      uint64
	treeHash   []byte
	confirmed  []byte
	extensions []Extension
}

func (c *groupContext) read(s *cryptobyte.String) bool {
	var version uint16
	return s.ReadUint16(&version) && version == version10 && s.ReadUint16((*uint16)(&c.suite)) && readOpaque(s, &c.groupID) &&
		s.ReadUint64(&c.epoch) && readOpaque(s, &c.treeHash) && readOpaque(s, &c.confirmed) && readExtensions(s, &c.extensions)
}

func (c *groupContext) add(b *cryptobyte.Builder) {
	b.AddUint16(version10)
	b.AddUint16(uint16(c.suite))
	addOpaque(b, c.groupID)
	b.AddUint64(c.epoch)
	addOpaque(b, c.treeHash)
	addOpaque(b, c.confirmed)
	addExtensions(b, c.extensions)
}

// The secrets of section 8 come one out of the other; each is a type of its own, so that they cannot be taken in a wrong order.
type (
	joinerSecret []byte // goes into the Welcome
	memberSecret []byte // Extract(joiner, psk), nameless in the RFC's figure
)

func (s *suite) joiner(initSecret, commitSecret, context []byte) joinerSecret {
	return s.expandWithLabel(s.extract(initSecret, commitSecret), "joiner", context, s.nh)
}

func (s *suite) member(j joinerSecret, pskSecret []byte) memberSecret { return s.extract(j, pskSecret) }

// welcomeKey derives key and nonce of the encrypted GroupInfo (section 12.4.3.1).
func (s *suite) welcomeKey(m memberSecret) (key, nonce []byte) {
	secret := s.deriveSecret(m, "welcome")
	return s.expandWithLabel(secret, "key", nil, s.nk), s.expandWithLabel(secret, "nonce", nil, s.nn)
}

// epochSecrets are derived from one epoch's secret, which itself is not kept.
type epochSecrets struct {
	senderData, exporter, external, confirmation, membership, resumption, authentication, init []byte

	application []byte // root of the exporter tree, which takes it over when the epoch starts; not stored
}

func (e *epochSecrets) fields() []*[]byte {
	return []*[]byte{&e.senderData, &e.exporter, &e.external, &e.confirmation, &e.membership, &e.resumption, &e.authentication, &e.init}
}

// epoch derives everything of an epoch; the encryption secret, root of the secret tree, is handed over separately.
func (s *suite) epoch(m memberSecret, context []byte) (*epochSecrets, []byte) {
	return s.fromEpochSecret(s.expandWithLabel(m, "epoch", context, s.nh))
}

func (s *suite) fromEpochSecret(secret []byte) (*epochSecrets, []byte) {
	return &epochSecrets{
		senderData:     s.deriveSecret(secret, "sender data"),
		exporter:       s.deriveSecret(secret, "exporter"),
		external:       s.deriveSecret(secret, "external"),
		confirmation:   s.deriveSecret(secret, "confirm"),
		membership:     s.deriveSecret(secret, "membership"),
		resumption:     s.deriveSecret(secret, "resumption"),
		authentication: s.deriveSecret(secret, "authentication"),
		init:           s.deriveSecret(secret, "init"),
		application:    s.deriveSecret(secret, "application_export"),
	}, s.deriveSecret(secret, "encryption")
}

// export is MLS-Exporter of section 8.5.
func (s *suite) export(e *epochSecrets, label string, context []byte, length int) ([]byte, error) {
	if length < 1 || length > maxExport {
		return nil, fmt.Errorf("mls: exporting %d bytes, where between 1 and %d can be: %w", length, maxExport, ErrArgument)
	}
	return s.expandWithLabel(s.deriveSecret(e.exporter, label), "exported", s.digest(context), length), nil
}

// Transcript hashes, section 8.2.

func (s *suite) confirmedTranscript(interim []byte, c *authenticatedContent) []byte {
	return s.digest(interim, build(func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(c.wireFormat))
		c.content.add(b)
		addOpaque(b, c.signature)
	}))
}

func (s *suite) interimTranscript(confirmed, confirmationTag []byte) []byte {
	return s.digest(confirmed, build(func(b *cryptobyte.Builder) { addOpaque(b, confirmationTag) }))
}
