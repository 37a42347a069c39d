package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// framedGroup is one whose authenticated data is framed, by a list of which nobody says more.
func framedGroup(t require.TestingT, names ...string) []*party {
	all := appGroup(t, []Extension{AppData{ComponentSafeAAD: ComponentList()}.Extension()}, names...)
	for _, p := range all {
		p.framed = true
	}
	return all
}

func TestSafeAAD(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := framedGroup(t, "alice", "bob")
		alice, bob := all[0], all[1]
		agree(t, all...)
		note := AppData{journal: []byte("note"), counter: []byte("1")}
		m, err := alice.g.Encrypt(rand.Reader, []byte("x"), note.Marshal(), nil)
		require.NoError(t, err)
		got, err := ParseAppData(bob.read(m, "x").AuthenticatedData)
		require.NoError(t, err)
		require.Equal(t, note, got)
		m, err = alice.g.Encrypt(rand.Reader, []byte("x"), nil, nil)
		require.NoError(t, err)
		require.Equal(t, []byte{0}, bob.read(m, "x").AuthenticatedData, "no items")
		m, err = alice.g.Propose(rand.Reader, AppEphemeralProposal(journal, nil), f, nil)
		require.NoError(t, err)
		alice.reload()
		bob.receiveProposal(m)
		s := spread(alice, CommitParams{Framing: f, AuthenticatedData: note.Marshal()}, bob)[0]
		require.Equal(t, note.Marshal(), s.AuthenticatedData())
		agree(t, all...)
	})
}

func TestSafeAADRules(t *testing.T) {
	all := framedGroup(t, "alice", "bob")
	alice, bob := all[0], all[1]
	for _, bad := range []string{"\x01", "text", "\x06\x00\x02\x00\x00\x01\x00", "\x06\x00\x02\x00\x00\x02\x00", "\x00x"} {
		aad := []byte(bad)
		_, err := alice.g.Encrypt(rand.Reader, nil, aad, nil)
		breach(t, "M114 message of ours", err)
		_, err = alice.g.Propose(rand.Reader, RemoveProposal(1), WirePublicMessage, aad)
		breach(t, "M114 proposal of ours", err)
		_, err = alice.g.ProposeUpdate(rand.Reader, WirePublicMessage, aad)
		breach(t, "M114 update of ours", err)
		require.Empty(t, alice.g.updates)
		breach(t, "M114 commit of ours", alice.appCommit(CommitParams{AuthenticatedData: aad}))
	}
	// What comes in: all kinds of messages, nothing at all among them.
	for _, bad := range []string{"", "text"} {
		unframed := reloaded(t, alice.g)
		unframed.context.extensions = nil // it does not know, and signs with the right context
		sign := func(kind ContentType, wire WireFormat, change func(*framedContent)) []byte {
			a := unframed.content(kind, []byte(bad))
			change(&a.content)
			a.wireFormat = wire
			if kind == ContentCommit {
				a.confirmationTag = make([]byte, 32)
			}
			a.sign(alice.signer, marshal(&alice.g.context))
			raw, err := alice.g.frame(rand.Reader, a, nil)
			require.NoError(t, err)
			return raw
		}
		proposal := func(c *framedContent) { c.proposal = &Proposal{Type: ProposalRemove, remove: 1} }
		empty := func(c *framedContent) { c.commit = new(commit) }
		for _, raw := range [][]byte{
			sign(ContentApplication, WirePrivateMessage, func(*framedContent) {}),
			sign(ContentProposal, WirePrivateMessage, proposal), sign(ContentProposal, WirePublicMessage, proposal),
			sign(ContentCommit, WirePrivateMessage, empty), sign(ContentCommit, WirePublicMessage, empty),
		} {
			_, err := bob.process(raw)
			breach(t, "M114 message of any kind", err)
		}
		info, err := bob.g.GroupInfo(true)
		require.NoError(t, err)
		o, err := Observe(parsed(t, info), nil)
		require.NoError(t, err)
		_, err = o.Process(parsed(t, sign(ContentProposal, WirePublicMessage, proposal)), testNow)
		breach(t, "M114 proposal that is observed", err)
		// Late ones are judged by their own epoch.
		late := sign(ContentApplication, WirePrivateMessage, func(*framedContent) {})
		later := &party{t: t, g: reloaded(t, bob.g)}
		require.NoError(t, later.g.Apply(later.stage(alice.commit(CommitParams{}).Message())))
		_, err = later.process(late)
		breach(t, "M114 message that comes late", err)
		alice.g.DropPending()
	}
}

// A commit that brings the framing in is not yet framed itself, nor is what was sent before it.
func TestSafeAADBegins(t *testing.T) {
	all := appGroup(t, nil, "alice", "bob")
	alice, bob := all[0], all[1]
	late := alice.encrypt("before")
	spread(alice, CommitParams{AuthenticatedData: []byte("text"), Proposals: []Proposal{
		GroupContextExtensionsProposal([]Extension{AppData{ComponentSafeAAD: ComponentList(journal)}.Extension()}),
	}}, bob)
	bob.read(late, "before")
	_, err := alice.g.Encrypt(rand.Reader, nil, []byte("text"), nil)
	breach(t, "M114 message after framing began", err)
	alice.framed, bob.framed = true, true
	agree(t, all...)
}

// From outside: newcomers frame; who proposes from outside may say nothing, or something framed.
func TestSafeAADFromOutside(t *testing.T) {
	service := newParty(t, "service")
	senders := ExternalSendersExtension(ExternalSender{service.signer.Public(), BasicCredential([]byte("s"))})
	all := appGroup(t, []Extension{AppData{ComponentSafeAAD: ComponentList()}.Extension(), senders}, "alice", "bob")
	alice, bob := all[0], all[1]
	m, err := ProposeExternally(alice.suite, service.signer, 0, alice.g.GroupID(), alice.g.Epoch(), RemoveProposal(1))
	require.NoError(t, err)
	alice.receiveProposal(m)
	a := parsed(t, m).public.authenticatedContent
	a.content.authenticatedData = []byte("text")
	a.sign(service.signer, nil)
	_, err = alice.process(marshal(&Message{wireFormat: WirePublicMessage, public: &publicMessage{authenticatedContent: a}}))
	breach(t, "M114 proposal from outside", err)
	carol := newParty(t, "carol")
	carol.change, carol.framed = knowsAppData, true
	alice.framed, bob.framed = true, true
	enter := func(aad string) (*ExternalJoin, error) {
		info, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		k := carol.params()
		return JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{Signer: carol.signer, Credential: k.Credential,
			Capabilities: k.Capabilities, LeafExtensions: k.LeafExtensions, AuthenticatedData: []byte(aad)})
	}
	_, err = enter("text")
	breach(t, "M114 newcomer", err)
	j, err := enter("")
	require.NoError(t, err)
	alice.apply(j.Message())
	bob.apply(j.Message())
	carol.take(j)
	agree(t, alice, bob, carol)
}
