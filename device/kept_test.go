package device_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// inBuckets counts the writes to buckets of that kind since the last count.
func (m *memory) inBuckets(kind string) int {
	n := 0
	for _, name := range m.writes {
		if strings.HasPrefix(name, kind) {
			n++
		}
	}
	return n
}

// cost is what the last message takes: rows read, rows written, and of these the records of the group.
type cost struct{ reads, writes, records int }

func measure(p *person, f func()) cost {
	p.store.reads, p.store.writes = 0, nil
	f()
	return cost{p.store.reads, len(p.store.writes), p.store.inBuckets("group:")}
}

// A message reads and writes as many rows in a large conversation as in a small one, and one record of the group.
func TestAMessageCostsTheSameInALargeConversation(t *testing.T) {
	var sent, received []cost
	for _, n := range []int{2, 20} {
		var others []string
		for i := range n - 1 {
			others = append(others, fmt.Sprintf("https://b.example/users/m%02d", i))
		}
		w, id := talk(t, others...)
		a, b := w.people[alice], w.people[others[0]]
		for range 2 { // the first message of an epoch opens the ratchet
			sent, received = append(sent, measure(a, func() {
				_, err := a.Send(id, "hello", nil, "")
				require.NoError(t, err)
			})), append(received, cost{})
			a.work()
			received[len(received)-1] = measure(b, func() { b.read() })
			w.quiet()
		}
		require.Equal(t, 1, sent[len(sent)-1].records)
		require.Equal(t, 1, received[len(received)-1].records)
		require.Zero(t, a.store.inBuckets("members:")+b.store.inBuckets("members:"))
	}
	require.Equal(t, sent[1], sent[3])
	require.Equal(t, received[1], received[3])
}

// Of the members only those are written who have changed.
func TestMembersAreWrittenWhenTheyChange(t *testing.T) {
	w, id := talk(t, bob, carol)
	w.enrol(dave)
	a, b := w.people[alice], w.people[bob]
	for _, p := range []*person{a, b} {
		p.store.writes = nil
	}
	require.NoError(t, a.AddMembers(id, []string{dave}))
	w.quiet()
	for _, p := range []*person{a, b} {
		require.Equal(t, 1, p.store.inBuckets("members:"))
		p.store.writes = nil
	}
	require.NoError(t, a.RemoveMembers(id, []string{carol}))
	w.quiet()
	for _, p := range []*person{a, b} {
		require.Equal(t, 1, p.store.inBuckets("members:"))
		p.restart()
		var actors []string
		for _, m := range p.conversation(id).Members {
			actors = append(actors, m.Actor)
		}
		require.Equal(t, []string{alice, dave, bob}, actors)
	}
}

// A transaction that fails leaves nothing in memory that is not in the store, whether its rows got there or not.
func TestMemoryAfterAFailure(t *testing.T) {
	for name, fail := range map[string]func() (bool, bool){
		"nothing was written":   func() (bool, bool) { return true, false },
		"it was, and not noted": func() (bool, bool) { return false, true },
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob)
			a, b := w.people[alice], w.people[bob]
			for i := range 3 {
				a.store.fail = fail
				_, err := a.Send(id, fmt.Sprint("fails ", i), nil, "")
				require.ErrorIs(t, err, errDisk)
				a.store.fail = nil
				_, err = a.Send(id, fmt.Sprint("goes ", i), nil, "")
				require.NoError(t, err)
				a.work()
				b.store.fail = fail
				item := b.mail[0]
				item.Cursor = b.cursor + 1
				require.ErrorIs(t, b.Receive(item), errDisk)
				b.store.fail = nil
				w.quiet()
				require.Contains(t, b.texts(id), fmt.Sprint("goes ", i))
				require.NoError(t, a.RemoveMembers(id, []string{bob}))
				a.store.fail = fail
				jobs, err := a.Jobs()
				require.NoError(t, err)
				for _, j := range jobs {
					require.ErrorIs(t, a.do(j), errDisk)
				}
				a.store.fail = nil
				w.quiet()
				require.NoError(t, a.AddMembers(id, []string{bob}))
				w.quiet()
			}
			require.Equal(t, a.group(id).EpochAuthenticator(), b.group(id).EpochAuthenticator())
		})
	}
}

// Two programs on one store is more than a Store allows, but neither takes what it remembers for what is there.
func TestMemoryIsCheckedAgainstTheStore(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	programs := []*device.Device{a.Device, device.New(a.store, w.random, w.clock)}
	for i := range 6 {
		a.Device = programs[i%2]
		text := fmt.Sprint("message ", i)
		_, err := a.Send(id, text, nil, "")
		require.NoError(t, err)
		w.quiet()
		require.Contains(t, b.texts(id), text)
	}
}

// What a caller is given is its own.
func TestMembersAreCopies(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	for range 2 {
		c := a.conversation(id)
		require.True(t, c.Members[0].Admin)
		require.Equal(t, []string{idOf(a)}, c.Members[0].Devices)
		c.Members[0].Admin, c.Members[0].Devices[0] = false, "x"
		slices.Reverse(c.Members)
	}
}

// More conversations than are kept in memory.
func TestMoreConversationsThanAreKept(t *testing.T) {
	w, _ := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	var ids []string
	for range 70 {
		id, err := a.StartConversation([]string{bob})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	w.quiet()
	for i, id := range ids {
		_, err := a.Send(id, fmt.Sprint("to ", i), nil, "")
		require.NoError(t, err)
	}
	w.quiet()
	for i, id := range ids {
		require.Contains(t, b.texts(id), fmt.Sprint("to ", i))
	}
}

// A record that is missing is said to be, and nothing else is done with the conversation.
func TestDamagedGroup(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	require.NoError(t, a.store.Update(func(tx device.Tx) error { return tx.Delete("group:"+id, "node/00000002") }))
	a.restart()
	_, err := a.Send(id, "x", nil, "")
	require.ErrorContains(t, err, "not what was stored")
	require.Equal(t, device.StateActive, a.conversation(id).State)
}
