package device_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/keydir"
)

func (w *world) register(conversation string) *register { return w.registerAt(conversation, "") }

// registerAt is what a hub has of a conversation; one that was never its hub has nothing.
func (w *world) registerAt(conversation, hub string) *register {
	origin, groupID, err := receipt.ParseConversationURL(conversation)
	require.NoError(w.t, err)
	if hub == "" {
		hub = origin
	}
	r := w.instances[hub].hubs[hex.EncodeToString(groupID)]
	if r == nil {
		r = new(register)
	}
	return r
}

// term is POST /terms at the hub that the claim names, which has mirrored the old chain.
func (p *person) term(j *device.TermJob) error {
	w := p.w
	origin, groupID, err := receipt.ParseConversationURL(j.Conversation)
	require.NoError(w.t, err)
	claim, err := receipt.ParseClaim(j.Claim)
	require.NoError(w.t, err)
	require.True(w.t, claim.VerifyMember())
	id, in := hex.EncodeToString(groupID), w.instances[claim.Next.Hub]
	if r := in.hubs[id]; r != nil && r.term >= claim.Term {
		return p.TermConflict(j.ID(), r.events)
	}
	old := w.instances[origin].hubs[id]
	for _, other := range w.instances {
		if r := other.hubs[id]; r != nil && len(r.events) > len(old.events) {
			old = r
		}
	}
	require.Equal(w.t, claim.Head, receipt.Head(old.events[claim.Seq].Receipt))
	rec := claim.Receipt(2)
	rec.Sign(in.hubKey)
	in.hubs[id] = &register{
		term: claim.Term, disputed: map[uint64]bool{}, branches: []branch{{claim.Epoch, claim.Ticket}}, tickets: make([][32]byte, claim.Seq+2),
		events: append(slices.Clone(old.events[:claim.Seq+1]), device.HubEvent{Receipt: rec.Marshal(), Commit: j.Claim}),
	}
	return p.TermOpened(j.ID(), rec.Marshal())
}

// commit is POST /commits: the hub grants it or not, and only then it is delivered.
func (p *person) commit(j *device.CommitJob) error {
	w := p.w
	origin, groupID, err := receipt.ParseConversationURL(j.Conversation)
	require.NoError(w.t, err)
	if j.Hub != "" {
		origin = j.Hub
	}
	r := w.registerAt(j.Conversation, j.Hub)
	raw := r.granted(j)
	if raw == nil && !r.serves(j.Despite) {
		return p.HubMoved(j.ID(), *r.moved)
	}
	if raw == nil {
		if !r.accepts(groupID, j) || r.lease != nil && string(r.lease) != string(j.LeaseKey) {
			return p.CommitConflict(j.ID(), r.events[min(len(r.events), int(j.Seq)+1):])
		}
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

// serves is S9.
func (r *register) serves(despite []byte) bool {
	if r.moved == nil {
		return true
	}
	hash := receipt.BodyHash(r.moved.Commit)
	return string(despite) == string(hash[:])
}

// granted is S3: the receipt that the same commit got before.
func (r *register) granted(j *device.CommitJob) []byte {
	for _, e := range r.events {
		if string(e.Commit) == string(j.Commit) {
			return e.Receipt
		}
	}
	return nil
}

// accepts is S4 and S5.
func (r *register) accepts(groupID []byte, j *device.CommitJob) bool {
	for _, b := range r.branches {
		if b.epoch == j.Epoch && j.Term == r.term && receipt.VerifySubmit(b.ticket, groupID, j.Term, j.Epoch, j.Commit, [32]byte(j.Ticket), j.Signature) {
			return j.LeaseKey == nil || receipt.VerifyLeased([32]byte(j.LeaseKey), j.Signature, j.LeaseSignature)
		}
	}
	return false
}

func (r *register) grant(key ed25519.PrivateKey, groupID []byte, j *device.CommitJob) []byte {
	kind := receipt.KindCommit
	if j.MoveHub != "" {
		next := receipt.NextHub{Hub: j.MoveHub, Key: [32]byte(j.MoveKey)}
		if !slices.ContainsFunc(r.branches, func(b branch) bool {
			return receipt.VerifyMove(b.ticket, groupID, j.Term, j.Epoch, j.Commit, next, j.MoveSignature)
		}) {
			return nil
		}
		kind = receipt.KindMove
	}
	rec := receipt.Receipt{Kind: kind, Epoch: j.Epoch, MessageHash: sha256.Sum256(j.Commit), Ticket: [32]byte(j.Ticket)}
	for i, b := range r.branches {
		if b.epoch == j.Epoch && (j.Signature == nil || receipt.VerifySubmit(b.ticket, groupID, j.Term, j.Epoch, j.Commit, rec.Ticket, j.Signature)) {
			raw := r.append(key, groupID, rec, j.Commit, b.ticket)
			r.branches = slices.Clone(r.branches)
			r.branches[i], r.lease = branch{j.Epoch + 1, rec.Ticket}, nil
			if len(j.GroupInfo) > 0 {
				r.infos = append([]device.SealedGroup{{Term: r.term, Seq: uint64(len(r.events)) - 1, Epoch: j.Epoch + 1, Sealed: j.GroupInfo}}, r.infos...)
			}
			return raw
		}
	}
	return nil
}

// newestInfos is GET /group-info.
func (r *register) newestInfos() []device.SealedGroup { return r.infos[:min(len(r.infos), 4)] }

// append signs the next receipt.
func (r *register) append(key ed25519.PrivateKey, groupID []byte, rec receipt.Receipt, body []byte, with [32]byte) []byte {
	rec.GroupID, rec.Term, rec.Seq, rec.Time = groupID, r.term, uint64(len(r.events)), 1
	rec.Previous = receipt.Head(r.events[len(r.events)-1].Receipt)
	rec.Sign(key)
	r.events, r.tickets = append(r.events, device.HubEvent{Receipt: rec.Marshal(), Commit: body}), append(r.tickets, with)
	return rec.Marshal()
}

// lease is POST /leases: the first to ask is alone with the next epoch.
func (p *person) lease(j *device.LeaseJob) error {
	r, w := p.w.register(j.Conversation), p.w
	_, groupID, err := receipt.ParseConversationURL(j.Conversation)
	require.NoError(w.t, err)
	b := r.branches[len(r.branches)-1]
	if !r.serves(nil) {
		return p.HubMoved(j.ID(), *r.moved)
	}
	if b.epoch != j.Epoch {
		return p.LeaseConflict(j.ID(), r.events)
	}
	require.True(w.t, receipt.VerifyLease(b.ticket, groupID, j.Term, j.Epoch, [32]byte(j.Key), j.Signature))
	if r.lease != nil && string(r.lease) != string(j.Key) {
		r.lease = nil // by the next time it has run out
		return p.Leased(j.ID(), time.Second)
	}
	r.lease = j.Key
	return p.Leased(j.ID(), 0)
}

// dispute is POST /disputes: one is enough for this hub.
func (p *person) dispute(j *device.DisputeJob) error {
	r, w := p.w.register(j.Conversation), p.w
	origin, groupID, err := receipt.ParseConversationURL(j.Conversation)
	require.NoError(w.t, err)
	d, err := receipt.ParseDispute(j.Dispute)
	require.NoError(w.t, err)
	disputed, err := receipt.Parse(r.events[d.Seq].Receipt)
	require.NoError(w.t, err)
	ticket := r.tickets[d.Seq]
	require.True(w.t, d.Verify(ticket))
	if !r.disputed[d.Seq] {
		r.disputed[d.Seq] = true
		body := receipt.MarshalReopening([][]byte{j.Dispute})
		rec := receipt.Receipt{Kind: receipt.KindReopen, Epoch: disputed.Epoch, MessageHash: sha256.Sum256(body), Ticket: ticket}
		r.append(w.instances[origin].hubKey, groupID, rec, body, ticket)
		r.branches = append(r.branches, branch{disputed.Epoch, ticket})
	}
	return p.Disputed(j.ID(), true)
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
