package mls

import (
	"crypto/rand"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// badKeys of a suite: they have the right length, and nothing can be encrypted to them.
func badKeys(s *suite) [][]byte {
	var list [][]byte
	switch s.npk {
	case 32:
		for p := range smallOrder25519 {
			high := slices.Clone(p[:])
			high[31] |= 0x80
			list = append(list, p[:], high)
		}
	case 56:
		for p := range smallOrder448 {
			list = append(list, p[:])
		}
	case 1216:
		for _, at := range []int{0, 1, mlkem768KeyCoeffs - 3, mlkem768KeyCoeffs - 2} { // a coefficient beyond the modulus
			key := make([]byte, s.npk)
			key[at], key[at+1], key[len(key)-1] = 0xff, 0xff, 9
			list = append(list, key)
		}
	default:
		off := make([]byte, s.npk) // not on the curve
		off[0], off[len(off)-1] = 4, 7
		compressed := slices.Clone(off)
		compressed[0] = 2
		list = append(list, make([]byte, s.npk), off, compressed)
	}
	return list
}

// What is listed is what HPKE itself cannot use; what it can use is not refused.
func TestPublicKeys(t *testing.T) {
	for _, id := range slices.Sorted(maps.Keys(suites)) {
		t.Run(id.String(), func(t *testing.T) {
			s := suites[id]
			require.NotEmpty(t, badKeys(s))
			for _, key := range badKeys(s) {
				_, err := s.sealWithLabel(rand.Reader, key, "test", nil, []byte("x"))
				require.Error(t, err, "%x", key)
				requireRule(t, s.checkPublicKey("key", key), "nothing can be encrypted to")
			}
			for range 20 {
				pub, _, err := s.generateKeyPair(rand.Reader)
				require.NoError(t, err)
				require.NoError(t, s.checkPublicKey("key", pub))
				for _, wrong := range [][]byte{nil, pub[1:], append(slices.Clone(pub), 0)} {
					requireRule(t, s.checkPublicKey("key", wrong), "bytes")
				}
			}
		})
	}
}

// The places where somebody's key comes in, each with all bad keys of a suite and with keys of a wrong length.
func TestBadKeysAreRefusedEverywhere(t *testing.T) {
	for _, id := range []CipherSuite{X25519AES128GCMSHA256Ed25519, P256AES128GCMSHA256P256, X448AES256GCMSHA512Ed448, MLKEM768X25519AES256GCMSHA384Ed25519} {
		s := suites[id]
		alice, bob := newPartyOf(t, id, "alice"), newPartyOf(t, id, "bob")
		alice.create()
		kp := bob.keyPackage()
		p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true})
		alice.confirm()
		bob.join(kp, p.Welcome())
		keys := append(badKeys(s), nil, make([]byte, s.npk-1), make([]byte, s.npk+1))
		for _, key := range keys {
			refuse := func(m []byte, rule string) {
				t.Helper()
				_, err := bob.process(m)
				requireRule(t, err, rule)
			}
			requireRule(t, alice.packageWith(func(kp *KeyPackage) { kp.InitKey = key }).Verify(testNow), "init key")
			requireRule(t, alice.packageWith(func(kp *KeyPackage) { kp.Leaf.EncryptionKey = key }).Verify(testNow), "leaf encryption key")
			eve := newPartyOf(t, id, "eve")
			refuse(forgeCommit(alice, &commit{proposals: byValue(AddProposal(eve.packageWith(func(kp *KeyPackage) { kp.InitKey = key })))}), "init key")
			refuse(forgePath(t, alice, nil, func(n *newPath, tree *ratchetTree) {
				n.path.leaf.EncryptionKey = key
				alice.resign(n, tree)
			}), "leaf encryption key")
			refuse(forgePath(t, alice, nil, func(n *newPath, tree *ratchetTree) {
				n.path.nodes[0].encryptionKey = key
				alice.resign(n, tree)
			}), "update path's encryption key")
			refuse(forgePath(t, alice, nil, func(n *newPath, _ *ratchetTree) { n.path.nodes[0].secrets[0].kemOutput = key }), "KEM output")
			refuseUpdate(t, alice, bob, key)
		}
		agree(t, alice, bob)
	}
}

// refuseUpdate: an Update with that key is refused, at once or with the commit that names it.
func refuseUpdate(t *testing.T, from, to *party, key []byte) {
	leaf := *from.g.tree.leaf(from.g.own)
	leaf.EncryptionKey, leaf.source, leaf.ParentHash = key, leafFromUpdate, nil
	leaf.sign(from.signer, from.g.context.groupID, from.g.own)
	g := reloaded(t, to.g)
	_, err := g.applyProposals([]storedProposal{{ref: []byte("ref"), sender: from.g.own, proposal: Proposal{Type: ProposalUpdate, update: &leaf}}}, to.g.own, testNow)
	requireRule(t, err, "leaf encryption key")
}

// packageWith is a key package that p has spoilt and signed again.
func (p *party) packageWith(change func(*KeyPackage)) *KeyPackage {
	kp := *p.keyPackage().KeyPackage()
	change(&kp)
	kp.Leaf.sign(p.signer, nil, 0)
	kp.signature = p.signer.signWithLabel("KeyPackageTBS", marshalUnsigned(&kp))
	return &kp
}

// Bad keys in the tree of a Welcome and in a GroupInfo, signed by a member.
func TestBadKeysInTheTreeOfAWelcome(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(5)...)
	alice, eve := all[0], newParty(t, "eve")
	kp := eve.keyPackage()
	alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true})
	for _, key := range badKeys(alice.g.suite) {
		for rule, change := range map[string]func(*ratchetTree){
			"encryption key of node 1": func(r *ratchetTree) {
				p := *r.nodes[1].parent
				p.encryptionKey = key
				r.nodes[1].parent = &p
			},
			"leaf encryption key": func(r *ratchetTree) {
				l := *r.nodes[0].leaf
				l.EncryptionKey = key
				l.sign(alice.signer, alice.g.context.groupID, 0)
				r.nodes[0].leaf = &l
			},
		} {
			raw := reWelcome(t, alice, kp, func(i *groupInfo) {
				changed := alice.g.pending.next.tree.clone()
				change(changed)
				clear(changed.hashes)
				i.extensions = []Extension{{extensionRatchetTree, changed.marshal()}}
				i.context.treeHash = changed.treeHash()
			})
			_, err := JoinWelcome(parsed(t, raw), JoinParams{KeyPackage: kp, Signer: eve.signer})
			requireRule(t, err, rule)
		}
		raw, err := all[1].g.GroupInfo(true)
		require.NoError(t, err)
		m := parsed(t, raw)
		m.groupInfo.extensions[0].Data = append([]byte{32}, key...)
		m.groupInfo.signature = all[1].signer.signWithLabel("GroupInfoTBS", build(m.groupInfo.addUnsigned))
		k := eve.params()
		_, err = JoinExternal(rand.Reader, m, ExternalJoinParams{Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities})
		requireRule(t, err, "external key")
	}
}
