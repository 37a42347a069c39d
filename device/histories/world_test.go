// Package histories_test runs devices, hubs and instances through random histories: what members do, what the network does to it, who dies when,
// and what a malicious member tries. Devices, hubs, mirrors and logs are the real ones; network, disks and clock are simulated, so that a
// history is the same each time and rapid can make it smaller.
//
// WAXWING_HISTORIES and WAXWING_STEPS say how many histories to run and how long they are on average.
package histories_test

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// A world is everything there is.
type world struct {
	t      require.TestingT
	random *rand.ChaCha8
	now    time.Time
	nodes  []*node
	agents []*agent
	peers  []*plainPeer
	cut    map[[2]string]bool // pairs of instances between which nothing passes
	log    func(format string, args ...any)
	*ledger
}

func newWorld(t *rapid.T, seed uint64) *world {
	var s [32]byte
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return &world{
		t: t, random: rand.NewChaCha8(s), now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), cut: map[[2]string]bool{}, log: t.Logf, ledger: newLedger(),
	}
}

func (w *world) clock() time.Time { return w.now }

func originOf(actor string) string {
	u, _ := url.Parse(actor)
	return u.Scheme + "://" + u.Host
}

func hostOf(origin string) string {
	u, _ := url.Parse(origin)
	return u.Host
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (w *world) reach(from, to *node) bool {
	return to.up && (from == to || !w.cut[pair(from.origin, to.origin)])
}

func (w *world) node(origin string) *node {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.origin == origin })
	if i < 0 {
		return w.found(origin)
	}
	return w.nodes[i]
}

// login is a device that is bound to its account and that nobody published.
func (w *world) login(actor string) *agent {
	a := &agent{w: w, actor: actor, home: w.node(originOf(actor)), disk: newDisk(), honest: true, read: map[string]uint64{}, saves: map[string]uint64{}, path: map[string]bool{}, epochs: map[epochOf]string{}, gaps: map[string][]gap{}, last: map[string]uint64{}, damaged: map[string]bool{}}
	a.start()
	key, err := a.Prepare()
	require.NoError(w.t, err)
	a.id = keydir.DeviceID(key)
	require.NoError(w.t, a.Bind(actor, "@"+actor, a.home.origin, "token"))
	key2, err := a.home.keyOf(ctx, a.home.origin)
	require.NoError(w.t, err)
	require.NoError(w.t, a.PinHub(key2[:]))
	require.NoError(w.t, a.look(actor))
	require.NoError(w.t, a.SetConsent(device.FromEverybody))
	w.agents = append(w.agents, a)
	return a
}

// enrol is the first device of an actor.
func (w *world) enrol(actor string) *agent {
	a := w.login(actor)
	p, err := a.DeviceList()
	require.NoError(w.t, err)
	a.publish(p)
	a.stock()
	return a
}

// stock makes the first key packages.
func (a *agent) stock() {
	require.NoError(a.w.t, a.look(a.actor))
	require.NoError(a.w.t, a.TopUp(0))
	a.work()
}

// enrolAnother is one more device, let in by the first.
func (w *world) enrolAnother(first *agent) *agent {
	a := w.login(first.actor)
	first.list(a)
	a.stock()
	return a
}

// list puts another device into the account's list.
func (a *agent) list(other *agent) {
	found, err := a.home.log.Answer(ctx, a.actor, 0)
	require.NoError(a.w.t, err)
	last, err := transparency.ParseStatement(found.Found.Statement)
	require.NoError(a.w.t, err)
	state, err := keydir.Open(a.actor, last, found.Found.Opening, found.Found.Content)
	require.NoError(a.w.t, err)
	account, _, err := other.Account()
	require.NoError(a.w.t, err)
	devices := append(slices.Clone(state.List.Devices), keydir.Device{Added: uint64(a.w.now.UnixMilli()), SignatureKey: [32]byte(account.SignatureKey)})
	slices.SortFunc(devices, func(x, y keydir.Device) int { return slices.Compare(x.SignatureKey[:], y.SignatureKey[:]) })
	change := keydir.Change{
		Kind: transparency.KindUpdate, Label: last.Label, Opening: [32]byte{1}, List: keydir.DeviceList{Actor: a.actor, Devices: devices},
		Next: [32]byte(publicOf(a.accountKey(a.changes + 2))),
	}
	s, content := change.Sign(&last, a.accountKey(a.changes+1), uint64(a.w.now.UnixMilli()))
	a.changes++
	a.publish(device.Publication{Statement: s.Marshal(), Opening: change.Opening[:], Content: content})
}

// publish puts a statement of the account into the log.
func (a *agent) publish(p device.Publication) {
	_, err := a.home.log.Append(ctx, sequencer.Submission{
		Actor: a.actor, Statement: p.Statement, Opening: [32]byte(p.Opening), Content: p.Content,
	})
	require.NoError(a.w.t, err)
	a.home.list(a.actor, p)
}

// list notes who has key packages to hand out.
func (n *node) list(actor string, p device.Publication) {
	s, err := transparency.ParseStatement(p.Statement)
	require.NoError(n.w.t, err)
	found, err := n.log.Answer(ctx, actor, 0)
	require.NoError(n.w.t, err)
	state, err := keydir.Open(actor, s, found.Found.Opening, found.Found.Content)
	require.NoError(n.w.t, err)
	n.listed[actor] = nil
	for _, d := range state.List.Devices {
		n.listed[actor] = append(n.listed[actor], d.ID())
	}
}

// run does everything that can be done now: all deliveries, all jobs, all mail, until nothing happens any more.
func (w *world) run() {
	for range 200 {
		busy := false
		for _, n := range w.nodes {
			if n.up {
				n.tell()
			}
			for i := 0; i < len(n.out); {
				if n.deliver(i, true) {
					busy = true
				} else {
					i++
				}
			}
		}
		for _, a := range w.agents {
			if !a.online() {
				continue
			}
			for a.receive() {
				busy = true
			}
			busy = a.work() || busy
		}
		for _, p := range w.peers {
			for p.read() {
				busy = true
			}
		}
		if !busy {
			return
		}
	}
	require.Fail(w.t, "the world does not come to rest")
}

// pass lets time go by, in which everybody does what is due.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	for _, a := range w.agents {
		if a.online() {
			if _, more := a.box(); !more {
				a.ReadToEnd()
			}
			_, _, err := a.Wake()
			require.NoError(w.t, err)
		}
	}
}

// heal ends all that keeps the world from coming to rest.
func (w *world) heal() {
	clear(w.cut)
	for _, n := range w.nodes {
		if !n.up {
			n.start()
		}
	}
	for _, a := range w.agents {
		a.offline = false
	}
}
