package mls

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzHistory lets the input choose who does what in a group of three: every byte is one step of one member. After each step all
// members are in one state, or have refused the same thing. Whatever is spoilt on the way has no effect.
func FuzzHistory(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23})
	f.Add([]byte{23, 23, 14, 14, 5, 5, 20, 20, 2, 2, 11, 11})
	f.Add(bytes.Repeat([]byte{9, 10, 11, 18, 19, 20}, 6))
	f.Fuzz(func(t *testing.T, steps []byte) {
		h := &course{t: t, all: newGroup(t, WirePublicMessage, "alice", "bob", "carol")}
		for _, b := range steps[:min(len(steps), 40)] {
			h.step(b)
			agree(t, h.all...)
		}
	})
}

type course struct {
	t    *testing.T
	all  []*party
	last []byte // the newest message of the group
}

func (h *course) step(b byte) {
	who := h.all[int(b)%3]
	other := h.all[(int(b)+1+int(b/96))%3]
	switch b / 3 % 8 {
	case 0:
		h.commit(who, CommitParams{Framing: WirePublicMessage + WireFormat(b/24%2)})
	case 1:
		h.commit(who, CommitParams{ForcePath: true, AuthenticatedData: []byte{b}})
	case 2:
		h.propose(who, b)
	case 3:
		h.comeBack(who, other)
	case 4:
		h.rejoin(who, other)
	case 5:
		h.spoil(who, b)
	case 6:
		h.crash(who, other)
	case 7:
		h.talk(who, b)
	}
}

// commit is ordered at once, and everybody else follows.
func (h *course) commit(who *party, params CommitParams) *PendingCommit {
	params.Now = testNow
	p, err := who.g.Commit(rand.Reader, params)
	require.NoError(h.t, err)
	h.last = p.Message()
	who.confirm()
	for _, x := range h.all {
		if x != who {
			x.follow(h.t, h.last)
		}
	}
	return p
}

// follow applies a commit, unless it removes us.
func (p *party) follow(t *testing.T, raw []byte) {
	got, err := p.process(raw)
	require.NoError(t, err)
	if staged := got.(*StagedCommit); !staged.RemovesUs() {
		require.NoError(t, p.g.Apply(staged))
		p.reload()
	}
}

func (h *course) propose(who *party, b byte) {
	var m []byte
	var err error
	if b&1 == 0 {
		m, err = who.g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)
	} else {
		m, err = who.g.Propose(rand.Reader, GroupContextExtensionsProposal([]Extension{{testExtension, []byte{b}}}), WirePublicMessage, nil)
	}
	require.NoError(h.t, err)
	who.reload()
	h.last = m
	for _, x := range h.all {
		if x != who {
			x.receiveProposal(m)
		}
	}
}

// comeBack removes somebody, who is added again.
func (h *course) comeBack(who, other *party) {
	if who == other {
		return
	}
	h.commit(who, CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(other))}, SkipStored: true})
	kp := other.keyPackage()
	p, err := who.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, SkipStored: true, Now: testNow})
	require.NoError(h.t, err)
	who.confirm()
	for _, x := range h.all {
		if x != who && x != other {
			x.follow(h.t, p.Message())
		}
	}
	other.join(kp, p.Welcome())
}

// rejoin is a resync from outside.
func (h *course) rejoin(who, host *party) {
	if who == host {
		return
	}
	leaf := leafOf(who)
	j := who.enter(host, func(p *ExternalJoinParams) { p.Replace = &leaf })
	for _, x := range h.all {
		if x != who {
			x.follow(h.t, j.Message())
		}
	}
	who.take(j)
}

// spoil changes a bit of the newest message, or sends it again.
func (h *course) spoil(who *party, b byte) {
	if h.last == nil {
		return
	}
	bad := bytes.Clone(h.last)
	if b&1 == 0 {
		bad[int(b)*7%len(bad)] ^= 1 << (b % 8)
	}
	m, err := ParseMessage(bad)
	if err != nil {
		return
	}
	before := who.g.Marshal()
	if _, err := who.g.Process(m, testNow); err != nil {
		who.requireSame(before)
	} else { // the very same proposal, in its epoch: stored once more, to no effect
		who.g, err = UnmarshalGroup(before)
		require.NoError(h.t, err)
	}
}

// crash loses a commit that nobody has seen; another one is ordered in its place.
func (h *course) crash(who, other *party) {
	_, err := who.g.Commit(rand.Reader, CommitParams{Now: testNow})
	require.NoError(h.t, err)
	who.reload()
	require.NotNil(h.t, who.g.Pending())
	if who == other {
		who.g.DropPending()
		return
	}
	h.commit(other, CommitParams{})
	require.Nil(h.t, who.g.Pending())
}

func (h *course) talk(who *party, b byte) {
	m := who.encrypt(string(bytes.Repeat([]byte{b}, int(b))))
	for _, x := range h.all {
		got, err := x.process(m)
		if x == who {
			require.True(h.t, errors.Is(err, ErrOwnMessage) || err != nil)
			continue
		}
		require.NoError(h.t, err)
		require.Len(h.t, got.(*ApplicationMessage).Data, int(b))
		_, err = x.process(m)
		require.ErrorIs(h.t, err, ErrReplay)
		x.reload()
	}
}
