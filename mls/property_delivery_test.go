package mls

import (
	"crypto/rand"
	"flag"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A delivery is a group behind a hub that orders commits and a network that does as it likes: members are some epochs behind, hear
// the proposals of an epoch in any order, some of them only with the commit that names them, and get application messages early, late,
// twice or never. Commits come in their order, as the hub promises. Whoever has come to an epoch is in the same state.
type delivery struct {
	t      *rapid.T
	in     []*party
	out    []*party
	log    []ordered // log[e] is the commit that ends epoch e
	pool   []*proposed
	after  [][]byte // authenticator of each epoch
	posts  []post
	guests []*guest // have been proposed or added and not yet joined
	since  map[*party]uint64
	made   int
	seen   *deliveryStats
}

type deliveryStats struct {
	members, concurrent, races, external, resyncs, lostPosts, lostWelcomes, reordered, early, behind, removed, unread int
}

type ordered struct {
	raw       []byte
	by        *party
	proposals []*proposed
}

type proposed struct {
	raw   []byte
	from  *party
	heard map[*party]bool
}

type post struct {
	raw   []byte
	text  string
	from  *party
	epoch uint64
	to    []*party
}

type guest struct {
	p  *party
	kp *KeyPackageSecret
}

func (h *delivery) draw(n int, label string) int { return rapid.IntRange(0, n-1).Draw(h.t, label) }

func (h *delivery) pick(label string) *party { return h.in[h.draw(len(h.in), label)] }

func (h *delivery) epoch() uint64 { return uint64(len(h.log)) }

func (h *delivery) newcomer() *guest {
	p := newParty(h.t, fmt.Sprintf("m%d", h.made))
	h.made++
	return &guest{p, p.keyPackage()}
}

// hear gives a member a proposal of its epoch, once.
func (h *delivery) hear(p *party, m *proposed) {
	if m.from != p && !m.heard[p] {
		p.receiveProposal(m.raw)
		m.heard[p] = true
	}
}

func (h *delivery) hearAll(p *party, list []*proposed) {
	order := rapid.Permutation(list).Draw(h.t, "order")
	if len(list) > 1 && !slices.Equal(order, list) {
		h.seen.reordered++
	}
	for _, m := range order {
		h.hear(p, m)
	}
}

// step brings a member one epoch on.
func (h *delivery) step(p *party) {
	o := h.log[p.g.Epoch()]
	if o.by == p {
		p.confirm()
	} else {
		h.hearAll(p, o.proposals)
		p.apply(o.raw)
		require.Nil(h.t, p.g.Pending())
	}
	if !p.g.Removed() {
		require.Equal(h.t, h.after[p.g.Epoch()], p.g.EpochAuthenticator(), "%s in epoch %d", p.name, p.g.Epoch())
	}
}

func (h *delivery) catchUp(p *party) {
	for !p.g.Removed() && p.g.Epoch() < h.epoch() {
		h.step(p)
	}
}

// order makes a commit of by the next one of the group.
func (h *delivery) order(raw []byte, by *party, next *Group) {
	h.log = append(h.log, ordered{raw, by, h.pool})
	h.after = append(h.after, next.EpochAuthenticator())
	h.pool = nil
	has := map[string]bool{}
	for _, m := range next.Members() {
		has[string(m.Node.EncryptionKey)], has[string(m.Node.SignatureKey)] = true, true
	}
	for _, p := range slices.Clone(h.in) {
		if !has[string(p.signer.Public())] {
			h.gone(p)
		}
	}
	for _, g := range slices.Clone(h.guests) {
		if !has[string(g.kp.public.Leaf.EncryptionKey)] {
			continue
		}
		h.guests = slices.DeleteFunc(h.guests, func(x *guest) bool { return x == g })
		if h.draw(10, "welcome") == 0 {
			h.seen.lostWelcomes++ // a member who never comes
			continue
		}
		g.p.join(g.kp, by.g.Pending().Welcome())
		h.enter(g.p)
	}
	h.seen.members = max(h.seen.members, len(next.Members()))
}

func (h *delivery) enter(p *party) {
	h.in, h.since[p] = append(h.in, p), p.g.Epoch()
}

// gone lets a member hear that it was removed.
func (h *delivery) gone(p *party) {
	h.in = slices.DeleteFunc(h.in, func(q *party) bool { return q == p })
	h.catchUp(p)
	require.True(h.t, p.g.Removed())
	h.out = append(h.out, p)
	h.seen.removed++
}

func (h *delivery) commit() {
	by := h.pick("committer")
	h.catchUp(by)
	if loser := h.pick("loser"); loser != by && h.draw(3, "race") == 0 {
		h.catchUp(loser)
		if loser.g.Pending() == nil {
			loser.commit(CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(by))}})
			h.seen.races++
		}
	}
	by.g.DropPending()
	for _, m := range h.pool {
		if h.draw(5, "heard") > 0 {
			h.hear(by, m)
		}
	}
	if len(h.pool) > 1 {
		h.seen.concurrent++
	}
	params := CommitParams{Framing: WirePublicMessage + WireFormat(h.draw(2, "framing")), ForcePath: h.draw(2, "path") == 0}
	switch members := by.g.Members(); h.draw(4, "kind") {
	case 0:
		for range 1 + h.draw(3, "adds") {
			if len(members)+len(h.guests) < 30 {
				g := h.newcomer()
				h.guests = append(h.guests, g)
				params.Proposals = append(params.Proposals, AddProposal(g.kp.KeyPackage()))
			}
		}
	case 1:
		if leaf := members[h.draw(len(members), "removed")].Leaf; leaf != leafOf(by) && len(h.in) > 2 {
			params.Proposals = append(params.Proposals, RemoveProposal(leaf))
		}
	}
	pending := by.commit(params)
	h.order(pending.Message(), by, pending.next)
}

func (h *delivery) propose() {
	p := h.pick("proposer")
	h.catchUp(p)
	var m []byte
	var err error
	framing := WirePublicMessage + WireFormat(h.draw(2, "framing"))
	switch members := p.g.Members(); h.draw(4, "proposal") {
	case 0:
		m, err = p.g.ProposeUpdate(rand.Reader, framing, nil)
	case 1:
		m, err = p.g.Propose(rand.Reader, RemoveProposal(members[h.draw(len(members), "proposed")].Leaf), framing, nil)
	case 2:
		g := h.newcomer()
		if len(members)+len(h.guests) >= 30 {
			return
		}
		h.guests = append(h.guests, g)
		m, err = p.g.Propose(rand.Reader, AddProposal(g.kp.KeyPackage()), framing, nil)
	case 3:
		m, err = p.g.Propose(rand.Reader, GroupContextExtensionsProposal([]Extension{{testExtension, []byte(p.name)}}), framing, nil)
	}
	require.NoError(h.t, err)
	p.reload()
	h.pool = append(h.pool, &proposed{m, p, map[*party]bool{}})
}

func (h *delivery) external() {
	host := h.pick("host")
	h.catchUp(host)
	if len(host.g.Members()) >= 30 {
		return
	}
	p, back := h.newcomer().p, (*party)(nil)
	if q := h.pick("back"); q != host && h.draw(2, "resync") == 0 {
		back = q
		p = &party{t: h.t, name: q.name, suite: q.suite, signer: newParty(h.t, q.name).signer}
		h.seen.resyncs++
	}
	j := p.enter(host, func(params *ExternalJoinParams) {
		if back != nil {
			h.catchUp(back)
			leaf := leafOf(back)
			params.Replace = &leaf
		}
	})
	h.order(j.Message(), p, j.Group())
	p.take(j)
	h.enter(p)
	h.seen.external++
}

// say sends a message in the epoch that the sender has come to, and lets everybody who is out try it at once.
func (h *delivery) say() {
	p := h.pick("speaker")
	text := fmt.Sprintf("text %d of %s", len(h.posts), p.name)
	raw := p.encrypt(text)
	to := slices.DeleteFunc(without(h.in, p), func(q *party) bool { return h.since[q] > p.g.Epoch() })
	h.posts = append(h.posts, post{raw, text, p, p.g.Epoch(), to})
	for _, q := range h.out {
		if p.g.Epoch() > q.g.Epoch() {
			h.unreadable(q, raw)
		}
	}
}

// unreadable: a removed member tries everything that it has.
func (h *delivery) unreadable(p *party, raw []byte) {
	_, err := p.process(raw)
	require.ErrorIs(h.t, err, ErrRemoved)
	m := parsed(h.t, raw).private
	_, err = p.g.suite.decryptPrivate(m, outside, p.g.secrets.senderData, p.g.messages)
	require.ErrorIs(h.t, err, ErrDecrypt)
	for _, e := range p.g.past {
		_, err = p.g.suite.decryptPrivate(m, outside, e.senderData, e.messages)
		require.ErrorIs(h.t, err, ErrDecrypt)
	}
	h.seen.unread++
}

// deliver hands a message that was sent some time ago to one of its receivers; the others may get it later, or never.
func (h *delivery) deliver() {
	if len(h.posts) == 0 {
		return
	}
	m := &h.posts[h.draw(len(h.posts), "post")]
	if len(m.to) == 0 {
		return
	}
	i := h.draw(len(m.to), "to")
	p := m.to[i]
	if h.draw(5, "lost") == 0 {
		m.to = slices.Delete(m.to, i, i+1)
		h.seen.lostPosts++
		return
	}
	var wrong *WrongEpochError
	switch at := p.g.Epoch(); {
	case p.g.Removed():
		_, err := p.process(m.raw)
		require.ErrorIs(h.t, err, ErrRemoved)
		return
	case m.epoch > at: // comes again later
		_, err := p.process(m.raw)
		require.ErrorAs(h.t, err, &wrong)
		h.seen.early++
		return
	case at-m.epoch > maxPastEpochs:
		_, err := p.process(m.raw)
		require.ErrorAs(h.t, err, &wrong)
	default:
		got := p.read(m.raw, m.text)
		require.Equal(h.t, m.from.signer.Public(), got.Sender.Node.SignatureKey)
		_, err := p.process(m.raw)
		require.ErrorIs(h.t, err, ErrReplay)
	}
	m.to = slices.Delete(m.to, i, i+1)
}

// start is a group of n, of whom nobody has committed but the first.
func (h *delivery) start(n int) {
	first := h.newcomer().p
	first.create()
	h.after = [][]byte{first.g.EpochAuthenticator()}
	h.enter(first)
	var adds []Proposal
	for range n - 1 {
		g := h.newcomer()
		h.guests = append(h.guests, g)
		adds = append(adds, AddProposal(g.kp.KeyPackage()))
	}
	pending := first.commit(CommitParams{Proposals: adds})
	h.order(pending.Message(), first, pending.next)
}

func TestRandomDeliveries(t *testing.T) {
	seen := new(deliveryStats)
	rapid.Check(t, func(t *rapid.T) {
		h := &delivery{t: t, seen: seen, since: map[*party]uint64{}}
		h.start(rapid.SampledFrom([]int{2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 28}).Draw(t, "members"))
		for range rapid.IntRange(1, 24).Draw(t, "steps") {
			switch h.draw(12, "step") {
			case 0, 1:
				h.commit()
			case 2, 3, 4:
				h.propose()
			case 5:
				h.external()
			case 6:
				if p := h.pick("late"); p.g.Epoch() < h.epoch() {
					h.step(p)
				}
			case 7, 8:
				h.say()
			default:
				h.deliver()
			}
			for _, p := range h.in {
				if p.g.Epoch() < h.epoch() {
					h.seen.behind++
				}
			}
		}
		for _, p := range h.in {
			h.catchUp(p)
		}
		for _, p := range h.in {
			require.Equal(t, h.in[0].g.EpochAuthenticator(), p.g.EpochAuthenticator())
		}
		agree(t, h.in[:min(len(h.in), 6)]...)
		last := h.in[0].encrypt("not for who is out")
		for _, p := range h.out {
			h.unreadable(p, last)
		}
	})
	t.Logf("%+v", *seen)
	if t.Failed() || testing.Short() || flag.Lookup("rapid.checks").Value.String() != flag.Lookup("rapid.checks").DefValue {
		return
	}
	// What the histories are meant to have in them, they had.
	require.GreaterOrEqual(t, seen.members, 28)
	for name, n := range map[string]int{
		"concurrent proposals": seen.concurrent, "lost races": seen.races, "external joins": seen.external, "resyncs": seen.resyncs,
		"lost messages": seen.lostPosts, "lost welcomes": seen.lostWelcomes, "reordered proposals": seen.reordered, "messages before their commit": seen.early,
		"members that are behind": seen.behind, "removed members": seen.removed, "messages that they could not read": seen.unread,
	} {
		require.Positive(t, n, name)
	}
}
