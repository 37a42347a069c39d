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
	for url := range c.unheard {
		if c.unheard[url] = silent[url]; silent[url] == nil {
			delete(c.unheard, url)
		}
	}
	return c.heard()
}

// heard is an error until so many have spoken that there is one of them in every quorum that may have signed anything. The others have
// some time to speak, too, since one of them may be the only one that was ever shown what came last.
func (c *collector) heard() error {
	unheard := func(w transparency.PolicyWitness) bool { return w.URL == "" || c.unheard[w.URL] != nil }
	if len(c.unheard) > 0 && (c.policy.Suffice(unheard, c.log.Origin()) || time.Since(c.start) < c.pace.held) {
		return fmt.Errorf("the log is not written before its witnesses have said what they know of it: %w", c.missing(c.unheard))
	}
	return nil
}

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
