package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// Delivery is one activity on its way to the users of one server.
type Delivery struct {
	ID         int64
	Host       string   // origin of the server
	Sender     string   // actor; its key signs
	Recipients []string // actors of that server
	Body       []byte   // the activity, the same bytes at each try
	Attempts   int
	Created    time.Time
}

// Outbox keeps the deliveries. Lease hands out at most one delivery of a host, the oldest, if it is due and not handed out
// already; it is given back by one of the others.
type Outbox interface {
	Lease(ctx context.Context, now time.Time, n int) ([]Delivery, error)
	Done(ctx context.Context, id int64) error
	Retry(ctx context.Context, id int64, at time.Time) error
	Dead(ctx context.Context, id int64, reason string) error
}

const (
	inFlight   = 16
	firstRetry = time.Second
	lastRetry  = time.Hour
	giveUp     = 7 * 24 * time.Hour
	poll       = time.Second
)

// Deliverer carries what is in the outbox to where it belongs.
type Deliverer struct {
	outbox Outbox
	remote *Remote
	keys   func(ctx context.Context, actor string) (Signer, error)
	now    func() time.Time
	log    *slog.Logger
	wake   chan struct{}
}

// NewDeliverer makes one; keys finds the signing key of a sender.
func NewDeliverer(outbox Outbox, remote *Remote, keys func(ctx context.Context, actor string) (Signer, error), now func() time.Time, log *slog.Logger) *Deliverer {
	return &Deliverer{outbox, remote, keys, now, log, make(chan struct{}, 1)}
}

// Wake says that there may be something new.
func (d *Deliverer) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run delivers until the context ends; what was being sent then is sent again another time.
func (d *Deliverer) Run(ctx context.Context) {
	var flying sync.WaitGroup
	defer flying.Wait()
	slots := make(chan struct{}, inFlight)
	for ctx.Err() == nil {
		due, err := d.outbox.Lease(ctx, d.now(), inFlight-len(slots))
		if err != nil && ctx.Err() == nil {
			d.log.Error("looking for deliveries", "error", err)
		}
		for _, x := range due {
			slots <- struct{}{}
			flying.Go(func() {
				d.try(ctx, x)
				<-slots
				d.Wake() // the next one for that host
			})
		}
		select {
		case <-ctx.Done():
		case <-d.wake:
		case <-time.After(poll):
		}
	}
}

func (d *Deliverer) try(ctx context.Context, x Delivery) {
	err := d.deliver(ctx, x)
	keep := context.WithoutCancel(ctx)
	var refused *problem.Problem
	switch {
	case err == nil:
		err = d.outbox.Done(keep, x.ID)
	case ctx.Err() != nil:
		err = d.outbox.Retry(keep, x.ID, d.now())
	case isFinal(err):
		d.log.Warn("delivery refused", "host", x.Host, "error", err)
		err = d.outbox.Dead(keep, x.ID, err.Error())
	case d.now().Sub(x.Created) > giveUp:
		d.log.Warn("delivery given up", "host", x.Host, "error", err)
		err = d.outbox.Dead(keep, x.ID, err.Error())
	default:
		wait := backOff(x.Attempts)
		if errors.As(err, &refused) {
			wait = max(wait, min(time.Duration(refused.RetryAfter)*time.Second, lastRetry))
		}
		err = d.outbox.Retry(keep, x.ID, d.now().Add(wait))
	}
	if err != nil {
		d.log.Error("ending a delivery", "error", err)
	}
}

// backOff doubles from a second to an hour, with up to a quarter of chance so that hosts are not asked in step.
func backOff(attempts int) time.Duration {
	wait := lastRetry
	if attempts < 12 {
		wait = min(firstRetry<<attempts, lastRetry)
	}
	return wait - rand.N(wait/4+1)
}

// isFinal says that another try would end the same way.
func isFinal(err error) bool {
	var refused *problem.Problem
	return errors.As(err, &refused) && !problem.Retryable(refused.Status) || errors.Is(err, errActor)
}

// deliver posts to the shared inbox, or to each recipient's own if there is none. One who is gone for good does not keep it
// from the others.
func (d *Deliverer) deliver(ctx context.Context, x Delivery) error {
	signer, err := d.keys(ctx, x.Sender)
	if err != nil {
		return err
	}
	var refused error
	posted := map[string]bool{}
	for _, recipient := range x.Recipients {
		err := d.post(ctx, signer, recipient, x.Body, posted)
		switch {
		case err == nil:
		case isFinal(err):
			refused = err
		default:
			return err
		}
	}
	return refused
}

func (d *Deliverer) post(ctx context.Context, signer Signer, recipient string, body []byte, posted map[string]bool) error {
	a, err := d.remote.Actor(ctx, recipient, false)
	if err != nil {
		return fmt.Errorf("federation: finding the inbox of a recipient: %w", err)
	}
	inbox := a.Inbox
	if a.Shared != "" {
		inbox = a.Shared
	}
	if posted[inbox] {
		return nil
	}
	posted[inbox] = true
	if _, err := d.remote.ask(ctx, signer, http.MethodPost, inbox, body, ContentType, maxAnswer); err != nil {
		return fmt.Errorf("federation: delivering: %w", err)
	}
	return nil
}
