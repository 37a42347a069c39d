package hostile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
	"github.com/waxwing-dm/waxwing/transparency/witness/storetest"
)

// A crowd is who watches a log: three witnesses, of which the first is an auditor too, and the policy that asks for two and the
// auditor.
type crowd struct {
	witnesses []*witness.Witness
	policy    *transparency.Policy
	sizes     []int64 // that each has seen
	auditor   *auditor
	pinned    map[string]note.Verifier
}

// The keys of the crowd, the same in all histories.
var witnessKeys, auditorKey, crowdPolicy = func() (keys []*transparency.Cosigner, audit *transparency.Cosigner, _ *transparency.Policy) {
	var text string
	for i := range 3 {
		name := fmt.Sprintf("w%d.example", i)
		k := must(transparency.NewEd25519Cosigner(name+"/waxwing/witness", keyOf("witness", uint64(i))))
		keys = append(keys, k)
		text += fmt.Sprintf("witness w%d %s\n", i, k.Key())
	}
	audit = must(transparency.NewEd25519Cosigner("w0.example/waxwing/auditor", keyOf("auditor", 0)))
	text += fmt.Sprintf("witness a0 %s\n", audit.Key())
	return keys, audit, must(transparency.ParsePolicy([]byte(text + "group seen 2 w0 w1 w2\ngroup both all seen a0\nquorum both\n")))
}()

func newCrowd(clock *int64, o *operator) *crowd {
	c := &crowd{
		policy: crowdPolicy, sizes: make([]int64, len(witnessKeys)), auditor: &auditor{}, pinned: map[string]note.Verifier{o.origin: o.verifier},
	}
	for i, k := range witnessKeys {
		config := witness.Config{Keys: []*transparency.Cosigner{k}, LogKeys: c.logKeys, Store: &storetest.Memory{}, Now: at(clock)}
		if i == 0 {
			config.Auditor, config.Audited = []*transparency.Cosigner{auditorKey}, c.auditor.audited
		}
		c.witnesses = append(c.witnesses, must(witness.New(config)))
	}
	return c
}

func (c *crowd) logKeys(_ context.Context, origin string) ([]note.Verifier, error) {
	if v, ok := c.pinned[origin]; ok {
		return []note.Verifier{v}, nil
	}
	return nil, nil
}

var errNoQuorum = errors.New("no quorum")

// cosign shows a story to the whole crowd, in the way that gives it the best chance: each is told what continues what it has seen, if
// the story has that, and the auditor reads it first. It returns the note with what cosignatures there are.
func (c *crowd) cosign(s *story) (signed []byte, err error) {
	c.auditor.follow(s)
	signed = s.checkpoint()
	seen := 0
	for i, w := range c.witnesses {
		r, err := w.AddCheckpoint(ctx, s.request(c.sizes[i]))
		if err != nil {
			return nil, err
		}
		if r.Status == 200 {
			c.sizes[i] = s.size()
			seen++
			signed = append(signed, r.Body...)
		}
	}
	if seen < 2 || !bytes.Contains(signed, []byte("w0.example/waxwing/auditor")) {
		return signed, errNoQuorum
	}
	return signed, nil
}

// request to go on from a size that a witness has seen.
func (s *story) request(old int64) []byte {
	b := fmt.Appendf(nil, "old %d\n", old)
	for _, h := range must(s.prove(ctx, old, s.size())) {
		b = fmt.Appendf(b, "%s\n", h)
	}
	return append(append(b, '\n'), s.checkpoint()...)
}

// An auditor replays whatever continues what it has accepted.
type auditor struct {
	mu     sync.Mutex
	replay transparency.Replay
	found  error
}

func (a *auditor) follow(s *story) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.replay.Size()
	if n > s.size() || n > 0 && must(tlog.TreeHash(n, tlog.HashReaderFunc(s.read))) != a.replay.Root() {
		return // another history: what was accepted stands
	}
	for _, e := range s.entries[n:] {
		if a.found != nil {
			return
		}
		a.found = a.replay.Add(e)
	}
}

func (a *auditor) audited(string) (int64, tlog.Hash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replay.Size(), a.replay.Root()
}

// requireL says which check the auditor stopped at.
func (a *auditor) requireL(t testing.TB, checks ...string) {
	t.Helper()
	var check *transparency.CheckError
	require.ErrorAs(t, a.found, &check)
	require.Contains(t, checks, check.Check, "%v", a.found)
}

// An owner knows what their account has said, and reads all entries.
type owner struct {
	label   [32]byte
	said    map[transparency.Statement]bool
	scanned int64
}

func newOwner(s *story, actor string) *owner {
	o := &owner{s.labels[actor], map[transparency.Statement]bool{}, 0}
	for _, e := range s.entries {
		if p := must(transparency.ParseEntry(e)); p.Label == o.label && p.Kind != transparency.KindPad {
			o.said[p.Statement] = true
		}
	}
	o.scanned = s.size()
	return o
}

// scan returns how many new entries say something of the label that the owner did not say.
func (o *owner) scan(s *story) (strange int) {
	for _, e := range s.entries[o.scanned:] {
		if p := must(transparency.ParseEntry(e)); p.Label == o.label && p.Kind != transparency.KindPad && !o.said[p.Statement] {
			strange++
		}
	}
	o.scanned = s.size()
	return strange
}
