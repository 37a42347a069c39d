package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// copyFolder is a backup, taken while the sidecar runs or not: the database, its write-ahead log and the marker, one after the other.
func copyFolder(t testing.TB, from, to string) {
	require.NoError(t, os.RemoveAll(to))
	require.NoError(t, os.MkdirAll(to, 0o700))
	for _, name := range []string{"waxwingd.db", "waxwingd.db-wal", "log-head"} {
		in, err := os.Open(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		out, err := os.Create(filepath.Join(to, name))
		require.NoError(t, err)
		_, err = io.Copy(out, in)
		require.NoError(t, err)
		require.NoError(t, errors.Join(in.Close(), out.Close()))
	}
}

// refused starts a box that must not go on, and gives what it says.
func (b *box) refused() error {
	b.w.t.Helper()
	s, err := sidecar.Open(sidecar.Config{DataDir: b.dir, Hosts: b.w.hosts, Now: b.w.now, Witnesses: b.policy})
	if err == nil {
		s.Hurry()
		l, lerr := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b.w.t, lerr)
		err = s.Serve(ctx, l)
		require.ErrorIs(b.w.t, s.Log().Pad(ctx), sidecar.ErrRestored, "the log is stopped")
		require.NoError(b.w.t, s.Close())
	}
	require.ErrorIs(b.w.t, err, sidecar.ErrRestored)
	require.Contains(b.w.t, err.Error(), "Bring the newer data folder back")
	return err
}

// TestW16ARestoredFolderIsRefused names who has seen more, and signs nothing.
func TestW16ARestoredFolderIsRefused(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.pad()
	a.visible()
	backup := filepath.Join(t.TempDir(), "backup")
	a.stop()
	copyFolder(t, a.dir, backup)
	a.start()
	a.pad()
	a.visible()
	a.stop()
	posted := fmt.Sprint(all[0].notes(), all[1].notes(), all[2].notes())
	newest := a.dir
	a.dir = backup
	for _, missing := range all { // any two of three have seen whatever two of three have signed
		missing.be(down)
		require.Regexp(t, `its log ends at 2 entries, and w[012]\.test has seen 3\. `, a.refused().Error())
		missing.be(well)
	}
	require.Equal(t, posted, fmt.Sprint(all[0].notes(), all[1].notes(), all[2].notes()))
	a.dir = newest
	a.start()
	a.pad()
	a.visible()
}

// TestW16WitnessesThatDoNotShow: where nobody serves what they have, an old folder is not refused, for nothing is proven; but it signs
// nothing either.
func TestW16WitnessesThatDoNotShow(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.visible()
	for _, e := range all {
		e.be(mute)
	}
	a.stop()
	backup := filepath.Join(t.TempDir(), "backup")
	copyFolder(t, a.dir, backup)
	a.start()
	a.pad()
	a.visible()
	a.stop()
	newest := a.dir
	a.dir = backup
	a.start()
	require.Eventually(t, func() bool {
		return strings.Contains(w.logs(), "w2.test: it claims to know a larger tree of this log and does not show it")
	}, 10*time.Second, 5*time.Millisecond)
	time.Sleep(100 * time.Millisecond) // longer than the others are waited for
	require.ErrorIs(t, a.Log().Pad(ctx), sequencer.ErrHeld)
	all[1].be(well)
	require.ErrorIs(t, <-a.served, sidecar.ErrRestored)
	require.NoError(t, a.Close())
	a.Sidecar, a.listener, a.dir = nil, nil, newest
	a.start()
	a.pad()
	a.visible()
}

// TestW17ADatabasePutBackByItself is found out by the file beside it, with witnesses and without, before anybody is asked.
func TestW17ADatabasePutBackByItself(t *testing.T) {
	for _, alone := range []bool{true, false} {
		w := newWorld(t)
		var a *box
		var all []*eyewitness
		if alone {
			a = w.box("a.test").start()
		} else {
			a, all = witnessed(w, 3, 2)
			a.visible()
		}
		a.pad()
		a.visible()
		a.stop()
		backup := filepath.Join(t.TempDir(), "backup")
		copyFolder(t, a.dir, backup)
		a.start()
		a.pad()
		a.visible()
		size := a.Log().Size()
		a.stop()
		marked, err := os.ReadFile(filepath.Join(a.dir, "log-head"))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(marked), "a.test/waxwing/log/"), "it can be read: %s", marked)
		require.NoError(t, os.WriteFile(filepath.Join(backup, "log-head"), marked, 0o600))
		for _, e := range all {
			e.be(down)
		}
		newest := a.dir
		a.dir = backup
		require.ErrorContains(t, a.refused(), fmt.Sprintf("its log ends at %d entries, and its file log-head has seen %d. ", size-1, size))
		a.dir = newest

		// Another history of the same length.
		require.NoError(t, os.Remove(filepath.Join(backup, "log-head")))
		s, err := sidecar.Open(sidecar.Config{DataDir: backup})
		require.NoError(t, err)
		s.Handler()
		time.Sleep(2 * time.Millisecond) // padding differs by its time
		require.NoError(t, s.Log().Pad(ctx))
		require.NoError(t, s.Close())
		require.NoError(t, os.WriteFile(filepath.Join(backup, "log-head"), marked, 0o600))
		a.dir = backup
		require.ErrorContains(t, a.refused(), "others. ")
		// Another log's marker, and no marker at all.
		require.NoError(t, os.WriteFile(filepath.Join(backup, "log-head"), []byte(strings.Replace(string(marked), "a.test/", "b.test/", 1)), 0o600))
		require.ErrorContains(t, a.refused(), "whose database is not here")
		require.NoError(t, os.WriteFile(filepath.Join(backup, "log-head"), []byte("what"), 0o600))
		_, err = sidecar.Open(sidecar.Config{DataDir: backup, Witnesses: a.policy})
		require.ErrorContains(t, err, "damaged")
		a.dir = newest
		for _, e := range all {
			e.be(well)
		}
		a.start()
	}
}

// TestW19NoWitnessStopsTheLogByItsWordAlone, but one that shows what the log's key has signed does, while the log runs.
func TestW19NoWitnessStopsTheLogByItsWordAlone(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.visible()
	backup := filepath.Join(t.TempDir(), "backup")
	copyFolder(t, a.dir, backup)
	all[2].be(ahead)
	a.pad()
	a.visible()
	all[0].be(ahead)
	a.pad()
	require.Eventually(t, func() bool {
		return strings.Contains(w.logs(), "it claims to know a larger tree of this log and does not show it")
	}, 10*time.Second, 5*time.Millisecond)
	all[0].be(well)
	all[2].be(well)
	a.visible()

	// A second process has gone on from a backup elsewhere, past what this one has, where none of its own witnesses looked.
	size := a.Log().Size()
	other, err := sidecar.Open(sidecar.Config{DataDir: backup})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(backup, "log-head")))
	other.Handler()
	for other.Log().Size() < size+3 {
		require.NoError(t, other.Log().Pad(ctx))
	}
	signed, err := other.Log().Checkpoint()
	require.NoError(t, err)
	require.NoError(t, other.Close())
	all[1].shows(signed)
	a.pad()
	require.ErrorIs(t, <-a.served, sidecar.ErrRestored)
	require.ErrorIs(t, a.Log().Pad(ctx), sidecar.ErrRestored)
	require.NoError(t, a.Close())
	a.Sidecar = nil
}

// A judge has seen every note that was posted to any witness or served to any reader.
type judge struct {
	t    *testing.T
	all  []*eyewitness
	seen map[string]transparency.Checkpoint // by what they say
}

// hear gives how many checkpoints are new.
func (j *judge) hear(served []byte) (fresh int) {
	var notes [][]byte
	for _, e := range j.all {
		notes = append(notes, e.notes()...)
	}
	if served != nil {
		notes = append(notes, served)
	}
	for _, n := range notes {
		c, err := transparency.UnverifiedCheckpoint(n)
		require.NoError(j.t, err)
		if key := fmt.Sprint(c); j.seen[key] == (transparency.Checkpoint{}) {
			j.seen[key] = c
			fresh++
		}
	}
	return fresh
}

// contradictions are the checkpoints that are not of the log that has just signed something.
func (j *judge) contradictions(log *sequencer.Sequencer) (n int) {
	for _, c := range j.seen {
		if c.Size <= log.Size() {
			root, err := log.RootAt(ctx, c.Size)
			require.NoError(j.t, err)
			if root == c.Root {
				continue
			}
		}
		n++
	}
	return n
}

// after judges what a life on a folder has left.
func (j *judge) after(dir string, served []byte) (fresh, contradictions int) {
	settled(j.all)
	if fresh = j.hear(served); fresh == 0 { // nothing was signed: an old folder may be as old as it likes
		return 0, 0
	}
	s, err := sidecar.Open(sidecar.Config{DataDir: dir})
	require.NoError(j.t, err)
	defer s.Close()
	return fresh, j.contradictions(s.Log())
}

// life is one process on one folder. It returns what it served last and how it ended.
func life(t *testing.T, w *world, j *judge, rng *rand.Rand, dir string, p *transparency.Policy, backup string) (served []byte, err error) {
	s, err := sidecar.Open(sidecar.Config{DataDir: dir, Hosts: w.hosts, Now: w.now, Witnesses: p})
	if err != nil {
		return nil, err
	}
	s.Hurry()
	s.HearAll()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	wait := func(d time.Duration) {
		select {
		case err := <-done:
			done <- err
		case <-time.After(d):
		}
	}
	at := rng.IntN(4)
	for i := range 4 {
		if i == at && backup != "" {
			copyFolder(t, dir, backup) // with whatever is under way
		}
		err = s.Log().Pad(ctx)
		for until := time.Now().Add(5 * time.Second); errors.Is(err, sequencer.ErrHeld) && s.Waiting() == "" && len(done) == 0 && time.Now().Before(until); {
			wait(time.Millisecond)
			err = s.Log().Pad(ctx)
		}
		wait(time.Duration(rng.IntN(6)) * time.Millisecond)
		if rng.IntN(3) == 0 {
			j.all[rng.IntN(3)].be(mood(rng.IntN(2)))
		}
	}
	if rng.IntN(2) == 0 {
		s.Kill()
		if ended := <-done; errors.Is(ended, sidecar.ErrRestored) {
			err = ended
		}
	} else {
		cancel()
		if ended := <-done; ended != nil {
			err = ended
		}
		require.NoError(t, s.Close())
	}
	served, _ = s.Log().Checkpoint()
	return served, err
}

// TestRestoredFromAnywhere: two hundred times a folder is taken from the past, with its marker, without, or with the newest one, while
// witnesses come and go; never is there a second signature. The control at the end has one.
func TestRestoredFromAnywhere(t *testing.T) {
	restores := 200
	if testing.Short() {
		restores = 40
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.visible()
	a.stop()
	j := &judge{t, all, map[string]transparency.Checkpoint{}}
	folders := t.TempDir()
	current, tried := a.dir, filepath.Join(folders, "tried")
	var backups []string
	outcomes := map[string]int{}
	for restored := 0; restored < restores; {
		for _, e := range all {
			e.be(well)
		}
		if rng.IntN(2) == 0 {
			all[rng.IntN(3)].be(down)
		}
		dir, kind := current, "went on"
		if len(backups) > 0 && rng.IntN(4) > 0 {
			dir, kind = tried, "restored"
			restored++
			from := rng.IntN(len(backups))
			if rng.IntN(2) == 0 { // one of the newest, which may or may not be old
				from = max(0, len(backups)-1-rng.IntN(2))
			}
			copyFolder(t, backups[from], dir)
			switch rng.IntN(3) {
			case 0:
				require.NoError(t, errors.Join(os.RemoveAll(filepath.Join(dir, "log-head"))))
			case 1:
				newest, err := os.ReadFile(filepath.Join(current, "log-head"))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "log-head"), newest, 0o600))
			}
		}
		backup := filepath.Join(folders, fmt.Sprint(len(backups)))
		if dir != current {
			backup = ""
		}
		served, err := life(t, w, j, rng, dir, a.policy, backup)
		fresh, contradictions := j.after(dir, served)
		require.Zero(t, contradictions, "seed %d, after %d restores, %s (%v): a second signature", seed, restored, kind, err)
		switch {
		case errors.Is(err, sidecar.ErrRestored):
			outcomes[kind+", refused"]++
			require.NotEqual(t, current, dir, "seed %d: the newest folder is refused: %v", seed, err)
		case fresh > 0:
			outcomes[kind+", signed"]++
			if dir != current { // it was the newest after all
				copyFolder(t, dir, current)
			}
		default:
			outcomes[kind+", signed nothing"]++
		}
		if backup != "" {
			backups = append(backups, backup)
		}
	}
	t.Log(outcomes)
	require.Greater(t, outcomes["restored, refused"], restores/4)
	require.Greater(t, outcomes["went on, signed"], restores/40)

	copyFolder(t, backups[0], tried)
	require.NoError(t, os.RemoveAll(filepath.Join(tried, "log-head")))
	s, err := sidecar.Open(sidecar.Config{DataDir: tried})
	require.NoError(t, err)
	s.Handler() // without witnesses nobody is asked
	require.NoError(t, s.Log().Pad(ctx))
	j.hear(must(s.Log().Checkpoint()))
	require.NotZero(t, j.contradictions(s.Log()), "the judge would have seen it")
	require.NoError(t, s.Close())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
