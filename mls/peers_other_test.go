package mls

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

func asString(b []byte) *cryptobyte.String {
	s := cryptobyte.String(b)
	return &s
}

// headerOf is the sender data of a PrivateMessage, as a member reads it.
func headerOf(t *testing.T, p *party, raw []byte) senderData {
	m := parsed(t, raw).private
	plain, err := p.g.suite.openMessage(p.g.suite.senderDataKey(p.g.secrets.senderData, m.ciphertext), build(m.addHeader), m.encryptedSenderData)
	require.NoError(t, err)
	var d senderData
	require.NoError(t, unmarshal(plain, &d, "sender data"))
	return d
}

// The three other engines in Go.
var goBugs = map[string]func(*testing.T){
	"thomas, what is checked does not depend on where the tree comes from": func(t *testing.T) {
		alice, bob := newParty(t, "alice"), newParty(t, "bob")
		alice.create()
		kp := bob.keyPackage()
		alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
		good := alice.g.pending.next.tree
		join := func(tree *ratchetTree, change func(*groupInfo)) error {
			raw := reWelcomeWith(t, alice, kp, func(i *groupInfo, _ *groupSecrets) {
				i.extensions = nil
				i.context.treeHash = tree.treeHash()
				i.signature = alice.signer.signWithLabel("GroupInfoTBS", build(i.addUnsigned))
				change(i)
			})
			_, err := JoinWelcome(parsed(t, raw), JoinParams{KeyPackage: kp, Signer: bob.signer, RatchetTree: tree.marshal()})
			return err
		}
		require.NoError(t, join(good, func(*groupInfo) {}))
		requireRule(t, join(good, func(i *groupInfo) { i.signature[0] ^= 1 }), "signature of a group info")
		requireRule(t, join(good, func(i *groupInfo) { i.context.treeHash[0] ^= 1 }), "tree hash")
		bad := good.clone()
		leaf := *bad.leaf(0)
		leaf.Credential = BasicCredential([]byte("https://a.example/users/mallory"))
		bad.set(0, node{leaf: &leaf})
		requireRule(t, join(bad, func(*groupInfo) {}), "leaf signature")
	},
	"thomas, suites that have a name and do not work": func(t *testing.T) {
		for cs := CipherSuite(0); cs < 10; cs++ {
			p, err := GenerateSignatureKey(cs, rand.Reader)
			if cs == 0 || cs > 7 {
				require.ErrorIs(t, err, ErrUnsupported)
				continue
			}
			require.NoError(t, err)
			_, err = NewGroup(rand.Reader, GroupParams{Suite: cs, GroupID: []byte("g"), Signer: p, Credential: BasicCredential([]byte("a"))})
			require.NoError(t, err)
		}
	},
	"thomas, parent hashes with many unmerged leaves": func(t *testing.T) {
		first := newParty(t, "first")
		leaf := first.keyPackage().public.Leaf
		made := 0
		another := func() *LeafNode {
			l := leaf
			made++
			l.EncryptionKey = []byte{byte(made), byte(made >> 8), 1}
			return &l
		}
		// Every second leaf comes when all others have made their paths: it is unmerged in every node above it.
		hashes := func(n int) int {
			s := counted(t, suites[1])
			tree := newTree(s, another())
			for range n - 1 {
				_, err := tree.add(another())
				require.NoError(t, err)
			}
			for l := leafIndex(0); int(l) < n; l += 2 {
				tree.remove(l)
			}
			for l := leafIndex(1); int(l) < n; l += 2 {
				_, err := tree.makePath(rand.Reader, l, *tree.leaf(l), first.signer, []byte("g"))
				require.NoError(t, err)
			}
			for range n / 2 {
				_, err := tree.add(another())
				require.NoError(t, err)
			}
			fresh, err := parseTree(s, tree.marshal())
			require.NoError(t, err)
			require.Len(t, fresh.nodes[fresh.root()].parent.unmerged, n/2)
			hashesMade = 0
			require.NoError(t, fresh.checkParentHashes())
			return hashesMade
		}
		small, large := hashes(128), hashes(512)
		require.Less(t, large, 6*small, "four times the members, not sixteen times the work")
	},
	"thomas, a committer that removes itself": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		before := all[0].g.Marshal()
		_, err := all[0].g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(all[0]))}, Now: testNow})
		requireRule(t, err, "removes its own sender")
		all[0].requireSame(before)
		_, err = all[1].process(forgeCommit(all[0], &commit{proposals: byValue(RemoveProposal(leafOf(all[0])))}))
		requireRule(t, err, "removes its own sender")
	},
	"trevex, a message that is sent again": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		m := all[0].encrypt("once")
		all[1].read(m, "once")
		_, err := all[1].process(m)
		require.ErrorIs(t, err, ErrReplay)
		spread(all[0], CommitParams{}, all[1])
		_, err = all[1].process(m)
		require.ErrorIs(t, err, ErrReplay, "nor in the next epoch")
	},
	"trevex, a key package of 1970": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		kp := newParty(t, "eve").keyPackageWith(func(k *KeyPackageParams) { k.Lifetime = Lifetime{0, 100} }).KeyPackage()
		requireRule(t, kp.Verify(testNow), "not valid now")
		_, err := all[0].g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AddProposal(kp)}, Now: testNow})
		requireRule(t, err, "not valid now")
		require.NoError(t, kp.Verify(time.Unix(50, 0)))
	},
	"emersion, every message at generation 0": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		for i := range uint32(20) {
			d := headerOf(t, all[1], all[0].encrypt("x"))
			require.Equal(t, i+1, d.generation) // one was sent to agree
		}
	},
	"emersion, used keys stay": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		m := all[0].encrypt("secret")
		d := headerOf(t, all[1], m)
		u, err := all[1].g.messages.peek(leafIndex(leafOf(all[0])))
		require.NoError(t, err)
		key, _, err := u.leaf.ratchets[applicationRatchet].at(all[1].g.suite, d.generation)
		require.NoError(t, err)
		secret := bytes.Clone(u.leaf.ratchets[applicationRatchet].secret)
		require.True(t, bytes.Contains(all[1].g.Marshal(), secret), "the control")
		all[1].read(m, "secret")
		for _, p := range all {
			state := p.g.Marshal()
			require.False(t, bytes.Contains(state, secret), "%s keeps the secret of a used key", p.name)
			require.False(t, bytes.Contains(state, key.key), "%s keeps a used key", p.name)
		}
	},
	"emersion, a ratchet that goes on for ever": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		for _, generation := range []uint32{maxForward + 10, 1 << 20, 1<<32 - 1} {
			_, err := all[1].process(forgePrivate(t, all[0], ContentApplication, senderData{leaf: 0, generation: generation}))
			require.ErrorIs(t, err, ErrTooFarAhead)
		}
	},
}

var otherBugs = map[string]func(*testing.T){
	// BouncyCastle #2316 compared its tags byte by byte: it is the same as mls-rs #320.
	"BouncyCastle #2316 tags compared in constant time": mlsRsBugs["#320 tags compared in constant time"],
	"Amethyst #2202 reuse guard": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		copied := all[0].aside() // a state that was restored from a copy encrypts twice under one key
		one, two := all[0].encrypt("x"), copied.encrypt("x")
		a, b := headerOf(t, all[1], one), headerOf(t, all[1], two)
		require.Equal(t, a.generation, b.generation)
		require.NotEqual(t, a.guard, b.guard)
		require.NotEqual(t, parsed(t, one).private.ciphertext, parsed(t, two).private.ciphertext)
		k := messageKey{key: make([]byte, 16), nonce: make([]byte, 12)}
		require.Equal(t, []byte{1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0}, k.guarded([4]byte{1, 2, 3, 4}).nonce)
		require.Equal(t, make([]byte, 12), k.nonce)
	},
	"Amethyst #2202 authenticated data": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		real := all[0].encrypt("x")
		m := parsed(t, real)
		m.private.authenticatedData = []byte("something else")
		_, err := all[1].process(m.Marshal())
		require.ErrorIs(t, err, ErrDecrypt)
		m.private.authenticatedData = nil
		_, err = all[1].process(m.Marshal())
		require.ErrorIs(t, err, ErrDecrypt)
		all[1].read(real, "x")
	},
	"Amethyst #2202 sample of a whole hash": func(t *testing.T) {
		for _, s := range suites {
			ciphertext := make([]byte, 200)
			one := s.senderDataKey([]byte("secret"), ciphertext)
			for i, differs := range map[int]bool{0: true, 15: true, 16: true, s.nh - 1: true, s.nh: false, 199: false} {
				other := bytes.Clone(ciphertext)
				other[i] = 1
				require.Equal(t, differs, !bytes.Equal(one.key, s.senderDataKey([]byte("secret"), other).key), "%s, byte %d", s.id, i)
			}
			require.NotPanics(t, func() { s.senderDataKey([]byte("secret"), ciphertext[:3]) })
		}
	},
	"Amethyst #2471 removes before adds": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, names(4)...)
		eve := newParty(t, "eve")
		kp := eve.keyPackage()
		p := all[0].commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage()), RemoveProposal(1)}})
		all[0].confirm()
		all[2].apply(p.Message())
		eve.join(kp, p.Welcome())
		require.EqualValues(t, 1, leafOf(eve))
		agree(t, all[0], all[2], eve)
	},
	"Amethyst #2471 commit secret": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, names(4)...)
		s := all[0].g.suite
		_, path := mergedPath(t, all[0])
		last := path.secrets[len(path.secrets)-1]
		require.Equal(t, s.deriveSecret(last, "path"), path.commit, "one derivation after the root's")
		require.NotEqual(t, last, path.commit)
	},
	"Amethyst #2493 own commit after a restart": func(t *testing.T) {
		bothFramings(t, func(t *testing.T, f WireFormat) {
			all := newGroup(t, f, "alice", "bob")
			p := all[0].commit(CommitParams{Framing: f})
			raw := p.Message()
			all[0].reload()
			_, err := all[0].process(raw)
			require.ErrorIs(t, err, ErrOwnMessage, "before it is confirmed")
			all[1].apply(raw)
			all[0].confirm()
			authenticator := all[0].g.EpochAuthenticator()
			_, err = all[0].process(raw)
			var epoch *WrongEpochError
			require.ErrorAs(t, err, &epoch)
			require.ErrorIs(t, all[0].g.ConfirmPending(), ErrStale)
			require.Equal(t, authenticator, all[0].g.EpochAuthenticator())
			agree(t, all...)
		})
	},
	"Amethyst #2493 depth of the secret tree": func(t *testing.T) {
		tree := newSecretTree(suites[1], maxMembers, make([]byte, 32))
		for _, l := range []leafIndex{0, 1, maxMembers / 2, maxMembers - 1} {
			_, err := tree.peek(l)
			require.NoError(t, err)
		}
		for _, l := range []leafIndex{maxMembers, 1 << 30, 1 << 31, 1<<32 - 1} {
			_, err := tree.peek(l)
			requireRule(t, err, "is not in the tree")
		}
	},
	"Amethyst #2493 keys of the epoch that a commit is sent in": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		now, err := all[0].g.Export("outer", nil, 32)
		require.NoError(t, err)
		p := all[0].commit(CommitParams{})
		require.Equal(t, all[0].g.Epoch(), parsed(t, p.Message()).Epoch())
		still, err := all[0].g.Export("outer", nil, 32)
		require.NoError(t, err)
		require.Equal(t, now, still, "a pending commit changes no key in use")
		later, err := p.Export("outer", nil, 32)
		require.NoError(t, err)
		require.NotEqual(t, now, later)
		others, err := all[1].g.Export("outer", nil, 32)
		require.NoError(t, err)
		require.Equal(t, now, others)
	},
	"CoreCrypto, kalium #3305, a message that comes before its commit": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
		p := all[0].commit(CommitParams{})
		all[1].apply(p.Message())
		early := all[1].encrypt("in the next epoch")
		for range 3 {
			_, err := all[2].process(early)
			var epoch *WrongEpochError
			require.ErrorAs(t, err, &epoch)
			require.Equal(t, all[2].g.Epoch()+1, epoch.Message, "the caller is told which commit it waits for")
			all[2].reload()
		}
		all[2].apply(p.Message())
		all[2].read(early, "in the next epoch")
	},
	"protocol #373, a path that only some can read": func(t *testing.T) {
		all := newGroup(t, WirePublicMessage, "alice", "bob", "carol", "dave")
		alice, bob, carol := all[0], all[1], all[2]
		// Alice's commit is right but for the ciphertext that carol's side of the tree gets: only carol and dave can know.
		staged, confirm := halfReadable(t, alice)
		_, err := carol.process(staged)
		require.ErrorIs(t, err, ErrDecrypt)
		bob.apply(staged)
		confirm()
		require.Equal(t, alice.g.EpochAuthenticator(), bob.g.EpochAuthenticator())
		// Whoever was left behind comes back from outside; the group goes on.
		for _, p := range []*party{carol, all[3]} {
			leaf := leafOf(p)
			j := p.enter(bob, func(e *ExternalJoinParams) { e.Replace = &leaf })
			alice.apply(j.Message())
			bob.apply(j.Message())
			if p == all[3] {
				carol.apply(j.Message())
			}
			p.take(j)
		}
		agree(t, all...)
	},
}

// halfReadable is a commit of p whose path secrets for the other half of the tree are noise, and what makes it p's own state.
func halfReadable(t *testing.T, p *party) ([]byte, func()) {
	g := p.g
	c, err := g.applyProposals(nil, g.own, testNow)
	require.NoError(t, err)
	path, err := c.tree.makePath(rand.Reader, g.own, *g.tree.leaf(g.own), g.signer, g.context.groupID)
	require.NoError(t, err)
	provisional := g.nextContext(c, g.context.confirmed)
	require.NoError(t, path.encrypt(rand.Reader, c.tree, marshal(&provisional), nil))
	noise := path.path.nodes[len(path.path.nodes)-1].secrets[0].ciphertext
	noise[0] ^= 1
	for x, key := range path.private {
		c.private[x] = key
	}
	a := g.content(ContentCommit, nil)
	a.content.commit, a.wireFormat = &commit{path: &path.path}, WirePublicMessage
	a.sign(g.signer, marshal(&g.context))
	next, _, _, err := g.next(c, a, path.commit)
	require.NoError(t, err)
	a.confirmationTag = g.suite.mac(next.secrets.confirmation, next.context.confirmed)
	next.interim = g.suite.interimTranscript(next.context.confirmed, a.confirmationTag)
	raw, err := g.frame(rand.Reader, a, nil)
	require.NoError(t, err)
	return raw, func() { g.moveTo(next); p.reload() }
}
