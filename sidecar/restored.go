package sidecar

import (
	"context"
	"errors"
	"fmt"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// check asks the witnesses what they have of this log before anything is appended to it or signed (W16). So many have to have spoken
// that there is one of them in every quorum that may have signed anything.
func (c *collector) check(ctx context.Context) error {
	silent, err := c.hear(ctx, func(map[string]error) bool { return false }) // all that can be had, not only enough
	if err != nil {
		return err
	}
	unheard := func(w transparency.PolicyWitness) bool { return w.URL == "" || silent[w.URL] != nil }
	if c.policy.Suffice(unheard, c.log.Origin()) {
		return fmt.Errorf("the log is not written before its witnesses have said what they know of it: %w", c.missing(silent))
	}
	return nil
}

var errNotYet = errors.New("no answer in time")

// hear asks all witnesses at once for the newest checkpoint they have, and holds it against the log. It returns as soon as the answers
// are enough, and gives those of whom there is none yet and why. The error is ErrRestored, or the log's own.
func (c *collector) hear(ctx context.Context, enough func(silent map[string]error) bool) (silent map[string]error, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.pace.hear)
	defer cancel()
	type answer struct {
		at   int
		size int64
		err  error
	}
	answers := make(chan answer, len(c.endpoints)) // with room for all: who is not waited for any more does not block
	silent = map[string]error{}
	for i, e := range c.endpoints {
		silent[e.URL] = errNotYet
		go func() {
			size, err := c.newest(ctx, e)
			answers <- answer{i, size, err}
		}()
	}
	for range c.endpoints {
		a := <-answers
		e := &c.endpoints[a.at]
		if errors.Is(a.err, ErrRestored) {
			return nil, a.err
		}
		if silent[e.URL] = a.err; a.err != nil {
			continue
		}
		delete(silent, e.URL)
		if e.Size = a.size; enough(silent) {
			break
		}
	}
	return silent, nil
}

// newest checkpoint that a witness has of the log: its size, 0 if it has none.
func (c *collector) newest(ctx context.Context, e witness.Endpoint) (int64, error) {
	seen, ok, err := e.Newest(ctx, c.asking, c.log.Verifier())
	if err != nil || !ok {
		return 0, err
	}
	return seen.Size, continues(ctx, c.log, seen, transparency.Domain(e.Keys[0].Name()))
}

// judge asks one witness that seems to know another tree than we do. Its word alone stops nobody: it has to show what our key signed.
func (c *collector) judge(ctx context.Context, e witness.Endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, c.pace.hear)
	defer cancel()
	_, err := c.newest(ctx, e)
	return err
}
