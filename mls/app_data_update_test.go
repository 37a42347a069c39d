package mls

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// Updates by reference and by value, of several components, with other proposals beside them; all compute the same.
func TestAppDataUpdate(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := appGroup(t, []Extension{{testExtension, []byte("x")}}, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		bob.propose(AppDataUpdateProposal(journal, []byte("one ")), f, alice, carol)
		carol.propose(AppDataUpdateProposal(counter, nil), f, alice, bob)
		s := spread(alice, CommitParams{Framing: f, Proposals: []Proposal{AppDataUpdateProposal(journal, []byte("two "))}}, bob, carol)
		want := AppData{journal: []byte("one two "), counter: {}}
		for _, p := range all {
			require.Equal(t, want, p.g.AppData())
			require.Equal(t, ExtensionAppDataDictionary, p.g.Extensions()[1].Type, "at the end")
		}
		got := s[0].ApplicationProposals()
		require.Len(t, got, 3)
		require.Equal(t, leafOf(bob), got[0].Sender.Leaf)
		require.Equal(t, journal, got[2].Component)
		require.Equal(t, "two ", string(got[2].Data))
		agree(t, all...)

		// Removal, another update, and a change of the other extensions in one commit.
		pending := bob.commit(CommitParams{Framing: f, Proposals: []Proposal{
			AppDataRemoveProposal(counter), AppDataUpdateProposal(journal, []byte("three")),
			GroupContextExtensionsProposal([]Extension{want.Extension(), {testExtension, []byte("y")}}),
		}})
		require.Nil(t, pending.ApplicationProposals()[0].Data)
		require.NotNil(t, pending.ApplicationProposals()[1].Data)
		alice.apply(pending.Message())
		carol.apply(pending.Message())
		bob.confirm()
		require.Equal(t, []Extension{AppData{journal: []byte("one two three")}.Extension(), {testExtension, []byte("y")}}, alice.g.Extensions())
		agree(t, all...)
		spread(carol, CommitParams{Framing: f, Proposals: []Proposal{AppDataRemoveProposal(journal)}}, alice, bob)
		require.Equal(t, AppData{}.Extension(), alice.g.Extensions()[0], "an empty dictionary stays")
		agree(t, all...)
	})
}

// Neither kind asks for a path.
func TestAppDataNeedsNoPath(t *testing.T) {
	all := appGroup(t, nil, "alice", "bob")
	alice, bob := all[0], all[1]
	p := alice.commit(CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{AppDataUpdateProposal(journal, []byte("x")), AppEphemeralProposal(counter, []byte("now"))}})
	require.Nil(t, parsed(t, p.Message()).public.content.commit.path)
	s := bob.apply(p.Message())
	require.Equal(t, "now", string(s.ApplicationProposals()[1].Data))
	require.Equal(t, counter, s.ApplicationProposals()[1].Component)
	alice.confirm()
	agree(t, all...)
	// The journal survives and the ephemeral data changed nothing.
	require.Equal(t, AppData{journal: []byte("x")}, bob.g.AppData())
}

func TestAppDataUpdateRules(t *testing.T) {
	all := appGroup(t, []Extension{AppData{journal: []byte("kept")}.Extension()}, "alice", "bob")
	alice, bob := all[0], all[1]
	up, away := AppDataUpdateProposal(journal, []byte("x")), AppDataRemoveProposal(journal)
	for name, list := range map[string][]Proposal{
		"M109 update and removal":                      {up, away},
		"M109 removal and update":                      {away, up},
		"M109 removed twice":                           {away, away},
		"M110 removal of what is not there":            {AppDataRemoveProposal(counter)},
		"M112 update that the component does not take": {AppDataUpdateProposal(journal, []byte("bad"))},
		"M112 update of a component that is not known": {AppDataUpdateProposal(5, nil)},
	} {
		breach(t, name+", ours", alice.appCommit(CommitParams{}, list...))
		_, err := bob.process(forgePathless(alice, list...))
		breach(t, name, err)
	}
	bob.g.UseAppData(nil)
	for name, p := range map[string]Proposal{"M111 update without a rule": up, "M111 removal without a rule": away} {
		breach(t, name+", ours", bob.appCommit(CommitParams{}, p))
		_, err := bob.process(forgePathless(alice, p))
		breach(t, name, err)
	}
	for _, op := range []byte{0, 3, 255} {
		require.ErrorIs(t, unmarshal([]byte{0, 8, 0x80, 1, op}, new(Proposal), "a proposal"), errSyntax)
	}
	big := func(ComponentID, []byte, [][]byte) ([]byte, error) { return make([]byte, maxAppData), nil }
	alice.g.UseAppData(big)
	breach(t, "M105 update that grows too large", alice.appCommit(CommitParams{}, up))
	alice.g.UseAppData(func(ComponentID, []byte, [][]byte) ([]byte, error) { return nil, nil })
	var many []Proposal
	for id := range ComponentID(maxComponents) {
		many = append(many, AppDataUpdateProposal(id, nil))
	}
	breach(t, "M106 update to one component too many", alice.appCommit(CommitParams{}, many...))
}

// An update that the application refuses does not keep the others from being committed.
func TestUnusableAppDataIsLeftOut(t *testing.T) {
	all := appGroup(t, nil, "alice", "bob")
	alice, bob := all[0], all[1]
	for _, p := range []Proposal{AppDataUpdateProposal(journal, []byte("bad")), AppDataUpdateProposal(counter, []byte("1")), AppDataRemoveProposal(journal)} {
		bob.propose(p, WirePublicMessage, alice)
	}
	spread(alice, CommitParams{}, bob)
	require.Equal(t, AppData{counter: []byte("1")}, bob.g.AppData())
	agree(t, all...)
}

// A change of the group's extensions does not go around the rule of the application: neither alone nor with updates beside it.
func TestAppDataCannotBeReplaced(t *testing.T) {
	data := AppData{journal: []byte("kept")}.Extension()
	other := AppData{journal: []byte("changed")}.Extension()
	required := requires(ProposalAppDataUpdate)
	all := appGroup(t, []Extension{required, data}, "alice", "bob")
	alice, bob := all[0], all[1]
	refused := func(list ...Proposal) {
		t.Helper()
		breach(t, "M113 change by the group's extensions, ours", alice.appCommit(CommitParams{}, list...))
		_, err := bob.process(forgePathless(alice, list...))
		breach(t, "M113 change by the group's extensions", err)
	}
	up := AppDataUpdateProposal(journal, []byte("x"))
	for _, e := range [][]Extension{{required, other}, {required}, {}, {other}, {required, AppData{}.Extension()}} {
		refused(GroupContextExtensionsProposal(e))
		refused(GroupContextExtensionsProposal(e), up)
		refused(up, GroupContextExtensionsProposal(e))
	}
	spread(alice, CommitParams{Proposals: []Proposal{GroupContextExtensionsProposal([]Extension{data, {testExtension, nil}}), up}}, bob)
	require.Equal(t, AppData{journal: []byte("keptx")}, bob.g.AppData(), "the rest may change")
	// Now nobody requires updates: the data may be replaced, but not in a commit that also updates it.
	refused(GroupContextExtensionsProposal([]Extension{other}), AppDataUpdateProposal(counter, nil))
	spread(alice, CommitParams{Proposals: []Proposal{GroupContextExtensionsProposal([]Extension{other})}}, bob)
	require.Equal(t, AppData{journal: []byte("changed")}, bob.g.AppData())
	agree(t, all...)

	// The same in a group that has none yet: it must not be brought in that way.
	all = appGroup(t, []Extension{required}, "alice", "bob")
	alice, bob = all[0], all[1]
	refused(GroupContextExtensionsProposal([]Extension{required, data}))
}

// All members have to know the types.
func TestAppDataNeedsEverybody(t *testing.T) {
	all := groupOf(t, func(k *KeyPackageParams) {}, nil, "alice", "bob")
	all[0].g.UseAppData(appends)
	for _, p := range []Proposal{AppDataUpdateProposal(journal, nil), AppEphemeralProposal(journal, nil)} {
		_, err := all[0].g.Propose(rand.Reader, p, WirePublicMessage, nil)
		requireRule(t, err, "does not support proposal type")
		requireRule(t, all[0].appCommit(CommitParams{}, p), "does not support proposal type")
	}
}

// Who comes from outside may bring updates along, and an external sender may propose them.
func TestAppDataFromOutside(t *testing.T) {
	service := newParty(t, "service")
	all := appGroup(t, []Extension{ExternalSendersExtension(ExternalSender{service.signer.Public(), BasicCredential([]byte("s"))})}, "alice", "bob")
	alice, bob := all[0], all[1]
	for _, p := range []Proposal{AppDataUpdateProposal(journal, []byte("from outside ")), AppEphemeralProposal(counter, []byte("e"))} {
		m, err := ProposeExternally(alice.suite, service.signer, 0, alice.g.GroupID(), alice.g.Epoch(), p)
		require.NoError(t, err)
		alice.receiveProposal(m)
		bob.receiveProposal(m)
	}
	s := spread(alice, CommitParams{}, bob)[0].ApplicationProposals()
	require.Len(t, s, 2)
	require.Nil(t, s[0].Sender.Node)
	carol := newParty(t, "carol")
	carol.change = knowsAppData
	enter := func(rule AppDataUpdates, list ...Proposal) (*ExternalJoin, error) {
		info, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		k := carol.params()
		return JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{Signer: carol.signer, Credential: k.Credential,
			Capabilities: k.Capabilities, LeafExtensions: k.LeafExtensions, AppData: rule, Proposals: list})
	}
	_, err := enter(nil, AppDataUpdateProposal(journal, nil))
	breach(t, "M111 newcomer without a rule", err)
	_, err = enter(appends, AppDataRemoveProposal(counter))
	breach(t, "M110 newcomer removes what is not there", err)
	j, err := enter(appends, AppDataUpdateProposal(journal, []byte("and in")), AppEphemeralProposal(journal, []byte("hi")))
	require.NoError(t, err)
	staged := alice.apply(j.Message())
	require.Equal(t, "hi", string(staged.ApplicationProposals()[1].Data))
	bob.apply(j.Message())
	carol.take(j)
	require.Equal(t, AppData{journal: []byte("from outside and in")}, carol.g.AppData())
	carol.appData = appends
	carol.reload()
	agree(t, alice, bob, carol)
}

// An observer needs the rule, too.
func TestAppDataObserved(t *testing.T) {
	all := appGroup(t, nil, "alice", "bob")
	info, err := all[0].g.GroupInfo(true)
	require.NoError(t, err)
	o, err := Observe(parsed(t, info), nil)
	require.NoError(t, err)
	for _, text := range []string{"a", "b"} {
		p := all[0].commit(CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{AppDataUpdateProposal(journal, []byte(text))}})
		if text == "a" {
			_, err = o.Process(parsed(t, p.Message()), testNow)
			breach(t, "M111 observer without a rule", err)
			o.UseAppData(appends)
		}
		c, err := o.Process(parsed(t, p.Message()), testNow)
		require.NoError(t, err)
		require.NoError(t, o.Apply(c))
		all[1].apply(p.Message())
		all[0].confirm()
	}
	require.Equal(t, all[1].g.Extensions(), o.Extensions())
}

// The rule sees what there was, in copies of its own.
func TestAppDataRuleGetsCopies(t *testing.T) {
	all := appGroup(t, []Extension{AppData{journal: []byte("kept")}.Extension()}, "alice")
	g := all[0].g
	var seen [][]byte
	var kept []byte
	g.UseAppData(func(_ ComponentID, old []byte, updates [][]byte) ([]byte, error) {
		seen = append(seen, bytes.Clone(old))
		copy(old, "XXXX")
		kept = []byte("new")
		return kept, nil
	})
	p, err := g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AppDataUpdateProposal(journal, nil)}, Now: testNow})
	require.NoError(t, err)
	require.Equal(t, AppData{journal: []byte("kept")}, g.AppData())
	copy(kept, "YYY")
	require.Equal(t, AppData{journal: []byte("new")}, p.next.AppData())
	for _, old := range seen {
		require.Equal(t, "kept", string(old))
	}
}
