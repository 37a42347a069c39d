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
	"github.com/waxwing-dm/waxwing/internal/safehttp"
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
// already; it is given back by one of the others, once that returns nil. Aside is Retry for one that the others of its host do not
// wait for.
type Outbox interface {
	Lease(ctx context.Context, now time.Time, n int) ([]Delivery, error)
	Done(ctx context.Context, id int64) error
	Retry(ctx context.Context, id int64, at time.Time) error
	Aside(ctx context.Context, id int64, at time.Time) error
	Dead(ctx context.Context, id int64, reason string) error
}

const (
	inFlight   = 16
	firstRetry = time.Second
	lastRetry  = time.Hour
	giveUp     = 7 * 24 * time.Hour
	poll       = time.Second
	tryTime    = 5 * time.Minute // for all recipients of a delivery; a host that takes longer must not keep a slot
)

// Deliverer carries what is in the outbox to where it belongs.
type Deliverer struct {
	outbox Outbox
	remote *Remote
	keys   func(ctx context.Context, actor string) (Signer, error)
	now    func() time.Time
	log    *slog.Logger
	wake   chan struct{}
	last   chan struct{} // closed by Drain
	once   sync.Once
}

// NewDeliverer makes one; keys finds the signing key of a sender.
func NewDeliverer(outbox Outbox, remote *Remote, keys func(ctx context.Context, actor string) (Signer, error), now func() time.Time, log *slog.Logger) *Deliverer {
	return &Deliverer{outbox: outbox, remote: remote, keys: keys, now: now, log: log, wake: make(chan struct{}, 1), last: make(chan struct{})}
}

// Wake says that there may be something new.
func (d *Deliverer) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Drain makes Run begin nothing any more, and return when what is being sent has come to its end.
func (d *Deliverer) Drain() { d.once.Do(func() { close(d.last) }) }

func (d *Deliverer) draining() bool {
	select {
	case <-d.last:
		return true
	default:
		return false
	}
}

// Run delivers until the context ends or it is drained; what was being sent at the end of the context is sent again another time.
func (d *Deliverer) Run(ctx context.Context) {
	var flying sync.WaitGroup
	defer flying.Wait()
	slots := make(chan struct{}, inFlight)
	for ctx.Err() == nil && !d.draining() {
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
		case <-d.last:
		case <-d.wake:
		case <-time.After(poll):
		}
	}
}

func (d *Deliverer) try(ctx context.Context, x Delivery) {
	limited, cancel := context.WithTimeout(ctx, tryTime)
	err := d.deliver(limited, x)
	cancel()
	end := d.verdict(ctx, x, err)
	keep := context.WithoutCancel(ctx)
	// What cannot be written down, on a full disk say, must not be sent again and again meanwhile.
	for wait := firstRetry; ; wait = min(2*wait, time.Minute) {
		err := end(keep)
		if err == nil {
			return
		}
		d.log.Error("ending a delivery", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// verdict says how a try ends that led to err.
func (d *Deliverer) verdict(ctx context.Context, x Delivery, err error) func(context.Context) error {
	switch {
	case err == nil:
		return func(ctx context.Context) error { return d.outbox.Done(ctx, x.ID) }
	case ctx.Err() != nil:
		now := d.now()
		return func(ctx context.Context) error { return d.outbox.Retry(ctx, x.ID, now) }
	case isFinal(err):
		d.log.Warn("delivery refused", "host", x.Host, "reason", reason(err))
		return func(ctx context.Context) error { return d.outbox.Dead(ctx, x.ID, err.Error()) }
	case d.now().Sub(x.Created) > giveUp:
		d.log.Warn("delivery given up", "host", x.Host, "reason", reason(err))
		return func(ctx context.Context) error { return d.outbox.Dead(ctx, x.ID, err.Error()) }
	}
	wait := backOff(x.Attempts)
	var refused *problem.Problem
	if errors.As(err, &refused) {
		wait = max(wait, min(time.Duration(refused.RetryAfter)*time.Second, lastRetry))
	}
	at := d.now().Add(wait)
	if refused != nil && refused.Code == "mailbox_full" { // which a user of the host decides; the others must not wait for them
		return func(ctx context.Context) error { return d.outbox.Aside(ctx, x.ID, at) }
	}
	return func(ctx context.Context) error { return d.outbox.Retry(ctx, x.ID, at) }
}

// reason is what the log may have of an error: nobody's name, and nothing that the other side has worded.
func reason(err error) string {
	var refused *problem.Problem
	switch {
	case errors.As(err, &refused):
		return refused.Code
	case errors.Is(err, errActor):
		return "a recipient's actor document cannot be used"
	}
	return err.Error()
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
	if errors.Is(err, errOtherScheme) {
		return false
	}
	var refused *problem.Problem
	return errors.As(err, &refused) && !problem.Retryable(refused.Status) || errors.Is(err, errActor) || errors.Is(err, errDiscovery) ||
		errors.Is(err, safehttp.ErrTooLarge)
}

// deliver posts to the shared inbox, or to each recipient's own if there is none. One who is gone for good, or whose inbox fails,
// does not keep it from the others; a host that does not answer at all does.
func (d *Deliverer) deliver(ctx context.Context, x Delivery) error {
	signer, err := d.keys(ctx, x.Sender)
	if err != nil {
		return err
	}
	var refused, failed error
	posted := map[string]bool{}
	for _, recipient := range x.Recipients {
		err := d.post(ctx, signer, recipient, x.Body, posted)
		var answer *problem.Problem
		switch {
		case err == nil:
		case isFinal(err):
			refused = err
		case errors.As(err, &answer):
			failed = err
		default:
			return err
		}
	}
	if failed != nil {
		return failed
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
