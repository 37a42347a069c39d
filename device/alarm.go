package device

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	bucketAlarm = "alarm" // by id
	checkAlarm  = "check "
	maxAlarms   = 64
)

// The codes of alarms.
const (
	CodeListStarted   = "list_started"
	CodeListChanged   = "list_changed"
	CodeListReset     = "list_reset"
	CodeDeviceRevoked = "device_revoked"
	CodeAccountMoved  = "account_moved"
	CodeListErased    = "list_erased"
	CodeLogBroken     = "log_broken"
	CodeLogUnwatched  = "log_unwatched"
)

// An Alarm is something about the own account that its owner has to see. It stays until [Device.AlarmsSeen].
type Alarm struct {
	ID      string    `json:"id"`
	Code    string    `json:"code"`
	Detail  string    `json:"detail"` // one sentence, without its full stop
	Help    string    `json:"help"`   // what to do
	Index   int64     `json:"index"`  // of the entry in the log; -1: not known yet
	Devices []string  `json:"devices,omitempty"`
	Told    time.Time `json:"told"`
	Seen    bool      `json:"seen,omitempty"`
}

const (
	helpStranger = "If you did not do this on another device: ask your instance's admin what happened, and tell the people you write with, " +
		"by another way than through this instance, not to believe keys of yours that they have not compared with you"
	helpThief = "If you did not do this on another device, somebody else has your account key: tell the people you write with by another " +
		"way, and start again with a new device"
	helpErased = "If you did not ask for it, ask your instance's admin; until a device of yours publishes its keys again, nobody can write to you"
	helpBroken = "Keys that it proves are not to be relied on: ask your instance's admin, and show them this sentence. " +
		"waxwing log verify shows each check"
)

var kindAlarms = map[transparency.Kind]struct{ code, detail, help string }{
	transparency.KindFirst:  {CodeListStarted, "a first list of devices was published for your account, and not by this device", helpStranger},
	transparency.KindUpdate: {CodeListChanged, "the devices of your account were changed with your account key, and not by this device", helpThief},
	transparency.KindReset:  {CodeListReset, "the devices of your account were replaced by some that your account key does not vouch for", helpStranger},
	transparency.KindRevoke: {CodeDeviceRevoked, "a device was taken off your account's list with its own key, and not by this device", helpThief},
	transparency.KindMove:   {CodeAccountMoved, "it was declared with your account key that your account goes on elsewhere, and not by this device", helpThief},
	transparency.KindErase:  {CodeListErased, "your instance has erased the devices of your account", helpErased},
}

// alarmOf is the alarm for a statement about the own account that this device has not signed.
func alarmOf(s transparency.Statement, index int64, account Account) Alarm {
	value, kind := s.MapValue(), kindAlarms[s.Kind]
	return Alarm{
		ID: hex.EncodeToString(value[:]), Code: kind.code, Help: kind.help, Index: index,
		Detail: kind.detail + " (change " + fmt.Sprint(s.Seq) + " in the log of " + homeHost(account) + dated(s.Time) + ")",
	}
}

// dated is the time of a statement. The log has had no say in it but L7's.
func dated(millis uint64) string {
	if millis > 1<<46 {
		return ""
	}
	return ", " + time.UnixMilli(int64(millis)).UTC().Format("2 January 2006 15:04 UTC")
}

func homeHost(account Account) string {
	_, host, _ := strings.Cut(account.Instance, "://")
	return host
}

func brokenAlarm(check, reason string, account Account) Alarm {
	return Alarm{
		ID: checkAlarm + check, Code: CodeLogBroken, Help: helpBroken, Index: -1,
		Detail: fmt.Sprintf("the log of your instance %s contradicts itself: %s (check %s)", homeHost(account), reason, check),
	}
}

func erasedAlarm(account Account) Alarm {
	return Alarm{
		ID: "erased", Code: CodeListErased, Help: helpErased, Index: -1,
		Detail: fmt.Sprintf("your instance %s says that it has erased the devices of your account", homeHost(account)),
	}
}

func unwatchedAlarm(since time.Time, account Account) Alarm {
	return Alarm{
		ID: checkAlarm + "unwatched " + since.UTC().Format(time.RFC3339), Code: CodeLogUnwatched, Index: -1,
		Detail: fmt.Sprintf("since %s the log of your instance %s could not be read to its end, so changes to your devices may go unnoticed",
			since.UTC().Format("2 January 2006 15:04 UTC"), homeHost(account)),
		Help: "waxwing log show says what is in the way; if it stays, ask your instance's admin",
	}
}

// raise keeps an alarm and tells it, once. Whoever fills the log with changes to an account does not fill this device.
func (t *txn) raise(row *monitorRow, a Alarm) error {
	var known Alarm
	if ok, err := t.row(bucketAlarm, a.ID, &known); err != nil {
		return err
	} else if ok {
		if known.Index < 0 && a.Index >= 0 {
			known.Index = a.Index
			return t.putRow(bucketAlarm, a.ID, known)
		}
		return nil
	}
	room, err := t.roomForAlarm()
	if err != nil {
		return err
	}
	if !room {
		row.More++
		return nil
	}
	account, err := t.account()
	if err != nil {
		return err
	}
	a.Told = t.now
	if err := t.putRow(bucketAlarm, a.ID, a); err != nil {
		return err
	}
	return t.emit(Event{Type: EventAccountAlarm, Actor: account.Actor, Code: a.Code, Detail: a.Detail + ". " + a.Help})
}

// roomForAlarm makes room by forgetting the oldest that was seen.
func (t *txn) roomForAlarm() (bool, error) {
	all, err := t.alarms()
	if err != nil || len(all) < maxAlarms {
		return true, err
	}
	for _, a := range all {
		if a.Seen {
			return true, t.Delete(bucketAlarm, a.ID)
		}
	}
	return false, nil
}

func (t *txn) alarms() (all []Alarm, err error) {
	err = t.Each(bucketAlarm, func(_ string, value []byte) error {
		var a Alarm
		if err := json.Unmarshal(value, &a); err != nil {
			return fmt.Errorf("device: decoding an alarm: %w", err)
		}
		all = append(all, a)
		return nil
	})
	return all, err
}

// calm forgets the alarms about a log that could not be read or believed, where they were seen and it now can: the next time they
// are news again.
func (t *txn) calm() error {
	all, err := t.alarms()
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Seen && strings.HasPrefix(a.ID, checkAlarm) {
			if err := t.Delete(bucketAlarm, a.ID); err != nil {
				return fmt.Errorf("device: forgetting an alarm: %w", err)
			}
		}
	}
	return nil
}

// AlarmsSeen marks all alarms as seen by the person.
func (d *Device) AlarmsSeen() error {
	return d.update(func(t *txn) error {
		row, ok, err := t.monitor()
		if err != nil || !ok {
			return err
		}
		all, err := t.alarms()
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.Seen = true; err == nil {
				err = t.putRow(bucketAlarm, a.ID, a)
			}
		}
		if err != nil {
			return err
		}
		row.More = 0
		return t.putMonitor(row)
	})
}
