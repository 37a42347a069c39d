package device_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// refuseNext refuses the next job of a kind for good, and does those before it.
func refuseNext[J device.Job](p *person, code string) {
	for {
		jobs, err := p.Jobs()
		require.NoError(p.w.t, err)
		require.NotEmpty(p.w.t, jobs)
		for _, j := range jobs {
			if _, ok := j.(J); ok {
				require.NoError(p.w.t, p.Failed(j.ID(), code, "because"))
				require.NoError(p.w.t, p.Failed(j.ID(), code, "because"), "a second report is ignored")
				return
			}
		}
		require.NoError(p.w.t, p.do(jobs[0]))
	}
}

func TestRefusedJobs(t *testing.T) {
	t.Run("open", func(t *testing.T) {
		w := newWorld(t, 8)
		a := w.enrol(alice)
		id, err := a.StartConversation([]string{bob})
		require.NoError(t, err)
		a.say(id, "anybody?")
		refuseNext[*device.OpenJob](a, "storage_full")
		require.Equal(t, device.StateLeft, a.conversation(id).State)
		require.Equal(t, "storage_full", a.conversation(id).Reason)
		require.Equal(t, device.MessageFailed, mustMessages(t, a, id)[0].State)
		require.Zero(t, a.conversation(id).Waiting)
	})
	t.Run("lookup", func(t *testing.T) {
		w, id := talk(t, bob)
		w.enrol(carol)
		a := w.people[alice]
		require.NoError(t, a.AddMembers(id, []string{carol}))
		refuseNext[*device.LookupJob](a, "whatever")
		require.Equal(t, []string{device.CodeRecipientNotReady}, a.codes(device.EventMemberFailed))
	})
	t.Run("claim", func(t *testing.T) {
		w, id := talk(t, bob)
		w.enrol(carol)
		a := w.people[alice]
		require.NoError(t, a.AddMembers(id, []string{carol}))
		a.say(id, "go on")
		refuseNext[*device.ClaimJob](a, "rate_limited")
		w.quiet()
		require.Equal(t, []string{"rate_limited"}, a.codes(device.EventMemberFailed))
		require.Equal(t, []string{"go on"}, w.people[bob].texts(id))
	})
	t.Run("commit", func(t *testing.T) {
		w, id := talk(t, bob)
		w.enrol(carol)
		a := w.people[alice]
		require.NoError(t, a.AddMembers(id, []string{carol}))
		refuseNext[*device.CommitJob](a, "not_member")
		w.quiet()
		require.Equal(t, []string{"not_member"}, a.codes(device.EventMemberFailed))
		require.NoError(t, a.AddMembers(id, []string{carol}))
		w.quiet()
		requireAgreement(t, id, a, w.people[bob], w.people[carol])
	})
	t.Run("send", func(t *testing.T) {
		w, id := talk(t, bob)
		a := w.people[alice]
		a.say(id, "one")
		a.say(id, "two")
		refuseNext[*device.SendJob](a, "too_large")
		w.quiet()
		list := mustMessages(t, a, id)
		require.Equal(t, []device.MessageState{device.MessageFailed, device.MessageSent}, []device.MessageState{list[0].State, list[1].State})
		require.Equal(t, []string{"two"}, w.people[bob].texts(id))
	})
	t.Run("upload", func(t *testing.T) {
		w, id := talk(t, bob)
		a := w.people[alice]
		_, err := a.Send(id, "file", []device.File{{Name: "x", Data: []byte("x")}}, "")
		require.NoError(t, err)
		a.say(id, "next")
		refuseNext[*device.UploadJob](a, "storage_full")
		w.quiet()
		require.Equal(t, device.MessageFailed, mustMessages(t, a, id)[0].State)
		require.Equal(t, []string{"next"}, w.people[bob].texts(id))
		require.Empty(t, a.store.buckets["blob"].keys)
	})
	t.Run("upload to another place", func(t *testing.T) {
		w, id := talk(t, bob)
		a := w.people[alice]
		_, err := a.Send(id, "", []device.File{{Name: "x", Data: []byte("x")}}, "")
		require.NoError(t, err)
		jobs, err := a.Jobs()
		require.NoError(t, err)
		require.NoError(t, a.Uploaded(jobs[0].ID(), "https://evil.example/x"))
		require.Equal(t, device.MessageFailed, mustMessages(t, a, id)[0].State)
	})
	t.Run("events and key packages", func(t *testing.T) {
		w, _ := talk(t, bob)
		a := w.people[alice]
		require.NoError(t, a.Sync())
		refuseNext[*device.EventsJob](a, "no_such_conversation")
		require.NoError(t, a.TopUp(0))
		refuseNext[*device.KeyPackagesJob](a, "kp_not_logged")
		require.Equal(t, []string{"kp_not_logged"}, a.codes(device.EventKeyPackagesRefused))
		jobs, err := a.Jobs()
		require.NoError(t, err)
		require.Empty(t, jobs)
	})
}

func TestSendLimits(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	for name, c := range map[string]struct {
		text  string
		files []device.File
	}{
		"text":       {strings.Repeat("x", 64<<10+1), nil},
		"file":       {"x", []device.File{{Data: make([]byte, 25<<20+1)}}},
		"name":       {"x", []device.File{{Name: strings.Repeat("n", 256)}}},
		"files":      {"x", make([]device.File, 17)},
		"escapes":    {strings.Repeat("\x01", 64<<10), nil},
		"media type": {"x", []device.File{{MediaType: strings.Repeat("n", 128)}}},
	} {
		_, err := a.Send(id, c.text, c.files, "")
		require.ErrorIs(t, err, device.ErrTooLarge, name)
	}
	_, err := a.Send(id, "", nil, "")
	require.Error(t, err)
	_, err = a.Send(id, "\xff", nil, "")
	require.Error(t, err)
	_, err = a.Send("00", "x", nil, "")
	require.ErrorIs(t, err, device.ErrNoSuchConversation)
	require.Empty(t, mustMessages(t, a, id))
	long := strings.Repeat("<é&\n", 13000)
	a.say(id, long)
	w.quiet()
	require.Equal(t, []string{long}, w.people[bob].texts(id))
}

// TestPadding: the length of a ciphertext says only which bucket the text is in.
func TestPadding(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	sizes := map[int]bool{}
	for n := 1; n < 60000; n = n*5/3 + 1 {
		a.say(id, strings.Repeat("x", n))
		jobs, err := a.Jobs()
		require.NoError(t, err)
		sizes[len(jobs[0].(*device.SendJob).Message)] = true
		w.quiet()
	}
	require.LessOrEqual(t, len(sizes), 5)
}

// TestDiskFails: each write that fails, before or after it happened, leaves a device that goes on.
func TestDiskFails(t *testing.T) {
	for n := range 12 {
		for _, after := range []bool{false, true} {
			w, id := talk(t, bob)
			w.enrol(carol)
			a := w.people[alice]
			count := 0
			a.store.fail = func() (bool, bool) {
				count++
				return count == n+1 && !after, count == n+1 && after
			}
			for range 3 {
				if err := a.AddMembers(id, []string{carol}); err == nil {
					break
				}
				a.restart()
			}
			for range 3 {
				if _, err := a.Send(id, "hello", nil, "k"); err == nil {
					break
				}
				a.restart()
			}
			for range 40 {
				jobs, err := a.Jobs()
				require.NoError(t, err)
				for _, j := range jobs {
					if a.do(j) != nil {
						a.restart()
					}
				}
			}
			a.store.fail = nil
			w.quiet()
			requireAgreement(t, id, a, w.people[bob], w.people[carol])
			require.Equal(t, []string{"hello"}, w.people[bob].texts(id))
			require.Equal(t, []string{"hello"}, w.people[carol].texts(id))
		}
	}
}
