package mls

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

const testProposal ProposalType = 0xF123

// groupOf is a group of parties that know more than the least; the first creates it with those extensions.
func groupOf(t require.TestingT, change func(*KeyPackageParams), extensions []Extension, names ...string) []*party {
	var all []*party
	var adds []Proposal
	var kps []*KeyPackageSecret
	for _, name := range names {
		p := newParty(t, name)
		p.change = change
		all = append(all, p)
		if len(all) > 1 {
			kps = append(kps, p.keyPackage())
			adds = append(adds, AddProposal(kps[len(kps)-1].KeyPackage()))
		}
	}
	all[0].create(extensions...)
	if len(adds) > 0 {
		welcome := all[0].commit(CommitParams{Proposals: adds}).Welcome()
		all[0].confirm()
		for i, p := range all[1:] {
			p.join(kps[i], welcome)
		}
	}
	return all
}

func knows(types ...ProposalType) func(*KeyPackageParams) {
	return func(k *KeyPackageParams) { k.Capabilities.Proposals = append(k.Capabilities.Proposals, types...) }
}

func (p *party) propose(x Proposal, f WireFormat, others ...*party) {
	m, err := p.g.Propose(rand.Reader, x, f, nil)
	require.NoError(p.t, err)
	p.reload()
	for _, q := range others {
		q.receiveProposal(m)
	}
}

func TestCustomProposal(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := groupOf(t, knows(testProposal, 0xFFFF), nil, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		m, err := bob.g.Propose(rand.Reader, CustomProposal(testProposal, []byte("by reference")), f, nil)
		require.NoError(t, err)
		bob.reload()
		for _, p := range []*party{alice, carol} {
			got, err := p.process(m)
			require.NoError(t, err)
			require.Equal(t, testProposal, got.(*ReceivedProposal).Type)
			require.Equal(t, leafOf(bob), got.(*ReceivedProposal).Sender.Leaf)
			require.Equal(t, "by reference", string(got.(*ReceivedProposal).Data))
			p.reload()
		}
		p := alice.commit(CommitParams{Framing: f, Proposals: []Proposal{CustomProposal(0xFFFF, nil), RemoveProposal(leafOf(carol))}})
		check := func(list []ReceivedProposal) {
			require.Len(t, list, 2, "the removal is not the application's")
			require.Equal(t, "by reference", string(list[0].Data))
			require.Equal(t, leafOf(bob), list[0].Sender.Leaf)
			require.NotNil(t, list[0].Sender.Node)
			require.Equal(t, ProposalType(0xFFFF), list[1].Type)
			require.Equal(t, leafOf(alice), list[1].Sender.Leaf)
			require.Empty(t, list[1].Data)
		}
		check(p.ApplicationProposals())
		s := bob.apply(p.Message())
		check(s.ApplicationProposals())
		require.Equal(t, []ProposalType{testProposal, 0xFFFF, ProposalRemove}, s.ProposalTypes())
		require.True(t, carol.apply(p.Message()).RemovesUs())
		alice.confirm()
		agree(t, alice, bob)
	})
}

// A custom proposal alone needs a path (12.4), made and checked.
func TestCustomProposalNeedsAPath(t *testing.T) {
	all := groupOf(t, knows(testProposal), nil, "alice", "bob")
	alice, bob := all[0], all[1]
	p := alice.commit(CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{CustomProposal(testProposal, []byte("x"))}})
	require.NotNil(t, parsed(t, p.Message()).public.content.commit.path)
	alice.g.DropPending()
	_, err := bob.process(forgeCommit(alice, &commit{proposals: byValue(CustomProposal(testProposal, nil))}))
	requireRule(t, err, "without the path")
}

func TestCustomProposalNeedsEverybody(t *testing.T) {
	all := groupOf(t, knows(testProposal), nil, "alice", "bob")
	alice, bob := all[0], all[1]
	carol := newParty(t, "carol") // does not know it
	kp := carol.keyPackage()
	// Who is added need not, nor who is removed: neither processes the commit.
	p := alice.commit(CommitParams{Proposals: []Proposal{CustomProposal(testProposal, nil), AddProposal(kp.KeyPackage())}})
	bob.apply(p.Message())
	alice.confirm()
	carol.join(kp, p.Welcome())
	_, err := bob.g.Propose(rand.Reader, CustomProposal(testProposal, nil), WirePublicMessage, nil)
	requireRule(t, err, "leaf 2 does not support proposal type 61731")
	_, err = bob.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{CustomProposal(testProposal, nil)}, Now: testNow})
	requireRule(t, err, "leaf 2 does not support proposal type 61731")
	_, err = alice.process(forgePathless(bob, CustomProposal(testProposal, nil)))
	requireRule(t, err, "leaf 2 does not support proposal type 61731")
	m := forgeMessage(bob, ContentProposal, func(a *authenticatedContent) { a.content.proposal = &Proposal{Type: testProposal} })
	alice.receiveProposal(m)
	carol.receiveProposal(m)
	q := alice.commit(CommitParams{})
	require.Empty(t, q.ApplicationProposals(), "what not all know is left out")
	alice.g.DropPending()
	spread(alice, CommitParams{SkipStored: true, Proposals: []Proposal{CustomProposal(testProposal, nil), RemoveProposal(leafOf(carol))}}, bob)
	agree(t, alice, bob)
}

// forgePathless is a commit of proposals by value, without a path.
func forgePathless(p *party, list ...Proposal) []byte {
	return forgeCommit(p, &commit{proposals: byValue(list...)})
}

func TestCustomProposalFromOutside(t *testing.T) {
	service := newParty(t, "service")
	all := groupOf(t, knows(testProposal), []Extension{ExternalSendersExtension(ExternalSender{service.signer.Public(), BasicCredential([]byte("s"))})}, "alice", "bob")
	alice := all[0]
	m, err := ProposeExternally(alice.suite, service.signer, 0, alice.g.GroupID(), alice.g.Epoch(), CustomProposal(testProposal, nil))
	require.NoError(t, err)
	_, err = alice.process(m)
	requireRule(t, err, "an external sender proposes type 61731")
	info, err := alice.g.GroupInfo(true)
	require.NoError(t, err)
	eve := newParty(t, "eve")
	k := eve.params()
	_, err = JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{
		Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities, Proposals: []Proposal{CustomProposal(testProposal, nil)},
	})
	requireRule(t, err, "proposal type 61731 in an external commit")
}

// An observer sees them, too.
func TestCustomProposalObserved(t *testing.T) {
	all := groupOf(t, knows(testProposal), nil, "alice", "bob")
	info, err := all[0].g.GroupInfo(true)
	require.NoError(t, err)
	o, err := Observe(parsed(t, info), nil)
	require.NoError(t, err)
	p := all[0].commit(CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{CustomProposal(testProposal, []byte("x"))}})
	c, err := o.Process(parsed(t, p.Message()), testNow)
	require.NoError(t, err)
	require.Equal(t, "x", string(c.Application[0].Data))
}

// Types that are neither the RFC's nor private have no length that we know of, GREASE among them.
func TestUnknownProposalIsUnreadable(t *testing.T) {
	for _, x := range []ProposalType{0, 0x0a0a, 0x1234, 0xEFFF} {
		require.ErrorIs(t, unmarshal([]byte{byte(x >> 8), byte(x), 1, 'x'}, new(Proposal), "a proposal"), errSyntax)
		alice := newParty(t, "alice")
		alice.create()
		_, err := alice.g.Propose(rand.Reader, CustomProposal(x, []byte("x")), WirePublicMessage, nil)
		require.ErrorIs(t, err, errSyntax)
	}
}

// Custom extensions of leaves, key packages and groups need to be listed and come through.
func TestCustomExtensions(t *testing.T) {
	mine := Extension{testExtension, []byte("mine")}
	with := func(k *KeyPackageParams) {
		k.LeafExtensions, k.Extensions = []Extension{mine}, []Extension{mine}
	}
	all := groupOf(t, with, []Extension{{testExtension, []byte("group")}}, "alice", "bob")
	alice, bob := all[0], all[1]
	require.Contains(t, bob.keyPackage().KeyPackage().Extensions, mine)
	for _, m := range bob.g.Members() {
		require.Contains(t, m.Node.Extensions, mine)
	}
	spread(alice, CommitParams{Proposals: []Proposal{GroupContextExtensionsProposal([]Extension{{testExtension, []byte("changed")}})}}, bob)
	require.Equal(t, []Extension{{testExtension, []byte("changed")}}, bob.g.Extensions())
	require.Contains(t, alice.g.Members()[0].Node.Extensions, mine, "the leaf of a path keeps it")
	agree(t, all...)
}

// GREASE of our own: in every list where the RFC wants some, listed where an extension has to be, another one each time.
func TestGreaseIsMade(t *testing.T) {
	isGrease := func(x uint16) bool { return x&0x0f0f == 0x0a0a && x>>8 == x&0xff && x != 0xfafa }
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	seen := map[uint16]bool{}
	look := func(l *LeafNode) {
		c := &l.Capabilities
		for _, x := range []uint16{uint16(c.CipherSuites[1]), uint16(c.Extensions[1]), uint16(c.Proposals[0]), uint16(c.Credentials[1])} {
			require.True(t, isGrease(x), "%#x", x)
			seen[x] = true
		}
		require.True(t, isGrease(uint16(l.Extensions[0].Type)))
	}
	for range 50 {
		kp := newParty(t, "x").keyPackage().KeyPackage()
		look(&kp.Leaf)
		require.True(t, isGrease(uint16(kp.Extensions[0].Type)))
	}
	require.Greater(t, len(seen), 10)
	stranger := newParty(t, "stranger")
	j := stranger.enter(all[0])
	for _, m := range j.Group().Members() {
		look(m.Node)
	}
}

// GREASE of others, as much of it as fits: nobody minds.
func TestGreaseIsIgnored(t *testing.T) {
	all := groupOf(t, func(k *KeyPackageParams) {
		for x := uint16(0x0a0a); x < 0xfafa; x += 0x1010 {
			k.Capabilities.Versions = append(k.Capabilities.Versions, x)
			k.Capabilities.CipherSuites = append(k.Capabilities.CipherSuites, CipherSuite(x))
			k.Capabilities.Extensions = append(k.Capabilities.Extensions, ExtensionType(x))
			k.Capabilities.Proposals = append(k.Capabilities.Proposals, ProposalType(x))
			k.Capabilities.Credentials = append(k.Capabilities.Credentials, CredentialType(x))
		}
		k.Capabilities.Versions = append(k.Capabilities.Versions, version10)
		k.Capabilities.CipherSuites = append(k.Capabilities.CipherSuites, k.Suite)
		k.Capabilities.Credentials = append(k.Capabilities.Credentials, CredentialBasic)
		k.LeafExtensions = nil
	}, nil, "alice", "bob")
	alice, bob := all[0], all[1]
	spread(bob, CommitParams{}, alice)
	carol := newParty(t, "carol")
	kp := carol.keyPackage()
	alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	w := reWelcome(t, alice, kp, func(i *groupInfo) {
		i.extensions = append(i.extensions, Extension{0x7a7b, bytes.Repeat([]byte{1}, 100)})
	})
	_, err := JoinWelcome(parsed(t, w), JoinParams{KeyPackage: kp, Signer: carol.signer})
	require.NoError(t, err)
	agree(t, all...)
}

// A greased group info or leaf that says what it does not list is refused like any other.
func TestGreaseIsNotSpecial(t *testing.T) {
	alice := newParty(t, "alice")
	kp := alice.keyPackage().KeyPackage()
	bad := *kp
	bad.Leaf.Extensions = []Extension{{0xfafa, nil}}
	bad.Leaf.sign(alice.signer, nil, 0)
	bad.signature = alice.signer.signWithLabel("KeyPackageTBS", build(bad.addUnsigned))
	requireRule(t, bad.Verify(testNow), "leaf has extension 64250 that it does not support")
}

func FuzzProposal(f *testing.F) {
	for _, p := range []Proposal{CustomProposal(testProposal, []byte("x")), CustomProposal(0xFFFF, nil), SelfRemoveProposal(), RemoveProposal(1)} {
		f.Add(marshal(&p))
	}
	f.Add([]byte{0x0a, 0x0a, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := new(Proposal)
		if unmarshal(raw, p, "a proposal") == nil {
			require.Equal(t, raw, marshal(p))
		}
	})
}
