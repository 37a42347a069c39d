package device

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	bundleEntries = 1 << transparency.TileHeight
	maxFound      = 64 // statements of the own label, not signed here, that one scan keeps
)

// Fetch is what is to be read next of the own instance's log: all of Want, below <Instance>/waxwing/log/.
type Fetch struct {
	Instance    string
	Want        []Resource
	Done, Total int64 // entries of this scan

	from int64
	size int64 // of the tree that is read; what comes for another is too late
}

// Resource is a path and the number of bytes that must be there.
type Resource struct {
	Path string
	Size int64
}

// A LogError says that what the own instance serves of its log has not the form it should (N2), or is not what it has signed.
type LogError struct {
	Check  string // of spec/monitoring.md or spec/log-entry.md
	Reason string
	broken bool // and not just incomplete
}

func (e *LogError) Error() string {
	return fmt.Sprintf("device: reading the log: check %s: %s", e.Check, e.Reason)
}

func broken(check, format string, args ...any) *LogError {
	return &LogError{check, fmt.Sprintf(format, args...), true}
}

// ahead is a scan under way: it leads from what was verified to a target, and means nothing before it is there.
type ahead struct {
	At     logPoint  `json:"at"`
	Target logTarget `json:"target"`
	Found  []found   `json:"found,omitempty"`
	More   int       `json:"more,omitempty"`
}

// found is an entry that may be worth an alarm.
type found struct {
	Index     int64  `json:"index"`
	Statement []byte `json:"statement,omitempty"` // of the own label
	Check     string `json:"check,omitempty"`     // that it breaks
	Reason    string `json:"reason,omitempty"`
}

// next is the scan under way, or the one to begin; nil if there is nothing to read.
func (r *monitorRow) next() *ahead {
	if r.Ahead != nil {
		a := *r.Ahead
		return &a
	}
	if r.Target.Size <= r.Verified.Size {
		return nil
	}
	return &ahead{At: r.Verified, Target: r.Target}
}

// LogFetch returns what to fetch next for reading the own instance's log up to the newest proven checkpoint; ok is false if
// that was read. The answer goes to LogFetched.
func (d *Device) LogFetch() (f Fetch, ok bool, err error) {
	err = d.view(func(t *txn) error {
		row, there, err := t.monitor()
		if err != nil || !there {
			return err
		}
		account, err := t.account()
		if err != nil {
			return err
		}
		if a := row.next(); a != nil {
			f, ok = a.fetch(), true
			f.Instance = account.Instance
			f.Done, f.Total = a.At.Size-row.Verified.Size, a.Target.Size-row.Verified.Size
		}
		return nil
	})
	return f, ok, err
}

func (a *ahead) fetch() Fetch {
	f := Fetch{from: a.At.Size, size: a.Target.Size}
	if a.needsRange() {
		for _, tile := range a.rangeTiles() {
			f.Want = append(f.Want, Resource{transparency.TilePath(tile), int64(tile.W) * tlog.HashSize})
		}
		return f
	}
	f.Want = []Resource{bundle(a.At.Size, a.Target.Size)}
	return f
}

func (a *ahead) needsRange() bool { return a.At.Size > 0 && len(a.At.Range) == 0 }

// bundle is the one that has the entry at index from, in a tree of size entries.
func bundle(from, size int64) Resource {
	n := from / bundleEntries
	width := int(min(bundleEntries, size-n*bundleEntries))
	path := transparency.TilePath(tlog.Tile{H: transparency.TileHeight, L: -1, N: n, W: width})
	return Resource{path, transparency.BundleSize(width)}
}

// rangeTiles are the tiles that have the hashes of the compact range to begin with, as wide as they are in the target's tree.
func (a *ahead) rangeTiles() (tiles []tlog.Tile) {
	for _, index := range transparency.RangeIndexes(a.At.Size) {
		tile := tlog.TileForIndex(transparency.TileHeight, index)
		if n := len(tiles); n > 0 && tiles[n-1].L == tile.L { // what is not in full tiles is in one of each level
			continue
		}
		tile.W = int(min(bundleEntries, a.Target.Size>>(transparency.TileHeight*tile.L)-tile.N*bundleEntries))
		tiles = append(tiles, tile)
	}
	return tiles
}

// LogFetched takes what was fetched, one answer for each of f.Want. Nothing is believed before the root of the checkpoint was made from
// it; then what was found is told, at once and together. A *LogError has been told too, and what was read ahead is forgotten.
func (d *Device) LogFetched(f Fetch, data [][]byte) error {
	var wrong *LogError
	err := d.update(func(t *txn) error {
		wrong = nil
		row, ok, err := t.monitor()
		if err != nil || !ok {
			return err
		}
		a := row.next()
		if a == nil || a.At.Size != f.from || a.Target.Size != f.size || a.needsRange() != (len(f.Want) == 0 || f.Want[0] != bundle(f.from, f.size)) {
			return nil // of a scan that was finished or given up meanwhile
		}
		account, err := t.account()
		if err != nil {
			return err
		}
		if err := t.read(&row, a, f, data); !errors.As(err, &wrong) {
			return err
		}
		return t.failed(&row, account, wrong)
	})
	if err == nil && wrong != nil {
		return wrong
	}
	return err
}

func (t *txn) read(row *monitorRow, a *ahead, f Fetch, data [][]byte) error {
	for i, want := range f.Want {
		if i >= len(data) || int64(len(data[i])) != want.Size {
			return &LogError{Check: "N2", Reason: "your instance served a part of its log that is not as long as it must be"}
		}
	}
	if a.needsRange() {
		if err := a.loadRange(data); err != nil {
			return err
		}
		row.Ahead = a
		return t.putMonitor(*row)
	}
	if err := a.readBundle(row.Label, data[0]); err != nil {
		return err
	}
	row.Ahead = a
	if a.At.Size == a.Target.Size {
		return t.arrived(row)
	}
	return t.putMonitor(*row)
}

// loadRange takes the hashes of the compact range at the place where watching began (N3): they must make the root that was proven then.
func (a *ahead) loadRange(data [][]byte) error {
	tiles := a.rangeTiles()
	compact, err := transparency.LoadCompactRange(a.At.Size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level := tlog.TileForIndex(transparency.TileHeight, index).L
			n := slices.IndexFunc(tiles, func(t tlog.Tile) bool { return t.L == level })
			h, err := tlog.HashFromTile(tiles[n], data[n], index)
			if err != nil {
				return nil, err
			}
			hashes[i] = h
		}
		return hashes, nil
	}))
	if err != nil || compact.Root() != a.At.Root {
		return broken("N3", "the hashes that it serves are not those of its first %d entries", a.At.Size)
	}
	a.At.Range = compact.Hashes()
	return nil
}

// readBundle goes through the entries of a bundle that are new.
func (a *ahead) readBundle(label [32]byte, data []byte) error {
	want := bundle(a.At.Size, a.Target.Size)
	entries, err := transparency.ParseBundle(data, int(want.Size/transparency.BundleSize(1)))
	if err != nil {
		return &LogError{Check: "N2", Reason: "your instance served entries of its log that have not the size of entries"}
	}
	compact, err := transparency.LoadCompactRange(a.At.Size, tlog.HashReaderFunc(func([]int64) ([]tlog.Hash, error) { return a.At.Range, nil }))
	if err != nil {
		return err
	}
	at := a.At
	for _, e := range entries[a.At.Size%bundleEntries:] {
		a.look(&at, label, e)
		compact, _ = compact.With(transparency.LeafHash(e))
		at.Size++
	}
	at.Range, at.Root = compact.Hashes(), compact.Root()
	a.At = at
	return nil
}

// look at one entry, the next after at: is it of the own label, and may it follow what was there before (N4)?
func (a *ahead) look(at *logPoint, label [32]byte, entry []byte) {
	e, err := transparency.ParseEntry(entry)
	if err != nil {
		a.find(found{Index: at.Size, Check: "N4", Reason: "it has an entry that cannot be read"})
		return
	}
	if e.Label != label {
		return
	}
	f := found{Index: at.Size, Statement: e.Statement.Marshal()}
	f.Check, f.Reason = breaks(e.Statement, at.Newest)
	at.Newest = f.Statement
	a.find(f)
}

// breaks names the first rule that a statement breaks after another.
func breaks(s transparency.Statement, newest []byte) (check, reason string) {
	var previous *transparency.Statement
	if p, err := transparency.ParseStatement(newest); err == nil {
		previous = &p
	}
	err := s.Follows(previous)
	if err == nil {
		err = s.VerifySignature(previous)
	}
	var c *transparency.CheckError
	if errors.As(err, &c) {
		return c.Check, c.Reason
	}
	return "", ""
}

func (a *ahead) find(f found) {
	if len(a.Found) < maxFound {
		a.Found = append(a.Found[:len(a.Found):len(a.Found)], f)
	} else {
		a.More++
	}
}

// arrived holds N5 and N6: the entries make the root of the checkpoint, and the newest of them about this account is what its map
// had. Then what was found on the way is told.
func (t *txn) arrived(row *monitorRow) error {
	a := row.Ahead
	if a.At.Root != a.Target.Root {
		return broken("N5", "the %d entries that it serves do not make the root that it has signed", a.Target.Size)
	}
	if row.Target.Size == a.Target.Size { // the own account may have been looked up since
		a.Target = row.Target
	}
	if err := a.At.agrees(a.Target); err != nil {
		return err
	}
	if err := t.raiseFound(row, a.Found, a.More); err != nil {
		return err
	}
	row.Verified, row.Ahead = a.At, nil
	if row.Verified.Size == row.Target.Size {
		row.Scanned, row.Trouble = t.now, nil
		if err := t.calm(); err != nil {
			return err
		}
	}
	return t.putMonitor(*row)
}

// agrees is N6.
func (p logPoint) agrees(target logTarget) error {
	var have []byte
	if s, err := transparency.ParseStatement(p.Newest); err == nil {
		v := s.MapValue()
		have = v[:]
	}
	if target.Own && !bytes.Equal(have, target.Value) {
		return broken("N6", "a lookup has shown something about your account that no entry says")
	}
	return nil
}

// raiseFound raises the alarms for what was found in entries that are known to be the log's.
func (t *txn) raiseFound(row *monitorRow, list []found, more int) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	row.More += more
	for _, f := range list {
		if f.Check != "" {
			if err := t.raise(row, brokenAlarm(f.Check, fmt.Sprintf("its entry %d: %s", f.Index, f.Reason), account)); err != nil {
				return err
			}
		}
		s, err := transparency.ParseStatement(f.Statement)
		if err != nil {
			continue
		}
		if ours, err := t.isOurs(s); err != nil || ours {
			if err != nil {
				return err
			}
			continue
		}
		if err := t.raise(row, alarmOf(s, f.Index, account)); err != nil {
			return err
		}
	}
	return nil
}
