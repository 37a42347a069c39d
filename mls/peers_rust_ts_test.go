package mls

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var mlsRsBugs = map[string]func(*testing.T){
	"#315 parent hashes are checked to the end": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, names(8)...)
		tree := all[0].g.tree
		require.NoError(t, tree.checkParentHashes())
		for i := 1; i < len(tree.nodes); i += 2 {
			spoilt := tree.clone()
			p := *tree.nodes[i].parent
			p.encryptionKey = flipped(p.encryptionKey)
			spoilt.set(nodeIndex(i), node{parent: &p})
			requireRule(t, spoilt.checkParentHashes(), "parent hash of node")
		}
	},
	"#320 tags compared in constant time": func(t *testing.T) {
		files, err := filepath.Glob("*.go")
		require.NoError(t, err)
		// What is equal is said by hmac.Equal, and only there.
		comparison := regexp.MustCompile(`(bytes\.Equal|reflect\.DeepEqual|slices\.Equal|==).*([tT]ag\b|\.mac\()|([tT]ag\b|\.mac\().*(==)`)
		for _, file := range files {
			code, err := os.ReadFile(file)
			require.NoError(t, err)
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for i, line := range strings.Split(strings.ReplaceAll(string(code), "len(tag) ==", ""), "\n") {
				require.False(t, comparison.MatchString(line), "%s:%d compares a tag: %s", file, i+1, line)
			}
		}
		code, err := os.ReadFile("crypto.go")
		require.NoError(t, err)
		require.Contains(t, string(code), "len(tag) == s.nh && hmac.Equal(s.mac(key, data), tag)")
	},
	"#321 order of unmerged leaves": func(t *testing.T) {
		tree := newGroup(t, WirePrivateMessage, names(4)...)[0].g.tree
		for _, list := range [][]leafIndex{{1, 0}, {1, 1}, {0, 1, 0}, {3, 2, 1}} {
			p := *tree.nodes[tree.root()].parent
			p.unmerged = list
			r := tree.clone()
			r.nodes[r.root()] = node{parent: &p}
			_, err := parseTree(r.suite, r.marshal())
			requireRule(t, err, "malformed")
		}
	},
	"#323 versions": func(t *testing.T) {
		alice := newParty(t, "alice")
		alice.create()
		info, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		for _, version := range []uint16{0, 2, 256, 0xffff} {
			high, low := byte(version>>8), byte(version)
			for _, raw := range [][]byte{alice.encrypt("x"), info} {
				spoilt := bytes.Clone(raw)
				spoilt[0], spoilt[1] = high, low
				_, err := ParseMessage(spoilt)
				require.ErrorIs(t, err, errSyntax)
			}
			spoilt := bytes.Clone(info) // of the GroupContext
			spoilt[4], spoilt[5] = high, low
			_, err = ParseMessage(spoilt)
			require.ErrorIs(t, err, errSyntax)
			kp := alice.packageWith(func(kp *KeyPackage) { kp.version = version })
			requireRule(t, kp.Verify(testNow), "key package of version")
			kp = alice.packageWith(func(kp *KeyPackage) { kp.Leaf.Capabilities.Versions = []uint16{version} })
			requireRule(t, kp.Verify(testNow), "mls10")
		}
	},
	"#319 default types are not listed in capabilities": func(t *testing.T) {
		p := newParty(t, "alice")
		listed := Capabilities{Extensions: []ExtensionType{1, testExtension, 2, 3, 4, 5}, Proposals: []ProposalType{1, 2, ProposalSelfRemove, 3, 4, 5, 6, 7}}
		check := func(c Capabilities) {
			for _, e := range c.Extensions {
				require.False(t, e >= 1 && e <= 5, "extension %d is a default", e)
			}
			for _, x := range c.Proposals {
				require.False(t, x >= 1 && x <= 7, "proposal %d is a default", x)
			}
			require.Contains(t, c.Extensions, testExtension)
			require.Contains(t, c.Proposals, ProposalSelfRemove)
		}
		check(p.keyPackageWith(func(k *KeyPackageParams) { k.Capabilities = listed }).KeyPackage().Leaf.Capabilities)
		k := p.params()
		g, err := NewGroup(rand.Reader, GroupParams{Suite: k.Suite, GroupID: []byte("g"), Signer: p.signer, Credential: k.Credential, Capabilities: listed})
		require.NoError(t, err)
		check(g.tree.leaf(0).Capabilities)
		require.Len(t, listed.Extensions, 6, "the caller's list stays as it was")
		require.EqualValues(t, 2, listed.Extensions[2])
	},
	"#286 leaves beyond 24 bits": func(t *testing.T) {
		all := newGroup(t, WirePublicMessage, "alice", "bob")
		for _, leaf := range []uint32{1 << 24, 1<<24 + 1, 1 << 30, 1 << 31, 1<<31 + 1, 1<<32 - 1} {
			_, there := all[0].g.Member(leaf)
			require.False(t, there)
			_, err := all[1].process(forgeCommit(all[0], &commit{proposals: byValue(RemoveProposal(leaf))}))
			requireRule(t, err, "is not a member")
			_, err = all[1].process(forgeMessage(all[0], ContentCommit, func(a *authenticatedContent) {
				a.content.sender.index, a.content.commit = leaf, &commit{}
			}))
			requireRule(t, err, "is not a member")
			_, err = all[1].process(forgePrivate(t, all[0], ContentApplication, senderData{leaf: leafIndex(leaf)}))
			require.Error(t, err)
		}
	},
	"#342 parent hash across blank nodes": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, names(8)...)
		spread(all[0], CommitParams{Proposals: []Proposal{RemoveProposal(5), RemoveProposal(6)}}, all[1], all[2], all[3], all[4], all[7])
		in := []*party{all[0], all[1], all[2], all[3], all[4], all[7]}
		for _, p := range in { // each with nodes of the others and blanks above it
			spread(p, CommitParams{}, without(in, p)...)
			require.NoError(t, p.g.tree.check(p.g.context.groupID, nil))
		}
		zoe := newParty(t, "zoe")
		kp := zoe.keyPackage()
		p := all[7].commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
		zoe.join(kp, p.Welcome())
	},
	"#352 unmerged below a blank": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, names(8)...)
		tree := all[0].g.tree.clone()
		tree.remove(5)
		at, err := tree.add(&newParty(t, "zoe").keyPackage().public.Leaf)
		require.NoError(t, err)
		require.EqualValues(t, 5, at)
		require.NoError(t, tree.checkUnmerged(), "with blanks between, the leaf has nowhere to be listed")
		p := *all[0].g.tree.nodes[tree.root()].parent
		p.unmerged = []leafIndex{4, 5}
		tree.set(tree.root(), node{parent: &p})
		require.NoError(t, tree.checkUnmerged())
		require.Error(t, tree.checkParentHashes(), "a leaf that was there when the node was made is not unmerged")
	},
	"#360 parent hash that is empty": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob") // nothing else of such a tree is bound to the leaves
		tree := all[0].g.tree.clone()
		require.NoError(t, tree.checkParentHashes())
		for _, empty := range [][]byte{nil, {}} {
			for l := range leafIndex(2) {
				leaf := *tree.leaf(l)
				leaf.ParentHash = empty
				tree.set(l.node(), node{leaf: &leaf})
			}
			requireRule(t, tree.checkParentHashes(), "parent hash of node 1")
		}
	},
	"#361 sender of a past epoch whose leaf has another member": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
		late := all[1].encrypt("from bob")
		eve := newParty(t, "eve")
		kp := eve.keyPackage()
		p := all[0].commit(CommitParams{Proposals: []Proposal{RemoveProposal(1), AddProposal(kp.KeyPackage())}})
		all[2].apply(p.Message())
		eve.join(kp, p.Welcome())
		require.EqualValues(t, 1, leafOf(eve))
		require.Equal(t, all[1].signer.Public(), all[2].read(late, "from bob").Sender.Node.SignatureKey)
		require.Equal(t, eve.signer.Public(), all[2].read(eve.encrypt("x"), "x").Sender.Node.SignatureKey)
	},
	"#228 a replay costs no other key": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		first, second, third := all[0].encrypt("1"), all[0].encrypt("2"), all[0].encrypt("3")
		all[1].read(first, "1")
		for range 3 {
			_, err := all[1].process(first)
			require.ErrorIs(t, err, ErrReplay)
		}
		all[1].read(third, "3")
		_, err := all[1].process(third)
		require.ErrorIs(t, err, ErrReplay)
		all[1].read(second, "2")
		_, err = all[1].process(second)
		require.ErrorIs(t, err, ErrReplay, "nor from among those that were passed over")
	},
	"#201 removed while a commit of ours is pending": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		won := all[0].commit(CommitParams{Proposals: []Proposal{RemoveProposal(1)}})
		all[1].commit(CommitParams{Proposals: []Proposal{RemoveProposal(0)}})
		all[1].apply(won.Message())
		require.True(t, all[1].g.Removed())
		require.Nil(t, all[1].g.Pending())
		require.ErrorIs(t, all[1].g.ConfirmPending(), ErrStale)
	},
	"#308 external commit while a commit of ours is pending": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		all[0].commit(CommitParams{})
		all[1].commit(CommitParams{Proposals: []Proposal{RemoveProposal(0)}})
		eve, old := newParty(t, "bob"), leafOf(all[1])
		j := eve.enter(all[0], func(p *ExternalJoinParams) { p.Replace = &old })
		require.True(t, all[1].apply(j.Message()).RemovesUs())
		all[0].apply(j.Message())
		eve.take(j)
		agree(t, all[0], eve)
	},
	"#313 an extension twice": func(t *testing.T) {
		twice := []Extension{{testExtension, []byte("a")}, {testExtension, []byte("b")}}
		p := newParty(t, "alice")
		for _, change := range []func(*KeyPackage){
			func(kp *KeyPackage) { kp.Extensions = twice },
			func(kp *KeyPackage) { kp.Leaf.Extensions = twice },
		} {
			_, err := ParseKeyPackage(p.packageWith(change).Marshal())
			require.ErrorIs(t, err, errSyntax)
		}
		p.create()
		raw, err := p.g.GroupInfo(true)
		require.NoError(t, err)
		for _, change := range []func(*groupInfo){
			func(i *groupInfo) { i.extensions = append(i.extensions, i.extensions[0]) },
			func(i *groupInfo) { i.context.extensions = twice },
		} {
			m := parsed(t, raw)
			change(m.groupInfo)
			_, err = ParseMessage(m.Marshal())
			require.ErrorIs(t, err, errSyntax)
		}
	},
}

var tsMLSBugs = map[string]func(*testing.T){
	"#436 one remove or one update has a path": func(t *testing.T) {
		all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
		path := func(params CommitParams) *updatePath {
			p := all[0].aside()
			params.Framing = WirePublicMessage
			return parsed(t, p.commit(params).Message()).public.content.commit.path
		}
		require.NotNil(t, path(CommitParams{Proposals: []Proposal{RemoveProposal(2)}}))
		m, err := all[1].g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)
		require.NoError(t, err)
		all[0].receiveProposal(m)
		require.NotNil(t, path(CommitParams{}))
		m, err = all[1].g.Propose(rand.Reader, RemoveProposal(2), WirePublicMessage, nil)
		require.NoError(t, err)
		all[0].receiveProposal(m)
		require.NotNil(t, path(CommitParams{}))
		_, err = all[1].process(forgeCommit(all[0], &commit{proposals: byValue(RemoveProposal(2))}))
		requireRule(t, err, "without the path")
		requireRule(t, commitOfReferences(t, all[2], all[0], all[1].aside(), all[2].newUpdate()), "without the path")
	},
	"1.6.4 new extensions alone have a path": func(t *testing.T) {
		all := newGroup(t, WirePublicMessage, "alice", "bob")
		gce := GroupContextExtensionsProposal([]Extension{{testExtension, []byte("x")}})
		p := all[0].commit(CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{gce}})
		require.NotNil(t, parsed(t, p.Message()).public.content.commit.path)
		_, err := all[1].process(forgeCommit(all[0], &commit{proposals: byValue(gce)}))
		requireRule(t, err, "without the path")
	},
	"#647 update from leaf 0": func(t *testing.T) {
		bothFramings(t, func(t *testing.T, f WireFormat) {
			all := newGroup(t, f, "alice", "bob", "carol")
			m, err := all[0].g.ProposeUpdate(rand.Reader, f, nil)
			require.NoError(t, err)
			all[0].reload()
			all[1].receiveProposal(m)
			all[2].receiveProposal(m)
			staged := spread(all[1], CommitParams{Framing: f}, all[0], all[2])
			require.Equal(t, []ProposalType{ProposalUpdate}, staged[1].ProposalTypes())
			agree(t, all...)
		})
	},
	"#627 keys of a path are new": func(t *testing.T) {
		all := newGroup(t, WirePublicMessage, names(5)...)
		taken := slices.Concat(all[0].g.tree.nodes)
		for _, n := range taken {
			if n.blank() {
				continue
			}
			_, err := all[1].process(forgePath(t, all[0], nil, func(p *newPath, tree *ratchetTree) {
				p.path.nodes[0].encryptionKey = n.encryptionKey()
				all[0].resign(p, tree)
			}))
			requireRule(t, err, "already in the tree")
		}
	},
	"#625 required capabilities hold for who comes later": func(t *testing.T) {
		alice, bob, eve := newParty(t, "alice"), newParty(t, "bob"), newParty(t, "eve")
		required := Extension{ExtensionRequiredCapabilities, []byte{2, byte(testExtension >> 8), byte(testExtension & 0xff), 0, 0}}
		alice.create(required)
		kp := bob.keyPackage()
		p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
		alice.confirm()
		bob.join(kp, p.Welcome())
		require.Equal(t, []Extension{required}, bob.g.Extensions())
		bare := func(k *KeyPackageParams) { k.Capabilities = Capabilities{} }
		add := AddProposal(eve.keyPackageWith(bare).KeyPackage())
		_, err := bob.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{add}, Now: testNow})
		requireRule(t, err, "lacks required extension")
		_, err = bob.process(forgeCommit(alice, &commit{proposals: byValue(add)}))
		requireRule(t, err, "lacks required extension")
		info, err := bob.g.GroupInfo(true)
		require.NoError(t, err)
		_, err = JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{Signer: eve.signer, Credential: eve.params().Credential})
		requireRule(t, err, "lacks required extension")
	},
	"#505, #481 and #468 a path for the tree and the extensions after the proposals": func(t *testing.T) {
		bothFramings(t, func(t *testing.T, f WireFormat) {
			all := newGroup(t, f, names(6)...)
			eve := newParty(t, "eve")
			kp := eve.keyPackage()
			p := all[0].commit(CommitParams{Framing: f, Proposals: []Proposal{
				AddProposal(kp.KeyPackage()), RemoveProposal(3), GroupContextExtensionsProposal([]Extension{{testExtension, []byte("after")}}),
			}})
			in := []*party{all[0], all[1], all[2], all[4], all[5]}
			for _, q := range in[1:] {
				require.Equal(t, "after", string(q.apply(p.Message()).Extensions()[0].Data))
			}
			all[0].confirm()
			eve.join(kp, p.Welcome())
			agree(t, append(in, eve)...)
		})
	},
	"#484 resync without a leaf to replace": func(t *testing.T) {
		all := newGroup(t, WirePrivateMessage, "alice", "bob")
		eve := newParty(t, "eve")
		info, err := all[0].g.GroupInfo(true)
		require.NoError(t, err)
		for _, leaf := range []uint32{2, 3, 4, 1 << 31} {
			_, err = JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{Signer: eve.signer, Credential: eve.params().Credential, Replace: &leaf})
			requireRule(t, err, "is not a member")
		}
		// Whether who was replaced is the same client is for the application, which is told of both.
		leaf := leafOf(all[1])
		j := eve.enter(all[0], func(p *ExternalJoinParams) { p.Replace = &leaf })
		s := all[0].stage(j.Message())
		require.Equal(t, all[1].signer.Public(), s.Removed()[0].Node.SignatureKey)
		require.Equal(t, eve.signer.Public(), s.Committer().Node.SignatureKey)
		require.True(t, s.External())
	},
	"#361 how much is read": func(t *testing.T) {
		_, err := ParseMessage(make([]byte, maxMessage+1))
		require.ErrorContains(t, err, "at most")
		// A length of a gigabyte in a message of ten bytes takes no memory.
		huge := []byte{0, 1, 0, 3, 0, 1, 0xbf, 0xff, 0xff, 0xff}
		require.Less(t, testing.AllocsPerRun(10, func() { _, _ = ParseMessage(huge) }), 20.0)
		var before []byte
		require.False(t, readOpaque(asString([]byte{0xbf, 0xff, 0xff, 0xff, 1}), &before))
		require.Nil(t, before)
	},
	"#449 external_pub is a vector": func(t *testing.T) {
		alice := newParty(t, "alice")
		alice.create()
		raw, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		data, ok := findExtension(parsed(t, raw).groupInfo.extensions, extensionExternalPub)
		require.True(t, ok)
		pub, _ := alice.g.suite.deriveKeyPair(alice.g.secrets.external)
		require.Equal(t, append([]byte{32}, pub...), data)
		m := parsed(t, raw)
		m.groupInfo.extensions[0].Data = pub
		m.groupInfo.signature = alice.signer.signWithLabel("GroupInfoTBS", build(m.groupInfo.addUnsigned))
		eve := newParty(t, "eve")
		_, err = JoinExternal(rand.Reader, m, ExternalJoinParams{Signer: eve.signer, Credential: eve.params().Credential})
		requireRule(t, err, "external key")
	},
}
