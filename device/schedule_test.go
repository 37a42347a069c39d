package device_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// A schedule is a random history: who writes, who changes members, which job is done when, what arrives when and how often, which process dies
// and which write to the disk fails.
type schedule struct {
	*world
	rt      *rapid.T
	id      string
	changes int             // membership changes that may still be asked for
	left    map[string]bool // who was ever removed
	written int
	meant   map[string][]string // texts by the actor they were encrypted for, and by author
}

func newSchedule(rt *rapid.T, changes int) *schedule {
	s := &schedule{world: newWorld(rt, rapid.Uint64().Draw(rt, "seed")), rt: rt, changes: changes, left: map[string]bool{}, meant: map[string][]string{}}
	a := s.enrol(alice)
	for _, actor := range []string{bob, carol, dave} {
		s.enrol(actor)
	}
	var err error
	s.id, err = a.StartConversation([]string{bob, carol})
	require.NoError(rt, err)
	require.NoError(rt, a.SetAdmin(s.id, bob, true))
	s.quiet()
	return s
}

// step does one random thing.
func (s *schedule) step() {
	p := s.people[rapid.SampledFrom(s.actors()).Draw(s.rt, "who")]
	switch rapid.SampledFrom([]string{"say", "say", "change", "job", "job", "job", "mail", "mail", "mail", "again", "lose", "restart", "time"}).Draw(s.rt, "what") {
	case "say":
		s.say(p)
	case "change":
		s.change(p)
	case "job":
		s.job(p)
	case "mail":
		s.mail(p)
	case "again":
		if len(p.mail) > 0 {
			p.mail = append(p.mail, p.mail[rapid.IntRange(0, len(p.mail)-1).Draw(s.rt, "which")])
		}
	case "lose":
		s.lose(p)
	case "restart":
		p.restart()
	case "time":
		s.now = s.now.Add(time.Duration(rapid.IntRange(0, 36).Draw(s.rt, "hours")) * time.Hour)
	}
}

func (s *schedule) say(p *person) {
	s.written++
	text := fmt.Sprintf("%s %d", p.actor, s.written)
	_, err := p.Send(s.id, text, nil, text)
	if !errors.Is(err, device.ErrLeft) && !errors.Is(err, device.ErrNoSuchConversation) {
		require.NoError(s.rt, err)
	}
}

func (s *schedule) change(p *person) {
	if s.changes == 0 || p.actor == carol || p.actor == dave {
		return
	}
	var err error
	switch actor := rapid.SampledFrom([]string{carol, dave}).Draw(s.rt, "whom"); {
	case rapid.Bool().Draw(s.rt, "add"):
		err = p.AddMembers(s.id, []string{actor})
	default:
		s.left[actor] = true
		err = p.RemoveMembers(s.id, []string{actor})
	}
	s.changes--
	require.NoError(s.rt, err)
}

// unlucky lets the next write to the disk fail before or after it happened, sometimes.
func (s *schedule) unlucky(p *person) {
	how := rapid.IntRange(0, 5).Draw(s.rt, "luck")
	p.store.fail = func() (bool, bool) { p.store.fail = nil; return how == 0, how == 1 }
}

func (s *schedule) job(p *person) {
	jobs, err := p.Jobs()
	require.NoError(s.rt, err)
	if len(jobs) == 0 {
		return
	}
	j := jobs[rapid.IntRange(0, len(jobs)-1).Draw(s.rt, "job")]
	s.unlucky(p)
	if err := p.do(j); !errors.Is(err, errDisk) {
		require.NoError(s.rt, err)
	}
	p.store.fail = nil
}

func (s *schedule) mail(p *person) {
	if len(p.mail) == 0 {
		return
	}
	i := rapid.IntRange(0, len(p.mail)-1).Draw(s.rt, "item")
	item := p.mail[i]
	p.mail = slices.Delete(slices.Clone(p.mail), i, i+1)
	item.Cursor = p.cursor + 1
	p.cursor++
	s.unlucky(p)
	if err := p.Receive(item); err != nil {
		require.ErrorIs(s.rt, err, errDisk)
		require.NoError(s.rt, p.Receive(item), "the mailbox gives what was not acknowledged again")
	}
	p.store.fail = nil
}

// lose drops a commit on its way; the chain at the hub makes up for it.
func (s *schedule) lose(p *person) {
	for i, item := range p.mail {
		m, err := mls.ParseMessage(item.Message)
		require.NoError(s.rt, err)
		if m.ContentType() == mls.ContentCommit {
			p.mail = slices.Delete(slices.Clone(p.mail), i, i+1)
			return
		}
	}
}

// check holds the invariants when everything is quiet. exact demands that nothing at all was lost.
func (s *schedule) check(exact bool) {
	s.quiet()
	var in []*person
	for _, actor := range s.actors() {
		p := s.people[actor]
		c, err := p.Conversation(s.id)
		if errors.Is(err, device.ErrNoSuchConversation) {
			continue
		}
		require.NoError(s.rt, err)
		require.Zero(s.rt, c.Waiting, "%s still has steps to do", actor)
		require.NotEqual(s.rt, device.StatePaused, c.State, "%s: %s", actor, c.Reason)
		if c.State == device.StateActive {
			in = append(in, p)
		}
		s.checkTexts(p, exact && !s.left[actor] && actor != dave)
	}
	requireAgreement(s.rt, s.id, in...)
}

func (s *schedule) checkTexts(p *person, exact bool) {
	seen := p.texts(s.id)
	slices.Sort(seen)
	require.Equal(s.rt, slices.Compact(slices.Clone(seen)), seen, "%s sees a message twice", p.actor)
	for _, text := range seen {
		require.Contains(s.rt, s.meant[p.actor], text, "%s reads what was not for it", p.actor)
	}
	for _, code := range p.codes(device.EventMessageRefused) {
		require.Equal(s.rt, device.CodeCannotDecrypt, code, "%s", p.actor)
	}
	if exact {
		want := slices.Clone(s.meant[p.actor])
		slices.Sort(want)
		require.Equal(s.rt, want, seen, "%s misses messages", p.actor)
	}
}

// meantFor notes for whom messages were encrypted, by what their authors say about them.
func (s *schedule) meantFor() {
	for _, p := range s.people {
		_, err := p.Conversation(s.id)
		if errors.Is(err, device.ErrNoSuchConversation) {
			continue
		}
		for _, m := range mustMessages(s.rt, p, s.id) {
			if m.Mine {
				s.meant[p.actor] = append(s.meant[p.actor], m.Text)
			}
		}
	}
	for text, to := range s.sent {
		for _, actor := range to {
			s.meant[actor] = append(s.meant[actor], text)
		}
	}
}

// TestSchedules: with at most as many changes as epochs are kept, nothing is lost or doubled, whatever the order.
func TestSchedules(t *testing.T) { rapid.Check(t, func(rt *rapid.T) { runSchedule(rt, 2, true) }) }

// TestWildSchedules: with many changes a message that comes too late is given up in words, and everything else still holds.
func TestWildSchedules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { runSchedule(rt, 12, false) })
}

func runSchedule(rt *rapid.T, changes int, exact bool) {
	s := newSchedule(rt, changes)
	s.toAll = true
	for range rapid.IntRange(20, 80).Draw(rt, "steps") {
		s.step()
	}
	s.quiet()
	for _, p := range s.people {
		require.NoError(rt, p.Sync())
	}
	s.quiet()
	s.now = s.now.Add(10 * time.Second) // so long late texts wait for who has joined to be gone again
	s.wake()
	s.meantFor()
	s.check(exact)
}
