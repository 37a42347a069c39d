package witness_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
	"github.com/waxwing-dm/waxwing/transparency/witness/storetest"
)

// A statement is what a cosignature says: at that time, no larger tree than this one.
type statement struct {
	size int64
	root [32]byte
	at   int64
}

// TestNeverTwoStories lets a log fork, roll back and send whatever it likes to some witnesses, which crash on both sides of their
// store. No witness may ever have signed two trees of which one does not continue the other, nor a smaller tree at a later time.
func TestNeverTwoStories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { stories(t, rt, false) })
}

// TestNeverTwoStoriesControl is the same with a store that forgets to compare: the invariant must break, or it says nothing.
func TestNeverTwoStoriesControl(t *testing.T) {
	broken := false
	for i := 0; i < 10 && !broken; i++ {
		rapid.Check(t, func(rt *rapid.T) { broken = stories(t, rt, true) || broken })
	}
	require.True(t, broken, "no run has seen what a store that compares nothing does")
}

// careless is what C2SP tlog-witness warns of: it checks against one state and overwrites another.
type careless struct{ witness.Store }

func (c careless) Swap(ctx context.Context, _, next witness.State) (bool, error) {
	now, _, err := c.State(ctx, witness.OriginHash(next.Origin))
	if err != nil {
		return false, err
	}
	return c.Store.Swap(ctx, now, next)
}

// stories plays one run and reports whether a witness contradicted itself.
func stories(t *testing.T, rt *rapid.T, forgetful bool) (contradiction bool) {
	const k = 3
	log := newHistory(t, origin)
	branches := []*history{log}
	var benches []*bench
	said := make([][]statement, k)
	for i := range k {
		b := &bench{store: &fragile{Store: new(storetest.Memory)}, keys: []*transparency.Cosigner{ed(t, fmt.Sprintf("w%d.example", i), byte(i+1))}, now: noon}
		if forgetful {
			b.store.Store = careless{b.store.Store}
		}
		var err error
		b.Witness, err = witness.New(witness.Config{Keys: b.keys, LogKeys: pins(log), Store: b.store, Now: b.clock})
		require.NoError(rt, err)
		benches = append(benches, b)
	}
	branch := func() *history { return rapid.SampledFrom(branches).Draw(rt, "branch") }
	hear := func(i int, h *history, size int64, r witness.Response) {
		if r.Status != 200 {
			return
		}
		at := cosigned(rt, h.checkpoint(rt, size), log.key, r, benches[i].keys...)
		said[i] = append(said[i], statement{size, h.root(rt, size), at})
	}
	// ask sends an honest or a made-up request; between its check and its swap another one may come.
	var ask func(i, depth int)
	ask = func(i, depth int) {
		h := branch()
		size := rapid.Int64Range(0, h.size).Draw(rt, "size")
		from := rapid.Int64Range(0, size).Draw(rt, "from")
		if s, _, _ := benches[i].store.State(ctx, witness.OriginHash(origin)); s.Size <= size && rapid.IntRange(0, 3).Draw(rt, "knows the size") > 0 {
			from = s.Size
		}
		f := benches[i].store
		f.fail, f.lost, f.before = false, false, nil
		switch rapid.IntRange(0, 7).Draw(rt, "what happens") {
		case 0:
			f.fail = true
		case 1:
			f.lost = true
		case 2, 3, 4, 5:
			if depth < 2 {
				f.before = func() {
					f.before = nil
					ask(i, depth+1)
					f.fail, f.lost, f.before = false, false, nil
				}
			}
		}
		r, err := benches[i].AddCheckpoint(ctx, h.body(rt, from, size))
		f.fail, f.lost, f.before = false, false, nil
		if err == nil {
			hear(i, h, size, r)
		}
	}
	rt.Repeat(map[string]func(*rapid.T){
		"grow": func(rt *rapid.T) {
			h := branch()
			h.grow(rt, h.size+rapid.Int64Range(1, 5).Draw(rt, "more"), fmt.Sprint("branch ", rapid.IntRange(0, 2).Draw(rt, "colour")))
		},
		"fork": func(rt *rapid.T) {
			if len(branches) < 5 {
				h := branch()
				branches = append(branches, h.fork(rapid.Int64Range(0, h.size).Draw(rt, "at")))
			}
		},
		"ask": func(rt *rapid.T) { ask(rapid.IntRange(0, k-1).Draw(rt, "witness"), 0) },
		"tick": func(rt *rapid.T) {
			benches[rapid.IntRange(0, k-1).Draw(rt, "witness")].now += rapid.Int64Range(-70, 3600).Draw(rt, "seconds")
		},
		"look": func(rt *rapid.T) {
			i := rapid.IntRange(0, k-1).Draw(rt, "witness")
			r, err := benches[i].Checkpoint(ctx, hashOf(origin))
			require.NoError(rt, err)
			if r.Status == 404 {
				return
			}
			c, n, err := transparency.OpenCosigned(r.Body, []note.Verifier{log.key}, []*transparency.CosignerKey{benches[i].keys[0].Key()})
			require.NoError(rt, err)
			at, ok := benches[i].keys[0].Key().Time(n)
			require.True(rt, ok)
			said[i] = append(said[i], statement{c.Size, c.Root, at})
		},
		"": func(rt *rapid.T) {
			for _, all := range said {
				if contradict(branches, all) {
					contradiction = true
				}
			}
			if contradiction && !forgetful {
				rt.Fatal("a witness has told two stories")
			}
		},
	})
	return contradiction
}

// contradict looks for two statements that cannot both be true. It knows every branch, and needs no proofs.
func contradict(branches []*history, all []statement) bool {
	continues := func(small, large statement) bool {
		for _, h := range branches {
			if h.size >= large.size && h.rootOf(large.size) == large.root && h.rootOf(small.size) == small.root {
				return true
			}
		}
		return false
	}
	for i, a := range all {
		for _, b := range all[:i] {
			small, large := a, b
			if small.size > large.size {
				small, large = large, small
			}
			if !continues(small, large) || small.size < large.size && small.at > large.at {
				return true
			}
		}
	}
	return false
}

func (h *history) rootOf(size int64) [32]byte {
	return h.root(panics{}, size)
}

type panics struct{}

func (panics) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panics) FailNow()                          { panic("failed") }

func FuzzAddCheckpoint(f *testing.F) {
	log := newHistory(f, origin).grow(f, 20, "x")
	fork := log.fork(7).grow(f, 20, "y")
	f.Add([]byte(exampleRequest))
	for _, b := range [][]byte{log.body(f, 5, 20), log.body(f, 5, 5), log.body(f, 0, 20), fork.body(f, 5, 20), fork.body(f, 5, 7), []byte("old 0\n\na\n0\n\n\n")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := newBench(t, []*history{log}, ed(t, "w.example", 1))
		require.Equal(t, 200, b.add(t, log.body(t, 0, 5)).Status)
		before, _, err := b.store.State(ctx, witness.OriginHash(origin))
		require.NoError(t, err)
		r := b.add(t, body)
		after, _, err := b.store.State(ctx, witness.OriginHash(origin))
		require.NoError(t, err)
		if r.Status != 200 {
			require.Equal(t, before, after)
			require.NotContains(t, string(r.Body), "\u2014")
			return
		}
		_, checkpoint, _ := bytes.Cut(body, []byte("\n\n"))
		c, err := transparency.UnverifiedCheckpoint(checkpoint)
		require.NoError(t, err)
		require.Contains(t, [][32]byte{log.root(t, min(c.Size, 20)), fork.root(t, min(c.Size, 20))}, [32]byte(c.Root), "a tree that no log signed")
		require.GreaterOrEqual(t, c.Size, int64(5))
	})
}

func BenchmarkAddCheckpoint(b *testing.B) {
	log := newHistory(b, origin).grow(b, 20, "x")
	for name, keys := range map[string][]*transparency.Cosigner{"Ed25519": {ed(b, "w.example", 1)}, "both": {ed(b, "w.example", 1), pq(b, "w.example", 2)}} {
		b.Run(name, func(b *testing.B) {
			w := newBench(b, []*history{log}, keys...)
			w.add(b, log.body(b, 0, 13))
			body := log.body(b, 13, 13)
			for b.Loop() {
				if r, err := w.AddCheckpoint(ctx, body); err != nil || r.Status != 200 {
					b.Fatal(err, r.Status)
				}
			}
		})
	}
}
