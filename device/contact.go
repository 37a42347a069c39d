package device

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	bucketLog     = "log"     // by instance
	bucketContact = "contact" // by actor
	bucketPinned  = "pinned"  // by instance: when its log was
)

// contactRow is what is remembered of an actor. Lookup counts all lookups of this device: who waits for a lookup made after a certain
// moment compares numbers, not clocks.
type contactRow struct {
	Record  []byte    `json:"record,omitempty"`
	Checked time.Time `json:"checked,omitzero"` // of the newest lookup that proved a list
	Lookup  uint64    `json:"lookup"`           // number of the newest lookup, whatever it gave
	Label   []byte    `json:"label,omitempty"`  // in the actor's log
	Resets  int       `json:"resets,omitempty"`
	Proof   *proof    `json:"proof,omitempty"`
	First   time.Time `json:"first,omitzero"` // of the first lookup that proved a list, or showed a reset
	// Plain is when the instance was last found to have no directory, unless something was proven since.
	Plain time.Time `json:"plain,omitzero"`
	// PlainKeys are the keys that the actor was met with without a directory, the oldest first.
	PlainKeys []plainKey `json:"plain_keys,omitempty"`
}

type contact struct {
	contactRow
	record *keydir.Record // nil: none was ever proven
}

// originOf returns scheme and host of an instance's URL.
func originOf(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(s) > maxURL {
		return "", fmt.Errorf("device: %.80q is not the URL of an instance or actor: %w", s, ErrActor)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

// instanceOf returns the instance of an actor: the origin of its URL. An actor is compared byte by byte and shown to people, so it is spelt
// as URLs are sent: lower-case origin, printable ASCII.
func instanceOf(actor string) (string, error) {
	origin, err := originOf(actor)
	if err == nil && (!strings.HasPrefix(actor, origin+"/") || strings.ContainsFunc(actor, func(r rune) bool { return r <= ' ' || r > '~' })) {
		err = fmt.Errorf("device: %.80q is not the URL of an actor in its usual spelling: %w", actor, ErrActor)
	}
	return origin, err
}

// PinLog remembers the log of an instance: its origin, the key of its checkpoints and that of its labels. They must come from that
// instance itself. Once pinned they do not change.
func (d *Device) PinLog(instance, origin, key string, vrfKey []byte) error {
	home, err := originOf(instance)
	if err != nil {
		return err
	}
	_, host, _ := strings.Cut(home, "://")
	log, err := transparency.Pin(host, origin, key, vrfKey)
	if err != nil {
		return fmt.Errorf("device: pinning the log of %s: %w", home, err)
	}
	return d.update(func(t *txn) error {
		pinned, ok, err := t.log(home)
		if err != nil {
			return err
		}
		if ok {
			if pinned.Origin != origin || pinned.Key != key { // the origin names the VRF key
				return fmt.Errorf("device: pinning the log of %s: %w", home, ErrLogKeyChanged)
			}
			return nil
		}
		if err := t.putRow(bucketPinned, home, t.now); err != nil {
			return err
		}
		return t.putLog(home, log)
	})
}

// PinHub remembers the hub key of the own instance, from its discovery document. Conversations opened from now on name it; those that exist
// keep theirs.
func (d *Device) PinHub(key []byte) error {
	if len(key) != len(room{}.hubKey) {
		return fmt.Errorf("device: remembering the hub key: %d bytes", len(key))
	}
	return d.update(func(t *txn) error { return t.Put(bucketDevice, keyHub, key) })
}

// LogOf tells whether the log of an actor's instance is pinned, and the size of the newest checkpoint seen of it: the `from` of a lookup.
func (d *Device) LogOf(actor string) (pinned bool, size int64, err error) {
	instance, err := instanceOf(actor)
	if err != nil {
		return false, 0, err
	}
	err = d.view(func(t *txn) error {
		log, ok, err := t.log(instance)
		pinned, size = ok, log.Size
		return err
	})
	return pinned, size, err
}

// Learn checks a lookup answer (A1 to A8 of spec/log-entry.md, W13 and W14 of spec/witness.md) and remembers what it proves; the record
// is nil if that is that the actor has no keys. On error nothing is remembered. An answer that only lacks witnesses is a *NotWitnessedError.
func (d *Device) Learn(actor string, answer []byte) (record *keydir.Record, err error) {
	instance, err := instanceOf(actor)
	if err != nil {
		return nil, err
	}
	unproven := false
	err = d.update(func(t *txn) error {
		log, ok, err := t.log(instance)
		if err != nil {
			return err
		}
		if !ok {
			return ErrLogNotPinned
		}
		a, err := transparency.ParseAnswer(answer)
		if err != nil {
			return fmt.Errorf("device: learning the keys of %s: %w", actor, err)
		}
		c, err := t.contact(actor)
		if err != nil {
			return err
		}
		w, err := t.standing(instance)
		if err != nil || w.Split {
			return orElse(err, ErrLogSplit)
		}
		terms, err := t.terms()
		if err != nil {
			return err
		}
		var found transparency.Finding
		if log, record, found, err = keydir.Verify(log, c.record, actor, a, terms); err != nil {
			if unseen := notWitnessed(actor, instance, err); unseen != nil {
				return unseen
			}
			return fmt.Errorf("device: learning the keys of %s: %w", actor, err)
		}
		c.Label, c.Proof = found.Label[:], proofOf(found.Witnessed)
		if err := t.putLog(instance, log); err != nil {
			return err
		}
		if unproven = w.Doubt != nil; unproven {
			return t.askAgain(instance, *w.Doubt)
		}
		if err := t.observe(actor, log, found.Label, record); err != nil {
			return err
		}
		return t.learned(actor, c, record)
	})
	if err != nil {
		return nil, d.contradicted(instance, answer, err)
	}
	if unproven {
		return nil, ErrLogUnproven
	}
	return record, nil
}

// learned takes over what was proven: a record, or that there is none.
func (t *txn) learned(actor string, c contact, record *keydir.Record) error {
	if record != nil {
		if c.record != nil && record.Reset {
			if err := t.wasReset(actor, &c); err != nil {
				return err
			}
		}
		if c.record == nil {
			c.First = t.now
		}
		c.Record, c.Plain = record.Marshal(), time.Time{}
		if err := t.judgeListing(actor, record); err != nil {
			return err
		}
	}
	c.Checked = t.now
	if err := t.lookedUp(actor, c); err != nil || record == nil {
		return err
	}
	if err := t.pruneAll(actor, c.record == nil || c.record.Statement != record.Statement); err != nil {
		return err
	}
	return t.release(actor)
}

// lookedUp stores c as the result of a lookup made now.
func (t *txn) lookedUp(actor string, c contact) error {
	n, err := t.lookups()
	if err != nil {
		return err
	}
	c.Lookup = n + 1
	if err := t.putRow(bucketDevice, keyLookups, c.Lookup); err != nil {
		return err
	}
	return t.putRow(bucketContact, actor, c.contactRow)
}

// lookups is the number of lookups so far.
func (t *txn) lookups() (n uint64, err error) {
	_, err = t.row(bucketDevice, keyLookups, &n)
	return n, err
}

// Unknown remembers that nothing was to be learned of an actor, as when their instance has no directory or has erased them. It is
// not proven, so what was proven before is kept, but no longer counts as fresh.
func (d *Device) Unknown(actor string) error {
	if _, err := instanceOf(actor); err != nil {
		return err
	}
	return d.update(func(t *txn) error { return t.unproven(actor) })
}

func (t *txn) unproven(actor string) error {
	c, err := t.contact(actor)
	if err != nil {
		return err
	}
	c.Checked, c.Plain = time.Time{}, time.Time{}
	return t.lookedUp(actor, c)
}

// Contact returns what is known of an actor; ok is false if nothing was ever asked.
func (d *Device) Contact(actor string) (result Contact, ok bool, err error) {
	err = d.view(func(t *txn) error {
		c, err := t.contact(actor)
		if err != nil {
			return err
		}
		result = Contact{Actor: actor, State: c.state(), Checked: c.Checked, Resets: c.Resets}
		changed, err := t.changed([]string{actor})
		if err != nil {
			return err
		}
		result.Changed = len(changed) > 0
		if result.Belief, err = t.belief(actor, c); err != nil {
			return err
		}
		if c.record != nil {
			for _, dev := range c.record.List.Devices {
				result.Devices = append(result.Devices, dev.ID())
			}
			if result.MovedTo, result.Moved, err = t.moved(*c.record); err != nil {
				return err
			}
		}
		if result.State == ContactPlain {
			for _, k := range c.PlainKeys {
				result.Devices = append(result.Devices, keydir.DeviceID(k.Key))
			}
		}
		ok = c.Lookup > 0
		return nil
	})
	return result, ok, err
}

// moved tells where an account goes on, and whether what is known of the other side proves it.
func (t *txn) moved(from keydir.Record) (to string, proven bool, err error) {
	if from.MovedTo == "" {
		return "", false, nil
	}
	c, err := t.contact(from.MovedTo)
	return from.MovedTo, err == nil && c.record != nil && keydir.Moved(from, *c.record), err
}

func (c contact) state() ContactState {
	switch {
	case c.Lookup == 0:
		return ContactUnknown
	case !c.Plain.IsZero():
		return ContactPlain
	case c.record == nil || len(c.record.List.Devices) == 0:
		return ContactNone
	}
	return ContactReady
}

func (t *txn) contact(actor string) (contact, error) {
	var c contact
	if _, err := t.row(bucketContact, actor, &c.contactRow); err != nil || len(c.Record) == 0 {
		return c, err
	}
	record, err := keydir.ParseRecord(c.Record)
	if err != nil {
		return c, fmt.Errorf("device: reading what is known of %s: %w", actor, err)
	}
	c.record = &record
	return c, nil
}

func (t *txn) log(instance string) (transparency.Log, bool, error) {
	b, ok, err := t.Get(bucketLog, instance)
	if err != nil || !ok {
		return transparency.Log{}, false, err
	}
	log, err := transparency.ParseLog(b)
	if err != nil {
		return transparency.Log{}, false, fmt.Errorf("device: reading what is known of the log of %s: %w", instance, err)
	}
	return log, true, nil
}

func (t *txn) putLog(instance string, log transparency.Log) error {
	if err := t.Put(bucketLog, instance, log.Marshal()); err != nil {
		return fmt.Errorf("device: writing what is known of the log of %s: %w", instance, err)
	}
	return t.follows(instance, log)
}
