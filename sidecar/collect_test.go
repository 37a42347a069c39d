package sidecar_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/transparency"
)

// TestUpdatesAreWitnessed: what a device publishes is cosigned and to be seen, at the pace that operators get.
func TestUpdatesAreWitnessed(t *testing.T) {
	w := newWorld(t)
	a, _ := witnessed(w, 3, 2)
	a.visible()
	a.stop()
	a.restart((*sidecar.Sidecar).AtLeisure)
	alice := a.person("alice")
	record := alice.current(nil)
	var took []time.Duration
	for range 20 {
		start := time.Now()
		published, err := alice.Publish(ctx, alice.publication(transparency.KindUpdate, &record, alice))
		require.NoError(t, err)
		require.True(t, published.Witnessed)
		require.Empty(t, published.Waiting)
		took = append(took, time.Since(start))
		record = alice.current(&record)
	}
	slices.Sort(took)
	t.Logf("published, cosigned by two of three and visible: p50 %v, worst %v", took[10], took[19])
	require.Less(t, took[10], 2*time.Second)
	require.True(t, a.verdict().Met)
	require.Eventually(t, func() bool { return len(a.verdict().Cosigned) == 3 }, 10*time.Second, 10*time.Millisecond, "the third comes late and is taken")
}

// TestOneWitnessIsMissing: whatever is wrong with one of three, the log goes on; and with it well again its cosignature is there.
func TestOneWitnessIsMissing(t *testing.T) {
	for name, m := range map[string]mood{"down": down, "hangs": hanging, "garbage": garbage, "404": unknowing, "422": disputing, "409": ahead, "lost answers": forgetful} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, all := witnessed(w, 3, 2)
			a.complete()
			all[1].be(m)
			require.NoError(t, a.Log().Pad(ctx))
			a.visible()
			v := a.verdict()
			require.True(t, v.Met)
			require.Equal(t, []string{"w1"}, v.Missing)
			all[1].be(well)
			require.NoError(t, a.Log().Pad(ctx))
			require.Eventually(t, func() bool { return len(a.verdict().Missing) == 0 }, 10*time.Second, 5*time.Millisecond)
		})
	}
}

// TestTwoWitnessesAreMissing: the answer to a publication says who is missing and why, and as soon as one is back it is to be seen
// without anybody asking again.
func TestTwoWitnessesAreMissing(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.visible()
	alice := a.person("alice")
	record := alice.current(nil)
	a.complete()
	all[0].be(down)
	all[2].be(hanging)
	posted := len(all[1].notes())
	require.NoError(t, a.Log().Pad(ctx))
	published, err := alice.Publish(ctx, alice.publication(transparency.KindUpdate, &record, alice))
	require.NoError(t, err)
	require.False(t, published.Witnessed)
	require.Equal(t, "2 of 3 witnesses are missing: w0.test: it cannot be reached; w2.test: no answer in time", published.Waiting)
	require.Equal(t, record.Statement, alice.current(&record).Statement, "the world sees what was witnessed")
	require.Equal(t, 1, strings.Count(w.logs(), "the log waits to be witnessed"), "once, not at every try")
	require.Len(t, all[1].notes(), posted, "nothing was posted that could not be witnessed (W18)")
	all[0].be(well)
	a.visible()
	require.Greater(t, alice.current(&record).Statement.Seq, record.Statement.Seq)
	require.Eventually(t, func() bool { return strings.Contains(w.logs(), "the log is witnessed again") }, 10*time.Second, 5*time.Millisecond)
}

// TestIdleLogIsFresh: a log without news has its checkpoint cosigned anew, and one that could not be reached this time keeps the line it gave.
func TestIdleLogIsFresh(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.visible()
	require.Eventually(t, func() bool { return len(a.verdict().Cosigned) == 3 }, 10*time.Second, 5*time.Millisecond)
	a.stop()
	before := time.Now().Unix()
	w.advance(3 * time.Hour)
	all[2].be(down)
	a.restart(func(s *sidecar.Sidecar) { s.Hurry(); s.Refresh(50 * time.Millisecond) })
	require.Eventually(t, func() bool { return a.verdict().AsOf > before+10000 }, 10*time.Second, 5*time.Millisecond)
	require.Len(t, a.verdict().Cosigned, 3)
	w.advance(3 * time.Hour)
	require.Eventually(t, func() bool { return a.verdict().AsOf > before+20000 }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, int64(1), a.Log().Size())
}

// TestNothingIsWrittenUnchecked: a log whose witnesses cannot be asked is not written, and is read as far as it was witnessed.
func TestNothingIsWrittenUnchecked(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.visible()
	alice := a.person("alice")
	record := alice.current(nil)
	a.stop()
	all[0].be(down)
	all[1].be(down)
	a.restart(nil)
	p := alice.publication(transparency.KindUpdate, &record, alice)
	require.Eventually(t, func() bool { return strings.Contains(w.logs(), "what they know of it") }, 10*time.Second, 5*time.Millisecond)
	_, err := alice.Publish(ctx, p)
	problem := requireProblem(t, err, 503, "log_unchecked")
	require.Contains(t, problem.Detail, "2 of 3 witnesses are missing: w0.test: it cannot be reached; w1.test: it cannot be reached")
	require.Equal(t, record.Statement, alice.current(&record).Statement)
	size := a.Log().Size()
	all[1].be(well)
	require.Eventually(t, func() bool { _, err = alice.Publish(ctx, p); return err == nil }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, size+1, a.Log().Size())
	a.visible()
}

// TestOpenLeavesTheLogAlone: a command that opens the folder to do something else serves nothing that no witness has seen.
func TestOpenLeavesTheLogAlone(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.complete()
	for _, e := range all {
		e.be(down)
	}
	require.NoError(t, a.Log().Pad(ctx))
	served := a.verdict()
	s, err := sidecar.Open(sidecar.Config{DataDir: a.dir})
	require.NoError(t, err)
	_, err = s.AddAccount("alice")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	a.stop()
	a.restart(nil)
	require.Equal(t, served, a.verdict())
}

func TestPolicyThatCannotBeSatisfied(t *testing.T) {
	w := newWorld(t)
	all, _ := w.witnesses(2, 2)
	key := func(i int) string { return all[i].key.Key().String() }
	for name, c := range map[string][2]string{
		"quorum none":       {"witness a " + key(0) + " http://w0.test\nquorum none\n", "nobody's signature"},
		"no URL":            {"witness a " + key(0) + "\nquorum a\n", "out of reach"},
		"its own domain":    {"witness a " + key(0) + " http://w0.test\nquorum a\n", "w0.test itself do not count"},
		"its own too often": {"witness a " + key(0) + " http://w0.test\nwitness b " + key(1) + " http://w1.test\ngroup g all a b\nquorum g\n", "out of reach"},
	} {
		p, err := transparency.ParsePolicy([]byte(c[0]))
		require.NoError(t, err)
		_, err = sidecar.Open(sidecar.Config{Instance: "https://w0.test", DataDir: t.TempDir(), Witnesses: p})
		require.ErrorContains(t, err, c[1], name)
	}
}
