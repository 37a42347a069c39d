package mls

import (
	"bytes"
	"crypto/rand"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

// TestPeerBugs has a subtest for each bug that was found in another implementation of MLS and that this one could have: named after
// the peer and its number of the issue, pull request or advisory.
func TestPeerBugs(t *testing.T) {
	for peer, bugs := range map[string]map[string]func(*testing.T){
		"openmls": openmlsBugs, "mls-rs": mlsRsBugs, "mlspp": mlsppBugs, "ts-mls": tsMLSBugs, "go peers": goBugs, "others": otherBugs,
	} {
		t.Run(peer, func(t *testing.T) {
			for name, run := range bugs {
				t.Run(name, run)
			}
		})
	}
}

var openmlsBugs = map[string]func(*testing.T){
	"GHSA-8x3w-qj7j-gqhf truncated tags": func(t *testing.T) {
		s := suites[1]
		key, data := []byte("key"), []byte("data")
		tag := s.mac(key, data)
		require.True(t, s.checkMAC(key, data, tag))
		for n := range tag {
			require.False(t, s.checkMAC(key, data, tag[:n]), "%d bytes of a tag", n)
		}
		require.False(t, s.checkMAC(key, data, append(bytes.Clone(tag), 0)))
		alice, bob := newParty(t, "alice"), newParty(t, "bob") // the third place of a tag; TestTruncatedTags has the two of a message
		alice.create()
		kp := bob.keyPackage()
		alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
		for n := range 32 {
			raw := reWelcome(t, alice, kp, func(i *groupInfo) { i.confirmationTag = i.confirmationTag[:n] })
			_, err := JoinWelcome(parsed(t, raw), JoinParams{KeyPackage: kp, Signer: bob.signer})
			requireRule(t, err, "confirmation tag of a welcome")
		}
	},
	"GHSA-rrmv-c79f-cf5r out of bounds in decoders": func(t *testing.T) {
		decode := map[string]func([]byte){
			"message":    func(b []byte) { _, _ = ParseMessage(b) },
			"package":    func(b []byte) { _, _ = ParseKeyPackage(b) },
			"tree":       func(b []byte) { _, _ = parseTree(suites[1], b) },
			"group":      func(b []byte) { _, _ = UnmarshalGroup(b) },
			"secret":     func(b []byte) { _, _ = UnmarshalKeyPackageSecret(b) },
			"secrets":    func(b []byte) { _ = unmarshal(b, new(groupSecrets), "secrets") },
			"senderData": func(b []byte) { _ = unmarshal(b, new(senderData), "sender data") },
		}
		alice := newParty(t, "alice")
		alice.create()
		kp := alice.keyPackage()
		for _, raw := range [][]byte{alice.g.Marshal(), alice.g.tree.marshal(), kp.Marshal(), kp.KeyPackage().Marshal(), alice.encrypt("x"), alice.commit(CommitParams{}).Message()} {
			for name, f := range decode {
				for i := range raw {
					for _, b := range []byte{0, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xff} { // every length that a first byte can begin
						spoilt := bytes.Clone(raw)
						spoilt[i] = b
						require.NotPanics(t, func() { f(spoilt); f(spoilt[:i]); f(spoilt[:i+1]) }, "%s at byte %d", name, i)
					}
				}
			}
		}
	},
	"libcrux GHSA-435g-fcv3-8j26 and hpke-rs GHSA-g433-pq76-6cmf, what the provider lets through": func(t *testing.T) {
		for id := CipherSuite(1); id <= 7; id++ {
			s := suites[id]
			pub, priv, err := s.generateKeyPair(rand.Reader)
			require.NoError(t, err)
			good, err := s.sealWithLabel(rand.Reader, pub, "l", nil, []byte("x"))
			require.NoError(t, err)
			for n := range good.ciphertext {
				_, err = s.openWithLabel(priv, "l", nil, hpkeCiphertext{good.kemOutput, good.ciphertext[:n]})
				require.ErrorIs(t, err, ErrDecrypt)
			}
			for _, enc := range append(badKeys(s), nil, good.kemOutput[1:], append(bytes.Clone(good.kemOutput), 0)) {
				_, err = s.openWithLabel(priv, "l", nil, hpkeCiphertext{enc, good.ciphertext})
				require.ErrorIs(t, err, ErrDecrypt)
			}
			again, err := s.sealWithLabel(rand.Reader, pub, "l", nil, []byte("x"))
			require.NoError(t, err)
			require.NotEqual(t, good.kemOutput, again.kemOutput, "each secret has a context of its own: no sequence number ever moves")
		}
	},
	"#1846 a key used before a restart": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		m := all[0].encrypt("once")
		all[1].read(m, "once") // stores and restores
		_, err := all[1].process(m)
		require.ErrorIs(t, err, ErrReplay)
		p := all[0].commit(CommitParams{})
		all[1].stage(p.Message())
		all[1].reload()
		_, err = all[1].process(p.Message())
		require.ErrorIs(t, err, ErrReplay)
	},
	"#1944 credential of a past epoch": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
		late := all[1].encrypt("from bob")
		twin := &party{t: t, name: "bob2", suite: all[1].suite, signer: all[1].signer}
		kp := twin.keyPackage()
		p := all[0].commit(CommitParams{Proposals: []Proposal{RemoveProposal(1), AddProposal(kp.KeyPackage())}})
		all[2].apply(p.Message())
		got := all[2].read(late, "from bob")
		require.Equal(t, "https://a.example/users/bob", string(got.Sender.Node.Credential.Identity))
	},
	"#1871 exporter after a restart": func(t *testing.T) {
		alice := newParty(t, "alice")
		k := alice.params()
		g, err := NewGroup(rand.Reader, GroupParams{Suite: k.Suite, GroupID: []byte("g"), Signer: k.Signer, Credential: k.Credential})
		require.NoError(t, err)
		want, err := g.Export("label", []byte("context"), 32)
		require.NoError(t, err)
		got, err := reloaded(t, g).Export("label", []byte("context"), 32)
		require.NoError(t, err)
		require.Equal(t, want, got)
	},
	"#2143 signer of a group info after a change of keys": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		old, again := leafOf(all[1]), newParty(t, "bob") // a new key comes in with a new appearance
		j := again.enter(all[0], func(p *ExternalJoinParams) { p.Replace = &old })
		all[0].apply(j.Message())
		again.take(j)
		raw, err := again.g.GroupInfo(true)
		require.NoError(t, err)
		info := parsed(t, raw).groupInfo
		require.Equal(t, again.signer.Public(), again.g.tree.leaf(info.signer).SignatureKey)
		carol := newParty(t, "carol")
		j = carol.enter(again)
		all[0].apply(j.Message())
		again.apply(j.Message())
		carol.take(j)
		agree(t, all[0], again, carol)
	},
	"#2147 lengths at the edges": func(t *testing.T) {
		for n, size := range map[int]int{0: 1, 63: 1, 64: 2, 0x3ffe: 2, 0x3fff: 2, 0x4000: 4, 0x3fffffff: 4} {
			raw := build(func(b *cryptobyte.Builder) { addVarint(b, n) })
			require.Len(t, raw, size, "length %d", n)
			s := cryptobyte.String(raw)
			var again uint32
			require.True(t, readVarint(&s, &again))
			require.EqualValues(t, n, again)
		}
		var b cryptobyte.Builder
		addVarint(&b, 0x40000000)
		_, err := b.Bytes()
		require.Error(t, err)
		for _, raw := range [][]byte{{0x40, 63}, {0x80, 0, 0x3f, 0xff}, {0xc0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}} {
			s := cryptobyte.String(raw)
			var n uint32
			require.False(t, readVarint(&s, &n), "%x", raw)
		}
	},
	"#2134 trailing bytes in extensions": func(t *testing.T) {
		alice, eve := newParty(t, "alice"), newParty(t, "eve")
		sender := ExternalSendersExtension(ExternalSender{eve.signer.Public(), BasicCredential([]byte("s"))})
		alice.create(Extension{ExtensionExternalSenders, append(sender.Data, 0)})
		m, err := ProposeExternally(alice.suite, eve.signer, 0, alice.g.GroupID(), alice.g.Epoch(), RemoveProposal(0))
		require.NoError(t, err)
		_, err = alice.process(m)
		requireRule(t, err, "external senders")
		raw, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		k := eve.params()
		params := ExternalJoinParams{Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities}
		for at, rule := range []string{"external key", "ratchet tree"} {
			m := parsed(t, raw)
			m.groupInfo.extensions[at].Data = append(m.groupInfo.extensions[at].Data, 0)
			m.groupInfo.signature = alice.signer.signWithLabel("GroupInfoTBS", build(m.groupInfo.addUnsigned))
			_, err = JoinExternal(rand.Reader, m, params)
			requireRule(t, err, rule)
		}
		last := eve.packageWith(func(kp *KeyPackage) {
			kp.Leaf.Capabilities.Extensions = []ExtensionType{extensionLastResort}
			kp.Extensions = []Extension{{extensionLastResort, []byte{0}}}
		})
		require.False(t, last.LastResort())
		required := Extension{ExtensionRequiredCapabilities, []byte{0, 0, 0, 0}}
		require.Error(t, alice.g.tree.leaf(0).checkSupports([]Extension{required}))
		required.Data = required.Data[:3]
		require.NoError(t, alice.g.tree.leaf(0).checkSupports([]Extension{required}))
	},
	"#1928 one pre-shared key twice": func(t *testing.T) {
		all := newGroup(t, WirePublicMessage, "alice", "bob")
		for _, p := range all {
			p.psks = shared("a", "x")
			p.reload()
		}
		psk, err := all[0].g.PSKProposal(rand.Reader, PSK{ID: []byte("a")})
		require.NoError(t, err)
		_, err = all[1].process(forgeCommit(all[0], &commit{proposals: byValue(psk, psk)}))
		requireRule(t, err, "stands twice")
		err = commitOfReferences(t, all[0], all[0], all[1], psk, psk)
		requireRule(t, err, "stands twice")
	},
	"#2174, #2224 and #2225 work that grows with the members": func(t *testing.T) {
		// What a commit changes in the index of keys is what is on its path, however many members there are.
		first, last := fullGroup(t, 500)
		before := last.g.tree.index().encryption.base
		staged := last.stage(first.commit(CommitParams{}).Message())
		index := staged.next.tree.index()
		require.LessOrEqual(t, len(index.encryption.delta), 2*(maxDepth+1))
		require.LessOrEqual(t, len(index.signature.delta), 2)
		shared := func(a, b map[string]int) bool { return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer() }
		require.True(t, shared(before, index.encryption.base), "all keys are copied for one commit")
		small, large := hashesOfACommit(t, 32), hashesOfACommit(t, 512)
		require.Less(t, large, 2*small+100, "a commit costs the hashes of a path, not of the tree")
	},
}

// counted is a suite that counts its hashes.
func counted(t testing.TB, s *suite) *suite {
	t.Helper()
	c := *s
	c.hash = countingHash
	return &c
}

// hashesOfACommit in a full tree of n members.
func hashesOfACommit(t *testing.T, n int) int {
	first, last := fullGroup(t, n)
	raw := first.commit(CommitParams{}).Message()
	last.g.tree.treeHash()
	s := counted(t, last.g.suite)
	last.g.suite, last.g.tree.suite, last.g.messages.suite = s, s, s
	hashesMade = 0
	_, err := last.g.Process(parsed(t, raw), testNow)
	require.NoError(t, err)
	return hashesMade
}

var mlsppBugs = map[string]func(*testing.T){
	"#430 parent hash when the root's left subtree is empty": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, names(4)...)
		spread(all[2], CommitParams{Proposals: []Proposal{RemoveProposal(0), RemoveProposal(1)}}, all[3])
		tree := all[2].g.tree
		require.Nil(t, tree.leaf(0))
		require.Nil(t, tree.leaf(1))
		require.NoError(t, tree.checkParentHashes())
		zoe := newParty(t, "zoe")
		kp := zoe.keyPackage()
		p := all[3].commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true})
		all[2].apply(p.Message())
		all[3].confirm()
		zoe.join(kp, p.Welcome())
		agree(t, all[2], all[3], zoe)
	},
	"#365 the only member is not at leaf 0": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, names(3)...)
		spread(all[2], CommitParams{Proposals: []Proposal{RemoveProposal(0), RemoveProposal(1)}})
		spread(all[2], CommitParams{})
		agree(t, all[2])
		zoe := newParty(t, "zoe")
		j := zoe.enter(all[2])
		all[2].apply(j.Message())
		zoe.take(j)
		agree(t, all[2], zoe)
	},
	"#447 a follower from outside and a member who comes back": func(t *testing.T) {
		all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
		o, old := all[0].observer(), leafOf(all[1])
		again := &party{t: t, name: "bob", suite: all[1].suite, signer: all[1].signer}
		j := again.enter(all[0], func(p *ExternalJoinParams) { p.Replace = &old })
		c, err := o.Process(parsed(t, j.Message()), testNow)
		require.NoError(t, err)
		require.NoError(t, o.Apply(c))
		all[0].apply(j.Message())
		again.take(j)
		require.Equal(t, all[0].g.context, o.g.context)
		p := again.commit(CommitParams{Framing: WirePublicMessage})
		_, err = o.Process(parsed(t, p.Message()), testNow)
		require.NoError(t, err)
	},
}
