package device

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/transparency"
)

// AskWitnesses sets the policy (C2SP tlog-policy) that says whose cosignatures an instance's log needs to be believed. Call it
// before anything else; without it none are asked for. Errors name the line.
func (d *Device) AskWitnesses(policy []byte) error {
	p, err := transparency.ParsePolicy(policy)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.policy = p
	return nil
}

// AsksWitnesses tells whether the witnesses of a log matter here.
func (d *Device) AsksWitnesses() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.policy.Asks()
}

// terms are what this device demands of a log. The own instance would vouch for itself, so its witnesses do not count.
func (t *txn) terms() (transparency.Terms, error) {
	terms := transparency.Terms{Policy: t.policy, Now: t.now.Unix()}
	account, err := t.account()
	if errors.Is(err, ErrNotEnrolled) {
		return terms, nil
	}
	_, terms.Own, _ = strings.Cut(account.Instance, "://")
	return terms, err
}

// NotWitnessedError says that a log is not vouched for now as the policy wants it (W13, W14 of spec/witness.md). Nothing is wrong with the
// answer otherwise, and a later one may do.
type NotWitnessedError struct {
	Actor  string
	Reason string // one sentence
}

func (e *NotWitnessedError) Error() string {
	return "device: learning the keys of " + e.Actor + ": " + e.Reason
}

// notWitnessed makes a NotWitnessedError of the error of a check, if it is one of those.
func notWitnessed(actor, instance string, err error) error {
	var check *transparency.CheckError
	if !errors.As(err, &check) || check.Check != "W13" && check.Check != "W14" {
		return nil
	}
	_, host, _ := strings.Cut(instance, "://")
	return &NotWitnessedError{actor, fmt.Sprintf("the witnesses do not vouch for the log of %s now: %s", host, check.Reason)}
}

// proof says whose word the newest proven list of an actor rests on.
type proof struct {
	Log       string    `json:"log"` // origin
	Size      int64     `json:"size"`
	AsOf      time.Time `json:"as_of,omitzero"` // zero: no witness was asked for
	Witnesses []Witness `json:"witnesses,omitempty"`
}

func proofOf(v transparency.Verdict) *proof {
	p := &proof{Log: v.Checkpoint.Origin, Size: v.Checkpoint.Size, AsOf: secondOf(v.AsOf)}
	for _, s := range v.Cosigned {
		p.Witnesses = append(p.Witnesses, Witness{s.Witness, s.Domain, secondOf(s.Time), s.Counts, s.Auditor})
	}
	return p
}

// secondOf reads a second since 1970 that others wrote; 0 is none. JSON has no years above 9999.
func secondOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(min(seconds, 253402300799), 0).UTC()
}

// proven is the moment as of which the newest list of an actor is known to have been the newest: when it was looked up, or as of when the
// witnesses vouch for the log, whichever is earlier. Zero: it is not known as the policy wants it.
func (t *txn) proven(c contact) time.Time {
	switch {
	case c.Checked.IsZero():
		return time.Time{}
	case c.Proof == nil || c.Proof.AsOf.IsZero():
		if t.policy.Asks() {
			return time.Time{}
		}
		return c.Checked
	case c.Proof.AsOf.Before(c.Checked):
		return c.Proof.AsOf
	}
	return c.Checked
}

// belief is why an actor's keys are believed, for people.
func (t *txn) belief(actor string, c contact) (*Belief, error) {
	if c.record == nil {
		return nil, nil
	}
	b := &Belief{Checked: c.Checked, First: c.First, Unchanged: secondOf(int64(min(c.record.Statement.Time/1000, 1<<62))), Asked: t.policy.Asks()}
	b.Stale = t.now.Sub(t.proven(c)) > recordStale
	if p := c.Proof; p != nil {
		b.Log, b.Size, b.AsOf, b.Witnesses = p.Log, p.Size, p.AsOf, p.Witnesses
		b.Auditor = slices.ContainsFunc(p.Witnesses, func(w Witness) bool { return w.Counts && w.Auditor })
	}
	instance, err := instanceOf(actor)
	if err != nil {
		return nil, err
	}
	_, err = t.row(bucketPinned, instance, &b.Pinned)
	return b, err
}

// NotWitnessed reports that the lookup of an actor failed for want of witnesses. The job stays, to be tried again: who is to come in waits,
// and who is here goes on under the keys that were proven before. The person is told once.
func (d *Device) NotWitnessed(job string, e *NotWitnessedError) error {
	return d.update(func(t *txn) error {
		j, row, err := t.lookupJob(job)
		if err != nil || j == nil {
			return err
		}
		if j.For == "" {
			return nil
		}
		if err := t.tellUnseen(j, row, e); err != nil {
			return err
		}
		return t.settle(j.For)
	})
}

// tellUnseen tells the person, the first time, and keeps the reason for whoever asks.
func (t *txn) tellUnseen(j *LookupJob, row jobRow, e *NotWitnessedError) error {
	_, told := j.Unseen[e.Actor]
	if j.Unseen == nil {
		j.Unseen = map[string]string{}
	}
	j.Unseen[e.Actor] = e.Reason
	if err := t.putJob(j, row); err != nil || told {
		return err
	}
	return t.emit(Event{Type: EventContactWaiting, Conversation: j.For, Actor: e.Actor, Code: CodeNotWitnessed, Detail: e.Reason})
}

// waitsFor says in one sentence what holds up what waits in a conversation, if that is something the person should know.
func (t *txn) waitsFor(c Conversation) (reason string, err error) {
	changed, err := t.changed(c.Expected)
	if err != nil {
		return "", err
	}
	if len(changed) > 0 {
		return CodeKeysReset + ": nothing is sent before you accept the new keys of " + strings.Join(changed, ", "), nil
	}
	if c.Waiting == 0 {
		return "", nil
	}
	ids, err := t.idsOf(c.ID, TaskLookup)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		l, _, err := t.lookupJob(id)
		if err != nil || l == nil {
			return "", err
		}
		for _, actor := range slices.Sorted(maps.Keys(l.Unseen)) {
			reason = CodeNotWitnessed + ": " + l.Unseen[actor]
		}
	}
	return reason, nil
}

// lookupJob reads a lookup that is under way; nil if it is over.
func (t *txn) lookupJob(id string) (*LookupJob, jobRow, error) {
	job, row, err := t.job(id)
	j, _ := job.(*LookupJob)
	return j, row, err
}

// renew asks for newer proofs of actors' keys in the background. Nothing waits for the answer.
func (t *txn) renew(actors ...string) error {
	if len(actors) == 0 {
		return nil
	}
	return t.lookUp("", actors[:min(len(actors), maxMembers)])
}

// stale lists the actors among these whose keys were proven long enough ago to be asked for again.
func (t *txn) stale(actors []string) (stale []string, err error) {
	for _, actor := range actors {
		c, err := t.contact(actor)
		if err != nil {
			return nil, err
		}
		if !c.Checked.IsZero() && t.now.Sub(t.proven(c)) > recordStale {
			stale = append(stale, actor)
		}
	}
	return stale, nil
}
