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
	Failures   int      // tries of this host that failed, since the last that did not
	Created    time.Time
	Aside      bool // the others of its host do not wait for it

	// By these the sender knows what it is that did not arrive.
	Device       string
	Conversation string // URL
	MessageHash  []byte // SHA-256 of the MLS message
}

// Missed is a recipient whom a delivery has not reached, and why: a stable code, and a sentence for the person who sent it.
type Missed struct {
	Actor  string `json:"actor"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Outbox keeps the deliveries. Lease hands out at most one delivery of a host, the oldest, if it is due and not handed out
// already; it is given back by one of the others, once that returns nil. Next is Done, and hands out the one behind it, if that is due.
// Retry is a failure of the host, and the others wait with it, until its time or until Hasten;
// Aside is one of a delivery that the others of its host do not wait for. Dead and Expire end it and tell its sender whom it has not
// reached: Dead after the host has answered, Expire after it has not for too long, so that its failures stand.
type Outbox interface {
	Lease(ctx context.Context, now time.Time, n int) ([]Delivery, error)
	Done(ctx context.Context, id int64) error
	Next(ctx context.Context, id int64, now time.Time) (*Delivery, error)
	Retry(ctx context.Context, id int64, at time.Time) error
	Hasten(ctx context.Context, host string, now time.Time) error
	Aside(ctx context.Context, id int64, at time.Time) error
	Dead(ctx context.Context, x Delivery, missed []Missed) error
	Expire(ctx context.Context, x Delivery, missed []Missed) error
}

const (
	inFlight   = 16
	firstRetry = time.Second
	soonRetry  = 10 * time.Second
	soonTries  = 60 // tries before a host is taken for one that is away for long; with those that time runs out for, more than ten minutes
	lastRetry  = time.Hour
	giveUp     = 14 * 24 * time.Hour // as long as a device keeps what it cannot read yet, and less than its receiver knows it again
	poll       = time.Second
	inRow      = 64              // deliveries to one host before others are looked for
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

	mu     sync.Mutex
	called map[string]call // by host
}

// A call is the last try of a host.
type call struct {
	answered bool
	hastened time.Time // when one was made before its time
}

// NewDeliverer makes one; keys finds the signing key of a sender.
func NewDeliverer(outbox Outbox, remote *Remote, keys func(ctx context.Context, actor string) (Signer, error), now func() time.Time, log *slog.Logger) *Deliverer {
	return &Deliverer{outbox: outbox, remote: remote, keys: keys, now: now, log: log, wake: make(chan struct{}, 1), last: make(chan struct{}), called: map[string]call{}}
}

// Wake says that there may be something new.
func (d *Deliverer) Wake() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Heard says that a host has just spoken to us. If it could not be reached before it is worth a try now: it may be back, or we. One that has
// answered us, and may have said when to come again, is not asked before its time.
func (d *Deliverer) Heard(ctx context.Context, host string) {
	d.mu.Lock()
	last, now := d.called[host], d.now()
	if last.answered || now.Sub(last.hastened) < soonRetry {
		d.mu.Unlock()
		return
	}
	d.remember(host, call{hastened: now})
	d.mu.Unlock()
	if err := d.outbox.Hasten(ctx, host, now); err != nil {
		d.log.Error("hastening deliveries", "error", err)
		return
	}
	d.Wake()
}

// remember is for who holds the lock.
func (d *Deliverer) remember(host string, c call) {
	if len(d.called) >= maxCached {
		clear(d.called)
	}
	d.called[host] = c
}

// tried notes whether a host has answered, whatever it said.
func (d *Deliverer) tried(host string, err error) {
	var refused *problem.Problem
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remember(host, call{err == nil || errors.As(err, &refused), d.called[host].hastened})
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
				d.tryRow(ctx, x)
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

// tryRow tries a delivery, and as long as they arrive those behind it: what says that one has arrived hands out the next.
func (d *Deliverer) tryRow(ctx context.Context, x Delivery) {
	next := &x
	for n := 1; next != nil; n++ {
		next = d.try(ctx, *next, n < inRow)
	}
}

func (d *Deliverer) try(ctx context.Context, x Delivery, more bool) (next *Delivery) {
	end := d.attempt(ctx, x)
	if end == nil {
		end = func(keep context.Context) (err error) {
			if !more || d.draining() || ctx.Err() != nil {
				return d.outbox.Done(keep, x.ID)
			}
			next, err = d.outbox.Next(keep, x.ID, d.now())
			return err
		}
	}
	keep := context.WithoutCancel(ctx)
	// What cannot be written down, on a full disk say, must not be sent again and again meanwhile.
	for wait := firstRetry; ; wait = min(2*wait, time.Minute) {
		err := end(keep)
		if err == nil {
			return next
		}
		d.log.Error("ending a delivery", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// attempt tries a delivery and says how that ends; nil: it has arrived. One that has waited too long for a host that failed at its last try is not tried: of
// all that waits there, only what is still worth something is a probe.
func (d *Deliverer) attempt(ctx context.Context, x Delivery) func(context.Context) error {
	if x.Failures > 0 && d.expired(x) && !x.Aside {
		return d.expire(x, "")
	}
	limited, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	missed, err := d.deliver(limited, x)
	d.tried(x.Host, err)
	switch {
	case err != nil:
		return d.failed(ctx, x, err)
	case len(missed) > 0:
		d.log.Warn("delivery refused", "host", x.Host, "code", missed[0].Code, "recipients", len(missed))
		return func(ctx context.Context) error { return d.outbox.Dead(ctx, x, missed) }
	}
	return nil
}

func (d *Deliverer) expired(x Delivery) bool { return d.now().Sub(x.Created) > giveUp }

func (d *Deliverer) expire(x Delivery, why string) func(context.Context) error {
	d.log.Warn("delivery given up", "host", x.Host, "reason", why)
	missed := make([]Missed, 0, len(x.Recipients))
	for _, actor := range x.Recipients {
		missed = append(missed, Missed{actor, "host_unreachable", fmt.Sprintf("%s could not be reached for %d days", Host(x.Host), giveUp/(24*time.Hour))})
	}
	return func(ctx context.Context) error { return d.outbox.Expire(ctx, x, missed) }
}

// failed says when a delivery is tried again, if it is.
func (d *Deliverer) failed(ctx context.Context, x Delivery, err error) func(context.Context) error {
	if ctx.Err() != nil {
		now := d.now()
		return func(ctx context.Context) error { return d.outbox.Retry(ctx, x.ID, now) }
	}
	var refused *problem.Problem
	answered := errors.As(err, &refused)
	if d.expired(x) {
		if answered && concernsOne(refused.Code) {
			return func(ctx context.Context) error { return d.outbox.Dead(ctx, x, whyAll(x, err)) }
		}
		return d.expire(x, reason(err))
	}
	wait := backOff(x.Failures)
	if answered {
		wait = max(wait, min(time.Duration(refused.RetryAfter)*time.Second, lastRetry))
	}
	at := d.now().Add(wait)
	if refused != nil && concernsOne(refused.Code) {
		return func(ctx context.Context) error { return d.outbox.Aside(ctx, x.ID, at) }
	}
	return func(ctx context.Context) error { return d.outbox.Retry(ctx, x.ID, at) }
}

// concernsOne tells what is about a recipient from what is about a host: the others must not wait for it.
func concernsOne(code string) bool {
	return code == "mailbox_full" || code == "stranger_limited" || code == CodeConsent
}

// CodeConsent is the answer for who has to be accepted first. It is no end: they may yet be.
const CodeConsent = "consent_required"

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

// backOff doubles from a second to ten, and stays there for a while: whoever waits for a line that is whole again should not have to wait for
// us as well. Then it doubles on, to an hour. Up to a quarter is chance, so that hosts are not asked in step. It is a host's, whichever
// delivery fails there: while it waits the host is left alone, and then one delivery finds out whether it is back.
func backOff(failures int) time.Duration {
	wait := min(firstRetry<<min(failures, 4), soonRetry)
	if failures >= soonTries {
		wait = min(soonRetry<<min(failures-soonTries, 9), lastRetry)
	}
	return wait - rand.N(wait/4+1)
}

// isFinal says that another try would end the same way.
func isFinal(err error) bool {
	if errors.Is(err, errOtherScheme) {
		return false
	}
	var refused *problem.Problem
	if errors.As(err, &refused) && (refused.Code == "signature_expired" || refused.Code == CodeConsent) {
		return false // by a clock that is not right yet, after a long time off, say; or by somebody who may say yes yet
	}
	return errors.As(err, &refused) && !problem.Retryable(refused.Status) || errors.Is(err, errActor) || errors.Is(err, errDiscovery) ||
		errors.Is(err, safehttp.ErrTooLarge)
}

// deliver posts to the shared inbox, or to each recipient's own if there is none. It returns whom that will never reach. One who is gone
// for good, or whose inbox fails, does not keep it from the others; a host that does not answer at all does.
func (d *Deliverer) deliver(ctx context.Context, x Delivery) (missed []Missed, err error) {
	signer, err := d.keys(ctx, x.Sender)
	if err != nil {
		return nil, err
	}
	var failed error
	posted := map[string]error{}
	for _, recipient := range x.Recipients {
		err := d.post(ctx, signer, recipient, x.Body, posted)
		var answer *problem.Problem
		switch {
		case err == nil:
		case isFinal(err):
			missed = append(missed, why(x.Host, recipient, err))
		case errors.As(err, &answer):
			failed = err
		default:
			return nil, err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return missed, nil
}

// errRecipient is for one whose inbox is not found.
var errRecipient = errors.New("finding the inbox of a recipient")

// why says in words what was refused for good.
func why(origin, recipient string, err error) Missed {
	host := Host(origin)
	var refused *problem.Problem
	switch errors.As(err, &refused); {
	case refused != nil && errors.Is(err, errRecipient):
		return Missed{recipient, "no_such_recipient", fmt.Sprintf("%s has nobody of that name (%d)", host, refused.Status)}
	case refused != nil && refused.Code == CodeConsent:
		return Missed{recipient, refused.Code, "they have not accepted it"}
	case refused != nil:
		return Missed{recipient, refused.Code, fmt.Sprintf("%s refused it: %s", host, refused.Detail)}
	}
	return Missed{recipient, "peer_failed", fmt.Sprintf("%s says nothing of them that can be used", host)}
}

// whyAll is why for all recipients.
func whyAll(x Delivery, err error) (missed []Missed) {
	for _, recipient := range x.Recipients {
		missed = append(missed, why(x.Host, recipient, err))
	}
	return missed
}

// post sends to a recipient's inbox, or says what came of it before.
func (d *Deliverer) post(ctx context.Context, signer Signer, recipient string, body []byte, posted map[string]error) error {
	a, err := d.remote.Actor(ctx, recipient, false)
	if err != nil {
		return fmt.Errorf("federation: %w: %w", errRecipient, err)
	}
	inbox := a.Inbox
	if a.Shared != "" {
		inbox = a.Shared
	}
	if before, ok := posted[inbox]; ok {
		return before
	}
	if _, err = d.remote.ask(ctx, signer, http.MethodPost, inbox, body, ContentType, maxAnswer); err != nil {
		err = fmt.Errorf("federation: delivering: %w", err)
	}
	posted[inbox] = err
	return err
}
