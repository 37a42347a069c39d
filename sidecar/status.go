package sidecar

import (
	"context"
	"errors"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// LowDisk is how many free bytes a data folder's disk has to have for calls to be taken. What is begun with less may end half-way in
// every program of the machine.
const LowDisk = 64 << 20

// Status is how a sidecar is doing, for its operator. It names nobody but witnesses.
type Status struct {
	Instance   string           `json:"instance"`
	NotReady   []Trouble        `json:"not_ready"` // why no calls should come here; none if they may
	Log        LogStatus        `json:"log"`
	Deliveries DeliveriesStatus `json:"deliveries"`
	Mailboxes  int64            `json:"mailbox_items"` // that wait for devices
	Calls      int64            `json:"calls"`         // that are being answered, those included that wait for news
	Disk       DiskStatus       `json:"disk"`
}

// Trouble has a stable code for programs and a sentence for people.
type Trouble struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// LogStatus is how the instance's log is doing. Times are seconds.
type LogStatus struct {
	Entries   int64     `json:"entries"`
	Served    int64     `json:"served"`            // of them, those that lookups are answered from
	Witnessed bool      `json:"witnessed"`         // whether it has witnesses at all
	AsOf      int64     `json:"as_of,omitempty"`   // when enough of them saw what is served
	Witnesses []Witness `json:"witnesses"`         // of the policy
	Waiting   string    `json:"waiting,omitempty"` // why not all entries are served
}

// Witness of the log.
type Witness struct {
	Name     string `json:"name"`
	Cosigned bool   `json:"cosigned"`     // what is served
	At       int64  `json:"at,omitempty"` // second, as the witness has it
}

// DeliveriesStatus is what is on its way to other servers.
type DeliveriesStatus struct {
	Waiting  int64 `json:"waiting"`
	InFlight int64 `json:"in_flight"` // of them
	Held     int64 `json:"held"`      // hosts, and single deliveries, whose next try is later
	Dead     int64 `json:"dead"`      // given up within the last 30 days
	Oldest   int64 `json:"oldest"`    // seconds that one has waited
}

// DiskStatus is in bytes.
type DiskStatus struct {
	Database int64 `json:"database"`
	Journal  int64 `json:"journal"`
	Free     int64 `json:"free"`
}

// Status looks at everything, and writes something to see that it can. It takes a few milliseconds and a turn of the disk: once in some
// seconds is often enough.
func (s *Sidecar) Status(ctx context.Context) Status {
	now := s.now()
	space, spaceErr := s.store.Space()
	counts, countErr := s.store.Count(ctx, now)
	troubles := append([]Trouble{}, s.logTroubles()...)
	return Status{
		Instance: s.instance, Log: s.logStatus(), Deliveries: deliveriesStatus(counts, now), Mailboxes: counts.MailboxRows, Calls: s.calls.Load(),
		Disk:     DiskStatus(space),
		NotReady: append(troubles, storeTroubles(space, errors.Join(s.store.Writable(ctx, now), countErr, spaceErr))...),
	}
}

func (s *Sidecar) logTroubles() (all []Trouble) {
	if s.isStopping() {
		all = append(all, Trouble{"draining", "it is stopping: what runs comes to its end, nothing new begins"})
	}
	switch err := s.log.Refusal(); {
	case errors.Is(err, sequencer.ErrHeld):
		all = append(all, Trouble{"log_unchecked", s.unchecked()})
	case err != nil:
		all = append(all, Trouble{"log_stopped", nameless(err)})
	}
	return all
}

func storeTroubles(space store.Space, err error) (all []Trouble) {
	if err != nil {
		all = append(all, Trouble{"store_failing", nameless(err)})
	}
	if space.Free < LowDisk && space.Database > 0 { // else nobody could look
		all = append(all, Trouble{"disk_low", "the disk of the data folder is nearly full"})
	}
	return all
}

func (s *Sidecar) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

func (s *Sidecar) unchecked() string {
	if s.collector == nil {
		return "it is starting"
	}
	return s.collector.why()
}

func deliveriesStatus(c store.Counts, now time.Time) DeliveriesStatus {
	d := DeliveriesStatus{Waiting: c.Waiting, InFlight: c.Flying, Held: c.HeldLanes, Dead: c.Dead}
	if !c.Oldest.IsZero() {
		d.Oldest = max(int64(now.Sub(c.Oldest)/time.Second), 0)
	}
	return d
}

func (s *Sidecar) logStatus() LogStatus {
	st := LogStatus{Entries: s.log.Size(), Witnesses: []Witness{}}
	st.Served, _ = s.log.Served()
	if s.collector == nil {
		return st
	}
	st.Witnessed = true
	if st.Served < st.Entries {
		st.Waiting = s.collector.why()
	}
	signed, err := s.log.Checkpoint()
	if err != nil { // nothing is served
		return withWitnesses(st, s.collector, transparency.Verdict{})
	}
	verdict, err := s.collector.policy.Evaluate(signed, s.log.Verifier(), s.log.Origin())
	if err != nil {
		verdict = transparency.Verdict{}
	}
	return withWitnesses(st, s.collector, verdict)
}

func withWitnesses(st LogStatus, c *collector, v transparency.Verdict) LogStatus {
	st.AsOf = v.AsOf
	for _, w := range c.policy.Counting(c.log.Origin()) {
		one := Witness{Name: w.Name}
		for _, by := range v.Cosigned {
			if by.Witness == w.Name {
				one.Cosigned, one.At = true, by.Time
			}
		}
		st.Witnesses = append(st.Witnesses, one)
	}
	return st
}

// An Observer is told what is done, to count it. It is called in the middle of that, by many at once, and must not wait.
type Observer interface {
	// Answered is for a call: its route is a pattern of the mux or "none", its code that of the problem or "".
	Answered(route string, status int, code string, took time.Duration)
	// Tried is for a delivery: "delivered", "retried", "aside" or "dead".
	Tried(end string)
}

type nobody struct{}

func (nobody) Answered(string, int, string, time.Duration) {}
func (nobody) Tried(string)                                {}

// observed is an outbox whose tries are counted.
type observed struct {
	federation.Outbox
	observer Observer
}

func (o observed) Done(ctx context.Context, id int64) error {
	return o.tell("delivered", o.Outbox.Done(ctx, id))
}

func (o observed) Next(ctx context.Context, id int64, now time.Time) (*federation.Delivery, error) {
	next, err := o.Outbox.Next(ctx, id, now)
	return next, o.tell("delivered", err)
}

func (o observed) Retry(ctx context.Context, id int64, at time.Time) error {
	return o.tell("retried", o.Outbox.Retry(ctx, id, at))
}

func (o observed) Aside(ctx context.Context, id int64, at time.Time) error {
	return o.tell("aside", o.Outbox.Aside(ctx, id, at))
}

func (o observed) Dead(ctx context.Context, d federation.Delivery, missed []federation.Missed) error {
	return o.tell("dead", o.Outbox.Dead(ctx, d, missed))
}

func (o observed) Expire(ctx context.Context, d federation.Delivery, missed []federation.Missed) error {
	return o.tell("dead", o.Outbox.Expire(ctx, d, missed))
}

func (o observed) tell(end string, err error) error {
	if err == nil {
		o.observer.Tried(end)
	}
	return err
}
