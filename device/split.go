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
	w, err := t.standing(instance)
	if err != nil || w.Split {
		return err
	}
	if err := t.keepLogEvidence(instance, e); err != nil {
		return err
	}
	w.Split, w.Doubt = true, nil
	if err := t.putStanding(instance, w); err != nil {
		return err
	}
	if err := t.dropProofs(instance); err != nil {
		return err
	}
	return t.tellOfLog(EventLogSplit, instance, "has shown two different histories: no new keys from there are believed any more, and the proof of it is kept")
}

// keepLogEvidence stores it. If there is too much of it, the oldest goes.
func (t *txn) keepLogEvidence(instance string, e transparency.Evidence) error {
	if err := t.makeRoomForEvidence(bucketEvidence); err != nil {
		return err
	}
	return t.putRow(bucketEvidence, instance, evidenceRow{e.Marshal(), t.now})
}

func (t *txn) makeRoomForEvidence(bucket string) error {
	var all []string
	if err := t.Each(bucket, func(key string, _ []byte) error {
		all = append(all, key)
		return nil
	}); err != nil {
		return fmt.Errorf("device: reading evidence: %w", err)
	}
	if len(all) < maxEvidence {
		return nil
	}
	if err := t.Delete(bucket, all[0]); err != nil {
		return fmt.Errorf("device: removing evidence: %w", err)
	}
	return nil
}

// DistrustedLog is a log in which nothing new is believed: until it has proven what it should, or, if it told two histories, any more.
type DistrustedLog struct {
	Instance string
	Split    bool
	Found    time.Time // of a split log
	Evidence []byte    // transparency.ParseEvidence reads it; only the newest are kept
}

// Distrusted lists the logs that are not believed, in the order in which they were pinned.
func (d *Device) Distrusted() (list []DistrustedLog, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		all, err := t.distrusted()
		if err != nil {
			return err
		}
		for _, l := range all {
			var row evidenceRow
			if _, err := t.row(bucketEvidence, l.instance, &row); err != nil {
				return err
			}
			list = append(list, DistrustedLog{l.instance, l.Split, row.Found, row.Text})
		}
		return nil
	})
	return list, err
}

type logStanding struct {
	instance string
	standing
}

func (t *txn) distrusted() (list []logStanding, err error) {
	err = t.Each(bucketStanding, func(instance string, value []byte) error {
		l := logStanding{instance: instance}
		if err := json.Unmarshal(value, &l.standing); err != nil {
			return fmt.Errorf("device: decoding how the log of %s stands: %w", instance, err)
		}
		if l.Split || l.Doubt != nil {
			list = append(list, l)
		}
		return nil
	})
	return list, err
}
