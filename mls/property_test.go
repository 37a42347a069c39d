package mls

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A history is what random members do to one group. After every step all who are in agree, and who is out reads nothing.
type history struct {
	t    *rapid.T
	in   []*party
	out  []*party
	late []lateMessage
	made int
}

// A lateMessage was sent and is delivered some time later, or never.
type lateMessage struct {
	raw   []byte
	text  string
	epoch uint64
	to    []*party
}

func (h *history) member(label string) *party {
	return h.in[rapid.IntRange(0, len(h.in)-1).Draw(h.t, label)]
}

func (h *history) framing() WireFormat {
	return WireFormat(rapid.IntRange(1, 2).Draw(h.t, "framing"))
}

// commit lets a random member commit, with somebody else losing the race now and then.
func (h *history) commit(params CommitParams, removed ...*party) *PendingCommit {
	var able []*party
	for _, p := range h.in {
		if !slices.Contains(removed, p) {
			able = append(able, p)
		}
	}
	by := able[rapid.IntRange(0, len(able)-1).Draw(h.t, "committer")]
	params.Framing, params.ForcePath = h.framing(), rapid.Bool().Draw(h.t, "path")
	if rapid.IntRange(0, 3).Draw(h.t, "race") == 0 {
		if loser := h.member("loser"); loser != by {
			loser.commit(CommitParams{Framing: params.Framing})
		}
	}
	if rapid.IntRange(0, 4).Draw(h.t, "drop") == 0 {
		by.commit(params)
		by.g.DropPending()
	}
	pending := by.commit(params)
	for _, p := range without(h.in, by) {
		s := p.apply(pending.Message())
		require.Equal(h.t, slices.Contains(removed, p), s.RemovesUs())
	}
	by.confirm()
	h.in = slices.DeleteFunc(h.in, func(p *party) bool { return slices.Contains(removed, p) })
	h.out = append(h.out, removed...)
	return pending
}

func (h *history) add() {
	var adds []Proposal
	var joining []*party
	var kps []*KeyPackageSecret
	for range rapid.IntRange(1, 3).Draw(h.t, "newcomers") {
		p := newParty(h.t, fmt.Sprintf("m%d", h.made))
		h.made++
		kp := p.keyPackage()
		joining, kps, adds = append(joining, p), append(kps, kp), append(adds, AddProposal(kp.KeyPackage()))
	}
	pending := h.commit(CommitParams{Proposals: adds})
	for i, p := range joining {
		p.join(kps[i], pending.Welcome())
	}
	h.in = append(h.in, joining...)
}

func (h *history) remove() {
	n := rapid.IntRange(1, min(3, len(h.in)-1)).Draw(h.t, "removed")
	var gone []*party
	var proposals []Proposal
	for range n {
		if p := h.member("gone"); !slices.Contains(gone, p) {
			gone = append(gone, p)
			proposals = append(proposals, RemoveProposal(leafOf(p)))
		}
	}
	h.commit(CommitParams{Proposals: proposals}, gone...)
}

// external lets somebody in from outside, or a member come back in their own place.
func (h *history) external() {
	host := h.member("host")
	p := newParty(h.t, fmt.Sprintf("m%d", h.made))
	h.made++
	var back *party
	if rapid.Bool().Draw(h.t, "resync") {
		if back = h.member("back"); back == host {
			back = nil
		} else {
			p = &party{t: h.t, name: back.name, suite: back.suite, signer: back.signer}
		}
	}
	j := p.enter(host, func(params *ExternalJoinParams) {
		if back != nil {
			leaf := leafOf(back)
			params.Replace = &leaf
		}
	})
	for _, q := range h.in {
		s := q.apply(j.Message())
		require.Equal(h.t, q == back, s.RemovesUs())
		require.True(h.t, s.External())
	}
	p.take(j)
	h.in = append(slices.DeleteFunc(h.in, func(q *party) bool { return q == back }), p)
	if back != nil {
		h.out = append(h.out, back)
	}
}

func (h *history) propose() {
	p := h.member("proposer")
	m, err := p.g.ProposeUpdate(rand.Reader, h.framing(), nil)
	require.NoError(h.t, err)
	p.reload()
	for _, q := range without(h.in, p) {
		q.receiveProposal(m)
	}
}

func (h *history) say() {
	p := h.member("speaker")
	text := fmt.Sprintf("text %d", len(h.late))
	h.late = append(h.late, lateMessage{p.encrypt(text), text, p.g.Epoch(), without(h.in, p)})
}

// deliver hands a random message to whom it was sent: once it is read or its epoch is given up, twice it is not.
func (h *history) deliver() {
	if len(h.late) == 0 {
		return
	}
	i := rapid.IntRange(0, len(h.late)-1).Draw(h.t, "message")
	m := h.late[i]
	h.late = slices.Delete(h.late, i, i+1)
	for _, p := range m.to {
		switch {
		case p.g.Removed():
			_, err := p.process(m.raw)
			require.ErrorIs(h.t, err, ErrRemoved)
		case p.g.Epoch()-m.epoch <= maxPastEpochs:
			p.read(m.raw, m.text)
			_, err := p.process(m.raw)
			require.ErrorIs(h.t, err, ErrReplay)
		default:
			_, err := p.process(m.raw)
			var wrong *WrongEpochError
			require.ErrorAs(h.t, err, &wrong)
		}
	}
}

// crash loses what somebody has just done before it was stored: on a copy, or in earnest.
func (h *history) crash() {
	p := h.member("crashed")
	before := p.g.Changes(nil)
	g := p.g
	if rapid.Bool().Draw(h.t, "copy") {
		g = p.g.Clone()
	}
	for range rapid.IntRange(1, 3).Draw(h.t, "lost") {
		switch rapid.IntRange(0, 4).Draw(h.t, "what") {
		case 0:
			_, err := g.Encrypt(rand.Reader, []byte("lost"), nil, nil)
			require.NoError(h.t, err)
		case 1:
			_, err := g.ProposeUpdate(rand.Reader, h.framing(), nil)
			require.NoError(h.t, err)
		case 2:
			_, err := g.Commit(rand.Reader, CommitParams{Now: testNow, Framing: h.framing()})
			require.True(h.t, err == nil || errors.Is(err, ErrPendingCommit))
		case 3:
			err := g.ConfirmPending()
			require.True(h.t, err == nil || errors.Is(err, ErrStale))
		case 4:
			for _, m := range h.late {
				if slices.Contains(m.to, p) {
					_, _ = g.Process(parsed(h.t, m.raw), testNow)
				}
			}
		}
	}
	lost := g.Changes(p.saved)
	if g == p.g {
		p.g = p.restored()
		p.saved = p.g.Clone()
	}
	require.Equal(h.t, before, p.g.Changes(nil), "what was not stored has left something behind")
	require.Empty(h.t, p.g.Changes(p.saved))
	if again := g.Changes(p.g); len(lost) > 0 || len(again) > 0 { // what is loaded shares nothing with the other
		require.Equal(h.t, lost, again)
	}
}

func (h *history) check() {
	for _, p := range h.in {
		require.Equal(h.t, h.in[0].g.EpochAuthenticator(), p.g.EpochAuthenticator())
		require.Equal(h.t, h.in[0].g.context, p.g.context)
	}
	p := h.member("checked")
	require.NoError(h.t, p.g.tree.check(p.g.context.groupID, p.g.context.extensions))
	fresh, err := parseTree(p.g.suite, p.g.tree.marshal())
	require.NoError(h.t, err)
	require.Equal(h.t, fresh.treeHash(), p.g.tree.treeHash(), "a kept hash is out of date")
	require.Equal(h.t, *fresh.index(), *p.g.tree.clone().flat(), "the index of keys is out of date")
	if len(h.out) > 0 {
		m := parsed(h.t, h.in[0].encrypt("not for you"))
		for _, p := range h.out {
			_, err := p.g.suite.decryptPrivate(m.private, p.g.own, p.g.secrets.senderData, p.g.messages)
			require.Error(h.t, err)
		}
	}
}

// flat is the index without what it shares with others.
func (t *ratchetTree) flat() *keyIndex {
	k := t.index().clone()
	for _, set := range []*keySet{&k.encryption, &k.signature} {
		base := maps.Clone(set.base)
		for key, n := range set.delta {
			if base[key] += n; base[key] == 0 {
				delete(base, key)
			}
		}
		set.base, set.delta = base, map[string]int{}
	}
	return k
}

func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{t: t, in: newGroup(t, WirePrivateMessage, "a", "b"), made: 0}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			for _, p := range h.in {
				p.up = rapid.Bool().Draw(t, "stays up")
			}
			switch op := rapid.IntRange(0, 9).Draw(t, "step"); {
			case op == 0 && len(h.in) < 28:
				h.add()
			case op == 1 && len(h.in) > 1:
				h.remove()
			case op == 2:
				h.commit(CommitParams{})
			case op == 3:
				h.propose()
			case op == 4:
				h.deliver()
			case op == 5 && len(h.in) < 30:
				h.external()
			case op == 6:
				h.crash()
			default:
				h.say()
			}
			h.check()
		}
		agree(t, h.in...)
	})
}
