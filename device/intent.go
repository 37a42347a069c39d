package device

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// StartConversation makes a conversation with the actors (own actor left out) and returns its id. It exists at once; its hub is asked and its
// members are added by jobs. Actors known to have no keys are named in a NotReadyError; who was never looked up is found out on the way.
// Who can be met in a plain conversation only is named in a PlainOnlyError.
func (d *Device) StartConversation(members []string) (id string, err error) {
	return d.startConversation(members, false)
}

func (d *Device) startConversation(members []string, plain bool) (id string, err error) {
	err = d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		c, err := t.start(account, members, plain)
		if err == nil {
			id = c.id
		}
		return err
	})
	return id, err
}

func (t *txn) start(account Account, members []string, plain bool) (*conversation, error) {
	members, err := t.candidates(account, members)
	if err != nil {
		return nil, err
	}
	if are, err := t.plainAmong(members); err != nil || len(are) > 0 {
		switch {
		case err != nil:
			return nil, err
		case !plain:
			return nil, &PlainOnlyError{are}
		}
		return t.startPlain(account, members)
	}
	c, err := t.create(account)
	if err != nil {
		return nil, err
	}
	if err := t.emit(Event{Type: EventConversationCreated, Conversation: c.id, By: account.Actor}); err != nil {
		return nil, err
	}
	return c, t.intend(c, step{Kind: stepAdd, Actors: members})
}

// candidates checks who is to be added.
func (t *txn) candidates(account Account, actors []string) ([]string, error) {
	if len(actors) == 0 || len(actors) >= maxMembers {
		return nil, fmt.Errorf("device: %d members: %w", len(actors), ErrActor)
	}
	var unready []string
	for i, actor := range actors {
		if _, err := instanceOf(actor); err != nil {
			return nil, err
		}
		if actor == account.Actor || slices.Contains(actors[:i], actor) {
			return nil, fmt.Errorf("device: %s is named twice: %w", actor, ErrActor)
		}
		c, err := t.contact(actor)
		if err != nil {
			return nil, err
		}
		if c.state() == ContactNone {
			unready = append(unready, actor)
		}
	}
	if len(unready) > 0 {
		return nil, &NotReadyError{Actors: unready}
	}
	if err := t.requireAccepted(actors); err != nil {
		return nil, err
	}
	return slices.Clone(actors), t.acceptAll(actors)
}

// create makes the group of a new conversation and the job that opens it at the hub.
func (t *txn) create(account Account) (*conversation, error) {
	hub, ok, err := t.Get(bucketDevice, keyHub)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNoHub
	}
	groupID, err := t.random(groupIDSize)
	if err != nil {
		return nil, err
	}
	c := &conversation{id: hex.EncodeToString(groupID)}
	c.URL = receipt.ConversationURL(account.Instance, groupID)
	c.State, c.Created, c.HubKey = StateOpening, t.now, hub
	r := room{version: formatVersion, conversation: c.URL, hub: account.Instance, created: millis(t.now), grants: []grant{{account.Actor, roleAdmin}}}
	copy(r.hubKey[:], hub)
	if c.group, err = t.newGroup(account, groupID, r); err != nil {
		return nil, err
	}
	if c.Members = membersOf(c.group.Members(), r); len(c.Members) != 1 {
		return nil, fmt.Errorf("device: creating a group: it has %d members", len(c.Members))
	}
	ticket, err := ticketOf(c.group)
	if err != nil {
		return nil, err
	}
	return c, t.addJob(&OpenJob{GroupID: groupID, Ticket: ticket})
}

func (t *txn) newGroup(account Account, groupID []byte, r room) (*mls.Group, error) {
	signer, err := t.signer()
	if err != nil {
		return nil, err
	}
	g, err := mls.NewGroup(t.rand, mls.GroupParams{
		Suite: suite, GroupID: groupID, Signer: signer, Credential: mls.BasicCredential([]byte(account.Actor)),
		Capabilities: capabilities(), Lifetime: lifetime(t.now),
		Extensions: []mls.Extension{{Type: roomExtension, Data: r.marshal()}},
	})
	if err != nil {
		return nil, fmt.Errorf("device: creating a group: %w", err)
	}
	return g, nil
}

// AddMembers queues the adding of actors. It fails at once if that is not for us to do or somebody is known to have no keys.
func (d *Device) AddMembers(id string, actors []string) error {
	return d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		actors, err := t.candidates(account, actors)
		if err != nil {
			return err
		}
		c, err := t.mayIntend(id, account, "C2")
		if err != nil {
			return err
		}
		if are, err := t.plainAmong(actors); err != nil || len(are) > 0 && c.Plain == nil {
			return orElse(err, &PlainOnlyError{are}) // a conversation never becomes another kind
		}
		return t.intend(c, step{Kind: stepAdd, Actors: actors})
	})
}

// RemoveMembers queues the removing of actors with all their devices.
func (d *Device) RemoveMembers(id string, actors []string) error {
	return d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		if len(actors) == 0 || slices.Contains(actors, account.Actor) {
			return fmt.Errorf("device: removing members: a device cannot remove itself: %w", ErrActor)
		}
		c, err := t.mayIntend(id, account, "C3")
		if err != nil {
			return err
		}
		return t.intend(c, step{Kind: stepRemove, Actors: slices.Clone(actors)})
	})
}

// mayIntend opens a conversation whose members or roles are to change. That nobody but an admin may is said at once, not by a job that fails.
func (t *txn) mayIntend(id string, account Account, check string) (*conversation, error) {
	c, err := t.mustOpen(id)
	if err != nil {
		return nil, err
	}
	switch c.State {
	case StateLeft:
		return nil, ErrLeft
	case StatePaused:
		return nil, ErrPaused
	}
	if leaving, err := t.isLeaving(id); err != nil || leaving {
		return nil, orElse(err, ErrLeaving)
	}
	if c.Plain != nil {
		return c, nil // there are no admins
	}
	r, err := c.room()
	if err != nil {
		return nil, err
	}
	if !r.admin(account.Actor) {
		return nil, failed(check, "only an admin changes who is a member and who is an admin")
	}
	return c, nil
}

// intend queues an intent and works on it as far as it goes.
func (t *txn) intend(c *conversation, s step) (err error) {
	if s.Since, err = t.lookups(); err != nil {
		return err
	}
	if err := t.queue(c.id, s); err != nil {
		return err
	}
	return t.finish(c)
}

// Opened reports that the hub opened the conversation. A receipt that does not hold is an ErrReceipt.
func (d *Device) Opened(job, conversationURL string, raw []byte) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*OpenJob](t, job)
		if err != nil || !ok {
			return err
		}
		c, err := t.mustOpen(hex.EncodeToString(j.GroupID))
		if err != nil {
			return err
		}
		if conversationURL != c.URL {
			return fmt.Errorf("device: opening %s: the sidecar calls it %.80q: %w", c.URL, conversationURL, ErrReceipt)
		}
		r, err := checkOpen(c, j, raw)
		if err != nil {
			return errors.Join(ErrReceipt, err)
		}
		c.State, c.Places = StateActive, nil
		if err := t.adopt(c, c.group, r, raw, ""); err != nil {
			return err
		}
		return t.finish(c)
	})
}

// checkOpen checks the receipt that begins a chain: R1, R2 and R4 as far as they apply.
func checkOpen(c *conversation, j *OpenJob, raw []byte) (receipt.Receipt, error) {
	r, err := parseReceipt(raw)
	if err != nil {
		return r, err
	}
	switch {
	case !r.Verify(c.HubKey):
		return r, failed("R1", "the open receipt is not signed by the hub")
	case r.Kind != receipt.KindOpen || string(r.GroupID) != string(j.GroupID) || r.Term != firstTerm || r.Seq != 0 || r.Epoch != 0:
		return r, failed("R2", "that is not the open receipt of this conversation")
	case string(r.Ticket[:]) != string(j.Ticket):
		return r, failed("R4", "the open receipt has another ticket")
	}
	return r, nil
}

func parseReceipt(raw []byte) (receipt.Receipt, error) {
	if len(raw) > maxReceipt {
		return receipt.Receipt{}, fmt.Errorf("device: reading a receipt of %d bytes", len(raw))
	}
	r, err := receipt.Parse(raw)
	if err != nil {
		return r, fmt.Errorf("device: reading a receipt: %w", err)
	}
	return r, nil
}
