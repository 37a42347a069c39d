package device

import (
	"bytes"
	"time"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

// Without a directory a key is believed the first time it is met, because there is nothing better: their instance says so, and ours passed it on. What
// can be done is to notice when it changes.

// plainKey is a key that an actor was met with.
type plainKey struct {
	Key   []byte    `json:"key"`
	First time.Time `json:"first"`
}

// NoDirectory reports that an actor's instance has said itself, by a 404 or 410, that it has no directory. Where a log was pinned it had one; that it is
// gone is no reason to do without (P4), and proves nothing.
func (d *Device) NoDirectory(actor string) error {
	instance, err := instanceOf(actor)
	if err != nil {
		return err
	}
	return d.update(func(t *txn) error {
		_, pinned, err := t.log(instance)
		if err != nil {
			return err
		}
		c, err := t.contact(actor)
		if err != nil {
			return err
		}
		if pinned || c.record != nil {
			return t.unproven(actor)
		}
		c.Plain, c.Checked = t.now, time.Time{}
		return t.lookedUp(actor, c)
	})
}

// plainness tells by the newest lookup whether an actor is to be met without a directory. A lookup of the last day will do.
func (t *txn) plainness(actor string, since uint64) (plain, known bool, err error) {
	if plain, err = t.isPlain(actor); err != nil || !plain {
		return false, true, err
	}
	c, err := t.contact(actor)
	if err != nil {
		return false, false, err
	}
	age := t.now.Sub(c.Plain)
	return true, c.Lookup > since || age >= -clockSkew && age <= recordFresh, nil
}

// bindPlain is C1 at the doors of a plain conversation: whose instance has a directory is held to it there, too (P4).
func (t *txn) bindPlain(l leaf, since uint64) (binding, error) {
	plain, known, err := t.plainness(l.actor, since)
	switch {
	case err != nil:
		return unbound, err
	case !plain:
		return t.bindLeaf(l, since)
	case !known:
		return unproven, nil
	}
	return bound, nil
}

// bindPlainLeaves is bindLeaves for them.
func (t *txn) bindPlainLeaves(leaves []leaf, since uint64) (missing []string, refused error, err error) {
	missing, unlisted, err := bindEach(leaves, since, t.bindPlain)
	if unlisted != nil {
		refused = failed("P4", "device %s is not in the device list of %s, whose instance has a directory", keydir.DeviceID(unlisted.key), unlisted.actor)
	}
	return missing, refused, err
}

// meet notes the keys of plain actors (P5). The first are believed; each that comes later makes its actor a new contact.
func (t *txn) meet(leaves []leaf) (changed bool, err error) {
	fresh := map[string]bool{} // who is met for the first time: all their keys of this moment are as good or bad as each other
	for _, l := range leaves {
		plain, err := t.isPlain(l.actor)
		if err != nil {
			return changed, err
		}
		if !plain {
			continue
		}
		c, err := t.contact(l.actor)
		if err != nil {
			return changed, err
		}
		if c.met(l.key) {
			continue
		}
		first := len(c.PlainKeys) == 0
		c.PlainKeys = append(c.PlainKeys[max(0, len(c.PlainKeys)+1-maxPlainKeys):], plainKey{bytes.Clone(l.key), t.now})
		switch {
		case first:
			fresh[l.actor] = true
			err = t.emit(Event{Type: EventContactPlain, Actor: l.actor, Code: CodePlain,
				Detail: "nobody vouches for the keys of " + l.actor + ": their instance has no directory, and they are believed because they were the first"})
		case !fresh[l.actor]:
			changed = true
			err = t.wasReset(l.actor, &c)
		}
		if err != nil {
			return changed, err
		}
		if err := t.putRow(bucketContact, l.actor, c.contactRow); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (c contact) met(key []byte) bool {
	for _, k := range c.PlainKeys {
		if bytes.Equal(k.Key, key) {
			return true
		}
	}
	return false
}

// checkPlainPackage checks what was claimed for a plain actor by itself. Programs of the draft let packages live for a year.
func (t *txn) checkPlainPackage(actor string, raw []byte) (kp *mls.KeyPackage, l leaf, bad error) {
	kp, bad = mls.ParseKeyPackage(raw)
	if bad != nil {
		return nil, l, bad
	}
	if kp.Suite != suite {
		return nil, l, &keydir.KeyPackageError{Code: "suite_unsupported", Reason: kp.Suite.String()}
	}
	if bad = kp.Verify(t.now); bad != nil {
		return nil, l, bad
	}
	if l = leafOf(mls.Member{Node: &kp.Leaf}); l.actor != actor {
		return nil, l, failed("P4", "the key package of %s is for somebody else", actor)
	}
	return kp, l, nil
}
