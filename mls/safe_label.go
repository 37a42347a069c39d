package mls

import (
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// What components do with the keys of members (draft-ietf-mls-extensions): a label that no other component and nothing in MLS uses
// keeps one from passing for the other.

// componentLabel
//
//	struct {
//	    opaque base_label<V>; /* = "MLS Component" */
//	    ComponentID component_id;
//	    opaque label<V>;
//	} ComponentOperationLabel;
func componentLabel(c ComponentID, label string) string {
	return string(build(func(b *cryptobyte.Builder) {
		addOpaque(b, []byte("MLS Component"))
		b.AddUint16(uint16(c))
		addOpaque(b, []byte(label))
	}))
}

// SafeSign signs with our signature key, as a component.
func (g *Group) SafeSign(component ComponentID, label string, content []byte) []byte {
	return g.signer.signWithLabel(componentLabel(component, label), content)
}

// SafeVerify says whether the member at a leaf signed that, as that component.
func (g *Group) SafeVerify(leaf uint32, component ComponentID, label string, content, signature []byte) bool {
	l := g.tree.leaf(leafIndex(leaf))
	return l != nil && g.suite.verifyWithLabel(l.SignatureKey, componentLabel(component, label), content, signature)
}

// SafeEncrypt encrypts to the encryption key of a leaf, for a component. The key lives until its member commits or updates.
func (g *Group) SafeEncrypt(rand io.Reader, leaf uint32, component ComponentID, label string, context, plaintext []byte) (kemOutput, ciphertext []byte, err error) {
	l := g.tree.leaf(leafIndex(leaf))
	if l == nil {
		return nil, nil, fmt.Errorf("mls: encrypting to leaf %d: there is no member", leaf)
	}
	c, err := g.suite.sealWithLabel(rand, l.EncryptionKey, componentLabel(component, label), context, plaintext)
	return c.kemOutput, c.ciphertext, err
}

// SafeDecrypt decrypts what somebody encrypted to our leaf.
func (g *Group) SafeDecrypt(component ComponentID, label string, context, kemOutput, ciphertext []byte) ([]byte, error) {
	return g.suite.openWithLabel(g.private[g.own.node()], componentLabel(component, label), context, hpkeCiphertext{kemOutput, ciphertext})
}

// LeafKey is the private key of our leaf. Kept apart from the group, it reads what was encrypted to the leaf when the group is lost, by
// [CipherSuite.SafeDecrypt].
func (g *Group) LeafKey() []byte { return slices.Clone(g.private[g.own.node()]) }

// SafeDecrypt is that of a group, with nothing of the group but its suite and our leaf's key.
func (cs CipherSuite) SafeDecrypt(leafKey []byte, component ComponentID, label string, context, kemOutput, ciphertext []byte) ([]byte, error) {
	s, err := cs.suite()
	if err != nil {
		return nil, err
	}
	return s.openWithLabel(leafKey, componentLabel(component, label), context, hpkeCiphertext{kemOutput, ciphertext})
}
