package device

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/transparency"
)

// The keys of the bucket that holds what there is one of.
const (
	bucketDevice   = "device"
	keyKeys        = "keys"
	keyAccount     = "account"
	keyPublication = "publication"
	keyCursor      = "cursor"
	keyConsent     = "consent"
	keyLookups     = "lookups"
	keyHub         = "hub"
	keySupply      = "key packages"
	keyListing     = "listing"
	keyRevocation  = "revocation"
)

// suite is the one of spec/conversation.md.
const suite = mls.X25519AES128GCMSHA256Ed25519

// keyRow holds the two private keys that everything else hangs on.
type keyRow struct {
	Signature []byte `json:"signature"` // seed of the device's MLS signature key
	Account   []byte `json:"account"`   // what the account keys come from that sign device lists
}

type accountRow struct {
	Actor    string `json:"actor"`
	Handle   string `json:"handle"`
	Instance string `json:"instance"`
	Token    string `json:"token"`
}

type publicationRow struct {
	Statement, Opening, Content []byte
	Made                        time.Time
	After                       []byte `json:",omitempty"` // statement; nil for the first
}

// Prepare makes the device's signature key and the account key, once, and returns the public half of the first.
func (d *Device) Prepare() (signatureKey []byte, err error) {
	err = d.update(func(t *txn) error {
		var row keyRow
		ok, err := t.row(bucketDevice, keyKeys, &row)
		if err != nil {
			return err
		}
		if !ok {
			if row, err = t.makeKeys(); err != nil {
				return err
			}
		}
		signatureKey = publicHalf(row.Signature)
		return nil
	})
	return signatureKey, err
}

func (t *txn) makeKeys() (row keyRow, err error) {
	if row.Signature, err = t.random(ed25519.SeedSize); err != nil {
		return row, err
	}
	if row.Account, err = t.random(ed25519.SeedSize); err != nil {
		return row, err
	}
	return row, t.putRow(bucketDevice, keyKeys, row)
}

func publicHalf(seed []byte) []byte {
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
}

func (t *txn) keys() (keyRow, error) {
	var row keyRow
	ok, err := t.row(bucketDevice, keyKeys, &row)
	if err == nil && !ok {
		err = ErrNotEnrolled
	}
	return row, err
}

// signer is the device's MLS signature key.
func (t *txn) signer() (*mls.SignatureKey, error) {
	row, err := t.keys()
	if err != nil {
		return nil, err
	}
	signer, err := mls.NewSignatureKey(suite, row.Signature)
	if err != nil {
		return nil, fmt.Errorf("device: reading the signature key: %w", err)
	}
	return signer, nil
}

// loginPrefix begins what a login signs (spec/client-api.md); the key signs nothing else by this door.
const loginPrefix = "waxwing login v1\x00"

// SignLogin signs a login with the device key.
func (d *Device) SignLogin(message []byte) (signature []byte, err error) {
	if !bytes.HasPrefix(message, []byte(loginPrefix)) {
		return nil, errors.New("device: signing a login: that is not a login message")
	}
	err = d.view(func(t *txn) error {
		row, err := t.keys()
		if err != nil {
			return err
		}
		signature = ed25519.Sign(ed25519.NewKeyFromSeed(row.Signature), message)
		return nil
	})
	return signature, err
}

// Bind stores whose device this is, after a login. A second login of the same account replaces the token, and the mailbox is read from its
// beginning: the sidecar may have been set up anew and count from there. What was received before has no second effect.
func (d *Device) Bind(actor, handle, instance, token string) error {
	home, err := instanceOf(actor)
	if err != nil {
		return err
	}
	if here, err := originOf(instance); err != nil || here != home {
		return fmt.Errorf("device: binding to an account: %s is not on the instance: %w", actor, ErrActor)
	}
	return d.update(func(t *txn) error {
		if _, err := t.keys(); err != nil {
			return err
		}
		var row accountRow
		if ok, err := t.row(bucketDevice, keyAccount, &row); err != nil {
			return err
		} else if ok && row.Actor != actor {
			return ErrOtherAccount
		}
		if row.Token != token {
			if err := t.Delete(bucketDevice, keyCursor); err != nil {
				return fmt.Errorf("device: forgetting the place in the mailbox: %w", err)
			}
		}
		return t.putRow(bucketDevice, keyAccount, accountRow{Actor: actor, Handle: handle, Instance: home, Token: token})
	})
}

// Account returns whose device this is, if that is known already.
func (d *Device) Account() (account Account, ok bool, err error) {
	err = d.view(func(t *txn) error {
		account, err = t.account()
		ok = err == nil
		if errors.Is(err, ErrNotEnrolled) {
			return nil
		}
		return err
	})
	return account, ok, err
}

func (t *txn) account() (Account, error) {
	var row accountRow
	if ok, err := t.row(bucketDevice, keyAccount, &row); err != nil {
		return Account{}, err
	} else if !ok {
		return Account{}, ErrNotEnrolled
	}
	keys, err := t.keys()
	if err != nil {
		return Account{}, err
	}
	listing, err := t.listing()
	if err != nil {
		return Account{}, err
	}
	key := publicHalf(keys.Signature)
	return Account{
		Removed: listing.Removed,
		Actor:   row.Actor, Handle: row.Handle, Instance: row.Instance, Token: row.Token,
		DeviceID: keydir.DeviceID(key), SignatureKey: key,
	}, nil
}

// DeviceList returns what to publish in the directory: a first device list with this device. The actor has been looked up before, and
// has none; or an erase, which leaves nobody who could vouch for anything: then it is a reset. If there is another list,
// ErrOtherDevices. Asked again it returns the same bytes, so that a publication whose answer was lost is repeated and not contradicted; only a
// statement that the log has not shown for minutes is signed anew, since check L7 would refuse it by then, and one that cannot be the
// next any more.
func (d *Device) DeviceList() (publication Publication, err error) { return d.deviceList(false) }

// ResetList returns a list with this device alone, for an account whose keys are lost: nothing vouches for it, and everybody who knows
// the account is told.
func (d *Device) ResetList() (publication Publication, err error) { return d.deviceList(true) }

func (d *Device) deviceList(reset bool) (publication Publication, err error) {
	err = d.update(func(t *txn) error {
		account, err := t.account()
		if err != nil {
			return err
		}
		c, err := t.contact(account.Actor)
		if err != nil {
			return err
		}
		var row publicationRow
		ok, err := t.row(bucketDevice, keyPublication, &row)
		if err != nil {
			return err
		}
		published := c.record != nil && c.record.List.Has(account.SignatureKey)
		old := t.now.Sub(row.Made) > listRebuild || row.Made.After(t.now)
		if !ok || !published && (old || !bytes.Equal(row.After, c.newest())) {
			if c.record != nil && c.record.Statement.Kind != transparency.KindErase && !reset {
				return ErrOtherDevices
			}
			if row, err = t.ownList(account, c); err != nil {
				return err
			}
		}
		publication = Publication{Statement: row.Statement, Opening: row.Opening, Content: row.Content}
		return nil
	})
	return publication, err
}

// newest is the actor's newest proven statement, nil if there is none.
func (c contact) newest() []byte {
	if c.record == nil {
		return nil
	}
	return c.record.Statement.Marshal()
}

// ownList makes a list with this device alone.
func (t *txn) ownList(account Account, c contact) (publicationRow, error) {
	keys, err := t.keys()
	if err != nil {
		return publicationRow{}, err
	}
	if len(c.Label) != 32 {
		return publicationRow{}, fmt.Errorf("device: making the first device list: the log's label of %s has not been looked up", account.Actor)
	}
	opening, err := t.random(32)
	if err != nil {
		return publicationRow{}, err
	}
	dev := keydir.Device{Added: millis(t.now)}
	copy(dev.SignatureKey[:], account.SignatureKey)
	change := keydir.Change{
		Kind: transparency.KindFirst, Label: [32]byte(c.Label), Opening: [32]byte(opening),
		List: keydir.DeviceList{Actor: account.Actor, Devices: []keydir.Device{dev}},
	}
	var previous *transparency.Statement
	seq := uint32(0)
	if c.record != nil {
		previous, seq, change.Kind = &c.record.Statement, c.record.Statement.Seq+1, transparency.KindReset
	}
	change.Next = [32]byte(keys.accountKey(seq + 1).Public().(ed25519.PublicKey))
	statement, content := change.Sign(previous, keys.accountKey(seq), millis(t.now))
	if err := t.signed(statement); err != nil {
		return publicationRow{}, fmt.Errorf("device: keeping what was signed: %w", err)
	}
	row := publicationRow{Statement: statement.Marshal(), Opening: opening, Content: content, Made: t.now, After: c.newest()}
	return row, t.putRow(bucketDevice, keyPublication, row)
}

// accountKey is the account's key number n. Each signs one change and promises the one after it, so a key that has been used is
// worth nothing to whoever finds it.
func (k keyRow) accountKey(n uint32) ed25519.PrivateKey {
	m := hmac.New(sha256.New, k.Account)
	m.Write(binary.BigEndian.AppendUint32([]byte("waxwing account key v1\x00"), n))
	return ed25519.NewKeyFromSeed(m.Sum(nil))
}
