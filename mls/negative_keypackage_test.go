package mls

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeyPackageRules(t *testing.T) {
	p := newParty(t, "eve")
	all := newGroup(t, WirePublicMessage, "alice", "bob")
	signed := p.packageWith
	require.NoError(t, signed(func(*KeyPackage) {}).Verify(testNow))
	low := make([]byte, 32)
	for _, c := range []struct {
		name   string
		change func(*KeyPackage)
	}{
		{"M30 key package of version 2", func(kp *KeyPackage) { kp.version = 2 }},
		{"M30 key package of version 0", func(kp *KeyPackage) { kp.version = 0 }},
		{"M31 leaf of an update in a key package", func(kp *KeyPackage) { kp.Leaf.source = leafFromUpdate }},
		{"M31 leaf of a commit in a key package", func(kp *KeyPackage) { kp.Leaf.source = leafFromCommit }},
		{"M1 init key that is short", func(kp *KeyPackage) { kp.InitKey = kp.InitKey[:31] }},
		{"M1 init key that is empty", func(kp *KeyPackage) { kp.InitKey = nil }},
		{"M1 leaf key that is short", func(kp *KeyPackage) { kp.Leaf.EncryptionKey = []byte("short") }},
		{"M1 leaf key that is long", func(kp *KeyPackage) { kp.Leaf.EncryptionKey = append(kp.Leaf.EncryptionKey, 0) }},
		{"M2 init key of low order", func(kp *KeyPackage) { kp.InitKey = low }},
		{"M2 leaf key of low order", func(kp *KeyPackage) { kp.Leaf.EncryptionKey = low }},
		{"M32 init key that is the leaf's", func(kp *KeyPackage) { kp.InitKey = kp.Leaf.EncryptionKey }},
		{"M35 last resort that the leaf does not name", func(kp *KeyPackage) { kp.Extensions = []Extension{{extensionLastResort, nil}} }},
		{"M37 leaf does not support mls10", func(kp *KeyPackage) { kp.Leaf.Capabilities.Versions = []uint16{7} }},
		{"M37 leaf supports no version", func(kp *KeyPackage) { kp.Leaf.Capabilities.Versions = nil }},
		{"M38 leaf does not support the suite", func(kp *KeyPackage) { kp.Leaf.Capabilities.CipherSuites = []CipherSuite{3} }},
		{"M38 leaf supports no suite", func(kp *KeyPackage) { kp.Leaf.Capabilities.CipherSuites = nil }},
		{"M39 leaf does not support its credential", func(kp *KeyPackage) { kp.Leaf.Capabilities.Credentials = []CredentialType{CredentialX509} }},
		{"M39 leaf supports no credential", func(kp *KeyPackage) { kp.Leaf.Capabilities.Credentials = nil }},
		{"M40 leaf has an extension that it does not support", func(kp *KeyPackage) { kp.Leaf.Extensions = []Extension{{0x7777, nil}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			kp := signed(c.change)
			t.Run("by itself", func(t *testing.T) { requireCheck(t, kp.Verify(testNow)) })
			refusedCommit(t, all[0], all[1], AddProposal(kp))
			refusedReferences(t, all[0], all[0], all[1], AddProposal(kp))
			refusedToMake(t, all[0], AddProposal(kp))
		})
	}
	for _, c := range []struct {
		name   string
		change func(*KeyPackage)
	}{
		{"M34 key package signature with a wrong bit", func(kp *KeyPackage) { kp.signature = flipped(kp.signature) }},
		{"M34 key package signature cut", func(kp *KeyPackage) { kp.signature = kp.signature[:63] }},
		{"M34 key package signature empty", func(kp *KeyPackage) { kp.signature = nil }},
		{"M34 key package signed with another label", func(kp *KeyPackage) { kp.signature = p.signer.signWithLabel("LeafNodeTBS", marshalUnsigned(kp)) }},
		{"M34 key package signed by somebody else", func(kp *KeyPackage) {
			kp.signature = newParty(t, "eve").signer.signWithLabel("KeyPackageTBS", marshalUnsigned(kp))
		}},
		{"M34 extension that was put in later", func(kp *KeyPackage) { kp.Extensions = []Extension{{testExtension, nil}} }},
		{"M34 init key that was changed later", func(kp *KeyPackage) { kp.InitKey, _, _ = suites[p.suite].generateKeyPair(rand.Reader) }},
		{"M36 leaf signature with a wrong bit", func(kp *KeyPackage) {
			kp.Leaf.signature = flipped(kp.Leaf.signature)
			kp.signature = p.signer.signWithLabel("KeyPackageTBS", marshalUnsigned(kp))
		}},
		{"M36 leaf of a key package signed for a group", func(kp *KeyPackage) {
			kp.Leaf.source = leafFromUpdate
			kp.Leaf.sign(p.signer, []byte("group"), 0)
			kp.Leaf.source = leafFromKeyPackage
			kp.signature = p.signer.signWithLabel("KeyPackageTBS", marshalUnsigned(kp))
		}},
		{"M36 identity that the leaf did not sign", func(kp *KeyPackage) {
			kp.Leaf.Credential = BasicCredential([]byte("https://a.example/users/bob"))
			kp.signature = p.signer.signWithLabel("KeyPackageTBS", marshalUnsigned(kp))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kp := *signed(func(*KeyPackage) {})
			c.change(&kp)
			t.Run("by itself", func(t *testing.T) { requireCheck(t, kp.Verify(testNow)) })
			refusedCommit(t, all[0], all[1], AddProposal(&kp))
			refusedToMake(t, all[0], AddProposal(&kp))
		})
	}
	day := 24 * time.Hour
	for _, c := range []struct {
		name  string
		valid Lifetime
		now   time.Time
	}{
		{"M33 key package of 1970", Lifetime{0, 1}, testNow},
		{"M33 key package that has expired", Lifetime{0, uint64(testNow.Unix())}, testNow.Add(31 * day)},
		{"M33 key package that is not valid yet", Lifetime{uint64(testNow.Unix()), 1 << 62}, testNow.Add(-day)},
		{"M33 lifetime that ends before it begins", Lifetime{uint64(testNow.Unix()) + 7200, uint64(testNow.Unix()) - 7200}, testNow},
	} {
		t.Run(c.name, func(t *testing.T) {
			kp := signed(func(kp *KeyPackage) { kp.Leaf.Lifetime = c.valid })
			requireCheck(t, kp.Verify(c.now))
			_, err := all[0].aside().g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AddProposal(kp)}, Now: c.now})
			requireCheck(t, err)
		})
	}
	unknown := signed(func(kp *KeyPackage) { kp.Suite = 0x7777 })
	require.ErrorIs(t, unknown.Verify(testNow), ErrUnsupported)
	require.Nil(t, unknown.Ref())

	kp := p.keyPackage().KeyPackage()
	raw := kp.Marshal()
	for i := range raw {
		forged := bytes.Clone(raw)
		forged[i] ^= 1
		if k, err := ParseKeyPackage(forged); err == nil {
			require.Error(t, k.Verify(testNow), "byte %d of %d", i, len(raw))
		}
		_, err := ParseKeyPackage(raw[:i])
		require.Error(t, err)
	}
	_, err := ParseKeyPackage(append(raw, 0))
	require.Error(t, err, "trailing byte")
}

func flipped(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)/2] ^= 1
	return c
}

func marshalUnsigned(kp *KeyPackage) []byte { return build(kp.addUnsigned) }
