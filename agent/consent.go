package agent

import (
	"context"
	"fmt"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// What a person decides about strangers holds on this device at once, and the sidecar is told: now if it can be reached, and otherwise as any
// job.

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
	name, host, err := ParseHandle(handle)
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

func (a *Agent) decide(ctx context.Context, f func() error) error {
	if err := f(); err != nil {
		return err
	}
	defer a.touch()
	jobs, err := a.device.Jobs()
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if _, ok := j.(*device.ConsentJob); !ok {
			continue
		}
		if err := a.do(ctx, j, 0); err != nil {
			a.report(ctx, "telling the instance what was decided", err) // it is tried again
		}
	}
	return nil
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
