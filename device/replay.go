package device

import (
	"errors"
	"fmt"

	"github.com/waxwing-dm/waxwing/transparency"
)

// maxReplay is how many entries a device replays: their map is held in memory, and a million entries are 240 MB to fetch.
const maxReplay = 1 << 20

// A Replay reads the own instance's log from its first entry and holds every check that entries alone show (L1 to L3, L5, L7, L8 and the
// signatures), of everybody's. It is in memory only. Fetch and hand in as with [Device.LogFetch].
type Replay struct {
	d      *Device
	row    monitorRow
	origin string // of the instance
	log    transparency.Replay
	ahead  ahead // Found is of the own label, At has no range
	done   bool
}

// NewReplay begins one, up to the newest checkpoint that a lookup of the own account has proven.
func (d *Device) NewReplay() (*Replay, error) {
	r := &Replay{d: d}
	return r, d.view(func(t *txn) (err error) {
		var ok bool
		if r.row, ok, err = t.monitor(); err != nil {
			return err
		}
		account, err := t.account()
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("device: replaying the log of %s: nothing of it was proven yet: %w", account.Instance, ErrNotEnrolled)
		}
		if r.row.Target.Size > maxReplay {
			return fmt.Errorf("device: replaying %d entries of the log of %s: %w", r.row.Target.Size, account.Instance, ErrTooLarge)
		}
		r.origin, r.ahead.Target = account.Instance, r.row.Target
		return nil
	})
}

// LogFetch is as that of Device.
func (r *Replay) LogFetch() (f Fetch, ok bool, err error) {
	size := r.ahead.Target.Size
	f = Fetch{Instance: r.origin, Want: []Resource{bundle(r.log.Size(), size)}, Done: r.log.Size(), Total: size, from: r.log.Size(), size: size}
	return f, !r.done, nil
}

// LogFetched is as that of Device.
func (r *Replay) LogFetched(f Fetch, data [][]byte) error {
	if len(data) != 1 || f.from != r.log.Size() || r.done {
		return fmt.Errorf("device: replaying the log: what was fetched is not what was asked for")
	}
	err := r.read(f, data[0])
	var wrong *LogError
	if !errors.As(err, &wrong) {
		return err
	}
	r.done = true
	return errors.Join(wrong, r.d.WatchFailed(wrong))
}

func (r *Replay) read(f Fetch, data []byte) error {
	entries, err := transparency.ParseBundle(data, int(f.Want[0].Size/transparency.BundleSize(1)))
	if err != nil {
		return &LogError{Check: "N2", Reason: "your instance served a part of its log that is not as long as it must be"}
	}
	for _, e := range entries[r.log.Size()%bundleEntries:] {
		index := r.log.Size()
		if err := r.log.Add(e); err != nil {
			return brokenEntry(index, err)
		}
		at := logPoint{Size: index, Newest: r.ahead.At.Newest}
		r.ahead.look(&at, r.row.Label, e)
		if r.ahead.At.Newest = at.Newest; index < r.row.Started {
			r.ahead.Found, r.ahead.More = nil, 0 // what was there before this device is nobody's alarm
		}
	}
	if r.log.Size() < r.ahead.Target.Size {
		return nil
	}
	return r.arrived()
}

func brokenEntry(index int64, err error) error {
	check, reason := "N4", "it cannot be read"
	var c *transparency.CheckError
	if errors.As(err, &c) {
		check, reason = c.Check, c.Reason
	}
	return broken(check, "its entry %d: %s", index, reason)
}

// arrived is N5 and N6 for the whole log.
func (r *Replay) arrived() error {
	if r.log.Root() != r.ahead.Target.Root {
		return broken("N5", "the %d entries that it serves do not make the root that it has signed", r.ahead.Target.Size)
	}
	if err := r.ahead.At.agrees(r.ahead.Target); err != nil {
		return err
	}
	r.done = true
	return r.d.update(func(t *txn) error {
		row, ok, err := t.monitor()
		if err != nil || !ok {
			return err
		}
		if err := t.raiseFound(&row, r.ahead.Found, r.ahead.More); err != nil {
			return err
		}
		return t.putMonitor(row)
	})
}
