package mls

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutOfOrderAndReplay(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	var sent [][]byte
	for i := range 8 {
		sent = append(sent, alice.encrypt(string(rune('a'+i))))
	}
	start := uint32(0)
	for n, i := range []int{3, 0, 7, 1, 2, 6, 4, 5} {
		m := bob.read(sent[i], string(rune('a'+i)))
		if n == 0 {
			start = m.Generation - 3
		}
		require.Equal(t, start+uint32(i), m.Generation)
		_, err := bob.process(sent[i])
		require.ErrorIs(t, err, ErrReplay)
	}
	for i := range sent {
		_, err := bob.process(sent[i])
		require.ErrorIs(t, err, ErrReplay, "message %d", i)
	}
	require.Empty(t, bob.g.messages.ratchet(t, alice.g.own, applicationRatchet).skipped, "used keys are deleted")
}

func TestForwardLimit(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	next := bob.read(alice.encrypt("x"), "x").Generation + 1
	r, err := alice.g.messages.of(alice.g.own, applicationRatchet)
	require.NoError(t, err)
	require.Equal(t, next, r.next)
	early := alice.encrypt("early")
	for range maxForward - 1 {
		r.step(alice.g.suite)
	}
	r, err = alice.g.messages.of(alice.g.own, applicationRatchet)
	require.NoError(t, err)
	for r.next < next+maxForward {
		r.step(alice.g.suite)
	}
	edge := alice.encrypt("at the limit")
	beyondBob, err := UnmarshalGroup(bob.g.Marshal())
	require.NoError(t, err)
	beyond := alice.encrypt("beyond")
	_, err = beyondBob.Process(parsed(t, beyond), testNow)
	require.ErrorIs(t, err, ErrTooFarAhead)
	bob.read(edge, "at the limit")
	skipped := bob.g.messages.ratchet(t, alice.g.own, applicationRatchet).skipped
	require.Len(t, skipped, maxSkipped, "only the newest skipped keys are kept")
	_, err = bob.process(early)
	require.ErrorIs(t, err, ErrReplay, "the oldest are given up")
	bob.read(beyond, "beyond")
}

func TestPastEpochs(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	var late [][]byte
	for range maxPastEpochs + 2 {
		late = append(late, alice.encrypt("late"))
		spread(bob, CommitParams{}, alice, carol)
	}
	_, err := carol.process(late[0])
	var wrong *WrongEpochError
	require.ErrorAs(t, err, &wrong, "given up")
	_, err = carol.process(late[1])
	require.ErrorAs(t, err, &wrong, "given up")
	for _, m := range late[2:] {
		epoch := parsed(t, m).Epoch()
		require.Equal(t, epoch, carol.read(m, "late").Epoch)
		_, err = carol.process(m)
		require.ErrorIs(t, err, ErrReplay)
	}
	require.Len(t, carol.g.past, maxPastEpochs)
	for _, p := range carol.g.past {
		require.Empty(t, p.messages.root.secret, "the root of a used secret tree is gone")
	}
}

// A late message has the sender of its own epoch, although somebody else sits in that leaf now.
func TestPastSenderIsOfItsEpoch(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	late := bob.encrypt("bob says")
	eve := newParty(t, "eve")
	kp := eve.keyPackage()
	p := alice.commit(CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(bob)), AddProposal(kp.KeyPackage())}})
	carol.apply(p.Message())
	alice.confirm()
	eve.join(kp, p.Welcome())
	require.Equal(t, leafOf(bob), leafOf(eve))
	got := carol.read(late, "bob says")
	require.Equal(t, "https://a.example/users/bob", string(got.Sender.Node.Credential.Identity))
	require.Equal(t, "https://a.example/users/eve", string(carol.read(eve.encrypt("x"), "x").Sender.Node.Credential.Identity))
}

// A forgery that anybody on the way can make must not cost the key of the real message.
func TestForgeryDoesNotConsumeAKey(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	real := alice.encrypt("real")
	for i := range real {
		forged := bytes.Clone(real)
		forged[i] ^= 1
		m, err := ParseMessage(forged)
		if err != nil {
			continue
		}
		before := bob.g.Marshal()
		_, err = bob.g.Process(m, testNow)
		require.Error(t, err, "byte %d", i)
		bob.requireSame(before)
	}
	bob.read(real, "real")
}

func TestTamperedHandshakes(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, "alice", "bob", "carol")
		kp := newParty(t, "dave").keyPackage()
		p := all[0].commit(CommitParams{Framing: f, Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true, AuthenticatedData: []byte("aad")})
		real := p.Message()
		for i := range real {
			forged := bytes.Clone(real)
			forged[i] ^= 0x80
			m, err := ParseMessage(forged)
			if err != nil {
				continue
			}
			before := all[1].g.Marshal()
			_, err = all[1].g.Process(m, testNow)
			require.Error(t, err, "byte %d of %d", i, len(real))
			all[1].requireSame(before)
		}
		all[1].apply(real)
	})
}

func TestTamperedWelcome(t *testing.T) {
	alice, bob := newParty(t, "alice"), newParty(t, "bob")
	alice.create()
	kp := bob.keyPackage()
	real := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true}).Welcome()
	for i := range real {
		forged := bytes.Clone(real)
		forged[i] ^= 0x01
		m, err := ParseMessage(forged)
		if err != nil {
			continue
		}
		_, err = JoinWelcome(m, JoinParams{KeyPackage: kp, Signer: bob.signer})
		require.Error(t, err, "byte %d of %d", i, len(real))
	}
	for n := range real {
		_, err := ParseMessage(real[:n])
		require.Error(t, err)
	}
	_, err := JoinWelcome(parsed(t, real), JoinParams{KeyPackage: newParty(t, "eve").keyPackage(), Signer: bob.signer})
	require.ErrorIs(t, err, errNotForUs)
	bob.join(kp, real)
}

// Tags that are a prefix of the right one, or empty, or longer.
func TestTruncatedTags(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	real := parsed(t, alice.commit(CommitParams{Framing: WirePublicMessage}).Message())
	for n := range 34 {
		if n == 32 {
			continue
		}
		for name, field := range map[string]*[]byte{"membership": &real.public.membershipTag, "confirmation": &real.public.confirmationTag, "signature": &real.public.signature} {
			kept := *field
			*field = append(bytes.Clone(kept), 0)[:n]
			if name != "membership" { // otherwise that tag would be what fails
				real.public.membershipTag = alice.g.suite.mac(alice.g.secrets.membership, real.public.tbm(marshal(&alice.g.context)))
			}
			_, err := bob.process(real.Marshal())
			var inv *InvalidError
			require.ErrorAs(t, err, &inv, "%s of %d bytes", name, n)
			*field = kept
			real.public.membershipTag = alice.g.suite.mac(alice.g.secrets.membership, real.public.tbm(marshal(&alice.g.context)))
		}
	}
	bob.apply(real.Marshal())
}

func TestPadding(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	var sizes []int
	for _, text := range []string{"", "short", string(make([]byte, 150))} {
		m, err := all[0].g.Encrypt(rand.Reader, []byte(text), nil, func(int) int { return 256 })
		require.NoError(t, err)
		sizes = append(sizes, len(m))
		all[1].read2(m, text)
	}
	require.Equal(t, []int{sizes[0], sizes[0], sizes[0]}, sizes, "what is padded to one length looks alike")
	m, err := all[0].g.Encrypt(rand.Reader, []byte("longer than asked"), nil, func(int) int { return 1 })
	require.NoError(t, err)
	all[1].read2(m, "longer than asked")
}

// read2 is read for messages without authenticated data.
func (p *party) read2(raw []byte, text string) {
	got, err := p.process(raw)
	require.NoError(p.t, err)
	require.Equal(p.t, text, string(got.(*ApplicationMessage).Data))
}

func TestPaddingThatIsNotZero(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	m := sealRaw(t, all[0], ContentApplication, func(a *authenticatedContent) []byte {
		a.content.application = []byte("x")
		a.sign(all[0].signer, marshal(&all[0].g.context))
		return append(rawPlaintext(a), 0, 0, 1)
	})
	_, err := all[1].process(m)
	var inv *InvalidError
	require.ErrorAs(t, err, &inv)
}

func TestNoTwoMessagesWithOneKey(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	seen := map[uint32]bool{}
	for range 50 {
		m := all[1].read(all[0].encrypt("x"), "x")
		require.False(t, seen[m.Generation])
		seen[m.Generation] = true
	}
	// A proposal, a commit and one after a dropped commit come from the handshake ratchet, each with its own generation.
	r, err := all[0].g.messages.of(all[0].g.own, handshakeRatchet)
	require.NoError(t, err)
	before := r.next
	all[0].commit(CommitParams{})
	all[0].g.DropPending()
	all[0].commit(CommitParams{})
	r, err = all[0].g.messages.of(all[0].g.own, handshakeRatchet)
	require.NoError(t, err)
	require.Equal(t, before+2, r.next, "a dropped commit does not give its key back")
}

func TestExport(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	g := all[0].g
	seen := map[string]bool{}
	for _, c := range []struct{ label, context string }{{"a", ""}, {"a", "x"}, {"b", ""}, {"", ""}} {
		v, err := g.Export(c.label, []byte(c.context), 32)
		require.NoError(t, err)
		require.False(t, seen[string(v)])
		seen[string(v)] = true
	}
	for _, n := range []int{-1, 0, maxExport + 1, 1 << 20} {
		_, err := g.Export("a", nil, n)
		require.Error(t, err)
	}
	v, err := g.Export("a", nil, maxExport)
	require.NoError(t, err)
	require.Len(t, v, maxExport)
}
