package histories_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/federation/hub"
)

var leaseOfNobody = hub.LeaseRequest{Signature: make([]byte, 64)}

func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	histories, seed := "20", "1" // always the same, unless somebody asks for more
	if testing.Short() {
		histories = "15" // of which rapid runs a fifth
	}
	if os.Getenv("WAXWING_HISTORIES") != "" {
		seed = "0"
	}
	for name, preset := range map[string]string{
		"rapid.checks": cmp.Or(os.Getenv("WAXWING_HISTORIES"), histories), "rapid.steps": cmp.Or(os.Getenv("WAXWING_STEPS"), "70"), "rapid.seed": seed,
	} {
		if given[name] {
			continue
		}
		if err := flag.Set(name, preset); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestHistories: whatever happens, in whatever order, what must hold holds.
func TestHistories(t *testing.T) {
	sum := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) { history(rt, func(m *machine) { m.sum = sum }) })
	t.Log(sum)
}

func history(rt *rapid.T, prepare func(*machine)) {
	m := newMachine(rt)
	prepare(m)
	actions := map[string]func(*rapid.T){
		"say": m.Say, "say more": m.Say, "change": m.Change, "change more": m.Change, "race": m.Race, "work": m.Work, "work more": m.Work, "work all": m.WorkAll,
		"read": m.Read, "read more": m.Read, "read yet more": m.Read, "deliver": m.Deliver, "deliver more": m.Deliver, "again": m.Again, "crash": m.Crash, "line": m.Line,
		"partition": m.Partition, "time": m.Time, "clock": m.Clock, "sync": m.Sync, "device": m.Device, "revoke": m.Revoke,
		"insider": m.Insider, "break": m.Break, "plain": m.Plain, "plain more": m.Plain, "settle": m.Settle, "settle more": m.Settle, "settle yet more": m.Settle, "dead": m.Dead, "back": m.Back, "backup": m.Backup,
	}
	if len(m.only) > 0 {
		maps.DeleteFunc(actions, func(name string, _ func(*rapid.T)) bool { return !slices.Contains(m.only, name) })
	}
	for name, f := range actions {
		actions[name] = func(rt *rapid.T) { f(rt); m.steps++ }
	}
	rt.Repeat(actions)
	m.end()
	m.count()
}

// count adds up what happened, so that one can see what the histories are worth.
func (m *machine) count() {
	if m.sum == nil {
		return
	}
	m.sum["histories"]++
	m.sum["steps"] += m.steps
	for _, r := range m.heads {
		m.sum[fmt.Sprint("receipts of kind ", r.Kind)]++
	}
	for _, t := range m.texts {
		m.sum["messages"]++
		m.sum["to be read"] += len(t.sent[0].readers)
		m.sum["encrypted anew"] += len(t.sent) - 1
		m.sum["read"] += len(t.read)
		for _, why := range t.excused {
			m.sum["not read: "+why]++
		}
	}
	if m.forgot {
		m.sum["hubs that forgot"]++
	}
	if m.branched {
		m.sum["hubs that split a conversation"]++
	}
	m.sum["things broken"] += m.broken
	for why, n := range m.excuses {
		m.sum["excused: "+why] += n
	}
	m.sum["tries to read what is for others"] += m.tries
	m.sum["returns that an insider could have misled"] += len(m.alone)
	m.sum["waits for somebody's commit"] += m.patient
	for _, a := range m.agents {
		for _, gaps := range a.gaps {
			m.sum["returns"] += len(gaps)
		}
	}
}

// end lets everything come to rest, and holds what is there against what was written.
func (m *machine) end() {
	m.heal()
	m.rest()
	if m.restored || !m.insider().honest { // a commit shows who is elsewhere
		m.week()
		m.rest()
	}
	for _, id := range m.ids {
		m.checkAgreement(id)
	}
	m.checkTexts()
	m.checkUnlisted()
	m.endPlain()
	for _, id := range m.ids { // and it goes on from there
		for _, a := range m.mainline(id) {
			m.say(a, id)
		}
	}
	m.rest()
	for _, id := range m.ids {
		m.checkAgreement(id)
	}
	m.checkTexts()
}

// rest lets everything happen, and time go by, until nobody waits for anything.
func (m *machine) rest() {
	m.listHidden()
	for round := range 40 {
		for _, a := range m.agents {
			for _, id := range m.ids {
				if r, ok := a.row(id); ok && r.State == device.StatePaused {
					m.mind(a.Resume(id))
				}
			}
			if round%4 == 0 {
				m.mind(a.Sync())
			}
		}
		m.run()
		switch {
		case round < 20:
			m.pass(35 * time.Second)
		case round == 20:
			m.patient++
			m.week()
		default:
			m.pass(20 * time.Minute)
		}
		m.run()
		if round > 4 && !m.waiting() {
			return
		}
	}
}

// week is the time after which each device has new keys: what a hub or a device has forgotten comes up then, and who comes back finds something
// of an admin's.
func (m *machine) week() {
	m.now = m.now.Add(8 * 24 * time.Hour)
	for _, a := range m.agents {
		_, _, err := a.Wake()
		require.NoError(m.t, err)
		m.run()
	}
}

func (m *machine) waiting() bool {
	for _, a := range m.agents {
		for _, id := range m.ids {
			r, ok := a.row(id)
			c, _ := a.Conversation(id)
			if a.honest && !a.revoked && ok && (c.Waiting > 0 || r.State == device.StatePaused) {
				return true
			}
		}
	}
	return false
}

// checkTexts holds that nothing that was acknowledged is lost.
func (m *machine) checkTexts() {
	for _, id := range m.ids {
		in := m.active(id)
		for _, body := range slices.Sorted(maps.Keys(m.texts)) {
			t := m.texts[body]
			if t.conversation != id {
				continue
			}
			for _, a := range in {
				if !t.sent[0].readers[a.id] || t.read[a.id] {
					continue
				}
				t.excused[a.id] = m.unread(a, t)
				require.NotEmpty(m.t, t.excused[a.id], "lost: %s has never got %q; %s", a, body, m.story(a, t))
			}
		}
	}
}

// unread is why a device need not have read something that was for it: somebody was told.
func (m *machine) unread(a *agent, t *text) string {
	last := t.sent[len(t.sent)-1]
	in := func(g gap) bool { return last.epoch >= g.From && last.epoch <= g.To }
	switch {
	case t.excused[a.id] != "":
		return t.excused[a.id]
	case m.failed(t):
		return "its author was told"
	case slices.ContainsFunc(a.gaps[t.conversation], in), a.damaged[t.conversation] && len(a.gaps[t.conversation]) > 0:
		return "its reader was told that it may be missing"
	case last.late[a.id] && !slices.Contains(m.mainline(t.conversation), t.from):
		return "it came too late, and its author is gone"
	case last.late[a.id] && slices.Contains(m.told(a, t.conversation), device.CodeCannotDecrypt):
		return "its reader was told, and asked for it in vain"
	case !a.path[last.auth] && slices.Contains(m.told(a, t.conversation), device.CodeRemoved):
		return "its reader was added and removed before they could join, and then added again"
	case m.addedAgain(a, t):
		return "it came when its reader had been removed and added again, who asks in vain, and was told"
	case m.crowded(a, t):
		return "too much waited, and its reader was told"
	case !a.path[last.auth] && slices.ContainsFunc(m.apart(t.conversation), func(b *agent) bool { return b == a || b == t.from }):
		return "its reader or its author was told that the others have another hub"
	case m.lied && !a.path[last.auth] && m.toldOfFork(a, t.conversation):
		return "the hub has signed two orders, and its reader was told that others are elsewhere"
	}
	return ""
}

// addedAgain tells whether a reader was told that they were removed, and after that, that something of this text's author could not be read.
func (m *machine) addedAgain(a *agent, t *text) bool {
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	removed := slices.IndexFunc(events, func(e device.Event) bool { return e.Conversation == t.conversation && e.Code == device.CodeRemoved })
	return removed >= 0 && slices.ContainsFunc(events[removed:], func(e device.Event) bool {
		return e.Conversation == t.conversation && e.Actor == t.from.actor && e.Type == device.EventMessageRefused && e.Code == device.CodeCannotDecrypt
	})
}

// crowded tells whether a reader was told that what its author sent could not be kept: the limit on what waits that comes from who is no member yet.
func (m *machine) crowded(a *agent, t *text) bool {
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	return slices.ContainsFunc(events, func(e device.Event) bool {
		return e.Conversation == t.conversation && e.Actor == t.from.actor && e.Code == device.CodeCannotDecrypt && strings.Contains(e.Detail, "too many")
	})
}

// story is what became of a text for a reader.
func (m *machine) story(a *agent, t *text) string {
	story := ""
	for _, s := range t.sent {
		story += fmt.Sprintf("sent in epoch %d (was in it: %v, late: %v); ", s.epoch, a.path[s.auth], s.late[a.id])
	}
	list, err := t.from.Messages(t.conversation, 0, 100_000)
	require.NoError(m.t, err)
	for _, x := range list {
		if x.Mine && x.Text == t.body {
			story += fmt.Sprintf("%s; ", x.State)
		}
	}
	return fmt.Sprint(story, m.told(a, t.conversation), a.gaps[t.conversation])
}

// failed tells whether the author of a text was told that not everybody has it.
func (m *machine) failed(t *text) bool {
	list, err := t.from.Messages(t.conversation, 0, 100_000)
	require.NoError(m.t, err)
	return slices.ContainsFunc(list, func(x device.Message) bool { return x.Mine && x.Text == t.body && x.State == device.MessageFailed })
}
