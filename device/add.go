package device

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

// workAdd brings an intent to add actors forward: look up, claim, commit.
func (t *txn) workAdd(c *conversation, s *step) (done bool, err error) {
	s.Actors = slices.DeleteFunc(s.Actors, c.has)
	if changed, err := t.changed(s.Actors); err != nil || len(changed) > 0 {
		return false, err
	}
	if !s.Claimed {
		missing, err := t.withoutKeys(c, s)
		switch {
		case err != nil:
			return false, err
		case len(missing) > 0:
			return false, t.lookUp(c.id, missing)
		case len(s.Actors) == 0:
			return true, nil
		}
		return false, t.claim(c.id, s.Actors, nil)
	}
	proposals, added, missing, err := t.checkPackages(c, s)
	switch {
	case err != nil:
		return false, err
	case len(missing) > 0:
		return false, t.lookUp(c.id, missing)
	case len(proposals) == 0:
		return true, nil
	}
	if len(c.group.Members())+len(added) > maxMembers {
		return true, t.intentFailed(c, s.Actors, CodeTooLarge, fmt.Sprintf("a conversation has at most %d devices", maxMembers))
	}
	return t.propose(c, s, proposals, change{added: added})
}

// withoutKeys takes those actors out of the step that have no keys, and returns those that must be looked up to know.
func (t *txn) withoutKeys(c *conversation, s *step) (missing []string, err error) {
	var rest []string
	for _, actor := range s.Actors {
		b, err := t.hasKeys(actor, s.Since)
		if err != nil {
			return nil, err
		}
		switch b {
		case unproven:
			missing = append(missing, actor)
		case unbound:
			why := "the directory has no keys for " + actor
			if plain, err := t.isPlain(actor); err != nil {
				return nil, err
			} else if plain {
				why = "nobody vouches for the keys of " + actor + ", whose instance has no directory: they can be written to in a plain conversation only"
			}
			if err := t.intentFailed(c, []string{actor}, CodeRecipientNotReady, why); err != nil {
				return nil, err
			}
			continue
		}
		rest = append(rest, actor)
	}
	s.Actors = rest
	return missing, nil
}

// lookUp asks for a lookup of actors on behalf of a conversation, unless one is under way; whoever still misses something afterwards asks again.
func (t *txn) lookUp(id string, actors []string) error {
	pending, err := t.hasJobOf(id, TaskLookup)
	if err != nil || pending {
		return err
	}
	return t.addJob(&LookupJob{Actors: actors, For: id})
}

func (t *txn) claim(id string, actors, plain []string) error {
	pending, err := t.hasJobOf(id, kindClaim)
	if err != nil || pending {
		return err
	}
	return t.addJob(&ClaimJob{Conversation: id, Actors: actors, Plain: plain})
}

// LookedUp reports that every actor of the job was learned or found unknown.
func (d *Device) LookedUp(job string) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*LookupJob](t, job)
		if err != nil || !ok || j.For == "" {
			return err
		}
		return t.settle(j.For)
	})
}

// Claimed reports the key packages that were handed out for the actors of the job. They are checked before they are used.
func (d *Device) Claimed(job string, packages map[string][]ClaimedPackage) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*ClaimJob](t, job)
		if err != nil || !ok {
			return err
		}
		since, err := t.lookups()
		if err != nil {
			return err
		}
		if err := t.changeFirst(j.Conversation, func(s *step) {
			if s.Kind != stepAdd || slices.ContainsFunc(s.Actors, func(a string) bool { return !slices.Contains(j.Actors, a) }) {
				return // the step that asked is gone; this one asks for itself
			}
			s.Claimed, s.Since, s.Packages = true, since, map[string][]ClaimedPackage{}
			for _, actor := range j.Actors {
				list := packages[actor]
				s.Packages[actor] = list[:min(len(list), maxPackages)]
			}
		}); err != nil {
			return err
		}
		return t.settle(j.Conversation)
	})
}

// checkPackages turns claimed packages into proposals. A package that is refused is left out and named in an event.
func (t *txn) checkPackages(c *conversation, s *step) (proposals []mls.Proposal, added []leaf, missing []string, err error) {
	keys := map[string]bool{} // signature keys are unique in a group
	for _, l := range leavesOf(c.group.Members()) {
		keys[string(l.key)] = true
	}
	for _, actor := range s.Actors {
		var usable int
		refused := errors.New("no key package is to be had for " + actor)
		for _, p := range s.Packages[actor] {
			kp, l, bad, unknown, err := t.checkPackage(actor, p, s.Since)
			switch {
			case err != nil:
				return nil, nil, nil, err
			case unknown:
				missing = append(missing, actor)
			case bad != nil:
				refused = bad
			case !keys[string(l.key)]:
				keys[string(l.key)] = true
				usable++
				proposals, added = append(proposals, mls.AddProposal(kp)), append(added, l)
			}
		}
		if usable == 0 && !slices.Contains(missing, actor) {
			if err := t.intentFailed(c, []string{actor}, packageCode(refused), refused.Error()); err != nil {
				return nil, nil, nil, err
			}
			delete(s.Packages, actor)
			s.Actors = slices.DeleteFunc(slices.Clone(s.Actors), func(a string) bool { return a == actor })
		}
	}
	slices.Sort(missing)
	return proposals, added, slices.Compact(missing), nil
}

// packageCode is the code for a package that was refused.
func packageCode(err error) string {
	var dir *keydir.KeyPackageError
	var check *CheckError
	switch {
	case errors.As(err, &dir):
		return dir.Code
	case errors.As(err, &check):
		return CodeNotInLog
	}
	return CodeRecipientNotReady
}

// checkPackage checks one claimed package: by itself, as the actor's, and C1. bad says why it is refused, unknown that a lookup must tell.
func (t *txn) checkPackage(actor string, p ClaimedPackage, since uint64) (kp *mls.KeyPackage, l leaf, bad error, unknown bool, err error) {
	if kp, bad = mls.ParseKeyPackage(p.KeyPackage); bad != nil {
		return nil, l, bad, false, nil
	}
	if bad = checkPackageAlone(kp, t.now); bad != nil {
		return nil, l, bad, false, nil
	}
	l = leafOf(mls.Member{Node: &kp.Leaf})
	if l.actor != actor || keydir.DeviceID(l.key) != p.Device {
		return nil, l, failed("C1", "the key package of %s is not for the device it was claimed for", actor), false, nil
	}
	b, err := t.bindLeaf(l, since)
	switch {
	case err != nil:
		return nil, l, nil, false, err
	case b == unproven:
		return nil, l, nil, true, nil
	case b == unbound:
		return nil, l, failed("C1", "device %s is not in the device list of %s", p.Device, actor), false, nil
	}
	bad, err = t.checkFacts(kp, l)
	return kp, l, bad, false, err
}

func checkPackageAlone(kp *mls.KeyPackage, now time.Time) error {
	if kp.Suite != suite {
		return &keydir.KeyPackageError{Code: "suite_unsupported", Reason: kp.Suite.String()}
	}
	if !slices.Contains(kp.Leaf.Capabilities.Extensions, roomExtension) {
		return errors.New("device: the key package is of a program that does not know rooms")
	}
	return kp.Verify(now)
}

// checkFacts puts the package before the same rules that the actor's own sidecar applied.
func (t *txn) checkFacts(kp *mls.KeyPackage, l leaf) (bad, err error) {
	c, err := t.contact(l.actor)
	if err != nil || c.record == nil {
		return &NotReadyError{Actors: []string{l.actor}}, err
	}
	facts := keydir.KeyPackageFacts{
		Suite: uint16(kp.Suite), Basic: kp.Leaf.Credential.Type == mls.CredentialBasic, Identity: kp.Leaf.Credential.Identity,
		SignatureKey: l.key, NotBefore: kp.Leaf.Lifetime.NotBefore, NotAfter: kp.Leaf.Lifetime.NotAfter,
	}
	return keydir.CheckKeyPackage(facts, c.record.List, t.now), nil
}
