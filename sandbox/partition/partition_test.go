//go:build linux

// Package partition_test runs three instances as they are run in earnest: the real programs, each instance in a network namespace of its
// own with a reverse proxy that speaks TLS, and people's agents, one of them on the road in a fourth. While they talk, the network is cut, loses and
// delays, and programs are frozen and killed, by a schedule that a seed makes. After each round everything is healed, and within thirty seconds
// everybody must have everything once, and agree on who is in which conversation.
//
// It needs root, nsenter and /dev/net/tun; without, it is skipped, and so it is with -short. A longer run:
//
//	go test ./sandbox/partition -v -rounds 20 -seed 0 -timeout 30m
package partition_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
)

var (
	rounds   = flag.Int("rounds", 3, "of faults, each with its healing")
	seed     = flag.Uint64("seed", 1, "of the schedule and of what is lost; 0 takes one from the clock")
	faulty   = flag.Duration("faulty", 10*time.Second, "how long a round's faults last; those of the first three times as long")
	pause    = flag.Duration("pause", 700*time.Millisecond, "of everybody between two messages, on average")
	changes  = flag.Int("changes", 6, "of the members of a conversation in a round, at the most")
	only     = flag.String("only", "", "kinds of fault, with commas between them, instead of all")
	programs = flag.String("programs", "", "folder of a waxwing and a waxwingd to run, instead of those that are built here")
	logLines = flag.Int("loglines", 15, "what to show of each program's log after a failure")
)

// healed is the promise: what was apart is together again after that.
const healed = 30 * time.Second

func TestMain(m *testing.M) {
	if config := os.Getenv(asKeeper); config != "" {
		if err := keep(config); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", "; "))
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestPartitions(t *testing.T) {
	if os.Getenv("WAXWING_PARTITIONS") == "" {
		t.Skip("NOT RUN: it takes two minutes, and the machine for itself: WAXWING_PARTITIONS=1 runs it")
	}
	if err := possible(); err != nil {
		t.Skipf("NOT RUN: three instances in three network namespaces cannot be made here: %v", err)
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", *seed)
	began := time.Now()
	w := newWorld(t, *seed)
	k := &talk{w: w, rooms: rooms(), followed: map[string]*following{}, read: map[[2]string]*reading{}}
	all, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	for _, r := range residents {
		k.followed[r.name] = new(following)
		go k.follow(all, r.name)
	}
	k.open(t)
	t.Logf("%.1fs: three instances, %d people, %d conversations", time.Since(began).Seconds(), len(residents), len(k.rooms))
	var slowest time.Duration
	for i, faults := range schedule(*seed, *rounds, *only) {
		slowest = max(slowest, k.play(t, i, faults))
	}
	k.last(t)
	t.Logf("%.1fs: %d messages, %d of them said anew, %d changes of membership, 0 lost, 0 doubled; the slowest convergence took %.1fs", time.Since(began).Seconds(), len(k.said), k.anew, k.changes, slowest.Seconds())
}

// open starts the conversations, and waits until everybody is in them.
func (k *talk) open(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, r := range k.rooms {
		r.guestIn = r.guest != ""
		var others []string
		for _, name := range r.members() {
			if name != r.admin {
				others = append(others, handle(name))
			}
		}
		var c client.Conversation
		k.w.until(ctx, "the room "+r.name+" is not opened", func() (err error) {
			c, err = k.w.people[r.admin].Start(ctx, others...)
			return err
		})
		r.id = c.ID
	}
	k.converge(t, time.Minute)
	for _, r := range k.rooms {
		k.say(r.admin, r)
	}
	k.converge(t, time.Minute)
}

// play is one round: faults, and the time that it takes to be whole again.
func (k *talk) play(t *testing.T, i int, faults []fault) time.Duration {
	t.Helper()
	var names []string
	for _, f := range faults {
		names = append(names, f.String())
	}
	t.Logf("round %d: %s", i+1, strings.Join(names, "; "))
	ctx, cancel := context.WithCancel(context.Background())
	spoken := make(chan struct{})
	go func() {
		defer close(spoken)
		k.round(ctx, *seed+uint64(i)<<32)
	}()
	time.Sleep(time.Second)
	for _, f := range faults {
		require.NoError(t, f.begin(k.w), f.String())
	}
	long := *faulty
	if i == 0 {
		long *= 3 // a connection that is dead for so long does not come back to life by itself in time
	}
	time.Sleep(long)
	for _, f := range faults {
		require.NoError(t, f.end(k.w), f.String())
	}
	cancel()
	began := time.Now()
	deadline := time.AfterFunc(healed, k.w.end)
	defer deadline.Stop()
	<-spoken
	k.converge(t, healed-time.Since(began))
	took := time.Since(began)
	t.Logf("round %d: converged %.1fs after healing, %d messages so far", i+1, took.Seconds(), len(k.said))
	return took
}

// converge waits until nothing is lost, doubled or apart. What is doubled stays so.
func (k *talk) converge(t *testing.T, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		k.sayAnew()
		faults, _ := k.faults(false)
		if len(faults) == 0 {
			return
		}
		if time.Now().After(deadline) {
			k.show(t)
			require.FailNow(t, "not converged", "after %.0fs: %d faults:\n%s", within.Seconds(), len(faults), strings.Join(faults[:min(len(faults), 20)], "\n"))
		}
		time.Sleep(2 * breath)
	}
}

// show says how everybody sees the conversations.
func (k *talk) show(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	for _, who := range agents {
		for _, r := range k.rooms {
			c, err := k.w.people[who].Conversation(ctx, r.id)
			page, _ := k.w.people[who].Messages(ctx, r.id, 0, client.MaxPage)
			states := map[string]int{}
			for _, m := range page.Messages {
				states[m.State]++
			}
			t.Logf("%s, the room %s: %s %s, epoch %d, %d waiting, messages %v, error %v", who, r.name, c.State, c.Reason, c.Epoch, c.Waiting, states, err)
		}
	}
}

// last looks again after a while, for what comes late and a second time, and proves that it would have been found.
func (k *talk) last(t *testing.T) {
	require.Empty(t, k.refused)
	for _, r := range k.rooms {
		if r.guest != "" {
			k.change(r)
		}
		k.say(r.admin, r)
	}
	k.converge(t, healed)
	time.Sleep(3 * time.Second)
	faults, views := k.faults(true)
	require.Empty(t, faults)
	requireSpoilingsFound(t, k.said, views, k.memberships(), k.rooms[0].id)
}

func TestSchedule(t *testing.T) {
	require.Equal(t, fmt.Sprint(schedule(7, 3, "")), fmt.Sprint(schedule(7, 3, "")))
	require.NotEqual(t, fmt.Sprint(schedule(7, 3, "")), fmt.Sprint(schedule(8, 3, "")))
	for seed := range uint64(20) {
		require.Equal(t, silence, schedule(seed, 3, "")[0][0].kind.name)
	}
	seen := map[string]bool{}
	for _, round := range schedule(7, 3, "") {
		for _, f := range round {
			seen[f.kind.name] = true
		}
	}
	for _, kind := range kinds {
		require.True(t, seen[kind.name], "%s is in no round of three", kind.name)
	}
}
