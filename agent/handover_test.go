package agent_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestHubIsAwayForAWeekOverHTTP: the hub's sidecar is killed. Messages go on; the hand-over comes within two minutes of the limit; the new
// hub orders changes; and when the old one is back with what it had, nothing is lost and nothing comes twice.
func TestHubIsAwayForAWeekOverHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("a week of four instances takes twenty seconds, and minutes under the race detector")
	}
	sea, all := islands(t, 4)
	a, b, c, d := all[0], all[1], all[2], all[3]
	alice, bob, carol, dave := a.person("alice").login(), b.person("bob").login(), c.person("carol").login(), d.person("dave").login()
	three := []*person{alice, bob, carol}
	id, want := greet(three...), []string{"hello"}
	require.NoError(t, alice.SetAdmin(id, bob.actor(), true))
	require.NoError(t, alice.SetAdmin(id, carol.actor(), true)) // two of three have to agree
	agree(id, 3, three...)
	require.NoError(t, bob.LookAfter(ctx))
	bob.await("the fallbacks are named", func() bool {
		c, err := bob.Conversation(id)
		return err == nil && c.Epoch == 4
	})
	agree(id, 3, three...)

	defer dumpFailed(id, alice, bob, carol, dave)
	carol.stop() // so that something of alice's is still to be delivered when her instance dies
	want = append(want, alice.say(id, "just before"))
	bob.await("it comes", func() bool { return len(bob.texts(id)) == len(want) })
	c.sink()
	want = append(want, alice.say(id, "one that only waits"))
	bob.await("it comes", func() bool { return len(bob.texts(id)) == len(want) })
	a.sink()
	c.rise()
	carol.start()
	want = append(want, bob.say(id, "at once"), carol.say(id, "mine, too"))
	carol.await("talk goes on", func() bool { return len(carol.texts(id)) == len(want)-1 })
	want = append(want, alice.say(id, "while it is away"))

	rest := []*person{bob, carol}
	sea.pass(time.Second, time.Second, rest, nil) // they find it away
	time.Sleep(time.Second)
	began := sea.now()
	sea.pass(24*time.Hour-3*time.Minute, time.Hour, rest, nil)
	for ; sea.now().Sub(began) < 24*time.Hour-30*time.Second; sea.pass(10*time.Second, 10*time.Second, rest, nil) {
		require.Zero(t, bob.moves()+carol.moves())
	}
	for sea.now().Sub(began) < 24*time.Hour+4*time.Minute && bob.moves()+carol.moves() < 2 {
		sea.pass(10*time.Second, 10*time.Second, rest, nil)
		time.Sleep(time.Second)
	}
	took := sea.now().Sub(began.Add(24 * time.Hour))
	t.Logf("handed over %v after the limit", took)
	require.Equal(t, []int{1, 1}, []int{bob.moves(), carol.moves()})
	require.Less(t, took, 2*time.Minute)

	require.NoError(t, bob.AddMembers(ctx, id, []string{dave.actor()}))
	agree(id, 4, bob, carol)
	want = append(want, bob.say(id, "welcome"))
	require.NoError(t, bob.SetAdmin(id, carol.actor(), false))
	agree(id, 4, bob, carol)
	for day := range 6 {
		sea.pass(24*time.Hour, 6*time.Hour, rest, nil)
		text := carol.say(id, fmt.Sprintf("day %d", day+2))
		want = append(want, text)
		bob.await(text, func() bool { return slices.Contains(bob.texts(id), text) })
	}
	require.NoError(t, bob.RemoveMembers(id, []string{dave.actor()}))
	agree(id, 3, bob, carol)
	a.rise()
	four := append(three, dave)
	require.NoError(t, alice.LookAfter(ctx))
	sea.pass(2*time.Hour, 30*time.Minute, four, nil)
	agree(id, 3, three...)
	now := []string{alice.say(id, "back again"), bob.say(id, "and we")}
	want = append(want, now...)
	everybody(id, want, three...)
	dave.await("he reads what was for him, as soon as everybody's keys can be looked up", func() bool {
		return slices.Contains(dave.texts(id), "welcome") && !slices.Contains(dave.texts(id), now[0])
	})
	require.Equal(t, 1, alice.moves())
	require.NoError(t, bob.AddMembers(ctx, id, []string{dave.actor()}))
	agree(id, 4, four...)
}

// TestHubFromABackup: a hub that has forgotten what it granted learns it from the others' mirrors, and grants no epoch twice.
func TestHubFromABackup(t *testing.T) {
	_, all := islands(t, 3)
	a, b, c := all[0], all[1], all[2]
	alice, bob, carol := a.person("alice").login(), b.person("bob").login(), c.person("carol").login()
	three := []*person{alice, bob, carol}
	id, want := greet(three...), []string{"hello"}
	defer dumpFailed(id, three...)
	require.NoError(t, alice.SetAdmin(id, bob.actor(), true))
	agree(id, 3, three...)
	alice.stop()
	a.sink()
	backup := a.backUp()
	a.rise()
	alice.start()

	require.NoError(t, bob.SetAdmin(id, carol.actor(), true))
	agree(id, 3, three...)
	require.NoError(t, alice.SetAdmin(id, carol.actor(), false))
	want = append(want, bob.say(id, "one"), carol.say(id, "two"), alice.say(id, "three"))
	everybody(id, want, three...)
	agree(id, 3, three...)

	a.sink()
	a.restore(backup)
	a.rise()
	want = append(want, bob.say(id, "four"), carol.say(id, "five"), alice.say(id, "six"))
	require.NoError(t, alice.SetAdmin(id, carol.actor(), true))
	everybody(id, want, three...)
	agree(id, 3, three...)
	require.NoError(t, bob.SetAdmin(id, carol.actor(), false))
	want = append(want, bob.say(id, "seven"), carol.say(id, "eight"), alice.say(id, "nine"))
	everybody(id, want, three...)
	agree(id, 3, three...)
	for _, p := range three {
		for _, code := range p.told(device.EventMessageRefused) {
			require.Equal(t, device.CodeCannotDecrypt, code, "it came late, and came again")
		}
	}
}

// TestMoveHubOverHTTP: an admin moves the hub, everybody follows, and the old one is not needed any more.
func TestMoveHubOverHTTP(t *testing.T) {
	_, all := islands(t, 3)
	a, b, c := all[0], all[1], all[2]
	alice, bob, carol := a.person("alice").login(), b.person("bob").login(), c.person("carol").login()
	three := []*person{alice, bob, carol}
	id, want := greet(three...), []string{"hello"}
	defer dumpFailed(id, three...)
	require.NoError(t, alice.SetAdmin(id, carol.actor(), true))
	agree(id, 3, three...)
	require.ErrorContains(t, bob.MoveHub(ctx, id, b.instance()), "C5")
	require.NoError(t, alice.MoveHub(ctx, id, b.instance()))
	for _, p := range three {
		p.await("the hub is b", func() bool {
			c, err := p.Conversation(id)
			return err == nil && c.Hub == b.instance()
		})
	}
	require.NoError(t, alice.SetAdmin(id, bob.actor(), true))
	agree(id, 3, three...)
	a.sink()
	require.NoError(t, carol.SetAdmin(id, bob.actor(), false))
	want = append(want, bob.say(id, "without it"))
	agree(id, 3, bob, carol)
	everybody(id, want, bob, carol)
	require.NoError(t, carol.MoveHub(ctx, id, c.instance()))
	for _, p := range []*person{bob, carol} {
		p.await("the hub is c", func() bool {
			x, err := p.Conversation(id)
			return err == nil && x.Hub == c.instance()
		})
	}
	a.rise()
	require.NoError(t, carol.SetAdmin(id, bob.actor(), true))
	want = append(want, alice.say(id, "back"))
	alice.await("she finds it", func() bool {
		_ = alice.LookAfter(ctx)
		x, err := alice.Conversation(id)
		return err == nil && x.Hub == c.instance()
	})
	agree(id, 3, three...)
	everybody(id, want, three...)
}

// TestOnlyAdminIsGoneOverHTTP: the instance of the only admin, which is the hub, dies. After a week the others go on at another, over real
// sidecars, and one of them leaves; when the dead one is back, so is its admin.
func TestOnlyAdminIsGoneOverHTTP(t *testing.T) {
	if testing.Short() {
		t.Skip("a week of four instances takes twenty seconds, and minutes under the race detector")
	}
	sea, all := islands(t, 4)
	a, b, c, d := all[0], all[1], all[2], all[3]
	alice, bob, carol, dave := a.person("alice").login(), b.person("bob").login(), c.person("carol").login(), d.person("dave").login()
	everyone := []*person{alice, bob, carol, dave}
	m, err := alice.SendTo(ctx, []string{bob.actor(), carol.actor(), dave.actor()}, "hello", nil, "")
	require.NoError(t, err)
	id, want := m.Conversation, []string{"hello"}
	everybody(id, want, everyone...)
	require.NoError(t, alice.LookAfter(ctx))
	agree(id, 4, everyone...)
	bob.await("the fallbacks are named", func() bool {
		c, err := bob.Conversation(id)
		return err == nil && c.Epoch == 2
	})
	agree(id, 4, everyone...)
	defer func() {
		if t.Failed() {
			for _, p := range everyone {
				p.dump(id)
			}
		}
	}()
	a.sink()
	rest := []*person{bob, carol, dave}
	sea.pass(time.Second, time.Second, rest, nil) // they find it away
	time.Sleep(time.Second)
	const week = 7 * 24 * time.Hour
	began := sea.now()
	sea.pass(week-3*time.Minute, 12*time.Hour, rest, nil)
	require.Zero(t, bob.moves()+carol.moves()+dave.moves())
	for sea.now().Sub(began) < week+5*time.Minute && bob.moves()+carol.moves()+dave.moves() < 3 {
		sea.pass(10*time.Second, 10*time.Second, rest, nil)
		time.Sleep(time.Second)
	}
	took := sea.now().Sub(began.Add(week))
	t.Logf("handed over %v after the limit", took)
	require.Equal(t, []int{1, 1, 1}, []int{bob.moves(), carol.moves(), dave.moves()})
	require.Less(t, took, 2*time.Minute)

	want = append(want, bob.say(id, "without alice"))
	everybody(id, want, rest...)
	require.NoError(t, dave.Leave(id, ""))
	sea.pass(3*time.Minute, 10*time.Second, rest, nil)
	agree(id, 3, bob, carol)
	a.rise()
	require.NoError(t, alice.LookAfter(ctx))
	sea.pass(2*time.Hour, 30*time.Minute, []*person{alice, bob, carol}, nil)
	agree(id, 3, alice, bob, carol)
	alice.say(id, "back again")
	carol.await("she is heard", func() bool { return slices.Contains(carol.texts(id), "back again") })
	require.NoError(t, alice.SetAdmin(id, bob.actor(), true))
	agree(id, 3, alice, bob, carol)
}
