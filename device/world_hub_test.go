package device_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/keydir"
)

func (w *world) register(conversation string) *register {
	origin, groupID, err := receipt.ParseConversationURL(conversation)
	require.NoError(w.t, err)
	return w.instances[origin].hubs[hex.EncodeToString(groupID)]
}

// commit is POST /commits: the hub grants it or not, and only then it is delivered.
func (p *person) commit(j *device.CommitJob) error {
	w := p.w
	origin, groupID, err := receipt.ParseConversationURL(j.Conversation)
	require.NoError(w.t, err)
	r := w.register(j.Conversation)
	require.True(w.t, receipt.VerifySubmit(r.ticket, groupID, j.Term, j.Epoch, j.Commit, [32]byte(j.Ticket), j.Signature) || j.Epoch < r.epoch)
	raw := r.granted(j)
	if raw == nil && j.Epoch != r.epoch {
		events := r.events[j.Epoch+1:]
		return p.CommitConflict(j.ID(), events)
	}
	if raw == nil {
		raw = r.grant(w.instances[origin].hubKey, groupID, j)
	}
	if !w.done[j.ID()] {
		w.done[j.ID()] = true
		w.deliver(j.To, device.Incoming{Actor: p.actor, Conversation: j.Conversation, Message: j.Commit, Receipt: raw})
		if j.Welcome != nil {
			w.deliver(j.WelcomeTo, device.Incoming{Actor: p.actor, Conversation: j.Conversation, Message: j.Welcome, Receipt: raw})
		}
	}
	return p.Committed(j.ID(), raw)
}

// granted is S3: the receipt that the same commit got before.
func (r *register) granted(j *device.CommitJob) []byte {
	if int(j.Epoch)+1 < len(r.events) && string(r.events[j.Epoch+1].Commit) == string(j.Commit) {
		return r.events[j.Epoch+1].Receipt
	}
	return nil
}

func (r *register) grant(key ed25519.PrivateKey, groupID []byte, j *device.CommitJob) []byte {
	last := r.events[len(r.events)-1].Receipt
	rec := receipt.Receipt{
		Kind: receipt.KindCommit, GroupID: groupID, Term: 1, Seq: uint64(len(r.events)), Epoch: j.Epoch,
		MessageHash: sha256.Sum256(j.Commit), Previous: receipt.Head(last), Ticket: [32]byte(j.Ticket), Time: 1,
	}
	rec.Sign(key)
	r.epoch, r.ticket = j.Epoch+1, rec.Ticket
	r.events = append(r.events, device.HubEvent{Receipt: rec.Marshal(), Commit: j.Commit})
	return rec.Marshal()
}

// texts are what a person sees in a conversation, in order.
func (p *person) texts(id string) []string {
	list, err := p.Messages(id, 0, 10000)
	require.NoError(p.w.t, err)
	var texts []string
	for _, m := range list {
		texts = append(texts, m.Text)
	}
	return texts
}

// codes are the codes of a person's events of a type.
func (p *person) codes(kind device.EventType) []string {
	events, err := p.Events(0, 100000)
	require.NoError(p.w.t, err)
	var codes []string
	for _, e := range events {
		if e.Type == kind {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

func (p *person) conversation(id string) device.Conversation {
	c, err := p.Conversation(id)
	require.NoError(p.w.t, err)
	return c
}

func (p *person) say(id, text string) device.Message {
	m, err := p.Send(id, text, nil, "")
	require.NoError(p.w.t, err)
	return m
}

const (
	alice = "https://a.example/users/alice"
	bob   = "https://b.example/users/bob"
	carol = "https://c.example/users/carol"
	dave  = "https://a.example/users/dave"
)

// talk is alice and bob (and others) in a conversation that alice made.
func talk(t *testing.T, others ...string) (w *world, id string) {
	t.Helper()
	w = newWorld(t, 1)
	a := w.enrol(alice)
	for _, actor := range others {
		w.enrol(actor)
	}
	id, err := a.StartConversation(others)
	require.NoError(t, err)
	w.quiet()
	for _, actor := range others {
		require.Equal(t, device.StateActive, w.people[actor].conversation(id).State)
	}
	return w, id
}

func publicBytes(key any) []byte { return []byte(key.(ed25519.PublicKey)) }

func idOf(p *person) string { return keydir.DeviceID(p.key) }
