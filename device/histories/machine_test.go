package histories_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

const (
	alice   = "https://a.example/users/alice" // makes the conversation
	bob     = "https://b.example/users/bob"   // an admin, too
	carol   = "https://c.example/users/carol"
	dave    = "https://a.example/users/dave"
	erin    = "https://d.example/users/erin" // not in it at first, as dave
	mallory = "https://b.example/users/mallory"
)

// A machine is a history under way. Its methods with a *rapid.T are what may happen. Members of plain conversations, who apply commits as they
// send them, would be one more of these.
type machine struct {
	*world
	rt       *rapid.T
	ids      []string
	written  int
	steps    int
	broken   int
	restored bool // a hub, from a backup
	patient  int
	branched bool           // a hub's two orders had followers at the end
	excuses  map[string]int // why something need not hold
	sum      map[string]int // of all histories
	only     []string       // actions; all if empty
	hidden   *agent         // a device of the insider's that the directory did not have at first
	listed   bool           // and has now,
	never    bool           // or never will
	off      bool           // the insider's device is not in the directory any more
	crowns   bool           // the insider adds people in commits that make the insider an admin
}

// newMachine is a conversation of four on so many instances, with everybody ready.
func newMachine(rt *rapid.T) *machine {
	m := &machine{world: newWorld(rt, rapid.Uint64().Draw(rt, "seed")), rt: rt, excuses: map[string]int{}}
	a := m.enrol(alice)
	for _, actor := range []string{bob, carol, dave, erin, mallory} {
		m.enrol(actor)
	}
	m.converse(a)
	if rapid.IntRange(0, 2).Draw(rt, "plain") == 0 {
		m.meet(a)
	}
	return m
}

// converse makes a conversation that has two admins, or one whose instance is not the hub.
func (m *machine) converse(a *agent) {
	id, err := a.StartConversation([]string{bob, carol, mallory})
	require.NoError(m.t, err)
	require.NoError(m.t, a.SetAdmin(id, bob, true))
	m.run()
	require.NoError(m.t, a.NameHubs(id))
	m.run()
	if rapid.Bool().Draw(m.rt, "one admin") {
		require.NoError(m.t, m.agents[1].SetAdmin(id, alice, false))
		m.run()
	}
	m.ids = append(m.ids, id)
}

func (m *machine) actors() (actors []string) {
	for _, a := range m.agents {
		if !slices.Contains(actors, a.actor) {
			actors = append(actors, a.actor)
		}
	}
	return actors
}

func (m *machine) conversation(rt *rapid.T) string {
	return m.ids[rapid.IntRange(0, len(m.ids)-1).Draw(rt, "conversation")]
}

func (m *machine) anybody(rt *rapid.T) *agent {
	return m.agents[rapid.IntRange(0, len(m.agents)-1).Draw(rt, "who")]
}

// mind lets an error pass that a person may be told.
func (m *machine) mind(err error) {
	var check *device.CheckError
	var unready *device.NotReadyError
	for _, told := range []error{
		device.ErrLeft, device.ErrNoSuchConversation, device.ErrPaused, device.ErrLeaving, device.ErrLastAdmin, device.ErrDeviceRemoved, device.ErrActor, device.ErrStateLost,
	} {
		if errors.Is(err, told) {
			return
		}
	}
	var reset *device.KeysResetError // somebody's, whom one writes to in a plain conversation
	if !errors.As(err, &reset) && !errors.As(err, &check) && !errors.As(err, &unready) {
		require.NoError(m.t, err)
	}
}

// unlucky lets the agent's process die at its next write, before or after that, sometimes.
func (m *machine) unlucky(rt *rapid.T, a *agent, do func()) {
	switch rapid.IntRange(0, 9).Draw(rt, "luck") {
	case 1:
		a.disk.crash = func() (bool, bool) { a.disk.crash = nil; return true, false }
	case 2:
		a.disk.crash = func() (bool, bool) { a.disk.crash = nil; return false, true }
	case 3:
		m.dies = func() bool { m.dies = nil; return true }
	}
	do()
	a.disk.crash, m.dies = nil, nil
}

func (m *machine) say(a *agent, id string) {
	m.written++
	body := fmt.Sprintf("%s %d", a, m.written)
	m.writes(a, id, body)
	_, err := a.Send(id, body, nil, body)
	if errors.Is(err, errDisk) {
		a.start()
		_, err = a.Send(id, body, nil, body) // the same key: it is written once
	}
	if a.stutters {
		_, err = a.Send(id, body, nil, body+" again")
	}
	m.mind(err)
	m.observe(a)
}

func (m *machine) Say(rt *rapid.T) {
	a := m.anybody(rt)
	m.unlucky(rt, a, func() {
		m.say(a, m.conversation(rt))
		if a.online() && rapid.Bool().Draw(rt, "at once") {
			a.work()
		}
	})
}

// intend has a person ask for something, again if the process died over it.
func (m *machine) intend(rt *rapid.T, a *agent, ask func() error) {
	m.unlucky(rt, a, func() {
		err := ask()
		if errors.Is(err, errDisk) {
			a.start()
			err = ask()
		}
		m.mind(err)
		m.observe(a)
		if a.online() && rapid.Bool().Draw(rt, "at once") {
			a.work()
		}
	})
}

func (m *machine) admin(rt *rapid.T) *agent {
	admins := []*agent{}
	for _, a := range m.agents {
		if a.honest && (a.actor == alice || a.actor == bob || a.actor == carol) {
			admins = append(admins, a)
		}
	}
	return admins[rapid.IntRange(0, len(admins)-1).Draw(rt, "admin")]
}

func (m *machine) Change(rt *rapid.T) {
	a, id := m.admin(rt), m.conversation(rt)
	switch rapid.SampledFrom([]string{"add", "add", "add", "remove", "role", "leave", "hubs"}).Draw(rt, "change") {
	case "add":
		who := rapid.SampledFrom([]string{dave, erin, carol, mallory}).Draw(rt, "whom")
		m.intend(rt, a, func() error { return a.AddMembers(id, []string{who}) })
	case "remove":
		who := rapid.SampledFrom([]string{dave, erin, carol, mallory}).Draw(rt, "whom")
		m.intend(rt, a, func() error { return a.RemoveMembers(id, []string{who}) })
	case "role":
		who := rapid.SampledFrom([]string{bob, carol}).Draw(rt, "whom")
		m.intend(rt, a, func() error { return a.SetAdmin(id, who, rapid.Bool().Draw(rt, "admin")) })
	case "leave":
		l := m.anybody(rt)
		m.intend(rt, l, func() error { return l.Leave(id, "") })
	case "hubs":
		m.intend(rt, a, func() error { return a.NameHubs(id) })
	}
}

// Race has two commits of one epoch reach the hub at the same moment.
func (m *machine) Race(rt *rapid.T) {
	id := m.conversation(rt)
	first, second := m.agents[0], m.agents[1]
	r, ok := first.row(id)
	if !ok || !first.online() || !second.online() {
		rt.Skip("one of them is away")
	}
	for i, a := range []*agent{first, second} {
		m.mind(a.SetAdmin(id, carol, i == 0))
		m.mind(a.RemoveMembers(id, []string{[]string{dave, erin}[i]}))
	}
	registers := m.hubOf(first, r).registers
	registers.between = func() { m.job(second, func(device.Job) bool { return true }) }
	first.work()
	registers.between = nil
}

// job does one job.
func (m *machine) job(a *agent, which func(device.Job) bool) {
	for _, j := range a.ready() {
		if which(j) {
			a.try(j)
			return
		}
	}
}

func (m *machine) Work(rt *rapid.T) {
	a := m.anybody(rt)
	jobs := a.ready()
	if len(jobs) == 0 || !a.online() {
		rt.Skip("nothing to do")
	}
	j := jobs[rapid.IntRange(0, len(jobs)-1).Draw(rt, "job")]
	m.unlucky(rt, a, func() { a.try(j) })
}

func (m *machine) WorkAll(rt *rapid.T) {
	a := m.anybody(rt)
	m.unlucky(rt, a, func() { a.work() })
}

func (m *machine) Read(rt *rapid.T) {
	a := m.anybody(rt)
	if _, ok := a.box(); !ok || !a.online() {
		rt.Skip("nothing to read")
	}
	for range rapid.IntRange(1, 5).Draw(rt, "items") {
		m.unlucky(rt, a, func() { a.receive() })
	}
}

// Deliver brings deliveries to other instances, in any order, now and then twice, or loses one on its way: it is tried again.
func (m *machine) Deliver(rt *rapid.T) {
	n := m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(rt, "from")]
	if len(n.out) == 0 || !n.up {
		rt.Skip("nothing to deliver")
	}
	for range rapid.IntRange(1, 4).Draw(rt, "deliveries") {
		if len(n.out) > 0 {
			n.deliver(rapid.IntRange(0, len(n.out)-1).Draw(rt, "which"), rapid.IntRange(0, 4).Draw(rt, "answer") > 0)
		}
	}
}

// Again puts something that came before into the mailbox once more.
func (m *machine) Again(rt *rapid.T) {
	a := m.anybody(rt)
	mail := a.home.mail[a.actor]
	if len(mail) == 0 || !a.home.up {
		rt.Skip("there was nothing")
	}
	l := mail[len(mail)-1-rapid.IntRange(0, min(len(mail)-1, 20)).Draw(rt, "which")]
	a.home.mail[a.actor] = append(mail, letter{Incoming: l.Incoming})
}

func (m *machine) Crash(rt *rapid.T) {
	if rapid.Bool().Draw(rt, "sidecar") {
		if n := m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(rt, "node")]; n.up {
			n.start()
		}
		return
	}
	m.anybody(rt).start()
}

func (m *machine) Line(rt *rapid.T) {
	a := m.anybody(rt)
	a.offline = !a.offline && rapid.Bool().Draw(rt, "offline")
}

func (m *machine) Partition(rt *rapid.T) {
	x := m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(rt, "node")]
	y := m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(rt, "and")]
	if x == y {
		clear(m.cut)
		return
	}
	m.cut[pair(x.origin, y.origin)] = true
}

func (m *machine) Time(rt *rapid.T) {
	m.pass(time.Duration(rapid.SampledFrom([]int{1, 5, 35, 70, 600, 3600, 7 * 3600, 30 * 3600}).Draw(rt, "seconds")) * time.Second)
}

func (m *machine) Clock(rt *rapid.T) {
	a := m.anybody(rt)
	a.skew = time.Duration(rapid.IntRange(-20, 20).Draw(rt, "minutes")) * time.Minute
}

func (m *machine) Sync(rt *rapid.T) {
	a := m.anybody(rt)
	m.intend(rt, a, func() error { return errors.Join(a.TopUp(50), a.Sync()) })
}

func (m *machine) Device(rt *rapid.T) {
	a := m.agents[rapid.IntRange(0, 4).Draw(rt, "who")]
	others := 0
	for _, o := range m.agents {
		if o.actor == a.actor && !o.revoked {
			others++
		}
	}
	if others > 1 || !a.home.up || a.revoked || !a.honest || len(m.agents) > 9 {
		rt.Skip("they have enough")
	}
	m.enrolAnother(a)
}

// Revoke takes a second device off its account's list.
func (m *machine) Revoke(rt *rapid.T) {
	i := rapid.IntRange(0, len(m.agents)-1).Draw(rt, "which")
	a := m.agents[i]
	if i < 6 || a.revoked || !a.honest || !a.home.up {
		rt.Skip("it is the only one")
	}
	a.skew = 0 // or its log does not believe it
	require.NoError(rt, a.look(a.actor))
	answer, err := a.home.log.Answer(ctx, a.actor, 0)
	require.NoError(rt, err)
	p, err := a.Revocation(answer.Marshal())
	require.NoError(rt, err)
	a.publish(p)
	a.revoked = true
}

// Insider does something that no honest program does.
func (m *machine) Insider(rt *rapid.T) { m.misbehave(rt) }

// Break spoils what a device has stored of a conversation: a key, so that it cannot follow others any more, or a part of the tree.
// Insiders, who have good commits disputed and leave no group infos, could show it a way back to where nobody else is: that is not judged here.
func (m *machine) Break(rt *rapid.T) {
	a, id := m.anybody(rt), m.conversation(rt)
	r, ok := a.row(id)
	if !ok || !m.insider().honest || m.astray(id) || a.actor == mallory || a.hasty || r.State != device.StateActive && r.State != device.StatePaused {
		rt.Skip("it has nothing")
	}
	m.broken++
	b := a.disk.bucket("group:" + id)
	if rapid.Bool().Draw(rt, "key") {
		row := slices.Clone(b.values["group"])
		if at := bytes.Index(row, a.group(id).LeafKey()); at >= 0 {
			row[at+3] ^= 1
			b.values["group"] = row
		}
	} else if i := slices.IndexFunc(b.keys, func(key string) bool { return strings.HasPrefix(key, "node/") }); i >= 0 {
		a.damaged[id] = true
		delete(b.values, b.keys[i])
		b.keys = slices.Delete(slices.Clone(b.keys), i, i+1)
	}
	a.start()
}

// astray tells whether somebody has lost the thread already: if all have, nobody shows anybody the way.
func (m *machine) astray(id string) bool {
	return slices.ContainsFunc(m.agents, func(a *agent) bool {
		r, ok := a.row(id)
		if !ok || r.State == device.StateLeft {
			return false
		}
		_, err := a.load(id)
		return err != nil || r.Resync != nil
	})
}

// Settle lets everything happen that can.
func (m *machine) Settle(*rapid.T) { m.run() }

// Dead is a hub that dies for more than a day. Its members' programs notice, and hand over.
func (m *machine) Dead(rt *rapid.T) {
	id := m.conversation(rt)
	r, ok := m.agents[1].row(id)
	if !ok {
		rt.Skip("bob is not in it")
	}
	n := m.hubOf(m.agents[1], r)
	n.up = false
	for range rapid.IntRange(1, 3).Draw(rt, "times") {
		for _, a := range m.agents {
			if a.online() {
				m.mind(a.Sync())
			}
		}
		m.run()
		m.pass(13 * time.Hour)
		m.run()
	}
	for range 4 {
		m.pass(21 * time.Second)
		m.run()
	}
	if rapid.Bool().Draw(rt, "comes back") {
		n.start()
	}
}

func (m *machine) Back(rt *rapid.T) {
	for _, n := range m.nodes {
		if !n.up {
			n.start()
			return
		}
	}
	rt.Skip("all are there")
}

// Backup is made of a hub's register, or put in its place.
func (m *machine) Backup(rt *rapid.T) {
	n := m.nodes[rapid.IntRange(0, len(m.nodes)-1).Draw(rt, "node")]
	if n.backup == nil || rapid.Bool().Draw(rt, "make") {
		n.backup = n.registers.Clone()
		return
	}
	covered := m.covered(n)
	if !covered && rapid.IntRange(0, 9).Draw(rt, "rash") > 0 {
		rt.Skip("some of it would be lost")
	}
	before := n.registers.Memory
	n.registers.Memory = n.backup.Clone()
	m.restored = true
	n.start()
	for _, groupID := range m.groupIDs() { // somebody wants something of it while it can ask
		_, _, _ = n.hub.Lease(ctx, groupID, leaseOfNobody)
		m.audit(n, groupID)
		was, _, _ := before.Group(ctx, groupID)
		is, _, _ := n.registers.Group(ctx, groupID)
		if is.Seq < was.Seq || is.Term < was.Term {
			require.False(rt, covered, "the hub has not taken over what others showed it: it was at %d and is at %d", was.Seq, is.Seq)
			m.forgot = true
		}
	}
}

func (m *machine) groupIDs() (all [][]byte) {
	for _, id := range m.ids {
		groupID, err := hex.DecodeString(id)
		require.NoError(m.t, err)
		all = append(all, groupID)
	}
	return all
}

// covered tells whether everything that the hub would forget is at one of those whom it will ask, and whether they can be asked.
func (m *machine) covered(n *node) bool {
	for _, groupID := range m.groupIDs() {
		old, _, _ := n.backup.Group(ctx, groupID)
		lost, _ := n.registers.Events(ctx, groupID, old.Seq, 1<<20)
		writers, _ := n.backup.Writers(ctx, groupID, 4)
		if slices.ContainsFunc(lost, func(e hub.Event) bool { return n.onOthers(e, old.Seq, lost) }) {
			return false
		}
		if len(lost) > 0 && !slices.ContainsFunc(writers, func(writer string) bool {
			known, _ := n.ask(ctx, writer, groupID, old.Seq)
			return !slices.ContainsFunc(lost, func(e hub.Event) bool {
				return !slices.ContainsFunc(known, func(k hub.Event) bool { return string(k.Receipt) == string(e.Receipt) })
			})
		}) {
			return false
		}
	}
	return true
}

// onOthers tells whether an event is the beginning of a term that went on from what another hub had ordered after a place. That continues no chain
// that this hub can take over (B1): it only learns that the conversation went elsewhere.
func (n *node) onOthers(e hub.Event, after uint64, lost []hub.Event) bool {
	claim, err := receipt.ParseClaim(e.Commit)
	return err == nil && claim.Seq > after && !slices.ContainsFunc(lost, func(x hub.Event) bool {
		r, err := receipt.Parse(x.Receipt)
		return err == nil && receipt.Head(x.Receipt) == claim.Head && r.Verify(n.hub.Key())
	})
}
