package histories_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

// A ledger is what somebody who sees everything has seen, and holds against what must never be. It sees no more of a device than its answers
// and its disk.
type ledger struct {
	*secrets
	dies     func() bool // whether a sidecar dies between a receipt and what follows from it
	receipts map[string][]byte
	heads    map[[32]byte]receipt.Receipt
	packages map[[32]byte]bool
	epochs   map[string][]byte               // authenticator, by conversation, term and epoch
	places   map[[32]byte][]byte             // authenticator, by head of the chain: the same chain leads to the same epoch
	members  map[string]map[string]bool      // device ids, by authenticator
	reached  map[[32]byte]*agent             // by ticket: an honest device is or was in its epoch
	refused  map[[32]byte]*agent             // by ticket: an honest device has disputed the commit that opened it
	tickets  map[[32]byte]ed25519.PrivateKey // of all epochs
	groups   map[[32]byte]*mls.Group         // of a member in each epoch, by its ticket: what an insider has who keeps everything
	texts    map[string]*text
	messages map[[32]byte]*sending
	alone    map[string]bool // device ids: they came back, and had not heard an admin yet
	tries    int             // to read what is for others
	forgot   bool            // a hub was restored from a backup, and not everything it forgot was to be had
	lied     bool            // after which it has signed two receipts for one place
}

// A text is an acknowledged message of an honest device.
type text struct {
	conversation string
	body         string
	from         *agent
	plain        bool
	sent         []*sending // more than one if it was encrypted anew
	read         map[string]bool
	excused      map[string]string // device ids, with why it need not read it
}

// A sending is one encryption of a text.
type sending struct {
	*text
	epoch   uint64
	auth    string // of its epoch, first 8 bytes
	readers map[string]bool
	late    map[string]bool // devices that had thrown the epoch's keys away when it came
}

// for whom the text was encrypted, at any time.
func (t *text) readable(id string) bool {
	return slices.ContainsFunc(t.sent, func(s *sending) bool { return s.readers[id] })
}

// A gap is what a device that had lost the thread was told that it may have missed.
type gap struct{ From, To uint64 }

func newLedger() *ledger {
	return &ledger{
		secrets:  newSecrets(),
		receipts: map[string][]byte{}, heads: map[[32]byte]receipt.Receipt{}, packages: map[[32]byte]bool{}, epochs: map[string][]byte{},
		places: map[[32]byte][]byte{}, members: map[string]map[string]bool{}, reached: map[[32]byte]*agent{}, refused: map[[32]byte]*agent{},
		tickets: map[[32]byte]ed25519.PrivateKey{}, groups: map[[32]byte]*mls.Group{}, alone: map[string]bool{}, texts: map[string]*text{}, messages: map[[32]byte]*sending{},
	}
}

// row is what a device writes down of a conversation.
type row struct {
	State         device.ConversationState `json:"state"`
	Reason        string                   `json:"reason"`
	URL           string                   `json:"url"`
	Seq           uint64                   `json:"seq"`
	Head          [32]byte                 `json:"head"`
	Term          uint64                   `json:"term"`
	Hub           string                   `json:"hub"`
	Saves         uint64                   `json:"saves"`
	Disputed      uint64                   `json:"disputed"`
	Authenticator []byte                   `json:"authenticator"`
	Missed        *gap                     `json:"missed"`
	Plain         json.RawMessage          `json:"plain"`
	Alone         uint64                   `json:"alone"`  // the epoch that its return has made, until somebody else is heard
	Resync        json.RawMessage          `json:"resync"` // there while it has lost the thread
	Places        []struct {
		Epoch         uint64  `json:"epoch"`
		Term          uint64  `json:"term"`
		Seq           uint64  `json:"seq"`
		Head          [8]byte `json:"head"`
		Authenticator [8]byte `json:"authenticator"`
	} `json:"places"`
}

func (a *agent) row(id string) (r row, ok bool) {
	ok = a.disk.row("conversation", id, &r)
	r.Term = max(r.Term, 1)
	return r, ok
}

// group is a copy of a device's MLS state.
func (a *agent) group(id string) *mls.Group {
	g, err := a.load(id)
	require.NoError(a.w.t, err)
	return g
}

func (a *agent) load(id string) (*mls.Group, error) {
	var records []mls.Record
	b := a.disk.bucket("group:" + id)
	for _, key := range b.keys {
		records = append(records, mls.Record{Key: key, Value: slices.Clone(b.values[key])})
	}
	return mls.LoadGroup(records)
}

// observe looks at a device after each of its steps.
func (w *world) observe(a *agent) {
	for _, id := range a.disk.bucket("conversation").keys {
		r, _ := a.row(id)
		if a.honest {
			w.observeTexts(a, id)
		}
		if r.Plain != nil {
			continue
		}
		if g, err := a.load(id); r.State == device.StateLeft && err == nil {
			a.last[id] = g.Epoch()
		}
		if r.State == device.StateLeft || r.State == device.StateOpening || r.Resync != nil || a.saves[id] == r.Saves && !a.hasty {
			continue
		}
		if _, err := a.load(id); errors.Is(err, mls.ErrDamaged) {
			continue // it does not know yet
		}
		a.saves[id] = r.Saves
		if r.Missed != nil && !slices.Contains(a.gaps[id], *r.Missed) {
			a.gaps[id] = append(a.gaps[id], *r.Missed)
		}
		a.last[id] = w.observeEpoch(a, id, r)
	}
}

func (w *world) observeEpoch(a *agent, id string, r row) uint64 {
	g := a.group(id)
	key := ticketKey(w.t, g)
	ticket := [32]byte(publicOf(key))
	if a.actor == mallory {
		w.groups[ticket] = g
	}
	w.hold(a, id, g)
	if w.tickets[ticket] = key; !a.honest {
		return g.Epoch()
	}
	auth := g.EpochAuthenticator()
	w.log("%s: %s%s, term %d, seq %d, epoch %d, ticket %x", a, r.State, r.Reason, r.Term, r.Seq, g.Epoch(), ticket[:2])
	at := fmt.Sprintf("%s term %d epoch %d", id[:6], r.Term, g.Epoch())
	if !a.hasty {
		require.Equal(w.t, auth, r.Authenticator, "%s tells another authenticator than it has, %s", a, at)
	}
	short := string(auth[:8])
	if w.members[short] == nil {
		w.members[short] = map[string]bool{}
		for _, m := range g.Members() {
			w.members[short][keydir.DeviceID(m.Node.SignatureKey)] = true
		}
	}
	a.path[short] = true
	a.epochs[epochOf{id, g.Epoch()}] = short
	if r.Alone != 0 && !w.insider().honest {
		w.alone[a.id] = true
		return g.Epoch() // an insider may have shown it a way back to where no admin is; it finds out when they change something
	}
	if known, ok := w.epochs[at]; ok && !w.lied {
		require.Equal(w.t, known, auth, "%s has another authenticator than others, %s", a, at)
	}
	w.epochs[at] = auth
	if w.places[r.Head] == nil {
		w.places[r.Head] = auth
	} else if r.Disputed == 0 {
		require.Equal(w.t, w.places[r.Head], auth, "%s has followed the same chain to another epoch, %s", a, at)
	}
	if by := w.refused[ticket]; by != nil {
		require.Fail(w.t, "a commit was refused", "%s has disputed what %s has applied, %s", by, a, at)
	}
	w.reached[ticket] = a
	return g.Epoch()
}

func (w *world) insider() *agent {
	return w.agents[slices.IndexFunc(w.agents, func(a *agent) bool { return a.actor == mallory })]
}

func ticketKey(t require.TestingT, g interface {
	Export(string, []byte, int) ([]byte, error)
}) ed25519.PrivateKey {
	secret, err := g.Export(receipt.TicketLabel, nil, 32)
	require.NoError(t, err)
	return receipt.TicketKey(secret)
}

// observeTexts looks at what came in.
func (w *world) observeTexts(a *agent, id string) {
	list, err := a.Messages(id, a.read[id], 1000)
	require.NoError(w.t, err)
	for _, m := range list {
		a.read[id] = m.Seq
		t := w.texts[m.Text]
		if m.Mine || t == nil {
			continue // before it was taken over, or since
		}
		require.True(w.t, t.plain || t.readable(a.id), "%s reads %q, which was encrypted without it", a, m.Text)
		require.False(w.t, t.read[a.id], "%s has %q twice", a, m.Text)
		require.Equal(w.t, t.from.actor, m.Sender)
		t.read[a.id] = true
	}
}

// accepted notes that a sidecar takes a message.
func (w *world) accepted(a *agent, j *device.SendJob) {
	if j.Seq == 0 || !a.honest {
		return // nobody wrote it
	}
	if j.Plain {
		w.acceptedPlain(a, j)
		return
	}
	list, err := a.Messages(j.ConversationID, j.Seq-1, 1)
	require.NoError(w.t, err)
	t := w.texts[list[0].Text]
	if t == nil {
		t = &text{conversation: j.ConversationID, body: list[0].Text, from: a, read: map[string]bool{}, excused: map[string]string{}}
		w.texts[t.body] = t
	}
	s := &sending{text: t, epoch: j.Epoch, auth: a.epochs[epochOf{j.ConversationID, j.Epoch}], late: map[string]bool{}}
	r, _ := a.row(j.ConversationID)
	for _, p := range r.Places {
		if p.Epoch == j.Epoch {
			s.auth = string(p.Authenticator[:])
		}
	}
	s.readers = maps.Clone(w.members[s.auth])
	delete(s.readers, a.id)
	if t.sent = append(t.sent, s); len(t.sent) > 1 {
		w.sameReaders(t.sent[0], s)
	}
	w.messages[sha256.Sum256(j.Message)] = s
	w.secret(a, j, s)
}

// sameReaders holds that what is encrypted anew is read by nobody for whom it was not written.
func (w *world) sameReaders(first, anew *sending) {
	meant := map[string]bool{first.from.actor: true}
	for _, a := range w.agents {
		if first.readers[a.id] {
			meant[a.actor] = true
		}
	}
	for _, a := range w.agents {
		require.True(w.t, meant[a.actor] || !anew.readers[a.id], "%q is encrypted anew for %s, who was not in epoch %d", first.body, a, first.epoch)
	}
}

// arrives notes who need not read what arrives now: what comes after their removal. What comes after its epoch's keys are gone comes again, as
// long as its author is there.
func (w *world) arrives(a *agent, item device.Incoming) {
	t := w.messages[sha256.Sum256(item.Message)]
	if t == nil {
		return
	}
	r, ok := a.row(t.conversation)
	if !ok || len(r.Places) == 0 {
		return
	}
	if r.State == device.StateLeft && t.epoch <= a.last[t.conversation] {
		t.excused[a.id] = "it came after their removal"
	} else if r.Places[0].Epoch > t.epoch+2 {
		t.late[a.id] = true
		c, err := a.Conversation(t.conversation)
		require.NoError(w.t, err)
		if !slices.ContainsFunc(c.Members, func(m device.Member) bool { return m.Actor == t.from.actor }) {
			t.excused[a.id] = "it came too late, when its author was gone"
		}
	}
}

// leak brings what was sent to everybody else, too.
func (w *world) leak(from *agent, item device.Incoming, to []string) {
	told := map[string]bool{from.actor: true}
	for _, a := range w.agents {
		if !told[a.actor] && !slices.Contains(to, a.actor) {
			told[a.actor] = true
			a.home.mail[a.actor] = append(a.home.mail[a.actor], letter{Incoming: item})
		}
	}
}

// handedOut holds that a one-time key package is given to one.
func (w *world) handedOut(raw []byte) {
	hash := sha256.Sum256(raw)
	require.False(w.t, w.packages[hash], "a key package is handed out twice")
	w.packages[hash] = true
}

// disputed notes that a device holds a commit to be invalid.
func (w *world) disputed(a *agent, j *device.DisputeJob) {
	d, err := receipt.ParseDispute(j.Dispute)
	require.NoError(w.t, err)
	r, ok := w.heads[d.ReceiptHash]
	require.True(w.t, ok, "%s disputes what nobody signed", a)
	if by := w.reached[r.Ticket]; a.honest && by != nil && d.Reason != receipt.ReasonMismatch {
		require.Fail(w.t, "a commit was refused", "%s disputes what %s has applied: receipt %d of term %d, reason %d", a, by, r.Seq, r.Term, d.Reason)
	}
	if a.honest && d.Reason != receipt.ReasonMismatch {
		w.refused[r.Ticket] = a
	}
}

func (w *world) granted(at *node, e hub.Event) {
	r, err := receipt.Parse(e.Receipt)
	require.NoError(w.t, err)
	w.audit(at, r.GroupID)
}

// audit goes through a hub's register: one receipt for each place, one commit for each time that an epoch was open.
func (w *world) audit(at *node, groupID []byte) {
	events, err := at.registers.Events(ctx, groupID, 0, 1<<20)
	require.NoError(w.t, err)
	open := map[string]int{"1 0": 1}
	last, gap := uint64(0), false
	for _, e := range events {
		r, err := receipt.Parse(e.Receipt)
		require.NoError(w.t, err)
		w.heads[receipt.Head(e.Receipt)] = r
		place := fmt.Sprintf("%x term %d seq %d", groupID, r.Term, r.Seq)
		if known, ok := w.receipts[place]; ok && !bytes.Equal(known, e.Receipt) {
			require.True(w.t, w.forgot, "the hub has signed two receipts for one place: %s", place)
			w.lied = true
		}
		if w.receipts[place] == nil {
			w.log("%s: receipt kind %d, seq %d, epoch %d of term %d, ticket %x", hostOf(at.origin), r.Kind, r.Seq, r.Epoch, r.Term, r.Ticket[:2])
		}
		w.receipts[place] = e.Receipt
		epoch := fmt.Sprint(r.Term, " ", r.Epoch)
		if gap = gap || r.Seq > last+1; gap { // a hub that takes over has no more of the old chain than a mirror had
			if _, seen := open[epoch]; !seen {
				open[epoch] = 1
			}
		}
		last = r.Seq
		switch r.Kind {
		case receipt.KindReopen, receipt.KindTerm:
			open[epoch]++
		default:
			require.Positive(w.t, open[epoch], "the hub has granted two commits of one epoch: %s", place)
			open[epoch]--
			open[fmt.Sprint(r.Term, " ", r.Epoch+1)]++
		}
	}
}
