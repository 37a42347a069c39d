package mls

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

func TestWelcomeRules(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(5)...)
	alice, eve := all[0], newParty(t, "eve")
	kp := eve.keyPackage()
	alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true})
	tree := func(change func(*ratchetTree)) func(*groupInfo) {
		return func(i *groupInfo) {
			changed := alice.g.pending.next.tree.clone()
			change(changed)
			clear(changed.hashes)
			i.extensions = []Extension{{extensionRatchetTree, changed.marshal()}}
			i.context.treeHash = changed.treeHash()
		}
	}
	parentWith := func(x nodeIndex, change func(*parentNode)) func(*groupInfo) {
		return tree(func(r *ratchetTree) {
			p := *r.nodes[x].parent
			change(&p)
			r.nodes[x].parent = &p
		})
	}
	// newcomer is a leaf that nobody's path covers yet, so that nothing but the leaf itself can be wrong.
	other := newParty(t, "other")
	newcomer := func(p *party, change func(*LeafNode)) func(*groupInfo) {
		return tree(func(r *ratchetTree) {
			l := p.keyPackage().public.Leaf
			change(&l)
			l.sign(p.signer, nil, 0)
			_, err := r.add(&l)
			require.NoError(t, err)
		})
	}
	rootNode := alice.g.pending.next.tree.root()
	for _, c := range []struct {
		name   string
		change func(*groupInfo)
	}{
		{"M20 confirmation tag with a wrong bit", func(i *groupInfo) { i.confirmationTag[0] ^= 1 }},
		{"M20 confirmation tag cut to half", func(i *groupInfo) { i.confirmationTag = i.confirmationTag[:16] }},
		{"M20 epoch that is not confirmed", func(i *groupInfo) { i.context.epoch++ }},
		{"M20 transcript that is not confirmed", func(i *groupInfo) { i.context.confirmed = nil }},
		{"M23 group info of suite 3", func(i *groupInfo) { i.context.suite = 3 }},
		{"M25 tree hash with a wrong bit", func(i *groupInfo) { i.context.treeHash[0] ^= 1 }},
		{"M26 group info in the name of another", func(i *groupInfo) { i.signer = 1 }},
		{"M26 group info in the name of a blank place", func(i *groupInfo) { i.signer = 7 }}, // blank
		{"M26 group info in the name of a leaf beyond the tree", func(i *groupInfo) { i.signer = 1 << 30 }},
		{"M36 leaves of another group", func(i *groupInfo) { i.context.groupID = []byte("other") }},
		{"M41 group extension that nobody supports", func(i *groupInfo) { i.context.extensions = []Extension{{0x7777, nil}} }},
		{"M87 tree that is empty", func(i *groupInfo) { i.extensions = []Extension{{extensionRatchetTree, nil}} }},
		{"M87 tree with a byte too many", func(i *groupInfo) { i.extensions[0].Data = append(i.extensions[0].Data, 0) }},
		{"M27 tree without us", tree(func(r *ratchetTree) { r.remove(5) })},
		{"M88 root with another key", parentWith(rootNode, func(p *parentNode) { p.encryptionKey = bytes.Repeat([]byte{7}, 32) })},
		{"M88 node without its parent hash", parentWith(1, func(p *parentNode) { p.parentHash = nil })},
		{"M88 node that nobody below put there", tree(func(r *ratchetTree) { r.nodes[9].parent = &parentNode{encryptionKey: bytes.Repeat([]byte{7}, 32)} })},
		{"M88 node above blanks", tree(func(r *ratchetTree) { r.nodes[13].parent = &parentNode{encryptionKey: bytes.Repeat([]byte{7}, 32)} })},
		{"M89 unmerged leaf on the other side", parentWith(1, func(p *parentNode) { p.unmerged = []leafIndex{5} })},
		{"M89 unmerged leaf that is blank", parentWith(rootNode, func(p *parentNode) { p.unmerged = []leafIndex{7} })}, // blank
		{"M89 unmerged leaf beyond the tree", parentWith(rootNode, func(p *parentNode) { p.unmerged = []leafIndex{1 << 30} })},
		{"M90 unmerged leaf that a node below does not know", parentWith(rootNode, func(p *parentNode) { p.unmerged = []leafIndex{1} })},
		{"M1 node with a short key", parentWith(1, func(p *parentNode) { p.encryptionKey = p.encryptionKey[1:] })},
		{"M2 node with a key of low order", parentWith(1, func(p *parentNode) { p.encryptionKey = make([]byte, 32) })},
		{"M88 parent hash with a wrong bit", parentWith(1, func(p *parentNode) { p.parentHash = flipped(p.parentHash) })},
		{"M42 extension required that nobody has", func(i *groupInfo) {
			i.context.extensions = []Extension{{ExtensionRequiredCapabilities, []byte{2, 0x77, 0x77, 0, 0}}}
		}},
		{"M91 one encryption key for two leaves", tree(func(r *ratchetTree) {
			l := *r.nodes[0].leaf
			l.EncryptionKey = r.nodes[8].leaf.EncryptionKey
			l.sign(alice.signer, alice.g.context.groupID, 0)
			r.nodes[0].leaf = &l
		})},
		{"M92 one signature key for two leaves", newcomer(alice, func(*LeafNode) {})},
		{"M37 member that does not support mls10", newcomer(other, func(l *LeafNode) { l.Capabilities.Versions = nil })},
		{"M38 member that does not support the suite", newcomer(other, func(l *LeafNode) { l.Capabilities.CipherSuites = nil })},
		{"M39 member that does not support its credential", newcomer(other, func(l *LeafNode) { l.Capabilities.Credentials = nil })},
		{"M40 member with an extension that it does not support", newcomer(other, func(l *LeafNode) { l.Extensions = []Extension{{0x7777, nil}} })},
		{"M94 member with a credential that others do not support", newcomer(other, func(l *LeafNode) {
			l.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
			l.Capabilities.Credentials = []CredentialType{CredentialBasic, CredentialX509}
		})},
		{"M36 member whose leaf nobody signed", tree(func(r *ratchetTree) {
			l := other.keyPackage().public.Leaf
			l.signature = make([]byte, 64)
			_, err := r.add(&l)
			require.NoError(t, err)
		})},
		{"M36 leaf whose identity was changed", tree(func(r *ratchetTree) {
			l := *r.nodes[0].leaf // the committer's: the parent hashes of its own path do not cover it
			l.Credential = BasicCredential([]byte("https://a.example/users/mallory"))
			r.nodes[0].leaf = &l
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := JoinWelcome(parsed(t, reWelcome(t, alice, kp, c.change)), JoinParams{KeyPackage: kp, Signer: eve.signer})
			requireCheck(t, err)
			// Where the tree comes from makes no difference.
			var apart []byte
			bare := reWelcome(t, alice, kp, func(i *groupInfo) {
				c.change(i)
				apart, _ = findExtension(i.extensions, extensionRatchetTree)
				i.extensions = nil
			})
			_, err = JoinWelcome(parsed(t, bare), JoinParams{KeyPackage: kp, Signer: eve.signer, RatchetTree: append([]byte{}, apart...)})
			requireCheck(t, err)
		})
	}
	join := func(change func(*groupInfo, *groupSecrets)) error {
		_, err := JoinWelcome(parsed(t, reWelcomeWith(t, alice, kp, change)), JoinParams{KeyPackage: kp, Signer: eve.signer})
		return err
	}
	for _, c := range []struct {
		name   string
		change func(*groupInfo, *groupSecrets)
	}{
		{"M26 group info with a wrong bit in its signature", func(i *groupInfo, _ *groupSecrets) { i.signature[0] ^= 1 }},
		{"M26 group info with an empty signature", func(i *groupInfo, _ *groupSecrets) { i.signature = nil }},
		{"M26 group info with an extension that was put in later", func(i *groupInfo, _ *groupSecrets) { i.extensions = append(i.extensions, Extension{0x7777, nil}) }},
		{"M102 path secret with a wrong bit", func(_ *groupInfo, s *groupSecrets) { s.pathSecret[0] ^= 1 }},
		{"M102 path secret that is empty", func(_ *groupInfo, s *groupSecrets) { s.pathSecret = []byte{} }},
		{"M73 pre-shared key without a nonce", func(_ *groupInfo, s *groupSecrets) { s.psks = []preSharedKeyID{{external: true}} }},
		{"M75 pre-shared key twice", func(_ *groupInfo, s *groupSecrets) {
			id := preSharedKeyID{external: true, nonce: make([]byte, 32)}
			s.psks = []preSharedKeyID{id, id}
		}},
		{"M22 branch of a group that was not named", func(_ *groupInfo, s *groupSecrets) {
			s.psks = []preSharedKeyID{{PSK: PSK{Usage: ResumptionBranch, GroupID: []byte("g")}, nonce: make([]byte, 32)}}
		}},
		{"M22 re-initialization of a group that was not named", func(_ *groupInfo, s *groupSecrets) {
			s.psks = []preSharedKeyID{{PSK: PSK{Usage: ResumptionReInit, GroupID: []byte("g")}, nonce: make([]byte, 32)}}
		}},
		{"M24 welcome without a tree", func(i *groupInfo, _ *groupSecrets) {
			i.extensions = nil
			i.signature = alice.signer.signWithLabel("GroupInfoTBS", build(i.addUnsigned))
		}},
	} {
		t.Run(c.name, func(t *testing.T) { requireCheck(t, join(c.change)) })
	}
	require.ErrorIs(t, join(func(_ *groupInfo, s *groupSecrets) {
		s.psks = []preSharedKeyID{{external: true, nonce: make([]byte, 32)}}
	}), ErrUnknownPSK)
	require.NoError(t, join(func(*groupInfo, *groupSecrets) {}), "the control")
	t.Run("M19 signature key of somebody else", func(t *testing.T) {
		_, err := JoinWelcome(parsed(t, alice.g.pending.welcome), JoinParams{KeyPackage: kp, Signer: alice.signer})
		requireCheck(t, err)
	})
	t.Run("M17 message in place of a welcome", func(t *testing.T) {
		_, err := JoinWelcome(parsed(t, alice.encrypt("x")), JoinParams{KeyPackage: kp, Signer: eve.signer})
		requireCheck(t, err)
	})
	t.Run("M17 key package in place of a welcome", func(t *testing.T) {
		_, err := JoinWelcome(parsed(t, append([]byte{0, 1, 0, 5}, kp.KeyPackage().Marshal()...)), JoinParams{KeyPackage: kp, Signer: eve.signer})
		requireCheck(t, err)
	})
}

// A path secret where there is no path: in the welcome of an add alone, and in one that we would have sent ourselves.
func TestPathSecretOfNoPath(t *testing.T) {
	alice, eve := newParty(t, "alice"), newParty(t, "eve")
	alice.create()
	kp := eve.keyPackage()
	alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	join := func(change func(*groupInfo, *groupSecrets)) error {
		_, err := JoinWelcome(parsed(t, reWelcomeWith(t, alice, kp, change)), JoinParams{KeyPackage: kp, Signer: eve.signer})
		return err
	}
	t.Run("M28 path secret above which all is blank", func(t *testing.T) {
		requireCheck(t, join(func(_ *groupInfo, s *groupSecrets) { s.pathSecret = make([]byte, 32) }))
	})
	t.Run("M29 path secret of a group in which we are alone", func(t *testing.T) {
		requireCheck(t, join(func(i *groupInfo, s *groupSecrets) {
			leaf := kp.public.Leaf
			alone := newTree(alice.g.suite, &leaf)
			s.pathSecret = make([]byte, 32)
			i.signer, i.extensions = 0, []Extension{{extensionRatchetTree, alone.marshal()}}
			i.context.treeHash = alone.treeHash()
			i.signature = eve.signer.signWithLabel("GroupInfoTBS", build(i.addUnsigned))
		}))
	})
}

// Unmerged leaves that are out of order, nodes of the wrong kind, and trees that end with a blank are not trees.
func TestTreeSyntax(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(5)...)
	s, good := all[0].g.suite, all[0].g.tree
	_, err := parseTree(s, good.marshal())
	require.NoError(t, err)
	for name, change := range map[string]func(*ratchetTree){
		"M87 unmerged leaves in descending order": func(r *ratchetTree) {
			r.nodes[1].parent = &parentNode{r.nodes[1].parent.encryptionKey, nil, []leafIndex{1, 0}}
		},
		"M87 unmerged leaf twice": func(r *ratchetTree) {
			r.nodes[1].parent = &parentNode{r.nodes[1].parent.encryptionKey, nil, []leafIndex{1, 1}}
		},
		"M87 parent in a leaf's place": func(r *ratchetTree) { r.nodes[2] = r.nodes[1] },
		"M87 leaf in a parent's place": func(r *ratchetTree) { r.nodes[1] = r.nodes[2] },
		"M87 tree of blanks":           func(r *ratchetTree) { clear(r.nodes) },
	} {
		t.Run(name, func(t *testing.T) {
			r := good.clone()
			change(r)
			_, err := parseTree(s, r.marshal())
			requireCheck(t, err)
		})
	}
	wire := good.marshal()
	for name, raw := range map[string][]byte{
		"M87 tree of no nodes":                  {0},
		"M87 tree of no bytes":                  {},
		"M87 tree that ends with blanks":        append([]byte{0x40, 100}, make([]byte, 100)...),
		"M87 tree of too many nodes":            build(func(b *cryptobyte.Builder) { addOpaque(b, append(make([]byte, 2*maxMembers), 1)) }),
		"M87 tree that is cut":                  wire[:len(wire)-1],
		"M87 node of a third kind":              {3, 1, 3, 0},
		"M87 node that is there in a third way": {2, 2, 0},
		"M87 length with leading zeros":         append([]byte{0x80, 0, 0, 1}, 0),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseTree(s, raw)
			requireCheck(t, err)
		})
	}
}
