package federation_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
)

// An event is the end of a try.
type event struct {
	id   int64
	what string // done, retry, aside, dead, expired
	at   time.Time

	missed []federation.Missed
}

// outbox is a federation.Outbox in memory: per host first in, first out.
type outbox struct {
	mu     sync.Mutex
	waits  []federation.Delivery
	due    map[int64]time.Time
	leased map[int64]bool
	events chan event
	// failures of hosts, in a row. Unlike a store, this counts those of what is set aside, too.
	failures map[string]int
	full     int // so many ends cannot be written down
}

func newOutbox() *outbox {
	return &outbox{due: map[int64]time.Time{}, leased: map[int64]bool{}, failures: map[string]int{}, events: make(chan event, 1000)}
}

func (o *outbox) put(d federation.Delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waits = append(o.waits, d)
	o.due[d.ID] = d.Created
}

// host sets how often a host has failed in a row.
func (o *outbox) host(host string, failures int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures[host] = failures
}

func (o *outbox) Lease(_ context.Context, now time.Time, n int) (due []federation.Delivery, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := map[string]bool{}
	for _, d := range o.waits {
		if !seen[d.Host] && len(due) < n && !o.leased[d.ID] && !o.due[d.ID].After(now) {
			d.Failures = o.failures[d.Host]
			due = append(due, d)
			o.leased[d.ID] = true
		}
		seen[d.Host] = true
	}
	return due, nil
}

func (o *outbox) end(e event) error {
	o.mu.Lock()
	if o.full > 0 {
		o.full--
		o.mu.Unlock()
		return errors.New("the disk is full")
	}
	i := slices.IndexFunc(o.waits, func(d federation.Delivery) bool { return d.ID == e.id })
	if e.what == "retry" || e.what == "aside" {
		o.failures[o.waits[i].Host]++
		o.due[e.id] = e.at
	} else {
		if e.what != "expired" {
			o.failures[o.waits[i].Host] = 0
		}
		o.waits = slices.Delete(o.waits, i, i+1)
	}
	delete(o.leased, e.id)
	o.mu.Unlock()
	o.events <- e
	return nil
}

func (o *outbox) Done(_ context.Context, id int64) error { return o.end(event{id: id, what: "done"}) }

func (o *outbox) Next(ctx context.Context, id int64, now time.Time) (*federation.Delivery, error) {
	o.mu.Lock()
	host := ""
	if i := slices.IndexFunc(o.waits, func(d federation.Delivery) bool { return d.ID == id }); i >= 0 {
		host = o.waits[i].Host
	}
	o.mu.Unlock()
	if err := o.Done(ctx, id); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.waits, func(d federation.Delivery) bool { return d.Host == host })
	if i < 0 || o.leased[o.waits[i].ID] || o.due[o.waits[i].ID].After(now) {
		return nil, nil
	}
	next := o.waits[i]
	o.leased[next.ID] = true
	return &next, nil
}

func (o *outbox) Retry(_ context.Context, id int64, at time.Time) error {
	return o.end(event{id: id, what: "retry", at: at})
}

func (o *outbox) Hasten(_ context.Context, host string, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.waits {
		if d.Host == host && o.due[d.ID].After(now) {
			o.due[d.ID] = now
		}
	}
	return nil
}

func (o *outbox) Aside(_ context.Context, id int64, at time.Time) error {
	return o.end(event{id: id, what: "aside", at: at})
}

func (o *outbox) Dead(_ context.Context, x federation.Delivery, missed []federation.Missed) error {
	return o.end(event{id: x.ID, what: "dead", missed: missed})
}

func (o *outbox) Expire(_ context.Context, x federation.Delivery, missed []federation.Missed) error {
	return o.end(event{id: x.ID, what: "expired", missed: missed})
}

func (o *outbox) free() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.leased) == 0
}

// A post office is a Deliverer at work.
type office struct {
	*clock
	*outbox
	t       *testing.T
	d       *federation.Deliverer
	remote  *federation.Remote
	schemes *schemes
	stop    func() // and wait for the end
	ended   chan struct{}
}

const alice = "http://a.test/users/alice"

func open(t *testing.T, hosts ...*host) *office {
	c, box := newClock(), newOutbox()
	signers := func(_ context.Context, actor string) (federation.Signer, error) {
		return federation.Signer{Actor: actor, Key: keys()[0]}, nil
	}
	o := &office{clock: c, outbox: box, t: t, schemes: newSchemes()}
	o.remote = remoteWith(t, c, o.schemes, hosts...)
	o.d = federation.NewDeliverer(box, o.remote, signers, c.now, slog.New(slog.DiscardHandler))
	running, cancel := context.WithCancel(ctx)
	o.ended = make(chan struct{})
	go func() { o.d.Run(running); close(o.ended) }()
	o.stop = func() { cancel(); <-o.ended }
	t.Cleanup(o.stop)
	return o
}

// send puts a delivery into the outbox; its body is its own number.
func (o *office) send(id int64, to ...string) {
	origin, err := federation.Origin(to[0])
	require.NoError(o.t, err)
	o.put(federation.Delivery{ID: id, Host: origin, Sender: alice, Recipients: to, Body: []byte{'0' + byte(id)}, Created: o.now()})
	o.d.Wake()
}

// next waits for the end of a try.
func (o *office) next() event {
	o.t.Helper()
	select {
	case e := <-o.events:
		return e
	case <-time.After(20 * time.Second):
		o.t.Fatal("nothing happened")
		return event{}
	}
}

// forward moves the clock to a time.
func (o *office) forward(at time.Time) {
	o.advance(at.Sub(o.now()))
	o.d.Wake()
}
