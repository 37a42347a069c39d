package mls

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

// What is too long is refused before anything of it is decoded, however it begins.
func TestTooLongIsRefusedUnread(t *testing.T) {
	for what, c := range map[string]struct {
		limit int
		parse func([]byte) error
	}{
		"message":     {maxMessage, func(b []byte) error { _, err := ParseMessage(b); return err }},
		"key package": {maxKeyPackage, func(b []byte) error { _, err := ParseKeyPackage(b); return err }},
		"secret":      {maxSecret, func(b []byte) error { _, err := UnmarshalKeyPackageSecret(b); return err }},
	} {
		t.Run(what, func(t *testing.T) {
			require.ErrorIs(t, c.parse(make([]byte, c.limit)), errSyntax, "zeros are no %s, and were looked at", what)
			err := c.parse(make([]byte, c.limit+1))
			require.NotErrorIs(t, err, errSyntax)
			require.ErrorContains(t, err, "at most")
		})
	}
}

// A list of many small items takes ten times its bytes in memory; each list has an end.
func TestLongLists(t *testing.T) {
	kp := newParty(t, "alice").keyPackage().KeyPackage()
	leaf := func(change func(*LeafNode)) func() (structure, structure) {
		l := kp.Leaf
		change(&l)
		return func() (structure, structure) { return &l, new(LeafNode) }
	}
	extensions := func(n int) (list []Extension) {
		for i := range n {
			list = append(list, Extension{Type: ExtensionType(0x1000 + i)})
		}
		return list
	}
	for name, list := range map[string]func(n int) (structure, structure){
		"extensions": func(n int) (structure, structure) {
			return leaf(func(l *LeafNode) { l.Extensions = extensions(maxExtensions + n) })()
		},
		"capabilities": func(n int) (structure, structure) {
			return leaf(func(l *LeafNode) { l.Capabilities.Proposals = make([]ProposalType, maxCapabilities+n) })()
		},
		"certificates": func(n int) (structure, structure) {
			return leaf(func(l *LeafNode) {
				l.Credential = Credential{Type: CredentialX509, Certificates: make([][]byte, maxCertificates+n)}
			})()
		},
		"leaf":    func(n int) (structure, structure) { return paddedLeaf(kp.Leaf, maxLeaf+n), new(LeafNode) },
		"package": func(n int) (structure, structure) { return paddedPackage(*kp, maxKeyPackage+n), new(KeyPackage) },
		"path": func(n int) (structure, structure) {
			return &updatePath{kp.Leaf, make([]updatePathNode, maxDepth+n)}, new(updatePath)
		},
		"psks": func(n int) (structure, structure) { return &groupSecrets{psks: psks(maxPSKs + n)}, new(groupSecrets) },
		"receiver": func(n int) (structure, structure) {
			return &welcome{secrets: make([]encryptedGroupSecrets, maxMembers+n)}, new(welcome)
		},
		"secrets": func(n int) (structure, structure) { // of all nodes of a path together
			half := updatePathNode{secrets: make([]hpkeCiphertext, maxMembers/2)}
			return &updatePath{kp.Leaf, []updatePathNode{half, {secrets: make([]hpkeCiphertext, maxMembers/2+n)}}}, new(updatePath)
		},
		"proposals": func(n int) (structure, structure) {
			return &commit{proposals: make([]proposalOrRef, maxProposals+n)}, new(commit)
		},
	} {
		t.Run(name, func(t *testing.T) {
			made, again := list(0)
			require.NoError(t, unmarshal(marshal(made), again, name), "the longest that there can be")
			made, again = list(1)
			require.ErrorIs(t, unmarshal(marshal(made), again, name), errSyntax)
		})
	}
}

func psks(n int) (list []preSharedKeyID) {
	for range n {
		list = append(list, preSharedKeyID{external: true})
	}
	return list
}

// paddedLeaf has exactly that many bytes.
func paddedLeaf(l LeafNode, size int) *LeafNode {
	l.Extensions = []Extension{{testExtension, make([]byte, maxLeaf/2)}}
	l.Extensions[0].Data = make([]byte, maxLeaf/2+size-len(marshal(&l)))
	return &l
}

func paddedPackage(kp KeyPackage, size int) *KeyPackage {
	kp.Extensions = []Extension{{testExtension, make([]byte, maxKeyPackage/2)}}
	kp.Extensions[0].Data = make([]byte, maxKeyPackage/2+size-len(marshal(&kp)))
	return &kp
}

// The leaves of a group must fit a Welcome, or nobody could be added to it any more.
func TestLeavesOfAGroup(t *testing.T) {
	s := suites[X25519AES128GCMSHA256Ed25519]
	leaf := func(i int) *LeafNode {
		key := binary.BigEndian.AppendUint32(make([]byte, 28), uint32(i))
		return &LeafNode{EncryptionKey: key, SignatureKey: key, Credential: BasicCredential(nil), size: maxLeaf}
	}
	tree := newTree(s, leaf(0))
	for i := 1; i < maxLeaves/maxLeaf; i++ {
		_, err := tree.add(leaf(i))
		require.NoError(t, err)
	}
	require.NoError(t, tree.checkUnique())
	tree = tree.clone()
	_, err := tree.add(leaf(1 << 20))
	require.NoError(t, err)
	t.Run("M93 one leaf more than a welcome can carry", func(t *testing.T) { requireCheck(t, tree.checkUnique()) })
	tree.remove(0)
	require.NoError(t, tree.checkUnique())
	// The size that is counted is that of the bytes.
	kp := newParty(t, "alice").keyPackage().KeyPackage()
	require.Equal(t, len(marshal(&kp.Leaf)), kp.Leaf.size)
}

// What nobody would read is not made, and costs no key.
func TestTooLongIsNotMade(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, "alice", "bob")
		g := all[0].g
		long := make([]byte, maxMessage)
		before := g.Marshal()
		_, err := g.Encrypt(rand.Reader, long, nil, nil)
		require.ErrorContains(t, err, "at most")
		_, err = g.Encrypt(rand.Reader, nil, long, nil)
		require.ErrorContains(t, err, "at most")
		_, err = g.Encrypt(rand.Reader, nil, nil, func(int) int { return 1 << 40 })
		require.ErrorContains(t, err, "at most")
		_, err = g.Propose(rand.Reader, RemoveProposal(1), f, long)
		require.ErrorContains(t, err, "at most")
		_, err = g.Commit(rand.Reader, CommitParams{Framing: f, AuthenticatedData: long, Now: testNow})
		require.ErrorContains(t, err, "at most")
		require.True(t, bytes.Equal(before, g.Marshal()))
		longest := make([]byte, maxMessage-1000)
		m, err := g.Encrypt(rand.Reader, longest, nil, nil)
		require.NoError(t, err)
		got, err := all[1].g.Process(parsed(t, m), testNow)
		require.NoError(t, err)
		require.True(t, bytes.Equal(longest, got.(*ApplicationMessage).Data))
	})
}

// What the others could not read, nor we after a restart, is not made.
func TestUnreadableIsNotMade(t *testing.T) {
	alice := newParty(t, "alice")
	twice := []Extension{{testExtension, []byte("a")}, {testExtension, []byte("b")}}
	for _, list := range [][]Extension{twice, make([]Extension, maxExtensions+1)} {
		k := alice.params()
		_, err := NewGroup(rand.Reader, GroupParams{Suite: k.Suite, GroupID: []byte("g"), Signer: k.Signer, Credential: k.Credential, Capabilities: k.Capabilities, Extensions: list})
		require.Error(t, err)
		_, err = NewGroup(rand.Reader, GroupParams{Suite: k.Suite, GroupID: []byte("g"), Signer: k.Signer, Credential: k.Credential, Capabilities: k.Capabilities, LeafExtensions: list})
		require.Error(t, err)
		k.Extensions = list
		_, err = NewKeyPackage(rand.Reader, k)
		require.ErrorIs(t, err, errSyntax)
	}
	k := alice.params()
	k.Credential = Credential{Type: 7}
	_, err := NewKeyPackage(rand.Reader, k)
	require.ErrorIs(t, err, errSyntax)

	alice.create()
	before := alice.g.Marshal()
	for _, p := range []Proposal{{}, {Type: 99}, GroupContextExtensionsProposal(twice)} {
		_, err := alice.g.Propose(rand.Reader, p, WirePrivateMessage, nil)
		require.ErrorIs(t, err, errSyntax)
		_, err = alice.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{p}, Now: testNow})
		require.Error(t, err)
		require.True(t, bytes.Equal(before, alice.g.Marshal()))
	}
}

func FuzzExternalSenders(f *testing.F) {
	f.Add(ExternalSendersExtension().Data)
	f.Add(ExternalSendersExtension(ExternalSender{make([]byte, 32), BasicCredential([]byte("service"))}).Data)
	f.Fuzz(func(t *testing.T, raw []byte) {
		senders, err := externalSenders([]Extension{{ExtensionExternalSenders, raw}})
		if err == nil {
			require.Equal(t, raw, ExternalSendersExtension(senders...).Data)
		}
	})
}

func FuzzSecrets(f *testing.F) {
	f.Add(marshal(&groupSecrets{joiner: make([]byte, 32), psks: psks(2)}))
	f.Add(marshal(&groupSecrets{joiner: make([]byte, 32), pathSecret: make([]byte, 32)}))
	f.Add(marshal(&senderData{leaf: 1, generation: 2}))
	f.Add(marshal(&requiredCapabilities{extensions: []ExtensionType{1}, credentials: []CredentialType{1}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, v := range []structure{new(groupSecrets), new(senderData), new(requiredCapabilities), new(groupInfo)} {
			if unmarshal(raw, v, "secrets") == nil {
				require.Equal(t, raw, build(func(b *cryptobyte.Builder) { v.add(b) }))
			}
		}
	})
}
