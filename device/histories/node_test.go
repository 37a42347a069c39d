package histories_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/federation/hub"
	hubtest "github.com/waxwing-dm/waxwing/federation/hub/storetest"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	logtest "github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

var ctx = context.Background()

// What a call to an instance comes to, beside an answer.
var (
	errHome = errors.New("the own instance is away")
	errPeer = errors.New("the other instance is away") // peer_unreachable
	errDied = errors.New("the sidecar died over it")
)

// A refusal is a problem that another try does not change.
type refusal struct{ code string }

func (r refusal) Error() string { return r.code }

// A conflict is what clientapi.Conflict is: an answer with what the caller missed.
type conflict struct{ events []hub.Event }

func (conflict) Error() string { return "conflict" }

// A gone is hub_moved, with what says so.
type gone struct{ device.HubEvent }

func (gone) Error() string { return "hub_moved" }

// A turn is the wait for a lease.
type turn struct{}

func (turn) Error() string { return "others have the lease" }

// A node is an instance: its log, its hub, its mirror, and what its sidecar keeps. Log, hub and mirror are the real ones; of the sidecar it
// has what counts here, each call as one transaction.
type node struct {
	w      *world
	origin string
	up     bool

	log    *sequencer.Sequencer
	logKey string
	listed map[string][]string // device ids by actor
	hubKey ed25519.PrivateKey
	hub    *hub.Hub // of the process
	mirror *hub.Mirror

	registers *register
	backup    *hubtest.Memory
	mirrored  *mirrorStore

	mail     map[string][]letter // by actor; the cursor is the place, from 1
	out      []delivery
	answers  map[string][]byte // by the id of the job
	supplies map[string]*supply
	tellings []telling

	plain    bool                       // it has nothing but mail
	forgets  func(device.Incoming) bool // a bug on purpose: such messages for other instances are acknowledged and not written down
	wasteful bool                       // and another: a key package stays where it was
	silent   bool                       // and another: it shows no group infos
}

// A letter is an item of a mailbox.
type letter struct {
	device.Incoming
	except string // device id of its sender
}

// A delivery is what waits to be brought to another instance.
type delivery struct {
	to     string // origin
	actors []string
	item   device.Incoming
}

// A telling is for the hub of a term, of the term after it.
type telling struct {
	hub     string
	groupID []byte
	event   hub.Event
}

// supply is the key packages of a device.
type supply struct {
	oneTime    [][]byte
	lastResort []byte
	seen       map[[32]byte]bool
}

// A register is the hub's store. between, if set, is done once before the next swap, in the middle of somebody's submission. careless is a bug
// on purpose: it swaps whatever is there.
type register struct {
	*hubtest.Memory
	between  func()
	careless bool
}

func (r *register) Swap(ctx context.Context, id []byte, old hub.State, c hub.Change) error {
	if f := r.between; f != nil {
		r.between = nil
		f()
	}
	if r.careless {
		old, _, _ = r.Group(ctx, id)
	}
	return r.Memory.Swap(ctx, id, old, c)
}

func (w *world) found(origin string) *node {
	seed := make([]byte, 64)
	_, _ = w.random.Read(seed)
	labels, err := vrf.GenerateKey(w.random)
	require.NoError(w.t, err)
	n := &node{
		w: w, origin: origin, up: true, hubKey: ed25519.NewKeyFromSeed(seed[32:]), listed: map[string][]string{},
		registers: &register{Memory: new(hubtest.Memory)}, mirrored: newMirrorStore(), mail: map[string][]letter{}, answers: map[string][]byte{},
		supplies: map[string]*supply{},
	}
	n.log, err = sequencer.New(ctx, sequencer.Config{
		Host: hostOf(origin), Key: ed25519.NewKeyFromSeed(seed[:32]), VRF: labels, Now: w.clock, Alone: true, Store: new(logtest.Memory),
	})
	require.NoError(w.t, err)
	n.logKey, err = n.log.VerifierKey()
	require.NoError(w.t, err)
	n.start()
	w.nodes = append(w.nodes, n)
	return n
}

// start is another process on what is there.
func (n *node) start() {
	n.up = true
	n.hub = hub.New(n.registers, n.hubKey, headers, n.w.clock, n.ask)
	n.mirror = hub.NewMirror(n.mirrored, n.keyOf)
}

func headers(message []byte) (groupID []byte, epoch uint64, commit bool, err error) {
	m, err := mls.ParseMessage(message)
	if err != nil {
		return nil, 0, false, err
	}
	return m.GroupID(), m.Epoch(), m.ContentType() == mls.ContentCommit, nil
}

// keyOf is what an instance's discovery document says.
func (n *node) keyOf(_ context.Context, origin string) ([32]byte, error) {
	peer, err := n.peer(origin)
	if err != nil || peer.plain {
		return [32]byte{}, errPeer
	}
	return [32]byte(peer.hubKey.Public().(ed25519.PublicKey)), nil
}

// peer is another instance, if it can be reached, or this one.
func (n *node) peer(origin string) (*node, error) {
	for _, p := range n.w.nodes {
		if p.origin == origin && n.w.reach(n, p) {
			return p, nil
		}
	}
	return nil, errPeer
}

// ask is a hub.Ask.
func (n *node) ask(_ context.Context, instance string, groupID []byte, after uint64) ([]hub.Event, error) {
	if instance == n.origin {
		return nil, nil
	}
	peer, err := n.peer(instance)
	if err != nil {
		return nil, err
	}
	events, _, err := peer.events(groupID, after)
	return events, err
}

// events is GET <conversation>: the register's, or else the mirror's. What says that the conversation is elsewhere comes last.
func (n *node) events(groupID []byte, after uint64) (events []hub.Event, mirror bool, err error) {
	events, state, err := n.hub.Events(ctx, groupID, after)
	if errors.Is(err, hub.ErrNoConversation) {
		events, _, _, err = n.mirror.Events(ctx, groupID, after)
		return events, true, err
	}
	if err != nil {
		return nil, false, err
	}
	if after > state.Seq {
		if newer, _, _, err := n.mirror.Events(ctx, groupID, after); err == nil && len(newer) > 0 {
			return newer, true, nil
		}
	}
	if len(events) > 0 && seqOf(events[0]) > after+1 {
		if older, _, _, err := n.mirror.Events(ctx, groupID, after); err == nil && len(older) > 0 {
			return older, true, nil
		}
	}
	if moved, err := n.hub.Elsewhere(ctx, groupID, state); err != nil {
		return nil, false, err
	} else if moved != nil {
		events = append(events, moved.Event)
	}
	return events, false, nil
}

func seqOf(e hub.Event) uint64 {
	r, _ := receipt.Parse(e.Receipt)
	return r.Seq
}

// chain is GET /events, for a device of this instance.
func (n *node) chain(origin string, groupID []byte, after uint64) (events []hub.Event, mirror bool, err error) {
	if origin == n.origin {
		return n.events(groupID, after)
	}
	peer, err := n.peer(origin)
	if err == nil {
		events, mirror, err = peer.events(groupID, after)
	}
	if err == nil {
		return events, mirror, n.mirror.Keep(ctx, origin, groupID, events...)
	}
	if kept, _, _, none := n.mirror.Events(ctx, groupID, after); none == nil {
		return kept, true, nil
	}
	return nil, false, err
}

// submit is what POST /commits asks of the hub. to are those the commit is for.
func (n *node) submit(origin string, groupID []byte, s hub.Submission, to ...string) ([]byte, error) {
	at := n
	if origin != n.origin {
		var err error
		if at, err = n.peer(origin); err != nil {
			return nil, err
		}
		s.Who = ""
	} else {
		s.Others = n.others(to)
	}
	s.From = n.origin
	raw, err := at.hub.Submit(ctx, groupID, s)
	if err != nil {
		return nil, answerOf(err)
	}
	n.w.granted(at, hub.Event{Receipt: raw, Commit: s.Commit})
	if at != n {
		err = n.mirror.Keep(ctx, origin, groupID, hub.Event{Receipt: raw, Commit: s.Commit})
	}
	return raw, err
}

// others are the instances of actors, each once.
func (n *node) others(actors []string) (all []string) {
	for _, actor := range actors {
		if origin := originOf(actor); origin != n.origin && !slices.Contains(all, origin) {
			all = append(all, origin)
		}
	}
	return all
}

// groupInfos is GET /group-info.
func (n *node) groupInfos(origin string, groupID []byte) (groups []device.SealedGroup, err error) {
	at, err := n.peer(origin)
	if err != nil {
		return nil, err
	}
	infos, err := at.hub.GroupInfos(ctx, groupID)
	if err != nil || at.silent {
		return nil, answerOf(err)
	}
	for _, g := range infos {
		groups = append(groups, device.SealedGroup{Term: g.Term, Seq: g.Seq, Epoch: g.Epoch, Sealed: g.Sealed})
	}
	return groups, nil
}

// answerOf is the problem that a hub's error comes to.
func answerOf(err error) error {
	var stale *hub.StaleError
	var mismatch *hub.MismatchError
	var leased *hub.LeasedError
	var moved *hub.MovedError
	switch {
	case errors.As(err, &stale):
		return conflict{stale.Events}
	case errors.As(err, &mismatch):
		return conflict{mismatch.Events}
	case errors.Is(err, hub.ErrEpochUnknown), errors.Is(err, hub.ErrBehind):
		return conflict{}
	case errors.As(err, &leased):
		return turn{}
	case errors.As(err, &moved):
		return gone{device.HubEvent{Receipt: moved.Receipt, Commit: moved.Commit}}
	}
	for is, code := range map[error]string{
		hub.ErrNoConversation: "no_such_conversation", hub.ErrMalformed: "mls_malformed", hub.ErrNotMember: "not_member",
		hub.ErrTooMany: "rate_limited", hub.ErrBranches: "too_many_branches", hub.ErrClaim: "claim_invalid",
	} {
		if errors.Is(err, is) {
			return refusal{code}
		}
	}
	return err
}

// openTerm is POST /terms at the hub that the claim names.
func (n *node) openTerm(j *device.TermJob) ([]byte, error) {
	c, err := receipt.ParseClaim(j.Claim)
	if err != nil {
		return nil, err
	}
	at, err := n.peer(c.Next.Hub)
	if err != nil {
		return nil, err
	}
	first, groupID, err := receipt.ParseConversationURL(j.Conversation)
	if err != nil {
		return nil, err
	}
	after, err := n.mirror.Chain(ctx, groupID, c.Claim)
	require.NoError(n.w.t, err)
	for _, e := range j.After {
		after = append(after, hub.Event{Receipt: e.Receipt, Commit: e.Commit})
	}
	_ = at.mirror.Keep(ctx, first, groupID, after...)
	old, err := at.oldHubs(first, groupID, c.Seq)
	if err != nil {
		return nil, err
	}
	if last, err := at.peer(old[len(old)-1].hub); err == nil && last != at {
		if events, _, err := last.events(groupID, c.Seq); err == nil {
			_ = at.mirror.Keep(ctx, last.origin, groupID, events...)
		}
	}
	newer, _, err := at.hub.Events(ctx, groupID, c.Seq)
	if err != nil || len(newer) == 0 {
		newer, _, _, err = at.mirror.Events(ctx, groupID, c.Seq)
	}
	if err == nil {
		for _, e := range newer {
			r, err := receipt.Parse(e.Receipt)
			if err == nil && r.Seq == c.Seq+1 && r.Previous == c.Head && r.Term < c.Term && r.Kind != receipt.KindTerm {
				return nil, conflict{newer}
			}
		}
	}
	chain, err := at.mirror.Chain(ctx, groupID, c.Claim)
	if err != nil {
		return nil, err
	}
	raw, err := at.hub.OpenTerm(ctx, groupID, j.Claim, chain)
	if err != nil {
		return nil, answerOf(err)
	}
	event := hub.Event{Receipt: raw, Commit: j.Claim}
	n.w.granted(at, event)
	old[len(old)-1].event = event
	at.tellings = append(at.tellings, old...)
	return raw, at.mirror.Keep(ctx, at.origin, groupID, event)
}

// oldHubs are those that had the terms before, as far as the mirror knows; what the last one is to be told is missing.
func (n *node) oldHubs(first string, groupID []byte, upto uint64) ([]telling, error) {
	all := []telling{{hub: first, groupID: groupID}}
	events, _, _, err := n.mirror.Events(ctx, groupID, 0)
	if errors.Is(err, hub.ErrNoConversation) {
		return all, nil
	}
	for _, e := range events {
		r, err := receipt.Parse(e.Receipt)
		if err != nil {
			return nil, err
		}
		if c, err := receipt.ParseClaim(e.Commit); err == nil && r.Kind == receipt.KindTerm && r.Seq <= upto {
			all[len(all)-1].event = e
			all = append(all, telling{hub: c.Next.Hub, groupID: groupID})
		}
	}
	return all, err
}

// tell brings to old hubs that other terms were opened.
func (n *node) tell() {
	n.tellings = slices.DeleteFunc(n.tellings, func(t telling) bool {
		old, err := n.peer(t.hub)
		if err == nil {
			err = old.hub.MovedTo(ctx, t.groupID, t.event)
			return !errors.Is(err, hub.ErrTooMany) // what is refused for good is refused again
		}
		return false
	})
}

// post writes a message down for everybody it is for, in one transaction.
func (n *node) post(from *agent, item device.Incoming, to []string) {
	remote := map[string][]string{}
	var origins []string
	to = append(slices.Clone(to), from.actor)
	slices.Sort(to)
	for _, actor := range slices.Compact(to) {
		origin := originOf(actor)
		if origin == n.origin {
			n.mail[actor] = append(n.mail[actor], letter{item, from.id})
			continue
		}
		if remote[origin] == nil {
			origins = append(origins, origin)
		}
		remote[origin] = append(remote[origin], actor)
	}
	for _, origin := range origins {
		if n.forgets != nil && n.forgets(item) {
			continue
		}
		n.out = append(n.out, delivery{origin, remote[origin], item})
	}
}

// deliver tries one delivery. If its answer is lost it is made again later.
func (n *node) deliver(i int, answered bool) bool {
	d := n.out[i]
	to, err := n.peer(d.to)
	if err != nil {
		return false
	}
	for _, actor := range d.actors {
		to.mail[actor] = append(to.mail[actor], letter{Incoming: d.item})
	}
	if r, err := receipt.Parse(d.item.Receipt); err == nil && r.MessageHash == sha256.Sum256(d.item.Message) {
		hubAt, groupID, err := receipt.ParseConversationURL(d.item.Conversation)
		require.NoError(n.w.t, err)
		if !r.Verify(to.hub.Key()) {
			require.NoError(n.w.t, to.mirror.Keep(ctx, hubAt, groupID, hub.Event{Receipt: d.item.Receipt, Commit: d.item.Message}))
		}
	}
	if answered {
		n.out = slices.Delete(slices.Clone(n.out), i, i+1)
	}
	return true
}

// claim hands out a package of each of an actor's listed devices.
func (n *node) claim(actor string) (claimed []device.ClaimedPackage) {
	for _, id := range n.listed[actor] {
		s := n.supplies[id]
		if s == nil {
			continue
		}
		c := device.ClaimedPackage{Device: id, KeyPackage: s.lastResort, LastResort: true}
		if len(s.oneTime) > 0 {
			c.KeyPackage, c.LastResort = s.oneTime[0], false
			if !n.wasteful {
				s.oneTime = s.oneTime[1:]
			}
			n.w.handedOut(c.KeyPackage)
		}
		claimed = append(claimed, c)
	}
	return claimed
}

func (n *node) stock(id string, j *device.KeyPackagesJob) {
	s := n.supplies[id]
	if s == nil {
		s = &supply{seen: map[[32]byte]bool{}}
		n.supplies[id] = s
	}
	for _, p := range j.OneTime {
		if hash := sha256.Sum256(p); !s.seen[hash] {
			s.seen[hash] = true
			s.oneTime = append(s.oneTime, p)
		}
	}
	if j.LastResort != nil {
		s.lastResort = j.LastResort
	}
}
