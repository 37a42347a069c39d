package device_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// invited is alice's conversation with bob, and the Welcome for carol on its way.
func invited(t *testing.T) (w *world, id string, welcome device.Incoming) {
	t.Helper()
	w, id = talk(t, bob)
	w.enrol(carol)
	require.NoError(t, w.people[alice].AddMembers(id, []string{carol}))
	w.people[alice].work()
	c := w.people[carol]
	require.Len(t, c.mail, 1)
	welcome, c.mail = c.mail[0], nil
	return w, id, welcome
}

func requireNotIn(t *testing.T, p *person, id string, code string, name string) {
	t.Helper()
	_, err := p.Conversation(id)
	require.ErrorIs(t, err, device.ErrNoSuchConversation, name)
	codes := p.codes(device.EventMessageRefused)
	require.NotEmpty(t, codes, name)
	require.Equal(t, code, codes[len(codes)-1], name)
}

func TestForgedWelcome(t *testing.T) {
	w, id, welcome := invited(t)
	c := w.people[carol]
	hub := w.instance(alice).hubKey
	signedBy := func(hub ed25519.PrivateKey, change func(*receipt.Receipt)) []byte {
		r, err := receipt.Parse(welcome.Receipt)
		require.NoError(t, err)
		change(&r)
		r.Sign(hub)
		return r.Marshal()
	}
	signed := func(change func(*receipt.Receipt)) []byte { return signedBy(hub, change) }
	for name, change := range map[string]func(*device.Incoming){
		"no receipt":           func(i *device.Incoming) { i.Receipt = nil },
		"unsigned receipt":     func(i *device.Incoming) { i.Receipt = flip(i.Receipt, len(i.Receipt)-1) },
		"open receipt":         func(i *device.Incoming) { i.Receipt = w.register(i.Conversation).events[0].Receipt },
		"receipt before":       func(i *device.Incoming) { i.Receipt = w.register(i.Conversation).events[1].Receipt },
		"another ticket":       func(i *device.Incoming) { i.Receipt = signed(func(r *receipt.Receipt) { r.Ticket[0] ^= 1 }) },
		"another epoch":        func(i *device.Incoming) { i.Receipt = signed(func(r *receipt.Receipt) { r.Epoch++ }) },
		"another hub's":        func(i *device.Incoming) { i.Receipt = signedBy(w.instance(bob).hubKey, func(*receipt.Receipt) {}) },
		"another group":        func(i *device.Incoming) { i.Receipt = signed(func(r *receipt.Receipt) { r.GroupID[0] ^= 1 }) },
		"no conversation":      func(i *device.Incoming) { i.Conversation = "" },
		"another instance":     func(i *device.Incoming) { i.Conversation = "https://b" + i.Conversation[len("https://a"):] },
		"not by the sender":    func(i *device.Incoming) { i.Actor = bob },
		"a flipped ciphertext": func(i *device.Incoming) { i.Message = flip(i.Message, len(i.Message)-1) },
	} {
		bad := welcome
		change(&bad)
		c.arrives(bad)
		code := device.CodeRejectedForged
		if name == "not by the sender" {
			code = device.CodeNotAllowed
		}
		requireNotIn(t, c, id, code, name)
	}
	c.arrives(welcome)
	requireAgreement(t, id, w.people[alice], c)
	again := c.conversation(id)
	c.arrives(welcome)
	require.Equal(t, again, c.conversation(id), "a second delivery changes nothing")
}

func TestWelcomeWaitsForLookups(t *testing.T) {
	w, id, welcome := invited(t)
	c := w.people[carol]
	c.receive(welcome)
	_, err := c.Conversation(id)
	require.ErrorIs(t, err, device.ErrNoSuchConversation, "nobody is believed before the directory was asked")
	// What comes before its Welcome is done is not lost.
	w.people[alice].say(id, "early")
	w.people[alice].work()
	c.read()
	c.restart()
	c.work()
	require.Equal(t, []string{"early"}, c.texts(id))
}

func TestWelcomeWithUnloggedLeaf(t *testing.T) {
	w, id := talk(t, bob)
	a, c, d := w.people[alice], w.enrol(carol), w.unlisted(dave)
	_, welcome := a.forge(id, mls.CommitParams{Proposals: []mls.Proposal{
		mls.AddProposal(d.keyPackage(nil)), mls.AddProposal(parse(t, w.packages[carol].oneTime[0])),
	}})
	c.arrives(welcome)
	requireNotIn(t, c, id, device.CodeNotInLog, "")
}

func TestWelcomeByMember(t *testing.T) {
	w, id := talk(t, bob)
	c := w.enrol(carol)
	_, welcome := w.people[bob].forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(parse(t, w.packages[carol].oneTime[0]))}})
	c.arrives(welcome)
	requireNotIn(t, c, id, device.CodeNotAllowed, "")
}

func TestWelcomeForNoPackageOfOurs(t *testing.T) {
	w, id := talk(t, bob)
	c := w.enrol(carol)
	_, welcome := w.people[alice].forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(c.keyPackage(nil))}})
	c.arrives(welcome)
	requireNotIn(t, c, id, device.CodeCannotDecrypt, "")
}

func TestWelcomeToLiveGroup(t *testing.T) {
	w, id := talk(t, bob)
	b := w.people[bob]
	before := b.conversation(id)
	_, welcome := w.people[alice].forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(w.enrol(dave).keyPackage(nil))}})
	r, err := receipt.Parse(welcome.Receipt)
	require.NoError(t, err)
	r.Sign(w.instance(bob).hubKey) // not this conversation's hub
	welcome.Receipt = r.Marshal()
	b.receive(welcome)
	require.Equal(t, before, b.conversation(id))
	require.Equal(t, []string{device.CodeNotAllowed}, b.codes(device.EventMessageRefused))
}

func parse(t *testing.T, raw []byte) *mls.KeyPackage {
	t.Helper()
	kp, err := mls.ParseKeyPackage(raw)
	require.NoError(t, err)
	return kp
}

func TestClaimedPackagesAreChecked(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	c, d := w.enrol(carol), w.unlisted(dave)
	good := w.packages[carol].oneTime[0]
	jobsOf := func() *device.ClaimJob {
		require.NoError(t, a.AddMembers(id, []string{carol}))
		for {
			jobs, err := a.Jobs()
			require.NoError(t, err)
			require.NotEmpty(t, jobs)
			if j, ok := jobs[0].(*device.ClaimJob); ok {
				return j
			}
			require.NoError(t, a.do(jobs[0]))
		}
	}
	carols := func(f func(*mls.KeyPackageParams)) []byte { return c.keyPackage(f).Marshal() }
	for name, x := range map[string]struct {
		kp   []byte
		code string
	}{
		"nothing":                   {nil, device.CodeRecipientNotReady},
		"garbage":                   {[]byte("garbage"), device.CodeRecipientNotReady},
		"trailing":                  {append(append([]byte{}, good...), 0), device.CodeRecipientNotReady},
		"tampered":                  {flip(good, len(good)-1), device.CodeRecipientNotReady},
		"another actor's":           {w.packages[bob].oneTime[0], device.CodeNotInLog},
		"of another actor's device": {w.packages[bob].oneTime[1], device.CodeNotInLog},
		"of an unlogged device":     {d.keyPackage(func(p *mls.KeyPackageParams) { p.Credential = mls.BasicCredential([]byte(carol)) }).Marshal(), device.CodeNotInLog},
		"expired":                   {carols(func(p *mls.KeyPackageParams) { p.Lifetime.NotAfter = p.Lifetime.NotBefore + 1 }), device.CodeRecipientNotReady},
		"living too long":           {carols(func(p *mls.KeyPackageParams) { p.Lifetime.NotAfter += 100 * 86400 }), "kp_lifetime"},
		"without rooms":             {carols(func(p *mls.KeyPackageParams) { p.Capabilities = mls.Capabilities{} }), device.CodeRecipientNotReady},
	} {
		j := jobsOf()
		list := []device.ClaimedPackage{{Device: idOf(c), KeyPackage: x.kp}}
		if name == "of an unlogged device" {
			list[0].Device = idOf(d)
		}
		if name == "of another actor's device" {
			list[0].Device = idOf(w.people[bob])
		}
		if name == "nothing" {
			list = nil
		}
		require.NoError(t, a.Claimed(j.ID(), map[string][]device.ClaimedPackage{carol: list}))
		a.work()
		codes := a.codes(device.EventMemberFailed)
		require.NotEmpty(t, codes, name)
		require.Equal(t, x.code, codes[len(codes)-1], name)
		require.Len(t, a.conversation(id).Members, 2, name)
	}
	j := jobsOf()
	require.NoError(t, a.Claimed(j.ID(), map[string][]device.ClaimedPackage{carol: {{Device: idOf(c), KeyPackage: good}}}))
	w.quiet()
	requireAgreement(t, id, a, w.people[bob], c)
}
