package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

const hub = "https://hub.example"

// shop is a workshop with so many jobs of a kind.
func shop(n int, kind, hub string) *workshop {
	w := newWorkshop()
	var tasks []device.Task
	for i := range n {
		tasks = append(tasks, device.Task{ID: fmt.Sprintf("%s %s %d", kind, hub, i), Kind: kind, Hub: hub})
	}
	w.add(tasks, uint64(n))
	return w
}

var (
	hubAway   = outcome{wait: time.Second, answered: true, away: true}
	ownSilent = outcome{wait: time.Second, silent: true}
	done      = outcome{answered: true, reached: true}
)

// exhaust lets everything fail that may be tried now, and tells how many tries that were.
func (w *workshop) exhaust(o outcome, x attention, now time.Time) (tries, atMost int) {
	for {
		due, _ := w.due(true, now)
		if len(due) == 0 {
			return tries, atMost
		}
		tries, atMost = tries+len(due), max(atMost, len(due))
		for _, e := range due {
			w.landed(e, o, x, now)
		}
	}
}

// TestOneTriesForAll: each job is tried once, since a mirror may answer it; from then on one at a time tries a hub that is away.
func TestOneTriesForAll(t *testing.T) {
	now := time.Now()
	w := shop(100, "commit", hub)
	tries, atMost := w.exhaust(hubAway, unwatched, now)
	require.Equal(t, 100, tries)
	require.LessOrEqual(t, atMost, atOnce)
	for hours := time.Duration(0); hours < 24*time.Hour; {
		_, next := w.due(true, now)
		require.Positive(t, next)
		now, hours = now.Add(next), hours+next
		tries, _ = w.exhaust(hubAway, unwatched, now)
		require.LessOrEqual(t, tries, 1)
	}
	require.Len(t, w.doors[hub].waiting, 100)
	require.Greater(t, w.doors[hub].failures, reachTries)
	require.Less(t, w.doors[hub].failures, 24*60/3)

	now = now.Add(longestWait)
	due, _ := w.due(true, now)
	require.Len(t, due, 1)
	nobody, _ := w.due(true, now)
	require.Empty(t, nobody, "it is being tried")
	require.Equal(t, []string{hub}, w.landed(due[0], done, unwatched, now))
	for left := 99; left > 0; {
		due, _ = w.due(true, now)
		require.Len(t, due, min(left, atOnce), "the others go at once, and are no crowd")
		for _, e := range due {
			require.Empty(t, w.landed(e, done, unwatched, now))
		}
		left -= len(due)
	}
	require.Empty(t, w.known)
}

// TestHubsAreTriedApart: one that is away holds nothing up for another.
func TestHubsAreTriedApart(t *testing.T) {
	now := time.Now()
	w := shop(20, "commit", hub)
	w.exhaust(hubAway, unwatched, now)
	w.add([]device.Task{{ID: "x", Kind: "commit", Hub: "https://other.example"}}, 21)
	due, _ := w.due(true, now)
	require.Len(t, due, 1)
	require.Equal(t, "x", due[0].ID)
}

// TestNothingGoesWhileTheSidecarIsSilent but one try at a time, and all at once when anybody has heard from it.
func TestNothingGoesWhileTheSidecarIsSilent(t *testing.T) {
	now := time.Now()
	w := shop(100, device.TaskLookup, "")
	due, _ := w.due(true, now)
	require.Len(t, due, atOnce/2, "questions never take all hands")
	for _, e := range due {
		w.landed(e, ownSilent, unwatched, now)
	}
	require.Equal(t, 1, w.doors[""].failures, "many that fail together count once")
	w.add([]device.Task{{ID: "new", Kind: "commit", Hub: hub}}, 101)
	due, next := w.due(true, now)
	require.Empty(t, due)
	require.LessOrEqual(t, next, firstWait)
	tries := 0
	for range 50 {
		now = now.Add(reachWait)
		n, _ := w.exhaust(ownSilent, unwatched, now)
		tries += n
	}
	require.LessOrEqual(t, tries, 50)
	require.GreaterOrEqual(t, tries, 45)
	require.True(t, w.heard(""))
	require.False(t, w.heard(""))
	due, _ = w.due(true, now)
	require.NotEmpty(t, due)
}

// TestHostSaysWhen: who asks to be left alone is, also by those who wait for it.
func TestHostSaysWhen(t *testing.T) {
	now := time.Now()
	w := shop(2, "commit", "")
	due, _ := w.due(true, now)
	for _, e := range due {
		w.landed(e, outcome{wait: time.Minute, asked: time.Minute, silent: true}, awaited, now)
	}
	now = now.Add(30 * time.Second)
	w.hasten(now)
	due, _ = w.due(true, now.Add(firstWait))
	require.Empty(t, due)
	due, _ = w.due(true, now.Add(time.Minute))
	require.Len(t, due, 1)
}

// TestWhoWaitsIsTriedForSooner: with somebody waiting, hosts are tried every few seconds, and not much more often than that.
func TestWhoWaitsIsTriedForSooner(t *testing.T) {
	for _, c := range []struct {
		host        string
		x           attention
		least, most int // tries in ten minutes, long after it went away
	}{
		{"", unwatched, 60, 80}, {"", watched, 120, 160}, {"", awaited, 300, 400},
		{hub, unwatched, 2, 4}, {hub, watched, 20, 27}, {hub, awaited, 120, 160},
	} {
		now := time.Now()
		w := shop(10, "commit", c.host)
		o := hubAway
		if c.host == "" {
			o = ownSilent
		}
		for range reachTries + 20 {
			now = now.Add(longestWait)
			w.exhaust(o, unwatched, now)
		}
		now = now.Add(longestWait)
		w.exhaust(o, c.x, now)
		tries := 0
		for end := now.Add(10 * time.Minute); now.Before(end); {
			_, next := w.due(true, now)
			now = now.Add(next)
			n, _ := w.exhaust(o, c.x, now)
			tries += n
		}
		require.True(t, tries >= c.least && tries <= c.most, "%q %d: %d tries", c.host, c.x, tries)
	}
}

// TestWhoComesIsTriedForAtOnce: a person who comes while a host is left alone does not wait for its turn; nor is it tried twice in a moment.
func TestWhoComesIsTriedForAtOnce(t *testing.T) {
	now := time.Now()
	w := shop(10, "commit", hub)
	for range reachTries + 20 {
		w.exhaust(hubAway, unwatched, now)
		now = now.Add(longestWait)
	}
	w.exhaust(hubAway, unwatched, now)
	for _, sign := range []func() bool{
		func() bool { w.hasten(now); return true },
		func() bool { return w.hint(hub, now) },
	} {
		now = now.Add(10 * time.Second)
		due, _ := w.due(true, now)
		require.Empty(t, due)
		require.True(t, sign())
		now = now.Add(firstWait)
		due, _ = w.due(true, now)
		require.Len(t, due, 1)
		w.landed(due[0], hubAway, unwatched, now)
	}
	require.False(t, w.hint(hub, now), "signs of life come in crowds")
	w.hasten(now)
	due, _ := w.due(true, now.Add(firstWait))
	require.Empty(t, due)
}

// TestAgentsDoNotComeTogether: those who saw a host go away at the same moment try it at different ones.
func TestAgentsDoNotComeTogether(t *testing.T) {
	now := time.Now()
	seen := map[time.Duration]int{}
	for range 200 {
		w := shop(1, "commit", "")
		for range 8 {
			w.exhaust(ownSilent, unwatched, now)
			now = now.Add(reachWait)
		}
		w.exhaust(ownSilent, unwatched, now)
		seen[w.doors[""].until.Sub(now).Truncate(100*time.Millisecond)]++
	}
	require.Greater(t, len(seen), 15)
}

// TestSendsWaitForTheMailbox: what is in it may say that nobody could read them.
func TestSendsWaitForTheMailbox(t *testing.T) {
	w := shop(3, device.TaskSend, "")
	due, _ := w.due(false, time.Now())
	require.Empty(t, due)
	w.add([]device.Task{{ID: "x", Kind: "commit"}}, 4)
	due, _ = w.due(false, time.Now())
	require.Len(t, due, 1)
	due, _ = w.due(true, time.Now())
	require.Len(t, due, 3)
}

// TestWhatIsGivenUpIsForgotten: jobs that the device has dropped do not pile up at a shut door.
func TestWhatIsGivenUpIsForgotten(t *testing.T) {
	w := shop(50, "commit", hub)
	w.exhaust(hubAway, unwatched, time.Now())
	w.tidy(hub, func(id string) (bool, error) { return id == "commit "+hub+" 7", nil })
	require.Len(t, w.doors[hub].waiting, 1)
	require.Len(t, w.known, 1)
}

// BenchmarkDue is one look at what may be done, while so many wait: behind a door, or for their own next try.
func BenchmarkDue(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		for name, o := range map[string]outcome{"away": hubAway, "failed": {wait: time.Hour, own: true, answered: true}} {
			now := time.Now()
			w := shop(n, "commit", hub)
			for due, _ := w.due(true, now); len(due) > 0; due, _ = w.due(true, now) {
				for _, e := range due {
					w.landed(e, o, unwatched, now)
				}
			}
			b.Run(fmt.Sprintf("%s=%d", name, n), func(b *testing.B) {
				for b.Loop() {
					due, _ := w.due(true, now)
					require.Empty(b, due)
				}
			})
		}
	}
}
