package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// revokes takes a person's device off their list.
func (p *person) revokes() { require.NoError(p.w.t, p.w.publish(p.actor, p.revocation())) }

func addOf(kp *mls.KeyPackage) mls.CommitParams {
	return mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(kp)}}
}

// A rogue is a device that somebody has copied, and that goes on with a program of its own.
type rogue struct {
	*person
	id string
	g  *mls.Group
}

func (p *person) rogue(id string) *rogue {
	p.w.away[p.actor] = true
	return &rogue{p, id, p.group(id)}
}

// commits has a commit ordered and goes on from it.
func (r *rogue) commits(params mls.CommitParams) (commit, welcome device.Incoming) {
	params.AuthenticatedData, params.Now = r.fence(r.id, r.g, nil), r.w.now
	pending, err := r.g.Commit(r.w.random, params)
	require.NoError(r.w.t, err)
	commit = r.ordered(r.id, r.g, pending)
	welcome = commit
	welcome.Message = pending.Welcome()
	require.NoError(r.w.t, r.g.ConfirmPending())
	return commit, welcome
}

// TestRevokedCommitterStopsNobody: bob's device is off his list, and somebody goes on committing with it. Those who know and those who do not yet
// follow alike; the admin's program is told to look, and puts it out.
func TestRevokedCommitterStopsNobody(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	b.revokes()
	require.NoError(t, c.lookUp(bob))
	thief := b.rogue(id)
	for range 3 {
		commit, _ := thief.commits(mls.CommitParams{ForcePath: true})
		a.receive(commit)
		c.receive(commit)
		require.Equal(t, thief.g.Epoch(), a.conversation(id).Epoch)
		require.Equal(t, a.conversation(id).EpochAuthenticator, c.conversation(id).EpochAuthenticator)
	}
	require.Equal(t, []string{device.CodeNotInLog}, c.codes(device.EventMemberUnlisted), "once")
	c.say(id, "talk goes on")
	w.quiet()
	for _, p := range []*person{a, c} {
		require.Equal(t, []string{alice, carol}, p.members(id))
		require.Empty(t, p.codes(device.EventConversationPaused))
	}
	require.Equal(t, []string{"talk goes on"}, a.texts(id))
	requireAgreement(t, id, a, c)
}

// TestRevokedCommitterIsPutOutHoweverFast: it takes each epoch before the admin's program does, which does not give up.
func TestRevokedCommitterIsPutOutHoweverFast(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	b.revokes()
	require.NoError(t, a.lookUp(bob))
	thief := b.rogue(id)
	for range 12 {
		j := a.commitJob()
		thief.commits(mls.CommitParams{ForcePath: true})
		require.NoError(t, a.do(j))
		require.Equal(t, thief.g.Epoch(), a.conversation(id).Epoch)
	}
	require.Contains(t, a.members(id), bob)
	w.quiet()
	require.NoError(t, w.people[carol].Sync())
	w.quiet()
	require.Equal(t, []string{alice, carol}, a.members(id))
	require.Empty(t, a.codes(device.EventMemberFailed))
	requireAgreement(t, id, a, w.people[carol])
}

// TestRevokedReturnStopsNobody: with a revoked key somebody comes back from outside into its place. It is followed, and put out.
func TestRevokedReturnStopsNobody(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	c.revokes()
	require.NoError(t, b.lookUp(carol))
	o := a.outsider(id, c)
	o.Replace = c.leafAt(o.g)
	item, err := o.ordered()
	require.NoError(t, err)
	b.arrives(item)
	a.arrives(item)
	w.quiet()
	for _, p := range []*person{a, b} {
		require.Empty(t, p.codes(device.EventConversationPaused))
		require.Equal(t, []string{alice, bob}, p.members(id))
	}
	requireAgreement(t, id, a, b)
}

// TestUnloggedDeviceAddedByAdmin: an admin adds a device under somebody's name that is in no list. The others follow, write nothing that it could
// read, show nothing that it writes, and another admin's program removes it.
func TestUnloggedDeviceAddedByAdmin(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c, d := w.people[alice], w.people[bob], w.people[carol], w.unlisted(dave)
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	liar, secret := a.rogue(id), d.secretPackage(nil)
	commit, welcome := liar.commits(addOf(secret.KeyPackage()))
	c.say(id, "for bob and alice")
	c.arrives(commit)
	require.Equal(t, liar.g.Epoch(), c.conversation(id).Epoch)
	require.Equal(t, device.StateActive, c.conversation(id).State)
	require.Equal(t, []string{device.CodeNotInLog}, c.codes(device.EventMemberUnlisted))
	require.Contains(t, c.conversation(id).Reason, "not_in_log: what you write waits: a device was added for "+dave)
	c.say(id, "not for that device")
	c.restart()
	c.work()
	require.Equal(t, device.MessageQueued, mustMessages(t, c, id)[1].State)

	m, err := mls.ParseMessage(welcome.Message)
	require.NoError(t, err)
	join, err := mls.JoinWelcome(m, mls.JoinParams{KeyPackage: secret, Signer: d.signer()})
	require.NoError(t, err)
	said, err := join.Group().Encrypt(w.random, []byte("{}"), nil, nil)
	require.NoError(t, err)
	c.arrives(device.Incoming{Actor: dave, Conversation: commit.Conversation, Message: said})
	require.Equal(t, []string{device.CodeNotInLog}, c.codes(device.EventMessageRefused))

	w.quiet() // bob is asked to look, too
	for _, p := range []*person{b, c} {
		require.Equal(t, []string{alice, bob, carol}, p.members(id))
		require.Empty(t, p.conversation(id).Reason)
		require.Empty(t, p.codes(device.EventConversationPaused))
	}
	require.ElementsMatch(t, []string{alice, bob}, w.sent["not for that device"])
	require.Equal(t, []string{"for bob and alice", "not for that device"}, b.texts(id))
	requireAgreement(t, id, b, c)
}

// TestUnloggedDeviceComesIntoItsList: what was held goes out once the list has the device, and what it writes is shown.
func TestUnloggedDeviceComesIntoItsList(t *testing.T) {
	w, id := talk(t, bob)
	a, b, d := w.people[alice], w.people[bob], w.unlisted(dave)
	commit, _ := a.rogue(id).commits(addOf(d.keyPackage(nil)))
	b.arrives(commit)
	b.say(id, "hello")
	b.work()
	require.Equal(t, device.MessageQueued, mustMessages(t, b, id)[0].State)
	require.NoError(t, d.lookUp(dave))
	pub, err := d.DeviceList()
	require.NoError(t, err)
	require.NoError(t, w.publish(dave, pub))
	require.NoError(t, b.Sync())
	b.work()
	require.Equal(t, device.MessageSent, mustMessages(t, b, id)[0].State)
	require.Empty(t, b.conversation(id).Reason)
}

// TestListThatForgetsANewcomer: dave's instance shows his device to who adds him and to nobody after that. Nobody is left behind.
func TestListThatForgetsANewcomer(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c, d := w.people[alice], w.people[bob], w.people[carol], w.enrol(dave)
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.commitJob()
	d.revokes()
	b.say(id, "written while dave comes and goes")
	w.quiet()
	require.NoError(t, b.Sync())
	w.quiet()
	for _, p := range []*person{a, b, c} {
		require.Equal(t, []string{alice, bob, carol}, p.members(id))
		require.Empty(t, p.codes(device.EventConversationPaused))
	}
	requireAgreement(t, id, a, b, c)
}

// TestOwnUnlistedDeviceStopsNobody: who is no admin adds a device of their own that is in no list, and their instance does not answer. Talk
// and changes go on; once it has answered, the device is put out.
func TestOwnUnlistedDeviceStopsNobody(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	second := newWorld(t, 99).unlisted(bob)
	commit, _ := b.rogue(id).commits(addOf(second.keyPackage(nil)))
	for _, p := range []*person{a, c} {
		p.receive(commit)
		require.EqualValues(t, 2, p.conversation(id).Epoch, "nobody waits for bob's instance")
	}
	_, err := c.Send(id, "talk goes on", nil, "")
	require.NoError(t, err)
	require.Equal(t, device.MessageSending, mustMessages(t, c, id)[0].State)
	w.now = w.now.Add(time.Minute)
	w.quiet()
	require.NoError(t, a.Sync())
	w.quiet()
	for _, p := range []*person{a, c} {
		for _, m := range p.conversation(id).Members {
			require.Len(t, m.Devices, 1)
			require.Empty(t, m.Unlisted)
		}
		require.Empty(t, p.codes(device.EventConversationPaused))
	}
	require.Equal(t, []string{"talk goes on"}, a.texts(id))
	requireAgreement(t, id, a, c)
}

// TestAskedToLookSoOften: a member cannot make the admins' programs ask the directory without end.
func TestAskedToLookSoOften(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	asked := 0
	for range 40 {
		a.receive(b.speak(id, func(m map[string]any) {
			m["object"] = map[string]any{"type": "waxwing:Look", "id": "x", "attributedTo": bob, "asks": carol}
		}, nil))
		jobs := a.lookups(t)
		asked += len(jobs)
		a.work()
	}
	require.Equal(t, 16, asked)
	a.receive(b.speak(id, func(m map[string]any) {
		m["object"] = map[string]any{"type": "waxwing:Look", "id": "x", "attributedTo": bob, "asks": dave}
	}, nil))
	require.Empty(t, a.lookups(t), "who is no member is not looked up")
	require.Empty(t, mustMessages(t, a, id))
}
