package mls

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever parses is written back as the same bytes: one value has one encoding.

func FuzzParseMessage(f *testing.F) {
	for _, seed := range seedMessages(f) {
		f.Add(seed)
	}
	f.Add([]byte{0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMessage(raw)
		if err != nil {
			return
		}
		require.Equal(t, raw, m.Marshal())
		_, _, _, _, _ = m.GroupID(), m.Epoch(), m.ContentType(), m.AuthenticatedData(), m.WelcomeRefs()
		if kp := m.KeyPackage(); kp != nil {
			_ = kp.Verify(testNow)
		}
	})
}

func FuzzParseKeyPackage(f *testing.F) {
	f.Add(newParty(f, "alice").keyPackage().KeyPackage().Marshal())
	f.Add(newParty(f, "alice").keyPackageWith(func(k *KeyPackageParams) { k.LastResort = true }).KeyPackage().Marshal())
	f.Fuzz(func(t *testing.T, raw []byte) {
		kp, err := ParseKeyPackage(raw)
		if err != nil {
			return
		}
		require.Equal(t, raw, kp.Marshal())
		_, _, _ = kp.Verify(testNow), kp.Ref(), kp.LastResort()
	})
}

func FuzzUnmarshalKeyPackageSecret(f *testing.F) {
	f.Add(newParty(f, "alice").keyPackage().Marshal())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if k, err := UnmarshalKeyPackageSecret(raw); err == nil {
			require.Equal(t, raw, k.Marshal())
		}
	})
}

func FuzzUnmarshalGroup(f *testing.F) {
	all := newGroup(f, WirePublicMessage, "alice", "bob", "carol")
	f.Add(all[0].g.Marshal())
	all[1].commit(CommitParams{Proposals: []Proposal{RemoveProposal(2)}})
	f.Add(all[1].g.Marshal())
	_, err := all[2].g.SafeExport(journal)
	require.NoError(f, err)
	f.Add(all[2].g.Marshal())
	app := appGroup(f, []Extension{AppData{journal: []byte("x")}.Extension()}, "alice", "bob")
	app[0].commit(CommitParams{Proposals: []Proposal{AppDataRemoveProposal(journal), AppEphemeralProposal(counter, nil)}})
	f.Add(app[0].g.Marshal())
	for id := CipherSuite(2); id <= 7; id++ {
		p := newPartyOf(f, id, "alice")
		p.create()
		f.Add(p.g.Marshal())
		p.g.signer = &SignatureKey{signer: p.signer.signer} // without its seed
		f.Add(p.g.Marshal())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := UnmarshalGroup(raw)
		if err != nil {
			return
		}
		again, err := UnmarshalGroup(g.Marshal())
		require.NoError(t, err)
		require.Equal(t, g.Marshal(), again.Marshal())
		_, _, _, _ = g.Members(), g.Epoch(), g.Extensions(), g.EpochAuthenticator()
		_ = g.AppData()
		_, _ = g.SafeExport(journal)
	})
}

func FuzzParseTree(f *testing.F) {
	all := newGroup(f, WirePrivateMessage, names(5)...)
	s := all[0].g.suite
	f.Add(all[0].g.tree.marshal())
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		tree, err := parseTree(s, raw)
		if err != nil {
			return
		}
		require.Equal(t, raw, tree.marshal())
		_ = tree.treeHash()
		_ = tree.check([]byte("group"), nil)
	})
}

// FuzzProcess: a member is handed anything, also with a right membership tag or under the right key, as a member gone bad
// would send it. It does not panic, and what it refuses leaves no trace.
func FuzzProcess(f *testing.F) {
	all := newGroup(f, WirePublicMessage, "alice", "bob", "carol")
	alice, bob := all[0], all[1]
	state := bob.g.Marshal()
	for _, m := range seedMessagesOf(alice) {
		f.Add(m)
	}
	knowing := appGroup(f, []Extension{AppData{ComponentSafeAAD: ComponentList(), journal: []byte("x")}.Extension()}, "alice", "bob", "carol")
	knowingState := knowing[1].g.Marshal()
	framed := AppData{journal: []byte("x")}.Marshal()
	for _, list := range [][]Proposal{{AppDataUpdateProposal(journal, []byte("y"))}, {AppDataRemoveProposal(journal), AppEphemeralProposal(counter, nil)}} {
		f.Add(knowing[0].commit(CommitParams{Framing: WirePublicMessage, Proposals: list, AuthenticatedData: framed}).Message())
		knowing[0].g.DropPending()
	}
	for _, kind := range []ContentType{ContentApplication, ContentProposal, ContentCommit} {
		f.Add([]byte{byte(kind), 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, message := range [][]byte{raw, authenticated(t, all[2], raw)} {
			m, err := ParseMessage(message)
			if err != nil {
				continue
			}
			g, err := UnmarshalGroup(state)
			require.NoError(t, err)
			p := &party{t: t, name: "bob", g: g}
			if got, err := g.Process(m, testNow); err != nil {
				p.requireSame(state)
			} else if c, ok := got.(*StagedCommit); ok {
				require.NoError(t, g.Apply(c))
			}
		}
		m, err := ParseMessage(authenticated(t, knowing[2], raw))
		if err != nil {
			return
		}
		g, err := UnmarshalGroup(knowingState)
		require.NoError(t, err)
		g.UseAppData(appends)
		if got, err := g.Process(m, testNow); err != nil {
			(&party{t: t, name: "bob", g: g}).requireSame(knowingState)
		} else if c, ok := got.(*StagedCommit); ok {
			require.NoError(t, g.Apply(c))
			_ = g.AppData()
		}
	})
}

// authenticated makes the content of a PublicMessage p's own, signature and tag included.
func authenticated(t *testing.T, p *party, raw []byte) []byte {
	m, err := ParseMessage(raw)
	if err != nil || m.public == nil || m.public.content.sender.kind != senderMember {
		return nil
	}
	a := m.public.authenticatedContent
	a.content.groupID, a.content.epoch, a.content.sender.index = p.g.context.groupID, p.g.context.epoch, uint32(p.g.own)
	context := marshal(&p.g.context)
	a.sign(p.signer, context)
	return marshal(&Message{wireFormat: WirePublicMessage, public: p.g.suite.protectPublic(&a, p.g.secrets.membership, context)})
}

func seedMessages(t require.TestingT) [][]byte {
	return seedMessagesOf(newGroup(t, WirePrivateMessage, "alice", "bob", "carol")[0])
}

// seedMessagesOf has one message of each kind, of the epoch that p is in.
func seedMessagesOf(p *party) [][]byte {
	list := [][]byte{p.encrypt("hello")}
	dave := newParty(p.t, "dave")
	kp := dave.keyPackage()
	list = append(list, append([]byte{0, 1, 0, 5}, kp.KeyPackage().Marshal()...))
	for _, f := range []WireFormat{WirePrivateMessage, WirePublicMessage} {
		c := p.commit(CommitParams{Framing: f, Proposals: []Proposal{
			AddProposal(kp.KeyPackage()), RemoveProposal(2), GroupContextExtensionsProposal([]Extension{{testExtension, []byte("x")}}),
		}})
		list = append(list, c.Message(), bytes.Clone(c.Welcome()))
		p.g.DropPending()
		list = append(list, p.commit(CommitParams{Framing: f}).Message())
		p.g.DropPending()
	}
	info, err := p.g.GroupInfo(true)
	require.NoError(p.t, err)
	stranger := newParty(p.t, "erin")
	self, err := ProposeSelf(kp.KeyPackage(), dave.signer, p.g.GroupID(), p.g.Epoch())
	require.NoError(p.t, err)
	list = append(list, info, self, stranger.enter(p).Message())
	for _, v := range []Proposal{RemoveProposal(1), {Type: proposalExternalInit, kemOutput: make([]byte, 32)},
		{Type: ProposalPreSharedKey, psk: &preSharedKeyID{PSK: PSK{Usage: 1, GroupID: []byte("g")}, nonce: make([]byte, 32)}},
		{Type: ProposalReInit, reInit: &reInit{groupID: []byte("g"), version: 1, suite: 1}},
		CustomProposal(testProposal, []byte("x")), AppDataUpdateProposal(journal, []byte("x")), AppDataRemoveProposal(journal), AppEphemeralProposal(1, nil),
		{Type: ProposalPreSharedKey, psk: &preSharedKeyID{PSK: PSK{ID: []byte("k"), Component: journal}, external: true, nonce: make([]byte, 32)}}} {
		list = append(list, forgeMessage(p, ContentProposal, func(a *authenticatedContent) { a.content.proposal = &v }))
	}
	return list
}
