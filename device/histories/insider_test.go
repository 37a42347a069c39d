package histories_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// The insider is a member whose device somebody has taken over: everything that MLS and the hub let a member do, with a program of their own.
// The insider is no admin.

// fence is the right one for a commit in a device's newest epoch.
func (a *agent) fence(id string, g *mls.Group) []byte {
	r, _ := a.row(id)
	p := r.Places[0]
	b := binary.BigEndian.AppendUint64([]byte{2}, p.Term)
	b = binary.BigEndian.AppendUint64(b, p.Seq)
	b = append(b, p.Head[:]...)
	b = append(b, g.EpochAuthenticator()[:8]...)
	return append(b, make([]byte, 32+1)...)
}

// forge makes a commit that the honest program would not make, has it ordered, and sends it to some.
func (s *machine) forge(m *agent, id string, g *mls.Group, params mls.CommitParams, spoil func(*hub.Submission)) (granted bool) {
	r, _ := m.row(id)
	if params.AuthenticatedData == nil {
		params.AuthenticatedData = m.fence(id, g)
	}
	params.Now = s.now
	g.DropPending()
	pending, err := g.Commit(s.random, params)
	if err != nil {
		return false
	}
	sub := hub.Submission{
		Term: r.Term, Epoch: g.Epoch(), Commit: pending.Message(), Ticket: [32]byte(publicOf(ticketKey(s.t, pending))),
	}
	if spoil != nil {
		spoil(&sub)
	}
	sub.Signature = receipt.SignSubmit(ticketKey(s.t, g), g.GroupID(), sub.Term, sub.Epoch, sub.Commit, sub.Ticket)
	origin, groupID := m.at(r.URL, r.Hub)
	sub.Who = m.actor
	raw, err := m.home.submit(origin, groupID, sub)
	if err != nil {
		return false
	}
	var told []string
	for _, a := range s.agents {
		if rapid.Bool().Draw(s.rt, "told") {
			told = append(told, a.actor)
		}
	}
	m.home.post(m, device.Incoming{Actor: m.actor, Conversation: r.URL, Message: sub.Commit, Receipt: raw}, told)
	if w := pending.Welcome(); w != nil {
		m.home.post(m, device.Incoming{Actor: m.actor, Conversation: r.URL, Message: w, Receipt: raw}, s.actors())
	}
	return true
}

// misbehave is one deed of the insider's.
func (s *machine) misbehave(rt *rapid.T) {
	m := s.insider()
	if s.broken > 0 {
		rt.Skip("see Break")
	}
	id := s.conversation(rt)
	r, ok := m.row(id)
	if !ok || r.State == device.StateLeft || len(r.Places) == 0 || !m.online() {
		rt.Skip("the insider is not there")
	}
	m.honest = false
	g := m.group(id)
	deeds := []string{"remove", "add", "crown", "fence", "ticket", "garbage", "old", "dispute", "fork", "lease", "silence", "unlisted", "wish", "revoke", "spoil"}
	switch deed := rapid.SampledFrom(deeds).Draw(rt, "deed"); deed {
	case "remove":
		leaf := rapid.SampledFrom(g.Members()).Draw(rt, "whom").Leaf
		s.forge(m, id, g, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(leaf)}}, nil)
	case "add":
		s.forge(m, id, g, mls.CommitParams{Proposals: s.outsiders(rt, g)}, nil)
	case "crown":
		if s.crowns {
			s.forge(m, id, g, mls.CommitParams{Proposals: append(s.outsiders(rt, g), crowned(g, m.actor))}, nil)
		}
	case "fence":
		bad := m.fence(id, g)
		bad[rapid.IntRange(0, 32).Draw(rt, "byte")] ^= 1
		s.forge(m, id, g, mls.CommitParams{ForcePath: true, AuthenticatedData: bad}, nil)
	case "ticket":
		s.forge(m, id, g, mls.CommitParams{ForcePath: true}, func(s *hub.Submission) { s.Ticket[0] ^= 1 })
	case "garbage":
		s.forge(m, id, g, mls.CommitParams{ForcePath: true}, func(s *hub.Submission) {
			s.Commit = slices.Clone(s.Commit)
			s.Commit[len(s.Commit)-1] ^= 1
		})
	case "silence": // a valid commit that only some are told of
		s.forge(m, id, g, mls.CommitParams{ForcePath: true}, nil)
	case "old", "fork":
		s.oldEpoch(rt, m, id, deed == "fork")
	case "dispute":
		s.falseDispute(rt, m, id)
	case "lease":
		s.hog(m, id, g)
	case "unlisted":
		s.unlisted(rt, m, id, g)
	case "spoil": // as many invalid commits of one epoch as there is a way to
		for range 6 {
			leaf := rapid.SampledFrom(g.Members()).Draw(rt, "whom").Leaf
			if !s.forge(m, id, g, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(leaf)}}, nil) {
				break
			}
			s.falseDispute(rt, m, id)
		}
	case "revoke": // and goes on as before
		m.skew = 0 // or its log does not believe it
		if !s.off && rapid.IntRange(0, 3).Draw(rt, "really") == 0 && m.look(m.actor) == nil {
			answer, err := m.home.log.Answer(ctx, m.actor, 0)
			require.NoError(rt, err)
			p, err := m.Revocation(answer.Marshal())
			require.NoError(rt, err)
			m.publish(p)
			s.off = true
		}
	case "wish": // to leave, and more than once
		if raw, err := g.Propose(s.random, mls.SelfRemoveProposal(), mls.WirePublicMessage, m.fence(id, g)); err == nil {
			m.home.post(m, device.Incoming{Actor: m.actor, Conversation: r.URL, Message: raw}, s.actors())
		}
	}
}

// outsiders are Adds of somebody who is not in the group.
func (s *machine) outsiders(rt *rapid.T, g *mls.Group) (adds []mls.Proposal) {
	actor := rapid.SampledFrom(s.actors()).Draw(rt, "outsider")
	for _, m := range g.Members() {
		if string(m.Node.Credential.Identity) == actor {
			return nil
		}
	}
	for _, c := range s.node(originOf(actor)).claim(actor) {
		kp, err := mls.ParseKeyPackage(c.KeyPackage)
		require.NoError(rt, err)
		adds = append(adds, mls.AddProposal(kp))
	}
	return adds
}

// crowned is the room with the insider as its only admin. Grants are of the form that device.Room has: after 1 version, conversation, hub, key, time.
func crowned(g *mls.Group, actor string) mls.Proposal {
	extensions := slices.Clone(g.Extensions())
	data := extensions[0].Data
	at := 1 + 2 + int(binary.BigEndian.Uint16(data[1:]))
	at += 1 + int(data[at]) + 32 + 8
	rest := data[at+2+int(binary.BigEndian.Uint16(data[at:])):]
	grant := append(binary.BigEndian.AppendUint16(nil, uint16(len(actor))), actor...)
	grant = append(grant, 2)
	made := append(slices.Clone(data[:at]), binary.BigEndian.AppendUint16(nil, uint16(len(grant)))...)
	extensions[0].Data = append(append(made, grant...), rest...)
	return mls.GroupContextExtensionsProposal(extensions)
}

// oldEpoch commits in an epoch that is over. If somebody's dispute has opened it again, the hub takes it.
func (s *machine) oldEpoch(rt *rapid.T, m *agent, id string, disputeFirst bool) {
	if disputeFirst {
		s.falseDispute(rt, m, id)
	}
	r, _ := m.row(id)
	events, err := s.hubOf(m, r).registers.Events(ctx, m.group(id).GroupID(), 0, 1<<20)
	require.NoError(rt, err)
	for _, e := range slices.Backward(events) {
		x, err := receipt.Parse(e.Receipt)
		require.NoError(rt, err)
		if g := s.groups[x.Ticket]; g != nil && x.Kind == receipt.KindReopen {
			s.forge(m, id, g.Clone(), mls.CommitParams{ForcePath: true, AuthenticatedData: make([]byte, 66)}, nil)
			return
		}
	}
}

// falseDispute disputes a valid commit.
func (s *machine) falseDispute(rt *rapid.T, m *agent, id string) {
	r, _ := m.row(id)
	at := s.hubOf(m, r)
	if !s.reach(m.home, at) {
		return
	}
	groupID := m.group(id).GroupID()
	state, ok, err := at.registers.Group(ctx, groupID)
	require.NoError(rt, err)
	if !ok || state.Seq == 0 {
		return
	}
	seq := state.Seq - min(state.Seq-1, rapid.Uint64Range(0, 1).Draw(rt, "back"))
	g, ok, err := at.registers.Granted(ctx, groupID, seq)
	require.NoError(rt, err)
	key := s.tickets[g.By]
	if !ok || key == nil {
		return
	}
	d := receipt.Dispute{GroupID: groupID, Term: state.Term, Seq: seq, ReceiptHash: receipt.Head(g.Receipt), Reason: receipt.ReasonInvalid}
	d.Sign(key)
	if _, err := at.hub.Dispute(ctx, groupID, m.home.origin, d.Marshal()); err == nil {
		s.audit(at, groupID)
	}
}

// hubOf is the present hub of a conversation, as a device knows it.
func (s *machine) hubOf(a *agent, r row) *node {
	origin, _ := a.at(r.URL, r.Hub)
	return s.node(origin)
}

// hog takes the hub's lease and does nothing with it.
func (s *machine) hog(m *agent, id string, g *mls.Group) {
	r, _ := m.row(id)
	at := s.hubOf(m, r)
	if !s.reach(m.home, at) {
		return
	}
	var key [32]byte
	_, _ = s.random.Read(key[:])
	l := hub.LeaseRequest{Term: r.Term, Epoch: g.Epoch(), Key: key}
	l.Signature = receipt.SignLease(ticketKey(s.t, g), g.GroupID(), l.Term, l.Epoch, key)
	_, _, _ = at.hub.Lease(ctx, g.GroupID(), l)
}

// unlisted adds a device of the insider's own that the directory does not have: it never will, or whoever looks later sees it otherwise.
func (s *machine) unlisted(rt *rapid.T, m *agent, id string, g *mls.Group) {
	if s.hidden != nil {
		return
	}
	s.never = s.off || rapid.Bool().Draw(rt, "never listed")
	a := s.login(mallory)
	a.honest = false
	require.NoError(s.t, a.TopUp(0))
	jobs, err := a.Jobs()
	require.NoError(s.t, err)
	for _, j := range jobs {
		if j, ok := j.(*device.KeyPackagesJob); ok {
			kp, err := mls.ParseKeyPackage(j.OneTime[0])
			require.NoError(s.t, err)
			if s.forge(m, id, g, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(kp)}}, nil) {
				s.hidden = a
			}
		}
	}
}

// listHidden publishes it.
func (s *machine) listHidden() {
	if s.hidden == nil || s.listed || s.never {
		return
	}
	s.listed = true
	s.insider().list(s.hidden)
}

// TestSpoilerWithoutEnd: an insider has an invalid commit ordered whenever the hub takes one. The others go on, and do what they are asked to.
func TestSpoilerWithoutEnd(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	all := checks.Value.String()
	require.NoError(t, checks.Value.Set("2"))
	defer func() { require.NoError(t, checks.Value.Set(all)) }()
	rapid.Check(t, func(rt *rapid.T) {
		s := newMachine(rt)
		id, spoiler := s.ids[0], s.insider()
		spoiler.honest = false
		before, _ := s.agents[0].row(id)
		require.NoError(rt, s.agents[1].AddMembers(id, []string{dave}))
		for range 40 {
			g := spoiler.group(id)
			s.forge(spoiler, id, g, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(0)}}, nil)
			for _, a := range s.agents[:3] {
				s.mind(a.Sync())
			}
			s.run()
			s.pass(5 * time.Second)
			s.run()
		}
		for _, a := range s.agents[:3] {
			c, err := a.Conversation(id)
			require.NoError(rt, err)
			r, _ := a.row(id)
			require.Greater(rt, r.Places[0].Epoch, before.Places[0].Epoch, "%s", a)
			require.Contains(rt, fmt.Sprint(c.Members), dave, "%s", a)
		}
	})
}
