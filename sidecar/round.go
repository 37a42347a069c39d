package sidecar

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// maxServed is the most bytes of a checkpoint with its cosignatures that a lookup's answer has room for.
const maxServed = 16 << 10

// round takes the newest checkpoint to the witnesses, unless there are too few to make the quorum (W18): what is signed and posted
// should not end with somebody who may be out of reach when a restored log asks who has seen what. Nor is it posted to who has not
// just said what they have: they could refuse it for that, and then know nothing of it.
func (c *collector) round(ctx context.Context) error {
	silent, err := c.hear(ctx, c.enoughToSign)
	if err != nil {
		return err
	}
	if !c.enoughToSign(silent) {
		return c.missing(silent)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	size, checkpoint := c.log.Unwitnessed()
	if err := c.marker.write(checkpoint); err != nil {
		return err
	}
	result, rest, err := c.ask(ctx, checkpoint, func(e witness.Endpoint) bool { return silent[e.URL] == nil })
	if err != nil {
		return err
	}
	if !c.released {
		return c.take(ctx, size, rest(), silent)
	}
	if err := c.take(ctx, size, result, silent); err != nil {
		return err
	}
	go c.cancelAtGrowth(ctx, size, cancel)
	return c.late(ctx, size, checkpoint, rest, silent)
}

// ask begins to collect cosignatures of some witnesses.
func (c *collector) ask(ctx context.Context, checkpoint []byte, whom func(witness.Endpoint) bool) (witness.Result, func() witness.Result, error) {
	asked := slices.DeleteFunc(slices.Clone(c.endpoints), func(e witness.Endpoint) bool { return !whom(e) })
	return witness.Round{
		Checkpoint: checkpoint, Log: c.log.Verifier(), Policy: c.policy, Except: []string{c.log.Origin()}, Endpoints: asked,
		Prove: c.log.ProveFrom, Transport: c.asking, Timeout: c.pace.round,
	}.Collect(ctx)
}

// late waits for the witnesses that were not needed, and asks those who were too slow to say what they have. It has until the log
// grows.
func (c *collector) late(ctx context.Context, size int64, checkpoint []byte, rest func() witness.Result, silent map[string]error) error {
	if r := rest(); ctx.Err() == nil {
		if err := c.take(ctx, size, r, silent); err != nil {
			return err
		}
	}
	if len(silent) == 0 || ctx.Err() != nil {
		return nil
	}
	still, err := c.hear(ctx, func(map[string]error) bool { return false })
	if err != nil || ctx.Err() != nil {
		return err
	}
	_, rest, err = c.ask(ctx, checkpoint, func(e witness.Endpoint) bool { return silent[e.URL] != nil && still[e.URL] == nil })
	if err != nil {
		return err
	}
	if r := rest(); ctx.Err() == nil {
		return c.add(ctx, r)
	}
	return nil
}

// cancelAtGrowth ends a round that has what it needs when there is something newer to take to the witnesses.
func (c *collector) cancelAtGrowth(ctx context.Context, size int64, cancel func()) {
	for {
		_, changed := c.log.Served()
		if c.log.Size() != size {
			cancel()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// take keeps what has come. It is an error if that is not enough to serve the checkpoint, or a log that has nothing new has found too
// few witnesses to say so.
func (c *collector) take(ctx context.Context, size int64, r witness.Result, unheard map[string]error) error {
	silent, err := c.outcomes(ctx, r)
	if err != nil {
		return err
	}
	maps.Copy(silent, unheard)
	served, _ := c.log.Served()
	verdict, err := c.keep(r.Note)
	if err != nil {
		return err
	}
	if verdict.Met {
		if err := c.log.Witnessed(ctx, c.kept); err != nil {
			return err
		}
	}
	if !verdict.Met || served == size && !r.Verdict.Met {
		return c.missing(silent)
	}
	return nil
}

// add takes what came beyond the quorum.
func (c *collector) add(ctx context.Context, r witness.Result) error {
	if _, err := c.outcomes(ctx, r); err != nil {
		return err
	}
	if _, err := c.keep(r.Note); err != nil {
		return err
	}
	return c.log.Witnessed(ctx, c.kept)
}

// outcomes gives who has not cosigned, and why. Who seems to know of another tree is asked to show it: its word alone stops nobody
// (W19).
func (c *collector) outcomes(ctx context.Context, r witness.Result) (silent map[string]error, err error) {
	silent = map[string]error{}
	for _, o := range r.Outcomes {
		i := slices.IndexFunc(c.endpoints, func(e witness.Endpoint) bool { return e.URL == o.URL })
		c.endpoints[i].Size = o.Size
		if o.Status == http.StatusConflict || o.Status == http.StatusUnprocessableEntity {
			if err := c.judge(ctx, c.endpoints[i]); errors.Is(err, ErrRestored) {
				return nil, err
			}
		}
		if errors.Is(o.Err, witness.ErrAhead) {
			o.Err = errors.New("it claims to know a larger tree of this log and does not show it")
			c.unheard[o.URL] = o.Err
		} else if o.Done && (o.Err == nil || o.Status == http.StatusNotFound) {
			delete(c.unheard, o.URL)
		}
		if o.Err != nil {
			silent[o.URL] = o.Err
		}
	}
	return silent, nil
}

// keep joins new cosignatures to those that are here already.
func (c *collector) keep(signed []byte) (transparency.Verdict, error) {
	if joined, err := witness.Merge(c.log.Verifier(), c.policy, signed, c.kept); err == nil && len(joined) <= maxServed {
		signed = joined
	} // else what was kept is of another checkpoint, or there is no room for it
	c.kept = signed
	return c.policy.Evaluate(signed, c.log.Verifier(), c.log.Origin())
}

// enoughToSign says whether those who are not silent can make the quorum.
func (c *collector) enoughToSign(silent map[string]error) bool {
	return c.policy.Suffice(func(w transparency.PolicyWitness) bool { return w.URL != "" && silent[w.URL] == nil }, c.log.Origin())
}
