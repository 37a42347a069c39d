package agent

import (
	"context"
	"errors"
	"net/http"
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
		err := a.readOnce(ctx, &acknowledged)
		if err == nil {
			failures = 0
			continue
		}
		a.noteRefusal(err)
		a.report(ctx, "reading the mailbox", err)
		sleep(ctx, backOff(failures))
		failures++
	}
}

func (a *Agent) readOnce(ctx context.Context, acknowledged *uint64) error {
	sidecar, err := a.sidecar()
	if err != nil {
		return err
	}
	cursor, err := a.device.Cursor()
	if err != nil {
		return err
	}
	if cursor > *acknowledged {
		if err := sidecar.Acknowledge(ctx, cursor); err != nil {
			return err
		}
		*acknowledged = cursor
	}
	box, err := sidecar.Mailbox(ctx, cursor, clientapi.MaxItems, hold)
	if err != nil {
		return err
	}
	if len(box.Items) == 0 {
		return nil
	}
	defer a.touch()
	for _, i := range box.Items {
		if err := a.device.Receive(device.Incoming{
			Cursor: i.Cursor, Activity: i.Activity, Actor: i.Actor, Conversation: i.Conversation, Message: i.Message, Receipt: i.Receipt,
		}); err != nil {
			return err
		}
	}
	return nil
}

// noteRefusal remembers that the sidecar does not know our token any more: only a login helps then.
func (a *Agent) noteRefusal(err error) {
	var p *problem.Problem
	if errors.As(err, &p) && p.Status == http.StatusUnauthorized {
		a.setRefused(true)
	}
}
