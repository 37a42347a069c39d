package device

import (
	"crypto/ed25519"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// Who has lost two races asks the hub to be alone with the next epoch for a while, so that a slow device is not kept from it by quick ones.

// askLease asks for a step's lease, unless that is under way. While it waits, an epoch may go by: it asks again with the same key.
func (t *txn) askLease(c *conversation, s *step) (err error) {
	pending, err := t.hasJobOf(c.id, kindLease)
	if err != nil || pending {
		return err
	}
	if len(s.LeaseKey) == 0 {
		if s.LeaseKey, err = t.random(ed25519.SeedSize); err != nil {
			return err
		}
	}
	key, err := ticketKey(c.group)
	if err != nil {
		return err
	}
	j := &LeaseJob{ConversationID: c.id, Conversation: c.URL, Hub: c.Hub, Term: c.term(), Epoch: c.group.Epoch()}
	j.Key = ed25519.NewKeyFromSeed(s.LeaseKey).Public().(ed25519.PublicKey)
	j.Signature = receipt.SignLease(key, c.group.GroupID(), j.Term, j.Epoch, [32]byte(j.Key))
	return t.addJob(j)
}

func (t *txn) dropLease(id string) error { return t.dropJobsOf(id, kindLease) }

// Leased reports that the lease begins after a wait. With one of zero the commit is made; else the job stays, to be done again when it is over.
func (d *Device) Leased(job string, wait time.Duration) error {
	if wait > 0 {
		return nil
	}
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*LeaseJob](t, job)
		if err != nil || !ok {
			return err
		}
		return t.leased(j.ConversationID, true)
	})
}

// goWithoutLease is for a hub that gives none.
func (t *txn) goWithoutLease(j *LeaseJob) error { return t.leased(j.ConversationID, false) }

func (t *txn) leased(id string, granted bool) error {
	if err := t.changeFirst(id, func(s *step) {
		s.HasLease = true
		if !granted {
			s.LeaseKey = nil
		}
	}); err != nil {
		return err
	}
	return t.settle(id)
}

// LeaseConflict reports that the hub is in another epoch than who asked for the lease, with what we missed.
func (d *Device) LeaseConflict(job string, events []HubEvent) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*LeaseJob](t, job)
		if err != nil || !ok {
			return err
		}
		c, err := t.mustOpen(j.ConversationID)
		if err != nil {
			return err
		}
		seq := c.Seq
		if err := t.follow(c, events); err != nil {
			return err
		}
		if c.Seq == seq && c.State != StateLeft { // the hub knows less than we do: it is a commit that tells it so (B2)
			if err := t.changeFirst(c.id, func(s *step) { s.HasLease, s.LeaseKey = true, nil }); err != nil {
				return err
			}
			if err := t.fetch(c); err != nil {
				return err
			}
		}
		return t.finish(c)
	})
}
