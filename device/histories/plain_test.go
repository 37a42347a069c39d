package histories_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
	hubtest "github.com/waxwing-dm/waxwing/federation/hub/storetest"
	"github.com/waxwing-dm/waxwing/mls"
)

const (
	pat   = "https://p.example/@pat" // has a program of the draft
	quinn = "https://q.example/@quinn"
)

// A plainPeer is somebody's program of the draft, on an instance that has neither log nor hub: it makes a new key with each key package, applies
// commits when it makes them and others' when they come, goes back on nothing, and takes no Welcome to a group that it has.
type plainPeer struct {
	w      *world
	actor  string
	home   *node
	cursor int
	signer *mls.SignatureKey
	secret *mls.KeyPackageSecret
	groups map[string]*mls.Group
	names  []string // of the groups, the newest last
	later  []device.Incoming
	made   int
}

func (w *world) plainPeer(actor string) *plainPeer {
	n := &node{
		w: w, origin: originOf(actor), up: true, registers: &register{Memory: new(hubtest.Memory)}, mirrored: newMirrorStore(), mail: map[string][]letter{},
		answers: map[string][]byte{}, plain: true,
	}
	w.nodes = append(w.nodes, n)
	p := &plainPeer{w: w, actor: actor, home: n, groups: map[string]*mls.Group{}}
	p.cycle()
	w.peers = append(w.peers, p)
	return p
}

// cycle makes a new key package, and with it a new key.
func (p *plainPeer) cycle() {
	var err error
	p.signer, err = mls.GenerateSignatureKey(mls.X25519AES128GCMSHA256Ed25519, p.w.random)
	require.NoError(p.w.t, err)
	p.secret, err = mls.NewKeyPackage(p.w.random, mls.KeyPackageParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, Signer: p.signer, Credential: mls.BasicCredential([]byte(p.actor)), Lifetime: p.lifetime(),
	})
	require.NoError(p.w.t, err)
}

func (p *plainPeer) lifetime() mls.Lifetime {
	now := uint64(p.w.now.Unix())
	return mls.Lifetime{NotBefore: now - 3600, NotAfter: now + 360*86400}
}

// shown are the key packages of who has no directory.
func (w *world) shown(actor string) (packages []device.ClaimedPackage) {
	for _, p := range w.peers {
		if p.actor == actor {
			packages = append(packages, device.ClaimedPackage{KeyPackage: p.secret.KeyPackage().Marshal()})
		}
	}
	return packages
}

// read takes the next item. It tells whether there was one.
func (p *plainPeer) read() bool {
	mail := p.home.mail[p.actor]
	if !p.home.up || p.cursor >= len(mail) {
		return false
	}
	item := mail[p.cursor].Incoming
	p.cursor++
	if item.Actor == p.actor || item.Conversation != "" {
		return true // its own, or nothing of the draft
	}
	if !p.take(item) {
		p.later = append(p.later, item)
		return true
	}
	again := p.later
	p.later = nil
	for _, x := range again {
		if !p.take(x) {
			p.later = append(p.later, x)
		}
	}
	return true
}

// take processes an item and tells whether it could.
func (p *plainPeer) take(item device.Incoming) bool {
	m, err := mls.ParseMessage(item.Message)
	require.NoError(p.w.t, err)
	if m.WireFormat() == mls.WireWelcome {
		return p.join(m)
	}
	id := string(m.GroupID())
	if p.groups[id] == nil {
		return false
	}
	next := p.groups[id].Clone()
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
		p.forget(id)
	}
	return true
}

func (p *plainPeer) forget(id string) {
	delete(p.groups, id)
	p.names = slices.DeleteFunc(p.names, func(n string) bool { return n == id })
}

func (p *plainPeer) join(m *mls.Message) bool {
	join, err := mls.JoinWelcome(m, mls.JoinParams{KeyPackage: p.secret, Signer: p.signer})
	if err != nil {
		return true // for another package
	}
	g := join.Group()
	if id := string(g.GroupID()); p.groups[id] == nil {
		p.groups[id] = g
		p.names = append(p.names, id)
		p.cycle()
	}
	return true
}

// heard reads an activity and acknowledges it.
func (p *plainPeer) heard(id, from string, m *mls.ApplicationMessage) {
	var a struct {
		Type, Actor string
		Object      struct{ ID, Content, AttributedTo string }
	}
	if json.Unmarshal(m.Data, &a) != nil || a.Type != "Create" {
		return
	}
	require.Equal(p.w.t, []string{from, from, from}, []string{a.Actor, a.Object.AttributedTo, string(m.Sender.Node.Credential.Identity)})
	body := strings.TrimSuffix(strings.TrimPrefix(a.Object.Content, "<p>"), "</p>")
	require.True(p.w.t, strings.HasPrefix(body, from), "%s reads %q as a message of %s", p.actor, body, from)
	p.send(id, map[string]any{"type": "Acknowledge", "actor": p.actor, "to": []string{from}, "object": a.Object.ID, "context": id}, from)
}

func (p *plainPeer) members(id string) (actors []string) {
	for _, m := range p.groups[id].Members() {
		if actor := string(m.Node.Credential.Identity); actor != p.actor && !slices.Contains(actors, actor) {
			actors = append(actors, actor)
		}
	}
	return actors
}

func (p *plainPeer) post(message []byte, to ...string) {
	p.home.post(&agent{actor: p.actor}, device.Incoming{Actor: p.actor, Message: message}, to)
}

func (p *plainPeer) send(id string, activity map[string]any, to ...string) {
	data, err := json.Marshal(activity)
	require.NoError(p.w.t, err)
	raw, err := p.groups[id].Encrypt(p.w.random, data, nil, nil)
	require.NoError(p.w.t, err)
	p.post(raw, to...)
}

// say something in the newest group.
func (p *plainPeer) say() {
	if len(p.names) == 0 {
		return
	}
	id := p.names[len(p.names)-1]
	p.made++
	p.send(id, map[string]any{"type": "Create", "actor": p.actor, "context": id, "to": p.members(id), "object": map[string]any{
		"id": "uri:uuid:" + uuid.NewString(), "type": "Note", "attributedTo": p.actor, "content": fmt.Sprintf("<p>%s %d</p>", p.actor, p.made), "context": id,
	}}, p.members(id)...)
}

// commit applies on send.
func (p *plainPeer) commit() {
	if len(p.names) == 0 {
		return
	}
	id := p.names[len(p.names)-1]
	g, before := p.groups[id], p.members(id)
	pending, err := g.Commit(p.w.random, mls.CommitParams{ForcePath: true, Now: p.w.now, SkipStored: true})
	require.NoError(p.w.t, err)
	require.NoError(p.w.t, g.ConfirmPending())
	p.post(pending.Message(), before...)
}

// plainOf are a device's plain conversations.
func (a *agent) plainOf() (all []device.Conversation) {
	list, err := a.Conversations()
	require.NoError(a.w.t, err)
	return slices.DeleteFunc(list, func(c device.Conversation) bool { return !c.Plain || c.State == device.StateLeft })
}

// meet makes a plain conversation beside the others.
func (m *machine) meet(a *agent) {
	m.plainPeer(pat)
	m.plainPeer(quinn)
	for _, actor := range []string{bob, pat, quinn} {
		require.NoError(m.t, a.look(actor))
	}
	_, err := a.StartPlain([]string{bob, pat, quinn})
	require.NoError(m.t, err)
	m.run()
}

// Plain is something that happens in it.
func (m *machine) Plain(rt *rapid.T) {
	if len(m.peers) == 0 {
		rt.Skip("there is none")
	}
	a, p := m.agents[rapid.IntRange(0, 1).Draw(rt, "who")], m.peers[rapid.IntRange(0, 1).Draw(rt, "peer")]
	all := a.plainOf()
	switch rapid.SampledFrom([]string{"say", "say", "answer", "answer", "read", "read", "apply", "add", "remove", "accept"}).Draw(rt, "in plain") {
	case "answer":
		p.say()
	case "read":
		p.read()
	case "apply":
		p.commit()
	case "accept":
		a.acceptKeys()
	case "say":
		if len(all) > 0 {
			m.unlucky(rt, a, func() { m.say(a, all[len(all)-1].ID) })
		}
	case "add":
		if len(all) > 0 {
			m.intend(rt, a, func() error { return a.AddMembers(all[len(all)-1].ID, []string{carol}) })
		}
	case "remove":
		if len(all) > 0 {
			m.intend(rt, a, func() error { return a.RemoveMembers(all[len(all)-1].ID, []string{carol}) })
		}
	}
}

// acceptKeys accepts what keys the peers have now.
func (a *agent) acceptKeys() {
	for _, p := range a.w.peers {
		c, ok, err := a.Contact(p.actor)
		require.NoError(a.w.t, err)
		if ok {
			require.NoError(a.w.t, a.AcceptKeys(p.actor, c.Resets))
		}
	}
}

// acceptedPlain notes that a sidecar takes a message of a plain conversation. Those are to read it who are where its author is.
func (w *world) acceptedPlain(a *agent, j *device.SendJob) {
	list, err := a.Messages(j.ConversationID, j.Seq-1, 1)
	require.NoError(w.t, err)
	c, err := a.Conversation(j.ConversationID)
	require.NoError(w.t, err)
	t := w.texts[list[0].Text]
	if t == nil {
		t = &text{conversation: j.ConversationID, body: list[0].Text, from: a, plain: true, read: map[string]bool{}, excused: map[string]string{}}
		w.texts[t.body] = t
	}
	s := &sending{text: t, epoch: j.Epoch, late: map[string]bool{}, readers: map[string]bool{}}
	for _, b := range w.agents {
		for _, x := range b.plainOf() {
			if b != a && b.honest && c.Epoch == j.Epoch && string(x.EpochAuthenticator) == string(c.EpochAuthenticator) {
				s.readers[b.id] = true
			}
		}
	}
	t.sent = append(t.sent, s)
}

// endPlain lets people accept keys, peers speak, and time pass, and holds that ours are in one state then.
func (m *machine) endPlain() {
	if len(m.peers) == 0 {
		return
	}
	for round := range 20 {
		for _, p := range m.peers {
			p.later = nil // it has given up
			p.say()
		}
		for range 3 {
			m.run()
			for _, a := range m.agents {
				a.acceptKeys()
			}
		}
		m.run()
		if round > 3 && m.apartInPlain() == "" {
			break
		}
		m.pass(time.Duration(11+5*round) * time.Minute) // the next one begins anew an hour after the one before did not
		m.run()
	}
	require.Empty(m.t, m.apartInPlain())
	m.checkPlainTexts()
}

// apartInPlain says who of ours is not where the first is.
func (m *machine) apartInPlain() string {
	var first *device.Conversation
	for _, a := range m.agents {
		all := a.plainOf()
		if !a.honest || a.revoked || len(all) == 0 {
			continue
		}
		last := all[len(all)-1]
		if first == nil {
			first = &last
		}
		if !slices.ContainsFunc(first.Members, func(x device.Member) bool { return slices.Contains(x.Devices, a.id) }) {
			continue // put out, or not taken along, in a state that it could not follow
		}
		if !slices.ContainsFunc(all, func(c device.Conversation) bool {
			return c.State == device.StateActive && string(c.EpochAuthenticator) == string(first.EpochAuthenticator)
		}) {
			return fmt.Sprintf("%s is %s in epoch %d of a plain conversation, the first in %d: %s", a, last.State, last.Epoch, first.Epoch, last.Reason)
		}
	}
	return ""
}

// checkPlainTexts holds that what was accepted was read by those who were where its author was, or somebody was told.
func (m *machine) checkPlainTexts() {
	for _, t := range m.texts {
		if !t.plain {
			continue
		}
		for _, a := range m.agents {
			if !t.sent[0].readers[a.id] || t.read[a.id] || !a.honest {
				continue
			}
			t.excused[a.id] = m.unreadPlain(a, t)
			require.NotEmpty(m.t, t.excused[a.id], "lost: %s has never got the plain %q", a, t.body)
		}
	}
}

func (m *machine) unreadPlain(a *agent, t *text) string {
	written, err := t.from.Messages(t.conversation, 0, 100_000)
	require.NoError(m.t, err)
	if slices.ContainsFunc(written, func(x device.Message) bool {
		return x.Mine && x.Text == t.body && (x.State == device.MessageFailed || len(x.Undelivered) > 0)
	}) {
		return "plain, and its author was told"
	}
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	for _, e := range events {
		if e.Type == device.EventMessageRefused && e.Actor == t.from.actor || e.Type == device.EventMemberRemoved && e.Actor == a.actor {
			return "plain, and its reader was told"
		}
	}
	return ""
}
