package device

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// The owner's monitor (spec/monitoring.md): what the own instance's log says of the own account is held against what this device
// has signed, at every lookup and, entry by entry, in all that the log has grown by.

const (
	bucketMonitor = "monitor" // one row
	bucketSigned  = "signed"  // by hex of the map value: the statements that this device has signed, in order
	keyMonitor    = "monitor"
)

// monitorRow is how far the log was read. What is ahead of Verified counts once the root that it leads to was made.
type monitorRow struct {
	Label    [32]byte  `json:"label"`
	Started  int64     `json:"started"` // size at which watching began
	Verified logPoint  `json:"verified"`
	Scanned  time.Time `json:"scanned,omitzero"` // when everything up to the newest checkpoint had been read
	Target   logTarget `json:"target"`
	Ahead    *ahead    `json:"ahead,omitempty"`
	Looked   []byte    `json:"looked,omitempty"` // map value of the newest statement that a lookup was about
	Trouble  *trouble  `json:"trouble,omitempty"`
	More     int       `json:"more,omitempty"` // alarms that there was no room for
}

// logPoint is a place in the log: what is needed to go on from there.
type logPoint struct {
	Size   int64       `json:"size"`
	Root   tlog.Hash   `json:"root"`
	Range  []tlog.Hash `json:"range,omitempty"`  // missing until it was fetched
	Newest []byte      `json:"newest,omitempty"` // the label's newest statement up to there
}

// logTarget is a checkpoint that a lookup has proven, and, if that was one of the own account, what its map has for the label.
type logTarget struct {
	Size  int64     `json:"size"`
	Root  tlog.Hash `json:"root"`
	Own   bool      `json:"own,omitempty"`
	Value []byte    `json:"value,omitempty"`
}

// trouble is why the newest scan did not come to its end.
type trouble struct {
	Detail string    `json:"detail"`
	Since  time.Time `json:"since"`
}

func (t *txn) monitor() (row monitorRow, ok bool, err error) {
	ok, err = t.row(bucketMonitor, keyMonitor, &row)
	return row, ok, err
}

func (t *txn) putMonitor(row monitorRow) error { return t.putRow(bucketMonitor, keyMonitor, row) }

// signed remembers a statement that this device has signed, before anybody sees it.
func (t *txn) signed(s transparency.Statement) error {
	value := s.MapValue()
	return t.Put(bucketSigned, hex.EncodeToString(value[:]), s.Marshal())
}

// isOurs tells whether this device has signed a statement.
func (t *txn) isOurs(s transparency.Statement) (bool, error) {
	value := s.MapValue()
	if _, ok, err := t.Get(bucketSigned, hex.EncodeToString(value[:])); err != nil || ok {
		return ok, err
	}
	var row publicationRow // made before statements were kept
	_, err := t.row(bucketDevice, keyPublication, &row)
	return bytes.Equal(row.Statement, s.Marshal()), err
}

// observe takes a proven answer about somebody in the own instance's log: a new place to read it up to, and, if it is about the own
// account, a list that may not be ours (N1). What was there when watching began was there before this device, and is nobody's alarm.
func (t *txn) observe(actor string, log transparency.Log, label [32]byte, record *keydir.Record) error {
	account, err := t.account()
	if errors.Is(err, ErrNotEnrolled) {
		return nil
	}
	if err != nil {
		return err
	}
	if home, err := instanceOf(actor); err != nil || home != account.Instance {
		return err
	}
	row, ok, err := t.monitor()
	if err != nil {
		return err
	}
	if actor != account.Actor {
		if !ok || log.Size <= row.Target.Size {
			return nil
		}
		row.Target = logTarget{Size: log.Size, Root: log.Root}
		return t.putMonitor(row)
	}
	row.Target = logTarget{Size: log.Size, Root: log.Root, Own: true}
	var newest []byte
	if record != nil {
		value := record.Statement.MapValue()
		row.Target.Value, newest = value[:], record.Statement.Marshal()
	}
	switch {
	case !ok:
		row.Label, row.Started, row.Looked = label, log.Size, row.Target.Value
		row.Verified = logPoint{Size: log.Size, Root: log.Root, Newest: newest}
		row.Scanned = t.now
	case record != nil && !bytes.Equal(row.Looked, row.Target.Value):
		if err := t.judgeList(&row, account, record); err != nil {
			return err
		}
		row.Looked = row.Target.Value
	}
	var wrong *LogError
	if row.Verified.Size == row.Target.Size && errors.As(row.Verified.agrees(row.Target), &wrong) {
		return t.failed(&row, account, wrong)
	}
	return t.putMonitor(row)
}

// judgeList raises an alarm for a list whose newest statement this device has not signed.
func (t *txn) judgeList(row *monitorRow, account Account, record *keydir.Record) error {
	ours, err := t.isOurs(record.Statement)
	if err != nil || ours {
		return err
	}
	a := alarmOf(record.Statement, -1, account)
	for _, d := range record.List.Devices {
		if !bytes.Equal(d.SignatureKey[:], account.SignatureKey) {
			a.Devices = append(a.Devices, d.ID())
		}
	}
	switch {
	case len(a.Devices) > 0 && record.List.Has(account.SignatureKey):
		a.Detail += "; the list has devices that are not this one: " + strings.Join(a.Devices, ", ")
	case len(a.Devices) > 0:
		a.Detail += "; this device is not on the list any more, but " + strings.Join(a.Devices, ", ")
	case record.MovedTo != "":
		a.Detail += "; it names " + record.MovedTo
	case !record.List.Has(account.SignatureKey):
		a.Detail += "; this device is not on the list any more"
	}
	return t.raise(row, a)
}

// Erased reports that the own instance says it has erased the account. No proof comes with that; one that is true is in the log.
func (d *Device) Erased() error {
	return d.update(func(t *txn) error {
		row, ok, err := t.monitor()
		if err != nil || !ok {
			return err
		}
		account, err := t.account()
		if err != nil {
			return err
		}
		if err := t.raise(&row, erasedAlarm(account)); err != nil {
			return err
		}
		return t.putMonitor(row)
	})
}

const unwatchedAfter = 24 * time.Hour

// WatchFailed reports why the log could not be read up to the newest checkpoint: the error of a lookup of the own account, or of
// fetching. An answer that breaks a check of spec/log-entry.md is an alarm at once, everything else if it lasts for a day.
func (d *Device) WatchFailed(cause error) error {
	return d.update(func(t *txn) error {
		row, ok, err := t.monitor()
		if err != nil || !ok {
			return err
		}
		account, err := t.account()
		if err != nil {
			return err
		}
		return t.failed(&row, account, cause)
	})
}

func (t *txn) failed(row *monitorRow, account Account, cause error) error {
	since := t.now
	if row.Trouble != nil {
		since = row.Trouble.Since
	}
	row.Trouble = &trouble{Detail: inWords(cause), Since: since}
	var check *transparency.CheckError
	var wrong *LogError
	switch {
	case errors.As(cause, &wrong) && wrong.broken:
		row.Ahead = nil
		if err := t.raise(row, brokenAlarm(wrong.Check, wrong.Reason, account)); err != nil {
			return err
		}
	case errors.As(cause, &check) && !strings.HasPrefix(check.Check, "W"): // that witnesses are missing is no lie
		if err := t.raise(row, brokenAlarm(check.Check, check.Reason, account)); err != nil {
			return err
		}
	case t.now.Sub(since) >= unwatchedAfter:
		if err := t.raise(row, unwatchedAlarm(since, account)); err != nil {
			return err
		}
	}
	return t.putMonitor(*row)
}

// inWords is what a person may read of an error: our own checks by what they say, the rest in general.
func inWords(err error) string {
	var check *transparency.CheckError
	var wrong *LogError
	var unseen *NotWitnessedError
	switch {
	case errors.As(err, &unseen):
		return unseen.Reason
	case errors.As(err, &wrong):
		return fmt.Sprintf("%s (check %s)", wrong.Reason, wrong.Check)
	case errors.As(err, &check):
		return fmt.Sprintf("%s (check %s)", check.Reason, check.Check)
	}
	return "your instance did not give out all of its log"
}

// Monitor is what the owner's monitor has come to.
type Monitor struct {
	Instance string
	Started  int64     // size of the log when this device began to watch it
	Read     int64     // entries up to which it was read and found to be what the instance has signed
	Target   int64     // the newest size that was proven
	Scanned  time.Time // when Read last was Target
	Trouble  string    // why it is not, one sentence
	Since    time.Time // of the trouble
	Alarms   []Alarm   // oldest first
	More     int       // alarms that there was no room for
}

// Monitor returns what watching the own account has come to; ok is false before the first lookup of it.
func (d *Device) Monitor() (m Monitor, ok bool, err error) {
	err = d.view(func(t *txn) error {
		var row monitorRow
		if row, ok, err = t.monitor(); err != nil || !ok {
			return err
		}
		account, err := t.account()
		if err != nil {
			return err
		}
		m = Monitor{
			Instance: account.Instance, Started: row.Started, Read: row.Verified.Size, Target: row.Target.Size, Scanned: row.Scanned, More: row.More,
		}
		if row.Trouble != nil {
			m.Trouble, m.Since = row.Trouble.Detail, row.Trouble.Since
		}
		m.Alarms, err = t.alarms()
		return err
	})
	return m, ok, err
}

// PinnedLog is a log that this device has pinned.
type PinnedLog struct {
	Instance string
	Log      transparency.Log
}

// PinnedLogs lists the pinned logs in the order in which they were met.
func (d *Device) PinnedLogs() (logs []PinnedLog, err error) {
	err = d.view(func(t *txn) error {
		logs = nil
		return t.Each(bucketLog, func(instance string, value []byte) error {
			log, err := transparency.ParseLog(value)
			logs = append(logs, PinnedLog{instance, log})
			return err
		})
	})
	return logs, err
}

// Known returns what an answer about an actor is judged by: the log, and the record of [keydir.Record.Marshal], if there is one.
func (d *Device) Known(actor string) (log PinnedLog, record []byte, err error) {
	if log.Instance, err = instanceOf(actor); err != nil {
		return log, nil, err
	}
	err = d.view(func(t *txn) error {
		var ok bool
		if log.Log, ok, err = t.log(log.Instance); err != nil {
			return err
		}
		if !ok {
			return ErrLogNotPinned
		}
		c, err := t.contact(actor)
		record = c.Record
		return err
	})
	return log, record, err
}
