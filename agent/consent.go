package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// What a person decides about strangers holds on this device at once. The sidecar is told by a job, which these calls wait for a little.

// Consent is what is asked of strangers.
func (a *Agent) Consent() (device.Consent, error) { return a.device.Consent() }

// SetConsent sets what is asked of strangers.
func (a *Agent) SetConsent(ctx context.Context, c device.Consent) error {
	return a.decide(ctx, func() error { return a.device.SetConsent(c) })
}

// Requests lists who waits to be accepted.
func (a *Agent) Requests() ([]device.Request, error) { return a.device.Requests() }

// LookAt opens a request without accepting it; nobody is asked anything.
func (a *Agent) LookAt(id string) (device.Preview, error) { return a.device.LookAt(id) }

// AcceptRequest accepts who has asked, and joins.
func (a *Agent) AcceptRequest(ctx context.Context, id string) error {
	return a.decide(ctx, func() error { return a.device.AcceptRequest(id) })
}

// DeleteRequest forgets a request.
func (a *Agent) DeleteRequest(ctx context.Context, id string) error {
	return a.decide(ctx, func() error { return a.device.DeleteRequest(id) })
}

// Block an actor.
func (a *Agent) Block(ctx context.Context, actor string) error {
	return a.decide(ctx, func() error { return a.device.Block(actor) })
}

// Unblock an actor.
func (a *Agent) Unblock(ctx context.Context, actor string) error {
	return a.decide(ctx, func() error { return a.device.Unblock(actor) })
}

// Blocked lists the actors that are blocked.
func (a *Agent) Blocked() ([]string, error) { return a.device.Blocked() }

// ActorOf finds who is meant among those who wait or are blocked, so that nobody is asked anything on their account; ok is false if it is
// none of them.
func (a *Agent) ActorOf(handle string) (actor string, ok bool, err error) {
	name, host, err := parseHandle(handle)
	if err != nil {
		return "", false, err
	}
	blocked, err := a.device.Blocked()
	if err != nil {
		return "", false, err
	}
	requests, err := a.device.Requests()
	if err != nil {
		return "", false, err
	}
	for _, r := range requests {
		blocked = append(blocked, r.Actor)
	}
	for _, actor := range blocked {
		if HandleOf(actor) == "@"+name+"@"+host {
			return actor, true, nil
		}
	}
	return "", false, nil
}

// tellTime is how long a decision waits for the instance to have it. It holds on this device, and it is Run that tells: two who tell could
// overtake each other.
const tellTime = 2 * time.Second

func (a *Agent) decide(ctx context.Context, f func() error) error {
	if err := f(); err != nil {
		return err
	}
	a.touch()
	ctx, stop := context.WithTimeout(ctx, tellTime)
	defer stop()
	for {
		changed := a.Changed()
		jobs, err := a.device.Jobs()
		if err != nil || !slices.ContainsFunc(jobs, func(j device.Job) bool { _, ok := j.(*device.ConsentJob); return ok }) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// tell carries a ConsentJob out.
func (a *Agent) tell(ctx context.Context, sidecar *clientapi.Client, j *device.ConsentJob) error {
	var err error
	if j.Policy != "" {
		err = sidecar.AskStrangers(ctx, string(j.Policy))
	} else {
		err = sidecar.Decide(ctx, clientapi.Decision{Actor: j.Actor, Conversation: j.Conversation, Decision: j.Decision})
	}
	if err != nil {
		return err
	}
	return a.device.Decided(j.ID())
}

// consentTries is how often a message is handed in that its recipient, of the own instance, has yet to accept: for some fourteen days.
const consentTries = 4000

// waitsForConsent tells a refusal that somebody else may yet take back.
func waitsForConsent(j device.Job, p *problem.Problem, before int) bool {
	_, send := j.(*device.SendJob)
	return send && p.Code == "consent_required" && before < consentTries
}

// mustBeAccepted is the end of a claim for one who takes nothing from strangers.
func mustBeAccepted(j *device.ClaimJob, p *problem.Problem) error {
	if p.Code != "consent_required" || len(j.Actors) != 1 {
		return nil
	}
	return fmt.Errorf("agent: claiming key packages: %w", p)
}
