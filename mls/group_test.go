package mls

import (
	"crypto/rand"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLifeOfAGroup(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]

		// dave is added by bob, without a path, and reads only what comes after.
		dave := newParty(t, "dave")
		kp := dave.keyPackage()
		early := alice.encrypt("before dave")
		pending := bob.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, Framing: f, AuthenticatedData: []byte("fence")})
		require.Equal(t, [][]byte{kp.KeyPackage().Ref()}, parsed(t, pending.Welcome()).WelcomeRefs())
		for _, p := range []*party{alice, carol} {
			staged := p.apply(pending.Message())
			require.Equal(t, leafOf(bob), staged.Committer().Leaf)
			require.Len(t, staged.Added(), 1)
			require.Equal(t, "https://a.example/users/dave", string(staged.Added()[0].Node.Credential.Identity))
			require.Equal(t, "fence", string(staged.AuthenticatedData()))
			require.Empty(t, staged.Updated(), "an add alone needs no path")
			require.Equal(t, []ProposalType{ProposalAdd}, staged.ProposalTypes())
		}
		bob.confirm()
		j := dave.join(kp, pending.Welcome())
		require.Equal(t, leafOf(bob), j.Adder().Leaf)
		require.Len(t, j.Members(), 4)
		_, err := dave.process(early)
		var epoch *WrongEpochError
		require.ErrorAs(t, err, &epoch)
		carol.read(early, "before dave") // the members of then still can
		agree(t, alice, bob, carol, dave)

		// carol updates her path, dave proposes an update that alice commits.
		spread(carol, CommitParams{Framing: f}, alice, bob, dave)
		old := dave.g.tree.leaf(dave.g.own).EncryptionKey
		update, err := dave.g.ProposeUpdate(rand.Reader, f, nil)
		require.NoError(t, err)
		dave.reload()
		for _, p := range []*party{alice, bob, carol} {
			p.receiveProposal(update)
		}
		staged := spread(alice, CommitParams{Framing: f}, bob, carol, dave)
		require.Len(t, staged[0].Updated(), 2)
		require.NotEqual(t, old, dave.g.tree.leaf(dave.g.own).EncryptionKey)
		agree(t, alice, bob, carol, dave)

		// bob is removed by a proposal of carol's that dave commits.
		remove, err := carol.g.Propose(rand.Reader, RemoveProposal(leafOf(bob)), f, nil)
		require.NoError(t, err)
		carol.reload()
		for _, p := range []*party{alice, bob, dave} {
			p.receiveProposal(remove)
		}
		pending = dave.commit(CommitParams{Framing: f})
		out := bob.stage(pending.Message())
		require.True(t, out.RemovesUs())
		require.Equal(t, leafOf(bob), out.Removed()[0].Leaf)
		require.NoError(t, bob.g.Apply(out))
		bob.reload()
		for _, p := range []*party{alice, carol} {
			require.False(t, p.apply(pending.Message()).RemovesUs())
		}
		dave.confirm()
		agree(t, alice, carol, dave)

		// bob is out: he neither writes nor reads, and his state says so.
		require.True(t, bob.g.Removed())
		_, err = bob.g.Encrypt(rand.Reader, []byte("x"), nil, nil)
		require.ErrorIs(t, err, ErrRemoved)
		_, err = bob.g.Commit(rand.Reader, CommitParams{Now: testNow})
		require.ErrorIs(t, err, ErrRemoved)
		_, err = bob.g.Propose(rand.Reader, RemoveProposal(0), f, nil)
		require.ErrorIs(t, err, ErrRemoved)
		_, err = bob.process(alice.encrypt("without bob"))
		require.ErrorIs(t, err, ErrRemoved)
		require.Len(t, bob.g.Members(), 4, "the last state stays readable")

		// He comes back with a new key package into the leaf he left.
		kp = bob.keyPackage()
		pending = alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, Framing: f, ForcePath: true})
		for _, p := range []*party{carol, dave} {
			p.apply(pending.Message())
		}
		alice.confirm()
		bob.join(kp, pending.Welcome())
		require.EqualValues(t, 1, leafOf(bob))
		agree(t, alice, bob, carol, dave)
	})
}

// A removed member that does everything it can with its old state still learns nothing of the next epoch.
func TestRemovedMemberHasNoKeyOfTheNextEpoch(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, "alice", "bob", "carol", "dave")
		alice, bob := all[0], all[1]
		c := alice.commit(CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(bob))}, Framing: f})
		m := parsed(t, c.Message())
		var content *commit
		if f == WirePublicMessage {
			content = m.public.content.commit
		} else {
			o, err := bob.g.suite.decryptPrivate(m.private, bob.g.own, bob.g.secrets.senderData, bob.g.messages)
			require.NoError(t, err)
			content = o.content.commit
		}
		require.NotNil(t, content.path, "a removal without a path leaves the removed member the next epoch's secret")
		for _, n := range content.path.nodes {
			for _, ct := range n.secrets {
				for _, key := range bob.g.private {
					_, err := bob.g.suite.openWithLabel(key, "UpdatePathNode", nil, ct)
					require.Error(t, err)
				}
			}
		}
		// The naive successor: apply the removal, take no path secret.
		change, err := bob.g.applyProposals([]storedProposal{{sender: alice.g.own, proposal: RemoveProposal(leafOf(bob))}}, alice.g.own, testNow)
		require.NoError(t, err)
		guess, _, _, err := bob.g.next(change, &authenticatedContent{content: framedContent{contentType: ContentCommit, commit: content}}, make([]byte, 32))
		require.NoError(t, err)
		require.NotEqual(t, alice.g.pending.next.secrets.senderData, guess.secrets.senderData)
	})
}

func TestSeveralChangesInOneCommit(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, names(6)...)
		a, eve, frank := all[0], newParty(t, "eve"), newParty(t, "frank")
		kpE, kpF := eve.keyPackage(), frank.keyPackage()
		p := a.commit(CommitParams{Framing: f, Proposals: []Proposal{
			RemoveProposal(2), AddProposal(kpE.KeyPackage()), RemoveProposal(5), AddProposal(kpF.KeyPackage()),
			GroupContextExtensionsProposal([]Extension{{testExtension, []byte("policy")}}),
		}})
		rest := []*party{all[1], all[3], all[4]}
		for _, q := range rest {
			s := q.apply(p.Message())
			require.Len(t, s.Added(), 2)
			require.Len(t, s.Removed(), 2)
			require.Equal(t, "policy", string(s.Extensions()[0].Data))
		}
		for _, q := range []*party{all[2], all[5]} {
			require.True(t, q.apply(p.Message()).RemovesUs())
		}
		a.confirm()
		eve.join(kpE, p.Welcome())
		frank.join(kpF, p.Welcome())
		require.EqualValues(t, 2, leafOf(eve), "removals come before additions, additions fill from the left")
		require.EqualValues(t, 5, leafOf(frank))
		agree(t, append(rest, a, eve, frank)...)
	})
}

// A client that lost its state is removed and added again, with the same signature key, in one commit.
func TestReAddInOneCommit(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	kp := all[1].keyPackage()
	p := all[0].commit(CommitParams{Proposals: []Proposal{RemoveProposal(1), AddProposal(kp.KeyPackage())}})
	all[2].apply(p.Message())
	all[0].confirm()
	all[1].join(kp, p.Welcome())
	agree(t, all...)
}

func TestTreeShrinksAndGrows(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(9)...)
	require.EqualValues(t, 16, all[0].g.tree.leaves())
	staged := spread(all[0], CommitParams{Proposals: []Proposal{RemoveProposal(8)}}, all[1:]...)
	require.True(t, staged[7].RemovesUs())
	require.EqualValues(t, 8, all[0].g.tree.leaves())
	spread(all[3], CommitParams{Proposals: []Proposal{RemoveProposal(4), RemoveProposal(5), RemoveProposal(6), RemoveProposal(7)}}, all[:3]...)
	require.EqualValues(t, 4, all[0].g.tree.leaves())
	agree(t, all[:4]...)
	// The first two leaves go: the root's left half is empty, which has tripped parent hashes elsewhere.
	spread(all[2], CommitParams{Proposals: []Proposal{RemoveProposal(0), RemoveProposal(1)}}, all[3])
	agree(t, all[2], all[3])
	zoe := newParty(t, "zoe")
	kp := zoe.keyPackage()
	p := all[3].commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true})
	all[2].apply(p.Message())
	all[3].confirm()
	zoe.join(kp, p.Welcome())
	require.EqualValues(t, 0, leafOf(zoe))
	agree(t, all[2], all[3], zoe)
	// The last member is alone, and not at leaf 0.
	spread(all[3], CommitParams{Proposals: []Proposal{RemoveProposal(0), RemoveProposal(2)}})
	require.Len(t, all[3].g.Members(), 1)
	spread(all[3], CommitParams{})
	agree(t, all[3])
}

func TestTreeFromOutsideTheWelcome(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	alice.create()
	kp := bob.keyPackage()
	p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	next := alice.g.pending.next
	raw := reWelcome(t, alice, kp, func(i *groupInfo) { i.extensions = nil })
	_, err := JoinWelcome(parsed(t, raw), JoinParams{KeyPackage: kp, Signer: bob.signer})
	require.Error(t, err, "no tree at all")
	j, err := JoinWelcome(parsed(t, raw), JoinParams{KeyPackage: kp, Signer: bob.signer, RatchetTree: next.tree.marshal()})
	require.NoError(t, err)
	require.Equal(t, next.EpochAuthenticator(), j.Group().EpochAuthenticator())
	other := newParty(t, "alice")
	other.create()
	_, err = JoinWelcome(parsed(t, raw), JoinParams{KeyPackage: kp, Signer: bob.signer, RatchetTree: other.g.tree.marshal()})
	var inv *InvalidError
	require.ErrorAs(t, err, &inv, "a tree from outside is checked like one from inside")
	require.NotEmpty(t, p.Welcome())
}

func TestGroupContextExtensions(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	list := []Extension{{testExtension, []byte("one")}}
	staged := spread(all[0], CommitParams{Proposals: []Proposal{GroupContextExtensionsProposal(list)}}, all[1])
	require.Equal(t, list, staged[0].Extensions())
	require.Len(t, staged[0].Updated(), 1, "a change of the extensions needs a path")
	require.Equal(t, list, all[1].g.Extensions())
	spread(all[1], CommitParams{}, all[0])
	require.Equal(t, list, all[0].g.Extensions(), "they stay until they are replaced")
	agree(t, all...)
}

func TestLastResort(t *testing.T) {
	p := newParty(t, "alice")
	require.False(t, p.keyPackage().KeyPackage().LastResort())
	kp := p.keyPackageWith(func(k *KeyPackageParams) { k.LastResort = true }).KeyPackage()
	require.True(t, kp.LastResort())
	require.NoError(t, kp.Verify(testNow))
	m := parsed(t, append([]byte{0, 1, 0, 5}, kp.Marshal()...))
	require.Equal(t, WireKeyPackage, m.WireFormat())
	require.Equal(t, kp.Ref(), m.KeyPackage().Ref())
}

// TestSuites walks through a short life in each suite.
func TestSuites(t *testing.T) {
	require.Len(t, suites, 8)
	for _, cs := range slices.Sorted(maps.Keys(suites)) {
		t.Run(cs.String(), func(t *testing.T) {
			alice, bob, carol := newPartyOf(t, cs, "alice"), newPartyOf(t, cs, "bob"), newPartyOf(t, cs, "carol")
			alice.create()
			kps := []*KeyPackageSecret{bob.keyPackage(), carol.keyPackage()}
			p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kps[0].KeyPackage()), AddProposal(kps[1].KeyPackage())}, ForcePath: true})
			alice.confirm()
			bob.join(kps[0], p.Welcome())
			carol.join(kps[1], p.Welcome())
			agree(t, alice, bob, carol)
			p = bob.commit(CommitParams{})
			bob.confirm()
			alice.apply(p.Message())
			carol.apply(p.Message())
			p = carol.commit(CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(bob))}})
			carol.confirm()
			alice.apply(p.Message())
			agree(t, alice, carol)
		})
	}
}

// Proposals that cannot be committed, or not together, must not keep anybody from committing the rest (12.2).
func TestUnusableProposalsDoNotStopACommit(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol", "dave")
	alice, bob, carol, dave := all[0], all[1], all[2], all[3]
	send := func(from *party, p Proposal) {
		m, err := from.g.Propose(rand.Reader, p, WirePublicMessage, nil)
		require.NoError(t, err)
		from.reload()
		for _, to := range without(all, from) {
			to.receiveProposal(m)
		}
	}
	eve := newParty(t, "eve")
	kp := eve.keyPackage()
	send(bob, RemoveProposal(leafOf(alice)))                // of the committer
	send(bob, RemoveProposal(leafOf(dave)))                 // fine
	send(carol, RemoveProposal(leafOf(dave)))               // the same again
	send(dave, RemoveProposal(17))                          // of nobody
	send(carol, AddProposal(bob.keyPackage().KeyPackage())) // a member already
	send(bob, AddProposal(kp.KeyPackage()))                 // fine
	send(carol, AddProposal(kp.KeyPackage()))               // the same again
	send(carol, Proposal{Type: ProposalReInit, reInit: &reInit{groupID: []byte("x"), version: 1, suite: 1}})
	send(bob, GroupContextExtensionsProposal([]Extension{{testExtension, []byte("old")}}))
	send(bob, GroupContextExtensionsProposal([]Extension{{testExtension, []byte("new")}}))
	for range 2 {
		update, err := carol.g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)
		require.NoError(t, err)
		carol.reload()
		for _, to := range without(all, carol) {
			to.receiveProposal(update)
		}
	}
	latest := carol.g.updates[1].public
	p := alice.commit(CommitParams{Framing: WirePublicMessage})
	for _, q := range []*party{bob, carol} {
		s := q.apply(p.Message())
		require.Len(t, s.Removed(), 1)
		require.Equal(t, leafOf(dave), s.Removed()[0].Leaf)
		require.Len(t, s.Added(), 1)
		require.Equal(t, "new", string(s.Extensions()[0].Data), "the latest wins")
	}
	require.Equal(t, latest, carol.g.tree.leaf(carol.g.own).EncryptionKey)
	alice.confirm()
	eve.join(kp, p.Welcome())
	agree(t, alice, bob, carol, eve)
}

// A removal by value goes before an update by reference of the same leaf.
func TestRemoveGoesBeforeUpdate(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	update, err := all[1].g.ProposeUpdate(rand.Reader, WirePrivateMessage, nil)
	require.NoError(t, err)
	for _, p := range []*party{all[0], all[2]} {
		p.receiveProposal(update)
	}
	spread(all[0], CommitParams{Proposals: []Proposal{RemoveProposal(1)}}, all[2])
	agree(t, all[0], all[2])
}

func TestSkipStored(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	m, err := all[1].g.Propose(rand.Reader, RemoveProposal(2), WirePrivateMessage, nil)
	require.NoError(t, err)
	all[0].receiveProposal(m)
	all[2].receiveProposal(m)
	spread(all[0], CommitParams{SkipStored: true}, all[1], all[2])
	require.Len(t, all[0].g.Members(), 3)
	agree(t, all...)
}

// Whoever was away for weeks reads the commits in order, although packages that they add have expired by then.
func TestLateMemberFollowsAnOldAdd(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	kp := newParty(t, "carol").keyPackage()
	p := all[0].commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	got, err := all[1].g.Process(parsed(t, p.Message()), testNow.Add(60*24*time.Hour))
	require.NoError(t, err)
	require.NoError(t, all[1].g.Apply(got.(*StagedCommit)))
	all[0].confirm()
	require.Equal(t, all[0].g.EpochAuthenticator(), all[1].g.EpochAuthenticator())
	// To add with an expired package ourselves is another matter.
	_, err = all[0].g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AddProposal(newParty(t, "dave").keyPackage().KeyPackage())}, Now: testNow.Add(60 * 24 * time.Hour)})
	requireRule(t, err, "not valid now")
}

// What others would refuse to read must not be sent.
func TestExtensionTwice(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	twice := []Extension{{testExtension, []byte("a")}, {testExtension, []byte("b")}}
	_, err := all[0].g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{GroupContextExtensionsProposal(twice)}, Now: testNow})
	requireRule(t, err, "stands twice")
}

// Newcomers find their path secret in the Welcome; the path of the commit that adds them has nothing for them (7.6).
func TestPathLeavesOutNewcomers(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	kp := newParty(t, "dave").keyPackage()
	count := func(m []byte) (n int) {
		for _, node := range parsed(t, m).public.content.commit.path.nodes {
			n += len(node.secrets)
		}
		return n
	}
	plain := count(all[0].commit(CommitParams{Framing: WirePublicMessage}).Message())
	all[0].g.DropPending()
	adding := count(all[0].commit(CommitParams{Framing: WirePublicMessage, ForcePath: true, Proposals: []Proposal{AddProposal(kp.KeyPackage())}}).Message())
	require.Equal(t, plain, adding)
}

// A node has unmerged leaves of which the node above it knows only the later one: what the upper node signed is the lower one
// without that leaf and with the earlier (7.9).
func TestUnmergedLeavesOfTwoTimes(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(9)...)
	in := slices.Delete(slices.Clone(all), 2, 4)
	spread(all[8], CommitParams{Proposals: []Proposal{RemoveProposal(2), RemoveProposal(3)}}, without(in, all[8])...)
	spread(all[0], CommitParams{}, without(in, all[0])...) // sets node 7, above leaves 0 to 7
	addOne := func(name string) *party {
		p := newParty(t, name)
		kp := p.keyPackage()
		pending := all[8].commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
		for _, q := range without(in, all[8]) {
			q.apply(pending.Message())
		}
		all[8].confirm()
		p.join(kp, pending.Welcome())
		in = append(in, p)
		return p
	}
	addOne("earlier")
	spread(all[8], CommitParams{}, without(in, all[8])...) // sets the root, and not node 7
	addOne("later")
	tree := all[0].g.tree
	require.Equal(t, []leafIndex{2, 3}, tree.nodes[7].parent.unmerged)
	require.Equal(t, []leafIndex{3}, tree.nodes[tree.root()].parent.unmerged)
	agree(t, in...)
}
