package device

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/transparency"
)

const bucketEvidence = "log-evidence" // by instance

// evidenceRow is kept once a log: the first lie is enough.
type evidenceRow struct {
	Text  []byte    `json:"text"` // transparency.Evidence
	Found time.Time `json:"found"`
}

// split is G10: the log is not believed any more, and the evidence is kept.
func (t *txn) split(instance string, e transparency.Evidence) error {
	w, err := t.watch(instance)
	if err != nil || w.Split {
		return err
	}
	if err := t.keepLogEvidence(instance, e); err != nil {
		return err
	}
	w.Split, w.Doubt = true, nil
	if err := t.putWatch(instance, w); err != nil {
		return err
	}
	if err := t.dropProofs(instance); err != nil {
		return err
	}
	return t.tell(EventLogSplit, instance, "has shown two different histories: no new keys from there are believed any more, and the proof of it is kept")
}

// keepLogEvidence stores it. If there is too much of it, the oldest goes.
func (t *txn) keepLogEvidence(instance string, e transparency.Evidence) error {
	var all []string
	if err := t.Each(bucketEvidence, func(key string, _ []byte) error {
		all = append(all, key)
		return nil
	}); err != nil {
		return fmt.Errorf("device: reading evidence: %w", err)
	}
	if len(all) >= maxEvidence {
		if err := t.Delete(bucketEvidence, all[0]); err != nil {
			return fmt.Errorf("device: removing evidence: %w", err)
		}
	}
	return t.putRow(bucketEvidence, instance, evidenceRow{e.Marshal(), t.now})
}

// LogEvidence is proof that the log of an instance told two histories.
type LogEvidence struct {
	Instance string
	Found    time.Time
	Text     []byte // transparency.ParseEvidence reads it
}

// LogEvidence lists what is kept, the oldest first.
func (d *Device) LogEvidence() (list []LogEvidence, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		return t.Each(bucketEvidence, func(instance string, value []byte) error {
			var row evidenceRow
			if err := json.Unmarshal(value, &row); err != nil {
				return fmt.Errorf("device: decoding evidence about %s: %w", instance, err)
			}
			list = append(list, LogEvidence{instance, row.Found, row.Text})
			return nil
		})
	})
	return list, err
}

// LogState says how far a log is believed.
type LogState string

// The states of a log.
const (
	LogBelieved LogState = "believed"
	LogUnproven LogState = "unproven" // nothing new, until it has proven what it should
	LogSplit    LogState = "split"    // nothing new any more
)

// KnownLog is a log that is pinned.
type KnownLog struct {
	Instance, Origin string
	Size             int64 // of the newest checkpoint
	State            LogState
}

// Logs lists those that are pinned, in the order in which they were.
func (d *Device) Logs() (list []KnownLog, err error) {
	err = d.view(func(t *txn) error {
		all, err := t.logs(func(watchRow) bool { return true })
		list = nil
		for _, l := range all {
			list = append(list, KnownLog{l.instance, l.Origin, l.Size, l.state()})
		}
		return err
	})
	return list, err
}

func (w watchRow) state() LogState {
	switch {
	case w.Split:
		return LogSplit
	case w.Doubt != nil:
		return LogUnproven
	}
	return LogBelieved
}

type watched struct {
	instance string
	watchRow
}

// logs that match.
func (t *txn) logs(match func(watchRow) bool) (list []watched, err error) {
	err = t.Each(bucketWatch, func(instance string, value []byte) error {
		l := watched{instance: instance}
		if err := json.Unmarshal(value, &l.watchRow); err != nil {
			return fmt.Errorf("device: decoding what gossip knows of %s: %w", instance, err)
		}
		if match(l.watchRow) {
			list = append(list, l)
		}
		return nil
	})
	return list, err
}
