package device

import (
	"fmt"

	"github.com/waxwing-dm/waxwing/keydir"
)

// A binding is what bindLeaf found out about a leaf.
type binding int

const (
	bound    binding = iota // the actor's newest proven device list has the key
	unbound                 // it does not, and we asked after the leaf came up
	unproven                // a lookup has to tell
)

// bindLeaf is C1 of spec/conversation.md, the one function for every door by which a leaf comes in: a claimed key package, the tree
// of a Welcome, somebody's Add, an update path.
//
// A list proven in the last day is enough to accept, and one of the last six hours without asking for a newer one meanwhile. To refuse for absence takes a lookup made after the leaf came up, for the device may
// be newer than what we know; since is the number of lookups made when it did.
func (t *txn) bindLeaf(l leaf, since uint64) (binding, error) {
	if _, err := instanceOf(l.actor); err != nil {
		return unbound, nil // no instance can vouch for it
	}
	return t.bind(l.actor, since, func(list keydir.DeviceList) bool { return list.Has(l.key) })
}

// hasKeys tells by the same rule whether an actor has any device at all.
func (t *txn) hasKeys(actor string, since uint64) (binding, error) {
	return t.bind(actor, since, func(list keydir.DeviceList) bool { return len(list.Devices) > 0 })
}

func (t *txn) bind(actor string, since uint64, speaks func(keydir.DeviceList) bool) (binding, error) {
	c, err := t.contact(actor)
	if err != nil {
		return unbound, err
	}
	spoken := c.record != nil && speaks(c.record.List)
	switch age := t.now.Sub(t.proven(c)); {
	case spoken && age >= -clockSkew && age <= recordFresh:
		if age > recordStale {
			return bound, t.renew(actor)
		}
		return bound, nil
	case c.Lookup > since && (!spoken || c.Checked.IsZero()):
		return unbound, nil
	}
	return unproven, nil // nobody was asked since, or the answer has grown old meanwhile
}

// bindLeaves asks for each leaf. missing are the actors to look up; if there are none, refused tells whether one leaf was refused and why.
func (t *txn) bindLeaves(leaves []leaf, since uint64) (missing []string, refused error, err error) {
	missing, unlisted, err := bindEach(leaves, since, t.bindLeaf)
	switch {
	case unlisted != nil:
		refused = failed("C1", "device %s is not in the device list of %s", keydir.DeviceID(unlisted.key), unlisted.actor)
	case len(missing) > maxMembers:
		return nil, fmt.Errorf("device: %d actors at once", len(missing)), nil
	}
	return missing, refused, err
}

// bindEach also returns one of the leaves that are in no list, if there are any.
func bindEach(leaves []leaf, since uint64, bind func(leaf, uint64) (binding, error)) (missing []string, unlisted *leaf, err error) {
	asked := map[string]bool{}
	for _, l := range leaves {
		b, err := bind(l, since)
		switch {
		case err != nil:
			return nil, nil, err
		case b == unproven && !asked[l.actor]:
			asked[l.actor] = true
			missing = append(missing, l.actor)
		case b == unbound:
			unlisted = &l
		}
	}
	return missing, unlisted, nil
}
