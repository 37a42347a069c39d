package histories_test

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// An honest device shows nothing of a conversation that it was put out of. Somebody who has its keys would try: so everything that is sent is tried
// with what those have kept who are not to read it.

// secrets are the newest groups that devices have had, by device id and conversation, and where texts were written.
type secrets struct {
	had     map[[2]string]*mls.Group
	written map[string]row // by text
}

func newSecrets() *secrets {
	return &secrets{had: map[[2]string]*mls.Group{}, written: map[string]row{}}
}

// hold notes what a device has now.
func (w *world) hold(a *agent, id string, g *mls.Group) {
	w.had[[2]string{a.id, id}] = g
	if a.confidant != nil {
		w.had[[2]string{a.confidant.id, id}] = g
	}
	if a.nostalgic && a.keepsake == nil {
		a.keepsake = g.Clone()
	}
}

// writes notes where a text is written.
func (w *world) writes(a *agent, id, body string) {
	if r, ok := a.row(id); ok && r.Plain == nil && len(r.Places) > 0 {
		w.written[body] = r
	}
}

// secret holds that nobody reads a message for whom it is not: who was put out before its author wrote it, who came later, whoever never was there.
func (w *world) secret(a *agent, j *device.SendJob, s *sending) {
	at, ok := w.written[s.body]
	if now, _ := a.row(j.ConversationID); ok && now.Term == at.Term && !w.alone[a.id] {
		require.GreaterOrEqual(w.t, j.Epoch, at.Places[0].Epoch, "%s encrypts %q for an epoch before the one it was written in", a, s.body)
	}
	m, err := mls.ParseMessage(j.Message)
	require.NoError(w.t, err)
	closed := func(g *mls.Group, whose string) {
		if g == nil || string(g.GroupID()) != string(m.GroupID()) {
			return
		}
		_, err := g.Clone().Process(m, w.now)
		require.Error(w.t, err, "%s decrypts %q, which is not for them", whose, s.body)
		w.tries++
	}
	insider := false
	for _, b := range w.agents {
		insider = insider || b.actor == mallory && s.readers[b.id]
		if b != a && !s.readers[b.id] {
			closed(w.had[[2]string{b.id, j.ConversationID}], b.String())
		}
	}
	for _, g := range w.groups {
		if !insider {
			closed(g, mallory)
		}
	}
}

// Bugs on purpose, of a device or of the program around it.
type bugs struct {
	hasty     bool   // it applies its commits before they are ordered
	nostalgic bool   // it encrypts for the first epoch that it was in
	generous  bool   // it encrypts its first text anew, for whoever is there
	grumpy    bool   // it disputes every commit that comes
	stutters  bool   // it sends everything twice
	confidant *agent // who gets its keys, whether in the conversation or not

	keepsake *mls.Group // the first one that it had
}

// misuse is what a bug makes of a message that is to be sent.
func (a *agent) misuse(j *device.SendJob) *device.SendJob {
	switch {
	case a.nostalgic && a.keepsake != nil && a.keepsake.Epoch() < j.Epoch && j.Seq > 0:
		raw, err := a.keepsake.Encrypt(a.w.random, []byte("{}"), nil, nil)
		require.NoError(a.w.t, err)
		old := *j
		old.Message, old.Epoch = raw, a.keepsake.Epoch()
		return &old
	case a.generous && j.Seq > 0:
		list, err := a.Messages(j.ConversationID, 0, 1000)
		require.NoError(a.w.t, err)
		i := slices.IndexFunc(list, func(m device.Message) bool { return m.Mine && a.w.texts[m.Text] != nil })
		if i >= 0 && list[i].Seq < j.Seq {
			again := *j
			again.Seq = list[i].Seq
			a.w.accepted(a, &again)
		}
	}
	return j
}

// complain disputes a commit.
func (a *agent) complain(item device.Incoming) {
	r, err := receipt.Parse(item.Receipt)
	if !a.grumpy || err != nil || r.Kind != receipt.KindCommit {
		return
	}
	d := receipt.Dispute{GroupID: r.GroupID, Term: r.Term, Seq: r.Seq, ReceiptHash: receipt.Head(item.Receipt), Reason: receipt.ReasonInvalid}
	d.Sign(a.home.hubKey)
	a.w.disputed(a, &device.DisputeJob{Dispute: d.Marshal()})
}
