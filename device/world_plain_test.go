package device_test

import (
	"encoding/json"
	"strings"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// A plainPeer is somebody's program of the draft, of the kind that runs today: it makes a new signature key with each key package and replaces the
// package after each Welcome, applies its own commits when it makes them and others' when they come, goes back on nothing, refuses proposals, takes
// no Welcome to a group that it has, and tries again what it cannot read.
type plainPeer struct {
	w      *world
	actor  string
	signer *mls.SignatureKey
	secret *mls.KeyPackageSecret
	groups map[string]*mls.Group
	mail   []device.Incoming
	later  []device.Incoming
	texts  []string
	silent bool // it acknowledges nothing
}

func (w *world) isPlain(actor string) bool {
	origin, _ := originOf(actor)
	for other := range w.plain {
		if o, _ := originOf(other); o == origin {
			return true
		}
	}
	return false
}

func (w *world) plainPeer(actor string) *plainPeer {
	p := &plainPeer{w: w, actor: actor, groups: map[string]*mls.Group{}}
	p.cycle()
	w.plain[actor] = p
	return p
}

// cycle makes a new key package, and with it a new key.
func (p *plainPeer) cycle() {
	var err error
	p.signer, err = mls.GenerateSignatureKey(mls.X25519AES128GCMSHA256Ed25519, p.w.random)
	require.NoError(p.w.t, err)
	now := uint64(p.w.now.Unix())
	p.secret, err = mls.NewKeyPackage(p.w.random, mls.KeyPackageParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, Signer: p.signer, Credential: mls.BasicCredential([]byte(p.actor)),
		Lifetime: mls.Lifetime{NotBefore: now - 60, NotAfter: now + 360*86400},
	})
	require.NoError(p.w.t, err)
}

func (p *plainPeer) read() {
	for len(p.mail) > 0 {
		item := p.mail[0]
		p.mail = p.mail[1:]
		if !p.take(item) {
			p.later = append(p.later, item)
			continue
		}
		again := p.later
		p.later = nil
		for _, x := range again {
			if !p.take(x) {
				p.later = append(p.later, x)
			}
		}
	}
}

// take processes an item and tells whether it could.
func (p *plainPeer) take(item device.Incoming) bool {
	m, err := mls.ParseMessage(item.Message)
	require.NoError(p.w.t, err)
	if m.WireFormat() == mls.WireWelcome {
		return p.join(m)
	}
	id := string(m.GroupID())
	g := p.groups[id]
	if g == nil {
		return false
	}
	next := g.Clone()
	processed, err := next.Process(m, p.w.now)
	if err != nil {
		return false
	}
	switch x := processed.(type) {
	case *mls.StagedCommit:
		require.NoError(p.w.t, next.Apply(x))
	case *mls.ReceivedProposal:
		return true // it does not keep them
	case *mls.ApplicationMessage:
		p.groups[id] = next
		p.heard(id, item.Actor, x)
		return true
	}
	p.groups[id] = next
	if next.Removed() {
		delete(p.groups, id)
	}
	return true
}

func (p *plainPeer) join(m *mls.Message) bool {
	join, err := mls.JoinWelcome(m, mls.JoinParams{KeyPackage: p.secret, Signer: p.signer})
	if err != nil {
		return true // for another package, or another device
	}
	g := join.Group()
	if _, ok := p.groups[string(g.GroupID())]; ok {
		return true
	}
	p.groups[string(g.GroupID())] = g
	p.cycle()
	return true
}

// heard reads an activity and acknowledges it.
func (p *plainPeer) heard(id, from string, m *mls.ApplicationMessage) {
	var a struct {
		Type, Actor string
		Object      json.RawMessage
	}
	var note struct{ Type, ID, Content, AttributedTo string }
	require.NoError(p.w.t, json.Unmarshal(m.Data, &a))
	require.Equal(p.w.t, from, a.Actor)
	require.Equal(p.w.t, from, string(m.Sender.Node.Credential.Identity))
	if a.Type != "Create" {
		return
	}
	require.NoError(p.w.t, json.Unmarshal(a.Object, &note))
	require.Equal(p.w.t, from, note.AttributedTo)
	p.texts = append(p.texts, strings.TrimSuffix(strings.TrimPrefix(note.Content, "<p>"), "</p>"))
	if !p.silent {
		p.send(id, map[string]any{"type": "Acknowledge", "actor": p.actor, "to": []string{from}, "object": note.ID, "context": id}, from)
	}
}

func (p *plainPeer) groupNames() (names []string) {
	for id := range p.groups {
		names = append(names, id)
	}
	return names
}

func (p *plainPeer) members(id string) (actors []string) {
	for _, m := range p.groups[id].Members() {
		if actor := string(m.Node.Credential.Identity); actor != p.actor {
			actors = append(actors, actor)
		}
	}
	return actors
}

func (p *plainPeer) send(id string, activity map[string]any, to ...string) {
	data, err := json.Marshal(activity)
	require.NoError(p.w.t, err)
	raw, err := p.groups[id].Encrypt(p.w.random, data, nil, nil)
	require.NoError(p.w.t, err)
	p.w.deliver(to, device.Incoming{Actor: p.actor, Message: raw})
}

// say has no id on the activity, and no source on the note, as theirs.
func (p *plainPeer) say(id, text string) {
	p.send(id, map[string]any{"type": "Create", "actor": p.actor, "context": id, "instrument": "https://x.example/client", "to": p.members(id), "object": map[string]any{
		"id": "uri:uuid:" + uuid.NewString(), "type": "Note", "attributedTo": p.actor, "content": "<p>" + text + "</p>", "context": id,
	}}, p.members(id)...)
}

// create makes a group and invites.
func (p *plainPeer) create(with ...string) (id string) {
	id = "uri:uuid:" + uuid.NewString()
	g, err := mls.NewGroup(p.w.random, mls.GroupParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, GroupID: []byte(id), Signer: p.signer, Credential: mls.BasicCredential([]byte(p.actor)),
		Lifetime: mls.Lifetime{NotBefore: uint64(p.w.now.Unix()) - 60, NotAfter: uint64(p.w.now.Unix()) + 86400},
	})
	require.NoError(p.w.t, err)
	p.groups[id] = g
	p.add(id, with...)
	p.cycle()
	return id
}

// add looks at what the draft's collections show, and commits.
func (p *plainPeer) add(id string, actors ...string) []byte {
	var proposals []mls.Proposal
	for _, actor := range actors {
		proposals = append(proposals, mls.AddProposal(p.w.shown(actor)))
	}
	return p.commit(id, actors, mls.CommitParams{Proposals: proposals})
}

// shown is a package as the draft shows it.
func (w *world) shown(actor string) *mls.KeyPackage {
	if p := w.plain[actor]; p != nil {
		return p.secret.KeyPackage()
	}
	kp, err := mls.ParseKeyPackage(w.packages[actor].lastResort)
	require.NoError(w.t, err)
	return kp
}

// commit applies on send.
func (p *plainPeer) commit(id string, added []string, params mls.CommitParams) []byte {
	g, before := p.groups[id], p.members(id)
	params.Now, params.SkipStored = p.w.now, true
	pending, err := g.Commit(p.w.random, params)
	require.NoError(p.w.t, err)
	require.NoError(p.w.t, g.ConfirmPending())
	if w := pending.Welcome(); w != nil {
		p.w.deliver(added, device.Incoming{Actor: p.actor, Message: w})
	}
	p.w.deliver(before, device.Incoming{Actor: p.actor, Message: pending.Message()})
	return pending.Message()
}

const (
	erin  = "https://e.example/@erin"
	frank = "https://f.example/@frank"
)
