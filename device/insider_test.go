package device_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// What a malicious member can do: everything that MLS lets it, with a program of its own.

// group is a copy of a person's MLS state.
func (p *person) group(id string) *mls.Group {
	var records []mls.Record
	for key, value := range p.store.buckets["group:"+id].values {
		records = append(records, mls.Record{Key: key, Value: value})
	}
	g, err := mls.LoadGroup(records)
	require.NoError(p.w.t, err)
	return g
}

// setGroup puts another state in its place, behind the back of the person's program, which is started again.
func (p *person) setGroup(id string, g *mls.Group) {
	require.NoError(p.w.t, p.store.Update(func(tx device.Tx) error {
		for _, r := range g.Changes(p.group(id)) {
			if r.Value == nil {
				require.NoError(p.w.t, tx.Delete("group:"+id, r.Key))
			} else {
				require.NoError(p.w.t, tx.Put("group:"+id, r.Key, r.Value))
			}
		}
		return nil
	}))
	p.restart()
}

// fence is the right fence for a group at the head of its chain.
func (p *person) fence(id string, g *mls.Group, tag []byte) []byte {
	seq, head := p.placeOf(id, g)
	b := []byte{2}
	b = binary.BigEndian.AppendUint64(b, 1)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = append(b, head[:8]...)
	b = append(b, g.EpochAuthenticator()[:8]...)
	return append(append(b, append(tag, make([]byte, 32-len(tag))...)...), 0) // no sightings
}

// placeOf finds the receipt that opened a group's epoch.
func (p *person) placeOf(id string, g *mls.Group) (seq uint64, head [32]byte) {
	secret, err := g.Export(receipt.TicketLabel, nil, 32)
	require.NoError(p.w.t, err)
	ticket := publicBytes(receipt.TicketKey(secret).Public())
	for _, e := range p.w.register(p.conversation(id).URL).events {
		r, err := receipt.Parse(e.Receipt)
		require.NoError(p.w.t, err)
		if string(r.Ticket[:]) == string(ticket) && r.Kind != receipt.KindReopen {
			return r.Seq, receipt.Head(e.Receipt)
		}
	}
	require.Fail(p.w.t, "no receipt opened the epoch")
	return 0, head
}

// forge makes a commit that the honest program would not make, and gets it ordered: the hub is blind.
func (p *person) forge(id string, params mls.CommitParams) (commit, welcome device.Incoming) {
	g := p.group(id)
	if params.AuthenticatedData == nil {
		params.AuthenticatedData = p.fence(id, g, nil)
	}
	params.Now = p.w.now
	pending, err := g.Commit(p.w.random, params)
	require.NoError(p.w.t, err)
	commit = p.ordered(id, g, pending)
	welcome = commit
	welcome.Message = pending.Welcome()
	return commit, welcome
}

// ordered gets a commit ordered and returns it as it travels.
func (p *person) ordered(id string, g *mls.Group, pending *mls.PendingCommit) device.Incoming {
	secret, err := pending.Export(receipt.TicketLabel, nil, 32)
	require.NoError(p.w.t, err)
	c := p.conversation(id)
	in := p.w.instance(c.URL)
	ticket := receipt.TicketKey(secret).Public()
	raw := p.w.register(c.URL).grant(in.hubKey, g.GroupID(), &device.CommitJob{
		Term: 1, Epoch: g.Epoch(), Commit: pending.Message(), Ticket: publicBytes(ticket),
	})
	return device.Incoming{Actor: p.actor, Conversation: c.URL, Message: pending.Message(), Receipt: raw}
}

// keyPackage is a fresh one of a person.
func (p *person) keyPackage(change func(*mls.KeyPackageParams)) *mls.KeyPackage {
	return p.secretPackage(change).KeyPackage()
}

// secretPackage is one with its private keys.
func (p *person) secretPackage(change func(*mls.KeyPackageParams)) *mls.KeyPackageSecret {
	var keys struct{ Signature []byte }
	require.NoError(p.w.t, json.Unmarshal(p.store.buckets["device"].values["keys"], &keys))
	signer, err := mls.NewSignatureKey(mls.X25519AES128GCMSHA256Ed25519, keys.Signature)
	require.NoError(p.w.t, err)
	now := uint64(p.w.now.Unix())
	params := mls.KeyPackageParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, Signer: signer, Credential: mls.BasicCredential([]byte(p.actor)),
		Capabilities: mls.Capabilities{Extensions: []mls.ExtensionType{0xF7A1}}, Lifetime: mls.Lifetime{NotBefore: now - 60, NotAfter: now + 86400},
	}
	if change != nil {
		change(&params)
	}
	secret, err := mls.NewKeyPackage(p.w.random, params)
	require.NoError(p.w.t, err)
	return secret
}

// arrives lets an item arrive and everything that follows from it happen.
func (p *person) arrives(item device.Incoming) {
	p.receive(item)
	p.work()
}

// requirePaused: a commit was refused for that reason. It was disputed, and the hub of these tests has opened the epoch again at once.
func requirePaused(t *testing.T, p *person, id, code, check string) {
	t.Helper()
	events, err := p.Events(0, 10000)
	require.NoError(t, err)
	var paused []device.Event
	for _, e := range events {
		if e.Type == device.EventConversationPaused {
			paused = append(paused, e)
		}
	}
	require.Len(t, paused, 1)
	require.Equal(t, code, paused[0].Code)
	require.Contains(t, paused[0].Detail, check)
	c := p.conversation(id)
	if c.State != device.StateActive {
		require.Equal(t, device.StatePaused, c.State)
		require.Contains(t, c.Reason, code)
		require.Contains(t, c.Reason, check)
	}
}

func TestCommitsThatAreNotAllowed(t *testing.T) {
	leafOf := func(g *mls.Group, actor string) uint32 {
		for _, m := range g.Members() {
			if string(m.Node.Credential.Identity) == actor {
				return m.Leaf
			}
		}
		t.Fatalf("%s is no member", actor)
		return 0
	}
	room := func(g *mls.Group, change func([]byte) []byte) []mls.Proposal {
		e := g.Extensions()
		return []mls.Proposal{mls.GroupContextExtensionsProposal([]mls.Extension{{Type: e[0].Type, Data: change(append([]byte{}, e[0].Data...))}})}
	}
	for name, c := range map[string]struct {
		who, check string
		what       func(w *world, g *mls.Group) []mls.Proposal
	}{
		"a member adds somebody": {bob, "C2", func(w *world, _ *mls.Group) []mls.Proposal {
			return []mls.Proposal{mls.AddProposal(w.enrol(dave).keyPackage(nil))}
		}},
		"a member removes somebody": {bob, "C3", func(_ *world, g *mls.Group) []mls.Proposal {
			return []mls.Proposal{mls.RemoveProposal(leafOf(g, alice))}
		}},
		"a member changes the room": {bob, "C5", func(_ *world, g *mls.Group) []mls.Proposal {
			return room(g, func(b []byte) []byte { b[len(b)-2] ^= 1; return b })
		}},
		"an admin changes the hub": {alice, "C5", func(_ *world, g *mls.Group) []mls.Proposal {
			return room(g, func(b []byte) []byte { n := int(binary.BigEndian.Uint16(b[1:])); b[3+n] ^= 1; return b })
		}},
		"an admin changes the conversation": {alice, "C5", func(_ *world, g *mls.Group) []mls.Proposal {
			return room(g, func(b []byte) []byte { b[12] ^= 1; return b })
		}},
		"an admin takes the room away": {alice, "C5", func(*world, *mls.Group) []mls.Proposal {
			return []mls.Proposal{mls.GroupContextExtensionsProposal(nil)}
		}},
		"an admin breaks the room": {alice, "C5", func(_ *world, g *mls.Group) []mls.Proposal {
			return room(g, func(b []byte) []byte { return b[:len(b)-1] })
		}},
		"an admin adds an extension": {alice, "C6", func(_ *world, g *mls.Group) []mls.Proposal {
			e := append([]mls.Extension{}, g.Extensions()...)
			return []mls.Proposal{mls.GroupContextExtensionsProposal(append(e, mls.Extension{Type: mls.ExtensionExternalSenders, Data: []byte{0}}))}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			p, victim := w.people[c.who], w.people[carol]
			commit, _ := p.forge(id, mls.CommitParams{Proposals: c.what(w, p.group(id))})
			before := victim.conversation(id)
			victim.arrives(commit)
			requirePaused(t, victim, id, device.CodeNotAllowed, c.check)
			require.Equal(t, before.EpochAuthenticator, victim.conversation(id).EpochAuthenticator)
		})
	}
}

func TestCommitWithWrongFence(t *testing.T) {
	w, id := talk(t, bob, carol)
	g := w.people[alice].group(id)
	bad := flip(w.people[alice].fence(id, g, nil), 20)
	commit, _ := w.people[alice].forge(id, mls.CommitParams{ForcePath: true, AuthenticatedData: bad})
	w.people[bob].arrives(commit)
	requirePaused(t, w.people[bob], id, device.CodeForkDetected, "F1")
}

// speak sends application data of the insider's own making.
func (p *person) speak(id string, change func(map[string]any), fence func([]byte) []byte) device.Incoming {
	salt := make([]byte, 32)
	a := map[string]any{
		"type": "Create", "id": "uri:uuid:1", "actor": p.actor, "frankingSalt": base64.StdEncoding.EncodeToString(salt),
		"object": map[string]any{"type": "Note", "id": "uri:uuid:2", "attributedTo": p.actor, "content": "<p>hi<br>you</p>"},
	}
	if change != nil {
		change(a)
	}
	data, err := json.Marshal(a)
	require.NoError(p.w.t, err)
	return p.speakRaw(id, data, salt, fence)
}

func (p *person) speakRaw(id string, data, salt []byte, fence func([]byte) []byte) device.Incoming {
	mac := hmac.New(sha256.New, salt)
	mac.Write(data)
	g := p.group(id)
	f := p.fence(id, g, mac.Sum(nil))
	if fence != nil {
		f = fence(f)
	}
	m, err := g.Encrypt(p.w.random, data, f, nil)
	require.NoError(p.w.t, err)
	p.setGroup(id, g)
	return device.Incoming{Actor: p.actor, Conversation: p.conversation(id).URL, Message: m}
}

func TestMessagesThatAreNotBelieved(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	object := func(f func(map[string]any)) func(map[string]any) {
		return func(a map[string]any) { f(a["object"].(map[string]any)) }
	}
	for name, c := range map[string]struct {
		item device.Incoming
		code string
	}{
		"wrong actor": {b.speak(id, func(m map[string]any) { m["actor"] = alice }, nil), device.CodeRejectedForged},
		"wrong actor everywhere": {b.speak(id, func(m map[string]any) {
			m["actor"] = alice
			m["object"].(map[string]any)["attributedTo"] = alice
		}, nil), device.CodeRejectedForged},
		"wrong actor of something unknown": {b.speak(id, func(m map[string]any) { m["actor"], m["type"] = alice, "Like" }, nil), device.CodeRejectedForged},
		"wrong attribution":                {b.speak(id, object(func(m map[string]any) { m["attributedTo"] = alice }), nil), device.CodeRejectedForged},
		"no salt":                          {b.speak(id, func(m map[string]any) { delete(m, "frankingSalt") }, nil), device.CodeRejectedForged},
		"no id":                            {b.speak(id, func(m map[string]any) { delete(m, "id") }, nil), device.CodeRejectedForged},
		"bad time":                         {b.speak(id, func(m map[string]any) { m["published"] = "yesterday" }, nil), device.CodeRejectedForged},
		"actor is no text":                 {b.speak(id, func(m map[string]any) { m["actor"] = 7 }, nil), device.CodeRejectedForged},
		"not JSON":                         {b.speakRaw(id, []byte("hello"), nil, nil), device.CodeRejectedForged},
		"trailing data":                    {b.speakRaw(id, []byte("{}{}"), nil, nil), device.CodeRejectedForged},
		"wrong seq":                        {b.speak(id, nil, func(f []byte) []byte { return flip(f, 16) }), device.CodeForkDetected},
		"wrong head":                       {b.speak(id, nil, func(f []byte) []byte { return flip(f, 17) }), device.CodeForkDetected},
		"wrong epoch auth":                 {b.speak(id, nil, func(f []byte) []byte { return flip(f, 25) }), device.CodeForkDetected},
		"wrong term":                       {b.speak(id, nil, func(f []byte) []byte { return flip(f, 8) }), device.CodeForkDetected},
		"wrong tag":                        {b.speak(id, nil, func(f []byte) []byte { return flip(f, 40) }), device.CodeRejectedForged},
		"fence too short":                  {b.speak(id, nil, func(f []byte) []byte { return f[:len(f)-1] }), device.CodeRejectedForged},
		"fence of version 1":               {b.speak(id, nil, func(f []byte) []byte { f[0] = 1; return f }), device.CodeRejectedForged},
		"fence of version 3":               {b.speak(id, nil, func(f []byte) []byte { f[0] = 3; return f }), device.CodeRejectedForged},
		"a sighting that is not there":     {b.speak(id, nil, func(f []byte) []byte { f[len(f)-1] = 1; return f }), device.CodeRejectedForged},
		"nine sightings":                   {b.speak(id, nil, func(f []byte) []byte { f[len(f)-1] = 9; return append(f, sightings(9)...) }), device.CodeRejectedForged},
		"a sighting of nothing":            {b.speak(id, nil, func(f []byte) []byte { f[len(f)-1] = 1; return append(f, make([]byte, 44)...) }), device.CodeRejectedForged},
		"no fence":                         {b.speak(id, nil, func([]byte) []byte { return nil }), device.CodeRejectedForged},
		"bad attachment": {b.speak(id, object(func(m map[string]any) {
			m["attachment"] = []any{map[string]any{"key": base64.StdEncoding.EncodeToString(make([]byte, 32)), "url": "file:///etc/passwd"}}
		}), nil), device.CodeRejectedForged},
	} {
		n, seen := len(a.codes(device.EventMessageRefused)), len(a.texts(id))
		a.arrives(c.item)
		codes := a.codes(device.EventMessageRefused)
		require.Len(t, codes, n+1, name)
		require.Equal(t, c.code, codes[n], name)
		require.Len(t, a.texts(id), seen, name)
	}
	a.arrives(b.speak(id, nil, nil))
	require.Equal(t, []string{"hi\nyou"}, a.texts(id), "the control: without a change the message is shown")
}

func TestUnknownKindsKeepTheirPlace(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	a.arrives(b.speak(id, func(m map[string]any) { m["type"] = "Like" }, nil))
	a.arrives(b.speak(id, func(m map[string]any) { m["object"] = map[string]any{"type": "Question"} }, nil))
	a.arrives(b.speak(id, func(m map[string]any) { m["object"] = "https://example.org/1" }, nil))
	list := mustMessages(t, a, id)
	require.Len(t, list, 3)
	for _, m := range list {
		require.Equal(t, device.KindUnsupported, m.Kind)
		require.Equal(t, bob, m.Sender)
	}
	require.Empty(t, a.codes(device.EventMessageRefused))
}

func TestReplayAndTampering(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	item := b.speak(id, nil, nil)
	for i := range item.Message {
		bad := item
		bad.Message = flip(item.Message, i)
		a.receive(bad)
	}
	require.Empty(t, a.texts(id))
	require.NotContains(t, a.codes(device.EventMessageRefused), device.CodeForkDetected)
	other := item
	other.Conversation = "https://a.example/waxwing/conversations/00"
	a.receive(other)
	require.Empty(t, a.texts(id))
	told := a.codes(device.EventMessageRefused)
	for range 3 {
		a.arrives(item)
	}
	require.Equal(t, told, a.codes(device.EventMessageRefused), "a second delivery is nothing to talk about")
	require.Equal(t, []string{"hi\nyou"}, a.texts(id), "no forgery used the key up, and the message counts once")
	again := a.conversation(id)
	a.cursor--
	item.Cursor = a.cursor
	require.NoError(t, a.Receive(item))
	require.Equal(t, again, a.conversation(id))
	cursor, err := a.Cursor()
	require.NoError(t, err)
	require.Equal(t, a.cursor+1, cursor)
	for range 3 { // our own messages coming back are nothing new
		a.say(id, "mine")
	}
	jobs, err := a.Jobs()
	require.NoError(t, err)
	a.receive(device.Incoming{Actor: alice, Message: jobs[0].(*device.SendJob).Message})
	require.Len(t, a.texts(id), 4)
}

func TestProposalsAreRefused(t *testing.T) {
	w, id := talk(t, bob, carol)
	g := w.people[bob].group(id)
	m, err := g.Propose(w.random, mls.RemoveProposal(0), mls.WirePrivateMessage, nil)
	require.NoError(t, err)
	a := w.people[alice]
	a.arrives(device.Incoming{Actor: bob, Conversation: a.conversation(id).URL, Message: m})
	require.Equal(t, []string{device.CodeNotAllowed}, a.codes(device.EventMessageRefused))
	public, err := g.Propose(w.random, mls.RemoveProposal(0), mls.WirePublicMessage, nil)
	require.NoError(t, err)
	a.arrives(device.Incoming{Actor: bob, Conversation: a.conversation(id).URL, Message: public})
	require.Equal(t, []string{device.CodeNotAllowed, device.CodeNotAllowed}, a.codes(device.EventMessageRefused))
}

func TestGarbageIsBounded(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	g := b.group(id)
	later := b.speak(id, nil, nil)
	later.Message[len(g.GroupID())+5+7]++ // the epoch's last byte, in the clear
	later.Actor = "https://evil.example/x"
	for range 300 {
		a.receive(later)
		later.Message = flip(later.Message, len(later.Message)-1)
	}
	require.LessOrEqual(t, len(a.store.buckets["parked:"+id].keys), 32)
	stranger := later
	for i := range 400 {
		stranger.Message = append([]byte{}, later.Message...)
		binary.BigEndian.PutUint32(stranger.Message[6:], uint32(i)) // another group id
		a.receive(stranger)
	}
	require.LessOrEqual(t, len(a.store.buckets["strangers"].keys), 256)
	total := 0
	for name, bucket := range a.store.buckets {
		if len(name) > 7 && name[:7] == "parked:" {
			total += len(bucket.keys)
		}
	}
	require.LessOrEqual(t, total, 256+32)
	a.receive(device.Incoming{Actor: bob, Message: make([]byte, 2<<20)})
	a.work()
	b.say(id, "still fine")
	w.quiet()
	require.Equal(t, []string{"still fine"}, a.texts(id))
	w.now = w.now.Add(15 * 24 * time.Hour)
	require.NoError(t, a.Sync())
	w.quiet()
	require.Empty(t, a.store.buckets["parked:"+id].keys, "what nobody can read is not kept for ever")
}
