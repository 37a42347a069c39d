package device_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// reading is what reads the log: a device or its replay.
type reading interface {
	LogFetch() (device.Fetch, bool, error)
	LogFetched(device.Fetch, [][]byte) error
}

// scan reads until there is nothing more, or for that many fetches. bend may change what is served.
func (p *person) scan(r reading, most int, bend func(path string, data []byte) []byte) (fetched []string, err error) {
	in := p.w.instance(p.actor)
	for range most {
		f, ok, err := r.LogFetch()
		require.NoError(p.w.t, err)
		if !ok {
			break
		}
		var data [][]byte
		for _, want := range f.Want {
			b, err := in.log.Tile(context.Background(), want.Path)
			require.NoError(p.w.t, err, want.Path)
			require.Len(p.w.t, b, int(want.Size), want.Path)
			if bend != nil {
				b = bend(want.Path, b)
			}
			data, fetched = append(data, b), append(fetched, want.Path)
		}
		if err := r.LogFetched(f, data); err != nil {
			return fetched, err
		}
	}
	return fetched, nil
}

// watched looks the own account up and reads what is new.
func (p *person) watched() device.Monitor {
	require.NoError(p.w.t, p.lookUp(p.actor))
	_, err := p.scan(p, 1000, nil)
	require.NoError(p.w.t, err)
	return p.monitor()
}

func (p *person) monitor() device.Monitor {
	m, ok, err := p.Monitor()
	require.NoError(p.w.t, err)
	require.True(p.w.t, ok)
	return m
}

func (p *person) told() (codes []string) {
	events, err := p.Events(0, 10000)
	require.NoError(p.w.t, err)
	for _, e := range events {
		if e.Type == device.EventAccountAlarm {
			require.Equal(p.w.t, p.actor, e.Actor)
			require.NotEmpty(p.w.t, e.Detail)
			codes = append(codes, e.Code)
		}
	}
	return codes
}

// takeOver is what whoever runs the instance can always do: another list, of a device of theirs, and no promise kept. keys are the
// devices of the list.
func (w *world) takeOver(actor string, keys ...[]byte) {
	in := w.instance(actor)
	answer, err := in.log.Answer(context.Background(), actor, 0)
	require.NoError(w.t, err)
	previous, err := transparency.ParseStatement(answer.Found.Statement)
	require.NoError(w.t, err)
	change := keydir.Change{Kind: transparency.KindReset, Label: previous.Label, List: keydir.DeviceList{Actor: actor}}
	for _, k := range keys {
		change.List.Devices = append(change.List.Devices, keydir.Device{SignatureKey: [32]byte(k), Added: uint64(w.now.UnixMilli())})
	}
	_, account, err := ed25519.GenerateKey(w.random)
	require.NoError(w.t, err)
	statement, content := change.Sign(&previous, account, uint64(w.now.UnixMilli()))
	_, err = in.log.Append(context.Background(), sequencer.Submission{Actor: actor, Statement: statement.Marshal(), Content: content})
	require.NoError(w.t, err)
}

func (w *world) stranger() []byte {
	public, _, err := ed25519.GenerateKey(w.random)
	require.NoError(w.t, err)
	return public
}

func TestOwnChangesAreNoAlarm(t *testing.T) {
	w := newWorld(t, 1)
	w.growBy(alice, 3)
	a := w.enrol(alice)
	w.growBy(alice, 300)
	w.enrol(carolAtA)
	m := a.watched()
	require.Empty(t, m.Alarms)
	require.Empty(t, a.told())
	require.Empty(t, m.Trouble)
	require.Equal(t, m.Target, m.Read)
	require.EqualValues(t, 4, m.Started, "from the first size that was proven")
	again, err := a.scan(a, 1, nil)
	require.NoError(t, err)
	require.Empty(t, again, "there is nothing new")
}

const carolAtA = "https://a.example/users/carol-at-a"

// TestN1AForeignList: a device that is not ours on our list is told at the next lookup, before anything was read.
func TestN1AForeignList(t *testing.T) {
	w := newWorld(t, 2)
	a := w.enrol(alice)
	evil := w.stranger()
	w.takeOver(alice, evil)
	require.NoError(t, a.lookUp(alice))
	m := a.monitor()
	require.Len(t, m.Alarms, 1)
	require.Equal(t, device.CodeListReset, m.Alarms[0].Code)
	require.Equal(t, []string{keydir.DeviceID(evil)}, m.Alarms[0].Devices)
	require.EqualValues(t, -1, m.Alarms[0].Index)
	require.Contains(t, m.Alarms[0].Detail, "this device is not on the list any more, but "+keydir.DeviceID(evil))
	a.watched()
	m = a.watched()
	require.Len(t, m.Alarms, 1, "the entry is the same one")
	require.EqualValues(t, 2, m.Alarms[0].Index)
	require.Equal(t, []string{device.CodeListReset}, a.told(), "once")
	// Seen, it stays known and is not told again.
	require.NoError(t, a.AlarmsSeen())
	a.restart()
	m = a.watched()
	require.True(t, m.Alarms[0].Seen)
	require.Len(t, a.told(), 1)
}

// TestSwapAndRevert: between two lookups another list was there. No lookup shows it any more; the entries do.
func TestSwapAndRevert(t *testing.T) {
	w := newWorld(t, 3)
	a := w.enrol(alice)
	a.watched()
	w.takeOver(alice, w.stranger())
	w.growBy(alice, 20)
	w.takeOver(alice, a.key)
	require.NoError(t, a.lookUp(alice))
	require.Len(t, a.monitor().Alarms, 1, "the one that is there now: nobody of us signed it")
	m := a.watched()
	require.Len(t, m.Alarms, 2)
	require.EqualValues(t, []int64{23, 2}, []int64{m.Alarms[0].Index, m.Alarms[1].Index})
	require.Equal(t, []string{device.CodeListReset, device.CodeListReset}, a.told())
}

func TestEraseIsAnAlarm(t *testing.T) {
	w := newWorld(t, 4)
	a := w.enrol(alice)
	require.NoError(t, w.instance(alice).log.Erase(context.Background(), alice))
	require.NoError(t, a.lookUp(alice))
	require.NoError(t, a.Erased(), "it answers that it did")
	require.Equal(t, []string{device.CodeListErased}, a.told())
	f, ok, err := a.LogFetch()
	require.NoError(t, err)
	_ = f
	require.True(t, ok, "the first entry")
	require.NoError(t, a.lookUp("https://a.example/waxwing/actor"))
	_, err = a.scan(a, 10, nil)
	require.NoError(t, err)
	m := a.monitor()
	require.Equal(t, m.Target, m.Read)
	require.EqualValues(t, 3, m.Read)
	require.Equal(t, []string{device.CodeListErased, device.CodeListErased}, a.told(), "and the log proves it")
}

// TestN2toN5TheLogIsNotWhatWasSigned: whatever is served in place of what was signed, nothing of it is believed, the place does not
// move, and what is true later is read later.
func TestN2toN5TheLogIsNotWhatWasSigned(t *testing.T) {
	entries := func(f func([]byte) []byte) func(string, []byte) []byte {
		return func(path string, b []byte) []byte {
			if strings.HasPrefix(path, "tile/entries/") {
				return f(b)
			}
			return b
		}
	}
	const one = 2 + transparency.EntrySize
	last := func(f func([]byte)) func(string, []byte) []byte {
		return func(path string, b []byte) []byte {
			if strings.HasPrefix(path, "tile/entries/001") {
				f(b[len(b)-one:])
			}
			return b
		}
	}
	for name, c := range map[string]struct {
		bend  func(string, []byte) []byte
		check string
	}{
		"N2 nothing":          {entries(func([]byte) []byte { return nil }), "N2"},
		"N2 an entry dropped": {entries(func(b []byte) []byte { return b[one:] }), "N2"},
		"N2 trailing byte":    {entries(func(b []byte) []byte { return append(b, 0) }), "N2"},
		"N2 sizes":            {entries(func(b []byte) []byte { b[1]--; return b }), "N2"},
		"N2 tile cut": {func(path string, b []byte) []byte {
			if strings.HasPrefix(path, "tile/0/") {
				return b[1:]
			}
			return b
		}, "N2"},
		"N3 other hashes": {func(path string, b []byte) []byte {
			if strings.HasPrefix(path, "tile/0/") {
				b[0] ^= 1
			}
			return b
		}, "N3"},
		"N5 an entry twice, one missing": {entries(func(b []byte) []byte { copy(b[len(b)-one:], b[len(b)-2*one:]); return b }), "N5"},
		"N5 out of order": {entries(func(b []byte) []byte {
			x := append([]byte{}, b[len(b)-one:]...)
			copy(b[len(b)-one:], b[len(b)-2*one:len(b)-one])
			copy(b[len(b)-2*one:], x)
			return b
		}), "N5"},
		"N5 an unknown kind":  {last(func(b []byte) { b[3] = 99 }), "N5"},
		"N5 a bit, somewhere": {last(func(b []byte) { b[one-1] ^= 1 }), "N5"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 5)
			w.growBy(alice, 4)
			a := w.enrol(alice)
			before := a.monitor()
			w.growBy(alice, 253)
			w.takeOver(alice, w.stranger())
			w.growBy(alice, 40)
			w.takeOver(alice, a.key)
			require.NoError(t, a.lookUp(alice))
			_, err := a.scan(a, 10, func(path string, b []byte) []byte { return c.bend(path, append([]byte{}, b...)) })
			var wrong *device.LogError
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, c.check, wrong.Check)
			m := a.monitor()
			require.Equal(t, before.Read, m.Read)
			require.Contains(t, m.Trouble, "(check "+c.check+")")
			want := []string{device.CodeListReset} // of the lookup
			if c.check != "N2" {
				want = append(want, device.CodeLogBroken)
			}
			require.Equal(t, want, a.told())
			a.restart()
			m = a.watched()
			require.Equal(t, m.Target, m.Read)
			require.Empty(t, m.Trouble)
			require.Len(t, a.told(), len(want)+1, "the other reset")
		})
	}
}

// TestALieIsNewsAgain once the log was in order in between and the person has seen the first.
func TestALieIsNewsAgain(t *testing.T) {
	w := newWorld(t, 6)
	a := w.enrol(alice)
	lie := func(path string, b []byte) []byte {
		b = append([]byte{}, b...)
		b[len(b)-1] ^= 1
		return b
	}
	broken := func() int {
		w.growBy(alice, 1)
		require.NoError(t, a.lookUp(alice))
		_, err := a.scan(a, 10, lie)
		require.Error(t, err)
		return len(a.told())
	}
	require.Equal(t, 1, broken())
	require.Equal(t, 1, broken())
	require.NoError(t, a.AlarmsSeen())
	require.Equal(t, 1, broken())
	require.Empty(t, a.watched().Alarms, "seen, and over")
	require.Equal(t, 2, broken())
}

// TestScanSurvivesARestart at every step, goes on where it was, and reads nothing twice. The log grows and is looked up meanwhile.
func TestScanSurvivesARestart(t *testing.T) {
	w := newWorld(t, 7)
	a := w.enrol(alice)
	w.takeOver(alice, w.stranger())
	w.growBy(alice, 700)
	w.takeOver(alice, a.key)
	require.NoError(t, a.lookUp(alice))
	require.EqualValues(t, 1, a.monitor().Read)
	seen := map[string]int{}
	for range 20 {
		fetched, err := a.scan(a, 1, nil)
		require.NoError(t, err)
		for _, path := range fetched {
			seen[path]++
		}
		if m := a.monitor(); m.Read == m.Started {
			require.Len(t, m.Alarms, 1, "nothing counts before the root is there")
		}
		w.growBy(alice, 1)
		require.NoError(t, a.lookUp(alice))
		a.restart()
	}
	for path, n := range seen {
		require.Equal(t, 1, n, path)
	}
	m := a.watched()
	require.Equal(t, m.Target, m.Read)
	require.Len(t, m.Alarms, 2)
	// An answer that comes twice, or for a scan that is over, changes nothing.
	w.growBy(alice, 1)
	require.NoError(t, a.lookUp(alice))
	f, ok, err := a.LogFetch()
	require.NoError(t, err)
	require.True(t, ok)
	data, err := w.instance(alice).log.Tile(context.Background(), f.Want[0].Path)
	require.NoError(t, err)
	require.NoError(t, a.LogFetched(f, [][]byte{data}))
	done := a.monitor()
	require.NoError(t, a.LogFetched(f, [][]byte{data}))
	require.NoError(t, a.LogFetched(f, nil))
	require.Equal(t, done, a.monitor())
}

// TestScanSurvivesADiskThatFails: of each step either all is there or nothing.
func TestScanSurvivesADiskThatFails(t *testing.T) {
	for fails := range 4 {
		for _, lost := range []bool{true, false} {
			w := newWorld(t, 8)
			a := w.enrol(alice)
			w.takeOver(alice, w.stranger())
			w.growBy(alice, 300)
			w.takeOver(alice, a.key)
			require.NoError(t, a.lookUp(alice))
			n := 0
			a.store.fail = func() (before, after bool) {
				n++
				return n == fails+1 && !lost, n == fails+1 && lost
			}
			_, err := a.scan(a, 10, nil)
			if err != nil {
				require.ErrorIs(t, err, errDisk)
			}
			a.store.fail = nil
			a.restart()
			m := a.watched()
			require.Len(t, m.Alarms, 2)
			require.Len(t, a.told(), 2)
			require.Equal(t, m.Target, m.Read)
		}
	}
}

// TestAlarmsDoNotFillTheDevice: whoever writes the log can write as many changes as they like.
func TestAlarmsDoNotFillTheDevice(t *testing.T) {
	w := newWorld(t, 9)
	a := w.enrol(alice)
	for range 150 {
		w.takeOver(alice, w.stranger())
	}
	m := a.watched()
	require.Len(t, m.Alarms, 64)
	require.Len(t, a.told(), 64)
	require.Equal(t, 151-64, m.More, "the newest was found twice: by the lookup and in the log")
	require.NoError(t, a.AlarmsSeen())
	require.Zero(t, a.monitor().More)
	w.takeOver(alice, w.stranger())
	m = a.watched()
	require.Len(t, m.Alarms, 64)
	require.False(t, m.Alarms[63].Seen)
	require.Len(t, a.told(), 65)
}

// TestUnwatchedForADay: an instance that keeps its entries to itself is told after a day. One that is away is not.
func TestUnwatchedForADay(t *testing.T) {
	w := newWorld(t, 10)
	a := w.enrol(alice)
	refused := errors.New("404")
	for range 23 {
		require.NoError(t, a.WatchFailed(refused))
		w.now = w.now.Add(time.Hour)
	}
	require.Empty(t, a.told())
	w.now = w.now.Add(time.Hour)
	require.NoError(t, a.WatchFailed(refused))
	require.NoError(t, a.WatchFailed(refused))
	require.Equal(t, []string{device.CodeLogUnwatched}, a.told())
	require.Empty(t, a.watched().Trouble)
	// Missing witnesses are no lie; an answer that breaks a check is one.
	require.NoError(t, a.WatchFailed(fmt.Errorf("x: %w", transparency.Failed("W13", "w1 is missing"))))
	require.Len(t, a.told(), 1)
	require.Equal(t, "w1 is missing (check W13)", a.monitor().Trouble)
	require.NoError(t, a.WatchFailed(fmt.Errorf("x: %w", transparency.Failed("A2", "the log shrank"))))
	require.Equal(t, []string{device.CodeLogUnwatched, device.CodeLogBroken}, a.told())
}

// TestReplayFromTheStart: the whole log in order, and each way in which entries can break its rules.
func TestReplayFromTheStart(t *testing.T) {
	w := newWorld(t, 11)
	w.growBy(alice, 10)
	w.enrol(carolAtA)
	a := w.enrol(alice)
	w.growBy(alice, 600)
	a.watched()
	r, err := a.NewReplay()
	require.NoError(t, err)
	fetched, err := a.scan(r, 100, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"tile/entries/000", "tile/entries/001", "tile/entries/002.p/101"}, fetched)
	require.Empty(t, a.told())

	const one = 2 + transparency.EntrySize
	for name, c := range map[string]struct {
		bend  func(b []byte)
		check string
	}{
		"a map root":               {func(b []byte) { b[13*one-1] ^= 1 }, "L8"},
		"a signature":              {func(b []byte) { b[12*one-33] ^= 1 }, "L6"},
		"the same again":           {func(b []byte) { copy(b[12*one:], b[11*one:12*one]) }, "L1"},
		"an entry of another kind": {func(b []byte) { b[3] = 99 }, "N4"},
		"padding with a label":     {func(b []byte) { b[20*one+12]++ }, "L5"},
	} {
		r, err := a.NewReplay()
		require.NoError(t, err)
		_, err = a.scan(r, 100, func(_ string, b []byte) []byte {
			b = append([]byte{}, b...)
			c.bend(b)
			return b
		})
		var wrong *device.LogError
		require.ErrorAs(t, err, &wrong, name)
		require.Equal(t, c.check, wrong.Check, name)
		require.Error(t, r.LogFetched(device.Fetch{}, nil), "it is over")
		require.Contains(t, a.told(), device.CodeLogBroken)
	}
	require.Equal(t, a.monitor().Target, a.monitor().Read, "what was read is not read again")
}

// TestReplayFindsWhatAScanMissed, as when the device's place was set back or its alarms were lost; what was there before it is no alarm.
func TestReplayFindsWhatAScanMissed(t *testing.T) {
	w := newWorld(t, 12)
	other := w.enrol(alice)
	w.takeOver(alice, w.stranger())
	a := w.unlisted(alice)
	require.NoError(t, a.lookUp(alice))
	w.takeOver(alice, other.key)
	w.takeOver(alice, a.key)
	require.NoError(t, a.lookUp(alice))
	require.Len(t, a.told(), 1)
	r, err := a.NewReplay()
	require.NoError(t, err)
	_, err = a.scan(r, 100, nil)
	require.NoError(t, err)
	m := a.monitor()
	require.Len(t, m.Alarms, 2)
	require.EqualValues(t, []int64{4, 3}, []int64{m.Alarms[0].Index, m.Alarms[1].Index})
}

// BenchmarkScan reads a log of 64 bundles, 16 384 entries, as an hour's run does.
func BenchmarkScan(b *testing.B) {
	w := newWorld(b, 30)
	for b.Loop() {
		b.StopTimer()
		a := w.unlisted(alice)
		require.NoError(b, a.lookUp(alice))
		w.growBy(alice, 64*256)
		require.NoError(b, a.lookUp(alice))
		b.StartTimer()
		_, err := a.scan(a, 100, nil)
		require.NoError(b, err)
	}
}

// BenchmarkReplay replays 4096 entries, nearly all of padding: without their signatures, then.
func BenchmarkReplay(b *testing.B) {
	w := newWorld(b, 31)
	a := w.enrol(alice)
	w.growBy(alice, 16*256)
	a.watched()
	for b.Loop() {
		r, err := a.NewReplay()
		require.NoError(b, err)
		_, err = a.scan(r, 100, nil)
		require.NoError(b, err)
	}
}
