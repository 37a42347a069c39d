package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// A pace is how fast a collector goes about it.
type pace struct {
	least   time.Duration // between two rounds
	first   time.Duration // before a round is tried again; it doubles
	longest time.Duration // at the most
	refresh time.Duration // when there is nothing new, for newer times
	hear    time.Duration // for a witness to say what it has
	grace   time.Duration // for the others to say so once there are enough
	round   time.Duration // for all witnesses to cosign
	held    time.Duration // for all to have been heard after a start, before only so many as must be
}

var usualPace = pace{
	least: 200 * time.Millisecond, first: time.Second, longest: time.Minute, refresh: time.Hour,
	hear: 5 * time.Second, grace: 250 * time.Millisecond, round: 10 * time.Second, held: 10 * time.Minute,
}

// A collector takes the log's checkpoints to its witnesses and back. Before it does anything it makes sure that they know nothing of
// this log that the data folder does not (restored.go).
type collector struct {
	log       *sequencer.Sequencer
	policy    *transparency.Policy
	asking    asking
	marker    marker
	logger    *slog.Logger
	pace      pace
	endpoints []witness.Endpoint // with the sizes that they had last; run's own, as is what follows
	unheard   map[string]error   // by URL: who has said nothing since the start, and why
	start     time.Time
	released  bool
	kept      []byte // the newest checkpoint that anybody cosigned, with all that they gave

	mu      sync.Mutex
	waiting string // why what was appended is not to be seen yet; "" if it is
}

// newCollector refuses a policy that no witness could satisfy, or that asks for none.
func newCollector(log *sequencer.Sequencer, p *transparency.Policy, a asking, m marker, logger *slog.Logger) (*collector, error) {
	own := log.Origin()
	if p.Suffice(func(transparency.PolicyWitness) bool { return false }, own) {
		return nil, errors.New("sidecar: the witness policy asks for nobody's signature: give it a quorum of witnesses, or leave it away")
	}
	if !p.Suffice(func(w transparency.PolicyWitness) bool { return w.URL != "" }, own) {
		return nil, fmt.Errorf("sidecar: the witness policy's quorum is out of reach: witnesses of %s itself do not count, and those without a URL cannot be asked",
			transparency.Domain(own))
	}
	c := &collector{log: log, policy: p, asking: a, marker: m, logger: logger, pace: usualPace, unheard: map[string]error{},
		endpoints: witness.Endpoints(&transparency.Policy{Witnesses: p.Counting(own)})}
	for _, e := range c.endpoints {
		c.unheard[e.URL] = errNotYet
	}
	if signed, err := log.Checkpoint(); err == nil {
		c.kept = signed
	}
	return c, nil
}

// run works until the context ends. It returns ErrRestored if the log must not go on, and no other error.
func (c *collector) run(ctx context.Context) error {
	c.start = time.Now()
	for failures := 0; ; {
		start := time.Now()
		size, err := c.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrRestored):
			c.log.Stop(err)
			c.say(err)
			return err
		}
		c.say(err)
		wait := c.pace.refresh - rand.N(c.pace.refresh/8+1)
		if err == nil {
			failures = 0
		} else {
			wait = min(c.pace.first<<min(failures, 20), c.pace.longest)
			failures++
		}
		c.pause(ctx, start, size, wait)
	}
}

// pause ends after wait, or when the log has another size than size; not before the least time from start.
func (c *collector) pause(ctx context.Context, start time.Time, size int64, wait time.Duration) {
	least, due := time.After(time.Until(start.Add(c.pace.least))), time.After(wait)
	select {
	case <-least:
	case <-ctx.Done():
		return
	}
	for {
		_, changed := c.log.Served()
		if c.log.Size() != size {
			return
		}
		select {
		case <-changed:
		case <-due:
			return
		case <-ctx.Done():
			return
		}
	}
}

// step is one attempt to have the log witnessed up to its end; size is what it has tried.
func (c *collector) step(ctx context.Context) (size int64, err error) {
	size = c.log.Size()
	if c.released {
		return size, c.round(ctx)
	}
	if err := c.check(ctx); err != nil {
		return size, err
	}
	if size > 0 {
		// It is no condition that this one succeeds. But whoever has shown nothing has to cosign the old head, or not to know the log.
		if err := c.round(ctx); errors.Is(err, ErrRestored) {
			return size, err
		}
		if err := c.heard(func(error) bool { return true }); err != nil {
			return size, err
		}
	}
	if err := c.log.Release(ctx); err != nil {
		return size, fmt.Errorf("the log cannot be written: %w", err)
	}
	c.released = true
	return c.log.Size(), c.round(ctx)
}

// missing puts into one sentence who did not do their part. Names and words in it are of our own choosing.
func (c *collector) missing(silent map[string]error) error {
	text, n := "", 0
	for _, e := range c.endpoints {
		if err := silent[e.URL]; err != nil {
			n++
			text += fmt.Sprintf("; %s: %.100s", transparency.Domain(e.Keys[0].Name()), err)
		}
	}
	if n == 0 {
		return errors.New("the quorum of witnesses is not there")
	}
	are := "are"
	if n == 1 {
		are = "is"
	}
	return fmt.Errorf("%d of %d witnesses %s missing%s", n, len(c.endpoints), are, ":"+text[1:])
}

// say remembers why the log waits, and tells the operator when that changes.
func (c *collector) say(err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	c.mu.Lock()
	before := c.waiting
	c.waiting = now
	c.mu.Unlock()
	switch {
	case now == before:
	case err != nil:
		c.logger.Warn("the log waits to be witnessed", "why", now)
	default:
		c.logger.Info("the log is witnessed again")
	}
}

// why what was appended is not visible yet; for people to read.
func (c *collector) why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == "" {
		return "the witnesses have not answered yet"
	}
	return c.waiting
}
