package histories_test

import (
	"cmp"
	"encoding/hex"
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
	histories, seed := "25", "1" // always the same, unless somebody asks for more
	if testing.Short() {
		histories = "3"
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
	if m.full {
		m.sum["hubs with too many branches"]++
	}
	if m.forgot {
		m.sum["hubs that forgot"]++
	}
	if m.branched {
		m.sum["hubs that split a conversation"]++
	}
	m.sum["things broken"] += m.broken
	m.sum["devices that G3 keeps out"] += m.stranded
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
	for _, id := range m.ids {
		m.checkAgreement(id)
	}
	m.checkTexts()
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
		case round == 20: // a hub restored from a backup has no newer group infos until the next commit, which somebody's keys are due for by then
			m.patient++
			m.pass(8 * 24 * time.Hour)
		default:
			m.pass(20 * time.Minute)
		}
		m.run()
		if round > 4 && !m.waiting() {
			return
		}
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

// mainline are the honest devices that are in a conversation.
func (m *machine) mainline(id string) (in []*agent) {
	for _, a := range m.agents {
		if r, ok := a.row(id); ok && a.honest && !a.revoked && r.State == device.StateActive {
			in = append(in, a)
		}
	}
	return in
}

func (m *machine) checkAgreement(id string) {
	if m.lied {
		m.checkTold(id)
		return
	}
	if m.forgot && m.hubBehind(id) {
		return // it comes to that they are told once it signs again
	}
	in := m.mainline(id)
	for _, a := range m.agents {
		c, err := a.Conversation(id)
		if err != nil || !a.honest || a.revoked || c.State == device.StateLeft {
			continue
		}
		if !slices.Contains(in, a) {
			if r, _ := a.row(id); m.revoked() && r.State == device.StatePaused && strings.HasPrefix(r.Reason, device.CodeNotInLog) {
				continue // who looks at an Add after the device was revoked cannot know that it was listed
			}
			if len(in) == 0 || !m.has(in[0], id, a) || m.forgotten(a, id) || m.forgotten(in[0], id) { // nobody has a way back for it
				require.NotEmpty(m.t, m.details(a, id), "%s lost the thread, was removed, and was told nothing", a)
				continue
			}
			if details := m.details(a, id); len(details) > 0 && (m.restored || slices.ContainsFunc(details, func(d string) bool { return strings.Contains(d, "check G3") })) {
				// What it knows of the room is from an order that does not count, or the group infos from there to here went with the hub's disk (G3).
				// It is told, and an admin adds it again.
				m.stranded++
				continue
			}
			require.Fail(m.t, "it has not come back", "%s: %s %s: %v", a, c.State, c.Reason, m.details(a, id))
		}
		if !m.full {
			require.Contains(m.t, []device.ConversationState{device.StateActive, device.StateLeaving}, c.State, "%s: %s", a, c.Reason)
			if c.State != device.StateLeaving || !m.paused(id) { // else nobody can let them go
				require.Zero(m.t, c.Waiting, "%s still has steps to do: %s", a, c.Reason)
			}
		}
		x, _ := in[0].row(id)
		y, _ := a.row(id)
		require.Equal(m.t, [3]uint64{x.Term, x.Seq, x.Places[0].Epoch}, [3]uint64{y.Term, y.Seq, y.Places[0].Epoch}, "%s and %s: term, seq, epoch", in[0], a)
		require.Equal(m.t, x.Authenticator, y.Authenticator, "%s and %s", in[0], a)
		other, err := in[0].Conversation(id)
		require.NoError(m.t, err)
		require.Equal(m.t, memberNames(other), memberNames(c), "%s and %s", in[0], a)
	}
}

// checkTold is what is left of agreement where a hub has signed two orders: who followed which is chance, and who finds that others are elsewhere
// is told.
func (m *machine) checkTold(id string) {
	ways := map[string][]*agent{}
	for _, a := range m.agents {
		if r, ok := a.row(id); ok && a.honest && !a.revoked && r.State != device.StateLeft {
			ways[string(r.Authenticator)] = append(ways[string(r.Authenticator)], a)
		}
	}
	if len(ways) < 2 {
		return
	}
	m.branched = true
	most := 0
	for _, on := range ways {
		most = max(most, len(on))
	}
	for _, on := range ways {
		for _, a := range on {
			r, _ := a.row(id)
			told := slices.ContainsFunc(m.told(a, id), func(code string) bool {
				return slices.Contains([]string{device.CodeForkDetected, device.CodeOtherBranch, device.CodeCannotDecrypt}, code)
			})
			require.True(m.t, told || len(on) == most || r.State == device.StatePaused, "%s was not told that others are elsewhere", a)
		}
	}
}

// paused tells whether somebody waits who has not been able to come back.
func (m *machine) paused(id string) bool {
	return slices.ContainsFunc(m.agents, func(a *agent) bool {
		r, ok := a.row(id)
		return ok && r.State == device.StatePaused
	})
}

func (m *machine) revoked() bool {
	return slices.ContainsFunc(m.agents, func(a *agent) bool { return a.revoked })
}

func memberNames(c device.Conversation) (names []string) {
	for _, x := range c.Members {
		names = append(names, fmt.Sprint(x.Actor, x.Admin, x.Devices))
	}
	return names
}

// told are the codes of what a device was told of a conversation.
func (m *machine) told(a *agent, id string) (codes []string) {
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	for _, e := range events {
		if e.Conversation == id {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

// has tells whether a device is in the group that another one is in.
func (m *machine) has(in *agent, id string, a *agent) bool {
	r, _ := in.row(id)
	return m.members[string(r.Authenticator[:8])][a.id]
}

// hubBehind tells whether the hub that somebody follows has forgotten what they know, and nobody could show it.
func (m *machine) hubBehind(id string) bool {
	return slices.ContainsFunc(m.mainline(id), func(a *agent) bool { return m.forgotten(a, id) })
}

// forgotten tells whether the hub that a device follows has forgotten where the conversation was, or took its
// newest receipts from others, without group infos, and nobody has changed anything since.
func (m *machine) forgotten(a *agent, id string) bool {
	r, _ := a.row(id)
	groupID, err := hex.DecodeString(id)
	require.NoError(m.t, err)
	state, ok, err := m.hubOf(a, r).registers.Group(ctx, groupID)
	require.NoError(m.t, err)
	infos, err := m.hubOf(a, r).registers.GroupInfos(ctx, groupID)
	require.NoError(m.t, err)
	return m.forgot && (!ok || state.Term < r.Term || state.Seq < r.Seq) || m.restored && (len(infos) == 0 || infos[0].Epoch < state.Epoch)
}

func (m *machine) details(a *agent, id string) (all []string) {
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	for _, e := range events {
		if e.Conversation == id && e.Type == device.EventConversationPaused {
			all = append(all, e.Detail)
		}
	}
	return all
}

// checkTexts holds that nothing that was acknowledged is lost.
func (m *machine) checkTexts() {
	if m.lied {
		return
	}
	for _, id := range m.ids {
		in := m.mainline(id)
		if m.forgot && m.hubBehind(id) {
			continue
		}
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
	}
	return ""
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
