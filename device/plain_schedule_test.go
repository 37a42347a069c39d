package device_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// TestPlainSchedules lets two of ours and two plain peers do things in any order, with items on their way. Whatever happens, nothing is shown twice,
// nobody's words are shown in another's name, and once people have accepted keys and time has passed all are in one group again.
func TestPlainSchedules(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { plainSchedule(t, seed) })
	}
}

func plainSchedule(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 99))
	w := newWorld(t, 1000+seed)
	a, b, e, f := w.enrol(alice), w.enrol(bob), w.plainPeer(erin), w.plainPeer(frank)
	w.enrol(carol)
	for _, actor := range []string{bob, erin, frank, carol} {
		require.NoError(t, a.lookUp(actor))
	}
	id, err := a.StartPlain([]string{bob, erin, frank})
	require.NoError(t, err)
	w.quiet()
	peers, ours, n := []*plainPeer{e, f}, []*person{a, b}, 0
	text := func(who string) string { n++; return fmt.Sprintf("%s %d", who, n) }
	newest := func(p *plainPeer) string {
		for name, g := range p.groups {
			if string(g.EpochAuthenticator()) == string(a.conversation(id).EpochAuthenticator) {
				return name
			}
		}
		return slices.Min(append(p.groupNames(), "z"))
	}
	for range 40 {
		p, q := ours[r.IntN(2)], peers[r.IntN(2)]
		switch r.IntN(10) {
		case 0, 1:
			_, _ = p.Send(id, text(p.actor), nil, "") // keys may have changed
		case 2, 3:
			if g := newest(q); g != "z" {
				q.say(g, text(q.actor))
			}
		case 4:
			if g := newest(q); g != "z" {
				q.commit(g, nil, mls.CommitParams{ForcePath: true})
			}
		case 5:
			_ = p.AddMembers(id, []string{carol})
		case 6:
			_ = p.RemoveMembers(id, []string{carol})
		case 7:
			p.work()
			p.read()
		case 8:
			q.read()
		case 9:
			for _, x := range ours {
				for _, actor := range []string{erin, frank} {
					accept(t, x, actor)
				}
			}
			w.now = w.now.Add(time.Duration(r.IntN(300)) * time.Second)
			_, _, err := p.Wake()
			require.NoError(t, err)
		}
	}
	for range 10 {
		for _, q := range peers {
			q.later = nil // they have given up
			for _, g := range slices.Sorted(slices.Values(q.groupNames())) {
				if r.IntN(2) == 0 {
					q.say(g, text(q.actor))
				}
			}
		}
		settlePlain(t, w, ours)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range ours {
				p.dump()
			}
			for _, q := range peers {
				for name, g := range q.groups {
					t.Logf("%s has %s at %d, %x, with %v", q.actor, name, g.Epoch(), g.EpochAuthenticator()[:4], q.members(name))
				}
			}
		}
	})
	agreed := 0
	for _, q := range peers {
		for _, g := range q.groups {
			if string(g.EpochAuthenticator()) == string(a.conversation(id).EpochAuthenticator) {
				agreed++
				break
			}
		}
	}
	require.Equal(t, device.StateActive, a.conversation(id).State)
	require.Equal(t, 2, agreed, "alice and the plain peers are in one group")
	require.Equal(t, a.conversation(id).EpochAuthenticator, newestPlain(b).EpochAuthenticator, "and so is bob")
	for _, p := range ours {
		list, err := p.Conversations()
		require.NoError(t, err)
		seen := map[string]bool{}
		for _, c := range list {
			messages, err := p.Messages(c.ID, 0, 1000)
			require.NoError(t, err)
			for _, m := range messages {
				require.False(t, seen[m.Text], "%q was shown twice", m.Text)
				seen[m.Text] = true
				require.True(t, strings.HasPrefix(m.Text, m.Sender+" "), "%q by %s", m.Text, m.Sender)
			}
		}
	}
}

// settlePlain lets people accept, time pass and everything arrive.
func settlePlain(t *testing.T, w *world, ours []*person) {
	for range 3 {
		w.quiet()
		for _, x := range ours {
			for _, actor := range []string{erin, frank} {
				accept(t, x, actor)
			}
		}
	}
	w.quiet()
	w.now = w.now.Add(11 * time.Minute)
	for _, x := range ours {
		_, _, err := x.Wake()
		require.NoError(t, err)
	}
	w.quiet()
}

func newestPlain(p *person) (newest device.Conversation) {
	list, err := p.Conversations()
	require.NoError(p.w.t, err)
	for _, c := range list {
		if c.Plain && c.State != device.StateLeft {
			newest = c
		}
	}
	return newest
}

// dump is what happened to a person.
func (p *person) dump() {
	t := p.w.t.(*testing.T)
	list, _ := p.Conversations()
	for _, c := range list {
		t.Logf("%s has %s %s at %d, %x, waiting %d, with %v: %s", p.actor, c.ID, c.State, c.Epoch, c.EpochAuthenticator[:4], c.Waiting, c.Members, c.Reason)
	}
	events, _ := p.Events(0, 1000)
	for _, e := range events {
		if e.Type != device.EventMessageReceived && e.Type != device.EventMessageState {
			t.Logf("%s %s %s %s %s by %s %s %.60s", p.actor, e.Time.Format("15:04:05"), e.Type, e.Conversation, e.Actor, e.By, e.Code, e.Detail)
		}
	}
}
