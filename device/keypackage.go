package device

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
)

const bucketKeyPackage = "key package" // by hex of the KeyPackageRef: private parts of what we published

// maxWelcomeRefs bounds the search through a Welcome: one reference for each device that a commit adds.
const maxWelcomeRefs = maxMembers

type keyPackageRow struct {
	Secret     []byte    `json:"secret"`
	Until      time.Time `json:"until"`
	LastResort bool      `json:"last_resort,omitempty"`
}

// supplyRow is what we know of the last-resort package that the sidecar has.
type supplyRow struct {
	LastResort string    `json:"last_resort"` // reference
	Until      time.Time `json:"until"`
	Used       bool      `json:"used,omitempty"`    // a Welcome used it: it is to be replaced
	Refused    string    `json:"refused,omitempty"` // why the sidecar did not take packages the last time
}

// capabilities are those of every leaf of ours.
func capabilities() mls.Capabilities {
	return mls.Capabilities{
		Versions: []uint16{1}, CipherSuites: []mls.CipherSuite{suite},
		Extensions: []mls.ExtensionType{roomExtension}, Credentials: []mls.CredentialType{mls.CredentialBasic},
		Proposals: []mls.ProposalType{mls.ProposalSelfRemove},
	}
}

func lifetime(now time.Time) mls.Lifetime {
	return mls.Lifetime{NotBefore: uint64(now.Add(-clockSkew).Unix()), NotAfter: uint64(now.Add(leafLifetime).Unix())}
}

// TopUp is told how many one-time key packages the sidecar still has, and makes new ones if they run low. It also replaces the
// last-resort package when it was used or grows old, and forgets the private parts of packages that can no longer be used.
func (d *Device) TopUp(remaining int) error {
	return d.update(func(t *txn) error {
		account, err := t.account()
		if err != nil {
			return err
		}
		if err := errors.Join(t.forgetExpired(), t.forgetOldRequests()); err != nil {
			return err
		}
		pending, err := t.hasJob(func(j Job) bool { _, ok := j.(*KeyPackagesJob); return ok })
		if err != nil || pending {
			return err
		}
		j := new(KeyPackagesJob)
		if remaining < oneTimeLow {
			for range oneTimePackages - max(0, remaining) {
				kp, err := t.newPackage(account, false)
				if err != nil {
					return err
				}
				j.OneTime = append(j.OneTime, kp.Marshal())
			}
		}
		if j.LastResort, err = t.renewLastResort(account); err != nil {
			return err
		}
		if len(j.OneTime) == 0 && j.LastResort == nil {
			return nil
		}
		return t.addJob(j)
	})
}

func (t *txn) renewLastResort(account Account) ([]byte, error) {
	var supply supplyRow
	if _, err := t.row(bucketDevice, keySupply, &supply); err != nil {
		return nil, err
	}
	if supply.LastResort != "" && !supply.Used && supply.Until.Sub(t.now) > lastResortRenew {
		return nil, nil
	}
	kp, err := t.newPackage(account, true)
	if err != nil {
		return nil, err
	}
	supply = supplyRow{LastResort: hex.EncodeToString(kp.Ref()), Until: t.now.Add(leafLifetime), Refused: supply.Refused}
	return kp.Marshal(), t.putRow(bucketDevice, keySupply, supply)
}

// newPackage makes a key package and stores its private parts.
func (t *txn) newPackage(account Account, lastResort bool) (*mls.KeyPackage, error) {
	signer, err := t.signer()
	if err != nil {
		return nil, err
	}
	secret, err := mls.NewKeyPackage(t.rand, mls.KeyPackageParams{
		Suite: suite, Signer: signer, Credential: mls.BasicCredential([]byte(account.Actor)), Capabilities: capabilities(),
		Lifetime: lifetime(t.now), LastResort: lastResort,
	})
	if err != nil {
		return nil, fmt.Errorf("device: making a key package: %w", err)
	}
	kp := secret.KeyPackage()
	row := keyPackageRow{Secret: secret.Marshal(), Until: t.now.Add(leafLifetime), LastResort: lastResort}
	return kp, t.putRow(bucketKeyPackage, hex.EncodeToString(kp.Ref()), row)
}

// forgetExpired deletes private parts a while after their package expired: a Welcome may still be under way.
func (t *txn) forgetExpired() error {
	var expired []string
	if err := t.Each(bucketKeyPackage, func(ref string, value []byte) error {
		var row keyPackageRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding key package %s: %w", ref, err)
		}
		if t.now.Sub(row.Until) > parkedFor {
			expired = append(expired, ref)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, ref := range expired {
		if err := t.Delete(bucketKeyPackage, ref); err != nil {
			return fmt.Errorf("device: forgetting a key package: %w", err)
		}
	}
	return nil
}

// KeyPackagesStored reports that the sidecar has the packages of the job.
func (d *Device) KeyPackagesStored(job string) error {
	return d.update(func(t *txn) error {
		_, ok, err := takeJob[*KeyPackagesJob](t, job)
		if err != nil || !ok {
			return err
		}
		var supply supplyRow
		if _, err := t.row(bucketDevice, keySupply, &supply); err != nil || supply.Refused == "" {
			return err
		}
		supply.Refused = ""
		return t.putRow(bucketDevice, keySupply, supply)
	})
}

// packagesRefused forgets packages that the sidecar does not have: others are made the next time. The same reason is told once.
func (t *txn) packagesRefused(j *KeyPackagesJob, code, detail string) error {
	for _, raw := range append(j.OneTime, j.LastResort) {
		kp, err := mls.ParseKeyPackage(raw)
		if raw == nil || err != nil {
			continue
		}
		if err := t.Delete(bucketKeyPackage, hex.EncodeToString(kp.Ref())); err != nil {
			return fmt.Errorf("device: forgetting a key package: %w", err)
		}
	}
	var supply supplyRow
	if _, err := t.row(bucketDevice, keySupply, &supply); err != nil {
		return err
	}
	if j.LastResort != nil {
		supply.LastResort = ""
	}
	told := supply.Refused == code
	supply.Refused = code
	if err := t.putRow(bucketDevice, keySupply, supply); err != nil || told {
		return err
	}
	return t.emit(Event{Type: EventKeyPackagesRefused, Code: code, Detail: detail})
}

// packageFor finds the package of ours that a Welcome is for; nil if it is for none.
func (t *txn) packageFor(m *mls.Message) (ref string, secret *mls.KeyPackageSecret, err error) {
	refs := m.WelcomeRefs()
	for _, r := range refs[:min(len(refs), maxWelcomeRefs)] {
		ref = hex.EncodeToString(r)
		var row keyPackageRow
		ok, err := t.row(bucketKeyPackage, ref, &row)
		if err != nil {
			return "", nil, err
		}
		if !ok {
			continue
		}
		if secret, err = mls.UnmarshalKeyPackageSecret(row.Secret); err != nil {
			return "", nil, fmt.Errorf("device: reading key package %s: %w", ref, err)
		}
		return ref, secret, nil
	}
	return "", nil, nil
}

// usedPackage deletes the private parts of a package that a Welcome used. One of last resort may be used again; it is replaced soon.
func (t *txn) usedPackage(ref string, secret *mls.KeyPackageSecret) error {
	if !secret.KeyPackage().LastResort() {
		return t.Delete(bucketKeyPackage, ref)
	}
	var supply supplyRow
	if _, err := t.row(bucketDevice, keySupply, &supply); err != nil {
		return err
	}
	supply.Used = supply.Used || supply.LastResort == ref
	return t.putRow(bucketDevice, keySupply, supply)
}
