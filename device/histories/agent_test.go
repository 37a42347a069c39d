package histories_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// An agent is a process with a device in it. It does with jobs what package agent does.
type agent struct {
	*device.Device
	w       *world
	actor   string
	id      string
	home    *node
	disk    *disk
	skew    time.Duration // of its clock
	offline bool
	honest  bool // false: somebody has taken the device over
	revoked bool
	bugs

	claims  map[string]map[string][]device.ClaimedPackage // what claims have got so far, by job
	tried   map[string]int
	changes uint32            // of the account's list that it signed after the first
	read    map[string]uint64 // messages looked at, by conversation
	saves   map[string]uint64 // the state of a conversation that was looked at
	path    map[string]bool   // authenticators of the epochs it was in
	epochs  map[epochOf]string
	last    map[string]uint64 // epoch, by conversation
	gaps    map[string][]gap  // by conversation
	damaged map[string]bool   // conversations
}

type epochOf struct {
	conversation string
	epoch        uint64
}

func (a *agent) String() string { return a.actor + " " + a.id[:4] }

// start is another process on the same disk.
func (a *agent) start() {
	a.Device = device.New(a.disk, a.w.random, func() time.Time { return a.w.now.Add(a.skew) })
	a.claims, a.tried = map[string]map[string][]device.ClaimedPackage{}, map[string]int{}
}

func (a *agent) online() bool { return !a.offline && a.home.up }

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// accountKey is what the device signs its account's list number n with.
func (a *agent) accountKey(n uint32) ed25519.PrivateKey {
	var keys struct{ Account []byte }
	require.True(a.w.t, a.disk.row("device", "keys", &keys))
	m := hmac.New(sha256.New, keys.Account)
	m.Write(binary.BigEndian.AppendUint32([]byte("waxwing account key v1\x00"), n))
	return ed25519.NewKeyFromSeed(m.Sum(nil))
}

// box is what the sidecar has for this device beyond the place it has read to.
func (a *agent) box() (next device.Incoming, ok bool) {
	cursor, err := a.Cursor()
	require.NoError(a.w.t, err)
	mail := a.home.mail[a.actor]
	for i := cursor; i < uint64(len(mail)); i++ {
		if mail[i].except != a.id {
			next = mail[i].Incoming
			next.Cursor = i + 1
			return next, true
		}
	}
	return next, false
}

// receive takes the next item. It tells whether there was one.
func (a *agent) receive() bool {
	item, ok := a.box()
	if !ok || !a.online() {
		return false
	}
	a.w.arrives(a, item)
	if m, err := mls.ParseMessage(item.Message); err == nil {
		r, _ := receipt.Parse(item.Receipt)
		a.w.log("%s: gets a message, wire format %d, kind %d, epoch %d, seq %d, from %s", a, m.WireFormat(), m.ContentType(), m.Epoch(), r.Seq, item.Actor)
	}
	if err := a.Receive(item); err != nil {
		require.ErrorIs(a.w.t, err, errDisk)
		a.start()
	}
	a.complain(item)
	a.w.observe(a)
	return true
}

// ready are the jobs that may be started now. Nothing is sent before the mailbox is read to its end.
func (a *agent) ready() []device.Job {
	jobs, err := a.Jobs()
	require.NoError(a.w.t, err)
	if _, more := a.box(); more {
		jobs = slices.DeleteFunc(jobs, func(j device.Job) bool { _, send := j.(*device.SendJob); return send })
	}
	return jobs
}

// work does jobs until there are none that can be done. It tells whether anything was done.
func (a *agent) work() (did bool) {
	for range 1000 {
		if !a.online() {
			return did
		}
		progress := false
		for _, j := range a.ready() {
			progress = a.try(j) || progress
		}
		if !progress {
			return did
		}
		did = true
	}
	require.Fail(a.w.t, "the jobs do not come to an end")
	return did
}

// try carries a job out once. It tells whether the job is over.
func (a *agent) try(j device.Job) (over bool) {
	if !slices.ContainsFunc(a.ready(), func(k device.Job) bool { return k.ID() == j.ID() }) {
		return false // it went with the one before
	}
	err := a.do(j)
	a.w.log("%s: %T%s: %v", a, j, about(j), err)
	var final refusal
	var moved gone
	if errors.As(err, &moved) {
		if err = a.HubMoved(j.ID(), moved.HubEvent); err == nil {
			a.w.observe(a)
			return true // it is another one now, or goes on with what it learned
		}
	}
	switch {
	case errors.Is(err, errDisk):
		a.start()
	case errors.Is(err, errPeer):
		if a.HubAway(j.ID()) != nil {
			a.start()
		}
		err = nil
	case errors.Is(err, device.ErrReceipt):
		if a.tried[j.ID()]++; a.tried[j.ID()] >= 12 {
			err = a.Failed(j.ID(), "receipt_invalid", "")
			over = true
		}
	case errors.As(err, &final):
		over = true
		require.NotEqual(a.w.t, "too_many_branches", final.code)
		if err = a.Failed(j.ID(), final.code, "because"); err != nil {
			a.start()
		}
	case err == nil:
		over = true
	}
	if err != nil && !errors.Is(err, errDisk) && !errors.Is(err, errHome) && !errors.Is(err, errDied) && !errors.Is(err, turn{}) && !errors.Is(err, device.ErrReceipt) && !errors.Is(err, device.ErrStateLost) {
		require.NoError(a.w.t, err, "%s: %T", a, j)
	}
	a.w.observe(a)
	return over
}

func about(j device.Job) string {
	switch j := j.(type) {
	case *device.CommitJob:
		return fmt.Sprintf(" (at %s, term %d, seq %d, epoch %d)", j.Hub, j.Term, j.Seq, j.Epoch)
	case *device.EventsJob:
		return fmt.Sprintf(" (at %s, after %d)", j.Hub, j.After)
	}
	return ""
}

func hubEvents(events []hub.Event) (out []device.HubEvent) {
	for _, e := range events {
		out = append(out, device.HubEvent{Receipt: e.Receipt, Commit: e.Commit})
	}
	return out
}

// at is the instance that a job is for, and its group.
func (a *agent) at(conversation, named string) (origin string, groupID []byte) {
	origin, groupID, err := receipt.ParseConversationURL(conversation)
	require.NoError(a.w.t, err)
	if named != "" {
		origin = named
	}
	return origin, groupID
}

func (a *agent) do(j device.Job) error {
	if !a.online() {
		return errHome
	}
	switch j := j.(type) {
	case *device.OpenJob:
		raw, err := a.home.hub.Open(ctx, j.GroupID, [32]byte(j.Ticket))
		if err != nil {
			return err
		}
		return a.Opened(j.ID(), receipt.ConversationURL(a.home.origin, j.GroupID), raw)
	case *device.LookupJob:
		return a.lookUp(j)
	case *device.ClaimJob:
		return a.claim(j)
	case *device.CommitJob:
		return a.commit(j)
	case *device.SendJob:
		if _, done := a.home.answers[j.ID()]; !done {
			a.home.answers[j.ID()] = []byte{}
			j := a.misuse(j)
			a.w.accepted(a, j)
			item := device.Incoming{Actor: a.actor, Conversation: j.Conversation, Message: j.Message}
			if j.Plain {
				item.Conversation = "" // it is no URL
			}
			a.home.post(a, item, j.To)
			a.w.leak(a, item, j.To)
		}
		return a.Sent(j.ID())
	case *device.KeyPackagesJob:
		a.home.stock(a.id, j)
		return a.KeyPackagesStored(j.ID())
	case *device.EventsJob:
		return a.events(j)
	case *device.LeaseJob:
		return a.lease(j)
	case *device.TermJob:
		return a.term(j)
	case *device.HubKeysJob:
		keys := map[string][]byte{}
		for _, origin := range j.Instances {
			if key, err := a.home.keyOf(ctx, origin); err == nil {
				keys[origin] = key[:]
			}
		}
		return a.HubKeys(j.ID(), keys)
	case *device.DisputeJob:
		return a.dispute(j)
	case *device.GroupInfoJob:
		origin, groupID := a.at(j.Conversation, j.Hub)
		groups, err := a.home.groupInfos(origin, groupID)
		if err != nil {
			return err
		}
		for _, g := range groups {
			a.w.log("%s: is shown the group of epoch %d, term %d, seq %d", a, g.Epoch, g.Term, g.Seq)
		}
		return a.GroupInfos(j.ID(), groups)
	case *device.ConsentJob:
		return a.Decided(j.ID())
	case *device.ProofJob:
		return a.prove(j)
	}
	return fmt.Errorf("a job of no kind: %T", j)
}

func (a *agent) commit(j *device.CommitJob) error {
	origin, groupID := a.at(j.Conversation, j.Hub)
	raw, done := a.home.answers[j.ID()]
	if !done {
		if a.hasty {
			a.applyAtOnce(j.ConversationID)
		}
		s := hub.Submission{
			Term: j.Term, Epoch: j.Epoch, Commit: j.Commit, Ticket: [32]byte(j.Ticket), Signature: j.Signature, Place: &hub.Place{Seq: j.Seq, Head: [32]byte(j.Head)},
			GroupInfo: j.GroupInfo, Who: a.actor,
		}
		if len(j.Despite) > 0 {
			s.Despite = [32]byte(j.Despite)
		}
		if len(j.LeaseKey) > 0 {
			s.Lease = &hub.Lease{Key: [32]byte(j.LeaseKey), Signature: j.LeaseSignature}
		}
		var err error
		raw, err = a.home.submit(origin, groupID, s, j.To...)
		var missed conflict
		if errors.As(err, &missed) {
			return a.CommitConflict(j.ID(), hubEvents(missed.events))
		}
		if err != nil {
			return err
		}
		if die := a.w.dies; die != nil && die() { // between the receipt and everything that follows from it
			a.home.start()
			return errDied
		}
		a.home.answers[j.ID()] = raw
		a.home.post(a, device.Incoming{Actor: a.actor, Conversation: j.Conversation, Message: j.Commit, Receipt: raw}, j.To)
		if j.Welcome != nil {
			a.home.post(a, device.Incoming{Actor: a.actor, Conversation: j.Conversation, Message: j.Welcome, Receipt: raw}, j.WelcomeTo)
		}
	}
	return a.Committed(j.ID(), raw)
}

func (a *agent) events(j *device.EventsJob) error {
	origin, groupID := a.at(j.Conversation, j.Hub)
	events, mirror, err := a.home.chain(origin, groupID, j.After)
	switch {
	case errors.Is(err, errPeer):
		return err
	case err != nil:
		return refusal{"no_such_conversation"}
	case mirror:
		return a.EventsMirrored(j.ID(), hubEvents(events))
	}
	return a.EventsFetched(j.ID(), hubEvents(events))
}

func (a *agent) lease(j *device.LeaseJob) error {
	origin, groupID := a.at(j.Conversation, j.Hub)
	at, err := a.home.peer(origin)
	if err != nil {
		return err
	}
	wait, _, err := at.hub.Lease(ctx, groupID, hub.LeaseRequest{Term: j.Term, Epoch: j.Epoch, Key: [32]byte(j.Key), Signature: j.Signature})
	var missed conflict
	switch {
	case err == nil && wait > 0:
		return turn{}
	case err == nil:
		return a.Leased(j.ID(), 0)
	case errors.As(answerOf(err), &missed):
		return a.LeaseConflict(j.ID(), hubEvents(missed.events))
	}
	return answerOf(err)
}

func (a *agent) term(j *device.TermJob) error {
	raw, err := a.home.openTerm(j)
	var missed conflict
	if errors.As(err, &missed) {
		return a.TermConflict(j.ID(), hubEvents(missed.events))
	}
	if err != nil {
		return err
	}
	return a.TermOpened(j.ID(), raw)
}

func (a *agent) dispute(j *device.DisputeJob) error {
	a.w.disputed(a, j)
	origin, groupID := a.at(j.Conversation, j.Hub)
	at, err := a.home.peer(origin)
	if err != nil {
		return err
	}
	seq, err := at.hub.Dispute(ctx, groupID, a.home.origin, j.Dispute)
	if err != nil {
		var missed conflict
		if err = answerOf(err); errors.As(err, &missed) {
			return refusal{"not_disputable"}
		}
		return err
	}
	a.w.audit(at, groupID)
	return a.Disputed(j.ID(), seq > 0)
}

func (a *agent) claim(j *device.ClaimJob) error {
	got := a.claims[j.ID()]
	if got == nil {
		got = map[string][]device.ClaimedPackage{}
		a.claims[j.ID()] = got
	}
	for _, actor := range j.Actors {
		if len(got[actor]) > 0 {
			continue
		}
		at, err := a.home.peer(originOf(actor))
		if err != nil {
			return errPeer
		}
		if slices.Contains(j.Plain, actor) {
			got[actor] = at.w.shown(actor)
			continue
		}
		got[actor] = at.claim(actor)
	}
	return a.Claimed(j.ID(), got)
}

// applyAtOnce is the bug on purpose: the pending commit is merged without a receipt.
func (a *agent) applyAtOnce(id string) {
	g := a.group(id)
	if g.Pending() == nil || g.ConfirmPending() != nil {
		return
	}
	require.NoError(a.w.t, a.disk.Update(func(tx device.Tx) error {
		for _, r := range g.Changes(a.group(id)) {
			if r.Value == nil {
				require.NoError(a.w.t, tx.Delete("group:"+id, r.Key))
			} else {
				require.NoError(a.w.t, tx.Put("group:"+id, r.Key, r.Value))
			}
		}
		return nil
	}))
	a.start()
}
