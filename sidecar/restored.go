package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// check asks the witnesses what they have of this log before anything is appended to it or signed (W16). Nothing changes meanwhile:
// whoever has spoken need not do so twice.
func (c *collector) check(ctx context.Context) error {
	silent, err := c.hear(ctx, func(map[string]error) bool { return false })
	if err != nil {
		return err
	}
	for _, e := range c.endpoints {
		switch said := silent[e.URL]; {
		case c.unheard[e.URL] == nil:
		case said != nil:
			c.unheard[e.URL] = said
		case e.Size == 0 && c.log.Size() > 0: // it may have nothing, or not serve what it has; the first round tells
			c.unheard[e.URL] = errUnshown
		default:
			delete(c.unheard, e.URL)
		}
	}
	return c.heard(func(why error) bool { return !errors.Is(why, errUnshown) })
}

// heard is an error until so many have spoken that there is one of them in every quorum that may have signed anything. The others have
// some time to speak, too, since one of them may be the only one that was ever shown what came last.
func (c *collector) heard(unheard func(why error) bool) error {
	missing := map[string]error{}
	for url, why := range c.unheard {
		if unheard(why) {
			missing[url] = why
		}
	}
	silent := func(w transparency.PolicyWitness) bool { return w.URL == "" || missing[w.URL] != nil }
	if len(missing) > 0 && (c.policy.Suffice(silent, c.log.Origin()) || time.Since(c.start) < c.pace.held) {
		return fmt.Errorf("the log is not written before its witnesses have said what they know of it: %w", c.missing(missing))
	}
	return nil
}

var errUnshown = errors.New("it does not show what it has")

var errNotYet = errors.New("no answer in time")

// hear asks all witnesses at once for the newest checkpoint they have, and holds it against the log. It returns soon after the answers
// are enough, and gives those of whom there is none yet and why. The error is ErrRestored.
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
	late := false
	for i, e := range c.endpoints {
		silent[e.URL] = errNotYet
		go func() {
			size, err := c.newest(ctx, e)
			answers <- answer{i, size, err}
		}()
	}
	for range c.endpoints {
		var a answer
		select {
		case a = <-answers:
		case <-ctx.Done():
			return silent, nil
		}
		e := &c.endpoints[a.at]
		if errors.Is(a.err, ErrRestored) {
			return nil, a.err
		}
		if silent[e.URL] = a.err; a.err != nil {
			continue
		}
		delete(silent, e.URL)
		if e.Size = a.size; !late && enough(silent) {
			late = true
			time.AfterFunc(c.pace.grace, cancel)
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
