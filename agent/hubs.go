package agent

import (
	"context"
	"errors"
	"time"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// What the device asks of hubs beside commits. The own sidecar asks them for us.

// A turn is when a lease begins, of somebody who has to wait for it.
type turn time.Duration

func (turn) Error() string { return "agent: others have the lease, or asked before" }

// longestTurn is less than the time after which the hub forgets who has not asked again.
const longestTurn = 4 * time.Second

// lease asks for one. Who has to wait asks again, often enough to stay in the queue.
func (a *Agent) lease(ctx context.Context, sidecar *clientapi.Client, j *device.LeaseJob) error {
	leased, err := sidecar.Lease(ctx, clientapi.LeaseRequest{Conversation: j.Conversation, Hub: j.Hub, LeaseCall: clientapi.LeaseCall{
		Term: j.Term, Epoch: j.Epoch, Key: j.Key, Signature: j.Signature,
	}})
	var conflict *clientapi.Conflict
	switch {
	case errors.As(err, &conflict):
		return a.device.LeaseConflict(j.ID(), hubEvents(conflict.Events))
	case err != nil:
		return err
	case leased.Wait > 0:
		return turn(min(time.Duration(leased.Wait)*time.Millisecond, longestTurn))
	}
	return a.device.Leased(j.ID(), 0)
}

// isAway tells that the sidecar could not ask the instance that a call was for.
func isAway(err error) bool {
	var p *problem.Problem
	return errors.As(err, &p) && (p.Code == "peer_unreachable" || p.Code == "peer_failed")
}

// errMirrored is no failure: the job is done by what the own sidecar's mirror had, for the hub is away.
var errMirrored = errors.New("agent: the hub is away, and its mirror was asked")

// events asks for what the hub has. Where the conversation has gone on at another hub, the old one says so.
func (a *Agent) events(ctx context.Context, sidecar *clientapi.Client, j *device.EventsJob) error {
	chain, err := sidecar.Chain(ctx, j.Conversation, j.Hub, j.After)
	if err != nil {
		return err
	}
	events := chain.Events
	if chain.Moved != nil {
		events = append(events, chain.Moved.Event)
	}
	if chain.Mirror {
		if err := a.device.EventsMirrored(j.ID(), hubEvents(events)); err != nil {
			return err
		}
		return errMirrored
	}
	return a.device.EventsFetched(j.ID(), hubEvents(events))
}

// groupInfos asks for what committers have left at the hub for a device that has lost the thread.
func (a *Agent) groupInfos(ctx context.Context, sidecar *clientapi.Client, j *device.GroupInfoJob) error {
	list, err := sidecar.GroupInfos(ctx, j.Conversation, j.Hub)
	if err != nil {
		return err
	}
	groups := make([]device.SealedGroup, 0, len(list))
	for _, g := range list {
		groups = append(groups, device.SealedGroup{Term: g.Term, Seq: g.Seq, Epoch: g.Epoch, Sealed: g.GroupInfo})
	}
	return a.device.GroupInfos(j.ID(), groups)
}

func (a *Agent) term(ctx context.Context, sidecar *clientapi.Client, j *device.TermJob) error {
	after := []clientapi.Event{}
	for _, e := range j.After {
		after = append(after, clientapi.Event{Receipt: e.Receipt, Commit: e.Commit})
	}
	receipt, err := sidecar.OpenTerm(ctx, clientapi.NewTerm{Conversation: j.Conversation, Claim: j.Claim, After: after})
	var conflict *clientapi.Conflict
	if errors.As(err, &conflict) {
		return a.device.TermConflict(j.ID(), hubEvents(conflict.Events))
	}
	if err != nil {
		return err
	}
	return a.device.TermOpened(j.ID(), receipt)
}

// hubKeys asks each instance for the key of its receipts. One that does not answer is no fallback for now.
func (a *Agent) hubKeys(ctx context.Context, sidecar *clientapi.Client, j *device.HubKeysJob) error {
	keys := map[string][]byte{}
	for _, instance := range j.Instances {
		key, err := sidecar.HubKey(ctx, instance)
		if err != nil {
			a.report(ctx, "asking an instance for its hub key", err)
			continue
		}
		keys[instance] = key
	}
	return a.device.HubKeys(j.ID(), keys)
}

// nameHubs keeps the hubs that the rooms name up to date, where that is for this person to do.
func (a *Agent) nameHubs() error {
	list, err := a.device.Conversations()
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list {
		if c.State == device.StateActive && len(c.Members) > 1 {
			errs = append(errs, a.device.NameHubs(c.ID))
		}
	}
	return errors.Join(errs...)
}
