package agent

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

const hold = clientapi.MaxWait * time.Second

// readMailbox brings what arrives to the device, and lets the sidecar forget it only after its effects are durable here.
func (a *Agent) readMailbox(ctx context.Context) {
	var acknowledged uint64
	for failures := 0; ctx.Err() == nil; {
		began, waits := time.Now(), a.isCurrent()
		got, err := a.readOnce(ctx, &acknowledged, waits)
		switch {
		case err != nil:
			a.setCurrent(false)
			a.setAway(true)
			if a.noteRefusal(err) {
				a.askWhy(ctx)
			}
			a.report(ctx, "reading the mailbox", err)
			wait := backOff(failures)
			if isUnanswered(err) {
				wait = a.attention().leaveAlone("", failures)
			}
			a.rest(ctx, wait)
			failures++
		case got || waits && time.Since(began) > firstWait:
			failures = 0
		case waits:
			sleep(ctx, firstWait) // nothing came, and the answer was not held
		default:
			a.setCurrent(true)
		}
	}
}

// readOnce reads what is there, or waits for something if it may. It tells whether anything new came.
func (a *Agent) readOnce(ctx context.Context, acknowledged *uint64, wait bool) (got bool, err error) {
	sidecar, err := a.sidecar()
	if err != nil {
		return false, err
	}
	cursor, err := a.device.Cursor()
	if err != nil {
		return false, err
	}
	if cursor != *acknowledged {
		if err := sidecar.Acknowledge(ctx, cursor); err != nil {
			return false, err
		}
		*acknowledged = cursor
	}
	held := time.Duration(0)
	if wait {
		held = hold
	}
	box, err := sidecar.Mailbox(ctx, cursor, clientapi.MaxItems, held)
	if err != nil {
		return false, err
	}
	a.setAway(false)
	if a.shop.heard("") {
		a.touch()
	}
	if len(box.Items) == 0 {
		a.device.ReadToEnd()
		return false, nil
	}
	defer a.touch()
	defer a.signsOfLife(ctx, box.Items)
	for _, i := range box.Items {
		got = got || i.Cursor > cursor
		if err := a.device.Receive(device.Incoming{
			Cursor: i.Cursor, Activity: i.Activity, Actor: i.Actor, Conversation: i.Conversation, Message: i.Message, Receipt: i.Receipt,
			Undelivered: undelivered(i.Undelivered),
		}); err != nil {
			return got, err
		}
	}
	return got, nil
}

// signsOfLife takes what has come from a host that was away for a reason to try it. It may have been on its way for long.
func (a *Agent) signsOfLife(ctx context.Context, items []clientapi.Item) {
	seen := map[string]bool{}
	for _, i := range items {
		host := originOf(i.Actor)
		if host == "" || seen[host] {
			continue
		}
		seen[host] = true
		if a.shop.hint(host, time.Now()) {
			a.welcomeBack(ctx, []string{host})
		}
	}
}

// originOf is the instance of an actor; empty if that is no URL.
func originOf(actor string) string {
	u, err := url.Parse(actor)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func undelivered(u *clientapi.Undelivered) *device.Undelivered {
	if u == nil {
		return nil
	}
	out := &device.Undelivered{Message: u.Message}
	for _, m := range u.To {
		out.To = append(out.To, device.Missed(m))
	}
	return out
}

// noteRefusal remembers that the sidecar does not know our token any more: only a login helps then.
func (a *Agent) noteRefusal(err error) bool {
	var p *problem.Problem
	refused := errors.As(err, &p) && p.Status == http.StatusUnauthorized
	if refused {
		a.setRefused(true)
	}
	return refused
}
