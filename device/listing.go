package device

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// listingRow is what the directory has shown of this device's own place in its account's list.
type listingRow struct {
	Listed  bool   `json:"listed"`            // it was in the list
	Removed string `json:"removed,omitempty"` // and is not any more: the code that says why
}

// removals are the codes of EventDeviceRemoved, and what they mean.
var removals = map[transparency.Kind]struct{ code, detail string }{
	transparency.KindUpdate: {CodeListChanged, "this device was taken off your account's list with your account key"},
	transparency.KindReset:  {CodeListReset, "your account's keys were replaced by others, without this device"},
	transparency.KindRevoke: {CodeDeviceRevoked, "this device was taken off your account's list with its own key"},
	transparency.KindMove:   {CodeAccountMoved, "your account goes on elsewhere"},
	transparency.KindErase:  {CodeListErased, "your instance has erased your account"},
}

func (t *txn) listing() (row listingRow, err error) {
	_, err = t.row(bucketDevice, keyListing, &row)
	return row, err
}

// judgeListing compares the own account's newest record with this device.
func (t *txn) judgeListing(actor string, record *keydir.Record) error {
	account, err := t.account()
	if errors.Is(err, ErrNotEnrolled) || err == nil && account.Actor != actor {
		return nil
	}
	if err != nil {
		return err
	}
	if record.List.Has(account.SignatureKey) {
		return t.putRow(bucketDevice, keyListing, listingRow{Listed: true})
	}
	kind := record.Statement.Kind
	if record.Reset && kind != transparency.KindErase {
		kind = transparency.KindReset // whatever came after it
	}
	return t.removed(kind)
}

// removed says once that this device, which was in the list, is not any more.
func (t *txn) removed(kind transparency.Kind) error {
	row, err := t.listing()
	if err != nil || !row.Listed || row.Removed != "" {
		return err
	}
	why := removals[kind]
	row.Removed = why.code
	if err := t.putRow(bucketDevice, keyListing, row); err != nil {
		return err
	}
	return t.emit(Event{Type: EventDeviceRemoved, Code: why.code, Detail: why.detail})
}

// AccountErased remembers that the own instance says it has erased the account. It is the instance's word; a list that has this device
// again takes it back.
func (d *Device) AccountErased() error {
	return d.update(func(t *txn) error { return t.removed(transparency.KindErase) })
}

// speaker is the account, of a device that may speak for it.
func (t *txn) speaker() (Account, error) {
	account, err := t.account()
	if err == nil && account.Removed != "" {
		err = ErrDeviceRemoved
	}
	return account, err
}

// RevokedItself tells whether this device is off the list by its own key, which somebody may have copied: nothing brings it back.
func (a Account) RevokedItself() bool { return a.Removed == CodeDeviceRevoked }

// Revocation returns the statement by which this device takes itself off its account's list, for good. The answer is of a lookup that was
// learned just now. Asked again it returns the same bytes, unless something has come in between. ErrDeviceRemoved if it is off the list
// already.
func (d *Device) Revocation(answer []byte) (publication Publication, err error) {
	err = d.update(func(t *txn) error {
		account, err := t.account()
		if err != nil {
			return err
		}
		c, err := t.contact(account.Actor)
		if err != nil {
			return err
		}
		if c.record == nil || !c.record.List.Has(account.SignatureKey) {
			return ErrDeviceRemoved
		}
		a, err := transparency.ParseAnswer(answer)
		if err != nil || a.Found == nil || string(a.Found.Statement) != string(c.newest()) {
			return fmt.Errorf("device: revoking this device: the answer is not the one that was learned last: %v", err)
		}
		var row publicationRow
		ok, err := t.row(bucketDevice, keyRevocation, &row)
		if err != nil {
			return err
		}
		if old := t.now.Sub(row.Made) > listRebuild || row.Made.After(t.now); !ok || old || string(row.After) != string(c.newest()) {
			if row, err = t.revoke(account, c, *a.Found); err != nil {
				return err
			}
		}
		publication = Publication{Statement: row.Statement, Opening: row.Opening, Content: row.Content}
		return nil
	})
	return publication, err
}

func (t *txn) revoke(account Account, c contact, found transparency.Found) (row publicationRow, err error) {
	state, err := keydir.Open(account.Actor, c.record.Statement, found.Opening, found.Content)
	if err != nil {
		return row, fmt.Errorf("device: revoking this device: %w", err)
	}
	keys, err := t.keys()
	if err != nil {
		return row, err
	}
	opening, err := t.random(32)
	if err != nil {
		return row, err
	}
	s, content := keydir.RevokeDevice(state, found.Opening, [32]byte(opening), ed25519.NewKeyFromSeed(keys.Signature), millis(t.now))
	if err := t.signed(s); err != nil {
		return row, fmt.Errorf("device: keeping what was signed: %w", err)
	}
	row = publicationRow{Statement: s.Marshal(), Opening: opening, Content: content, Made: t.now, After: c.newest()}
	return row, t.putRow(bucketDevice, keyRevocation, row)
}
