package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// fetch asks the hub for the chain after our place, unless that is under way.
func (t *txn) fetch(c *conversation) error {
	if c.elsewhere != "" { // somebody has shown a receipt of another hub that has the next term
		hub := c.elsewhere
		c.elsewhere = ""
		return t.fetchAt(c, hub)
	}
	return t.fetchFrom(c, c.Hub, c.Seq)
}

func (t *txn) fetchFrom(c *conversation, hub string, after uint64) error {
	pending, err := t.hasJobOf(c.id, TaskEvents)
	if err != nil || pending || !c.hasHub() {
		return err
	}
	return t.addJob(&EventsJob{ConversationID: c.id, Conversation: c.URL, Hub: hub, After: after})
}

// hasHub tells whether there is something to ask the hub for.
func (c *conversationRow) hasHub() bool { return c.Plain == nil && c.goesOn() }

func (c *conversationRow) goesOn() bool { return c.State != StateLeft && c.State != StateOpening }

// EventsFetched reports what the hub answered to an EventsJob. As long as answers bring something new, the next is asked for.
func (d *Device) EventsFetched(job string, events []HubEvent) error {
	return d.eventsFetched(job, events, false)
}

// EventsMirrored is EventsFetched for what the own sidecar's mirror had, because the hub is away.
func (d *Device) EventsMirrored(job string, events []HubEvent) error {
	return errors.Join(d.HubAway(job), d.eventsFetched(job, events, true))
}

func (d *Device) eventsFetched(job string, events []HubEvent, mirror bool) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*EventsJob](t, job)
		if err != nil || !ok {
			return err
		}
		if c, err := t.astray(j.ConversationID); err != nil || c != nil {
			if err != nil {
				return err
			}
			if j.Hub == c.Hub && !mirror {
				c.hubAnswered()
			}
			return t.resyncEvents(c, events, j.Hub == c.Hub)
		}
		c, err := t.mustOpen(j.ConversationID)
		if err != nil {
			return err
		}
		seq := c.Seq
		if j.Hub == c.Hub && !mirror {
			c.hubAnswered()
		}
		if err := t.learnBefore(c, events); err != nil {
			return err
		}
		if err := t.follow(c, events); err != nil {
			return err
		}
		if c.Seq > seq || c.elsewhere != "" && j.After == seq { // a later term may have begun before our place
			if err := t.fetch(c); err != nil {
				return err
			}
		}
		return t.finish(c)
	})
}

// follow takes steps of the chain as the hub gave them. They are judged like any other item.
func (t *txn) follow(c *conversation, events []HubEvent) error {
	since, err := t.lookups()
	if err != nil {
		return err
	}
	for _, e := range events[:min(len(events), maxEvents)] {
		if len(e.Commit) == 0 {
			continue // the open receipt
		}
		if other, err := t.followOther(c, e); err != nil {
			return err
		} else if other {
			continue
		}
		item := Incoming{Conversation: c.URL, Message: e.Commit, Receipt: e.Receipt}
		id, m, err := address(item)
		if err == nil && id != c.id {
			err = fmt.Errorf("device: it is for %s", id)
		}
		if err != nil {
			return t.conclude(c, c.id, item, refuse(CodeRejectedForged, "the hub's answer: %v", err))
		}
		v, err := t.judgeCommit(c, m, item, since)
		if err != nil {
			return err
		}
		if v.status == waiting || v.status == forbidding {
			if v, err = t.park(c, id, m, item, since, v); err != nil {
				return err
			}
		}
		if err := t.conclude(c, id, item, v); err != nil {
			return err
		}
		if v.status == waiting || v.status == forbidding {
			return nil // what comes after it comes again
		}
	}
	return nil
}

// pause puts membership on hold: the chain cannot be followed any further for now. Talk goes on in the epoch that all had in common.
func (t *txn) pause(c *conversation, code, detail string) error {
	if c.group.Pending() != nil {
		if err := t.raceLost(c); err != nil {
			return err
		}
	}
	c.State, c.Reason = StatePaused, code+": "+detail
	return t.emit(Event{Type: EventConversationPaused, Conversation: c.id, Code: code, Detail: detail})
}

// Resume tries again what a conversation is paused for, with fresh lookups and the hub's answer of now.
func (d *Device) Resume(id string) error {
	return d.update(func(t *txn) error {
		if c, err := t.astray(id); err != nil || c != nil {
			if err != nil {
				return err
			}
			return t.resyncNow(c)
		}
		c, err := t.mustOpen(id)
		if err != nil || c.State != StatePaused {
			return err
		}
		if c.Plain != nil {
			return t.resumePlain(c)
		}
		since, err := t.lookups()
		if err != nil {
			return err
		}
		items, err := t.parked(id)
		if err != nil {
			return err
		}
		for _, p := range items {
			p.Since = since
			if err := t.putRow(parkedBucket(id), p.key, p); err != nil {
				return err
			}
		}
		c.State, c.Reason = StateActive, ""
		if err := t.emit(Event{Type: EventConversationUpdated, Conversation: id}); err != nil {
			return err
		}
		if err := t.fetch(c); err != nil {
			return err
		}
		return t.finish(c)
	})
}

// Sync asks every hub for what we may have missed, the directory for the members whose keys were proven some time ago, and every log for
// what it has not proven.
func (d *Device) Sync() error {
	return d.update(func(t *txn) error {
		if err := t.askHubs(func(conversationRow) bool { return true }); err != nil {
			return err
		}
		if err := t.renewMembers(); err != nil {
			return err
		}
		return t.askDoubted()
	})
}

// askHubs asks what was missed in some conversations.
func (t *txn) askHubs(some func(conversationRow) bool) error {
	jobs, err := t.index()
	if err != nil {
		return err
	}
	var ask []*EventsJob
	if err := t.Each(bucketConversation, func(id string, value []byte) error {
		var row conversationRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding conversation %s: %w", id, err)
		}
		if row.hasHub() && !jobs.has(id, TaskEvents) && some(row) {
			ask = append(ask, &EventsJob{ConversationID: id, Conversation: row.URL, Hub: row.Hub, After: row.Seq})
		}
		return nil
	}); err != nil {
		return err
	}
	for _, j := range ask {
		if err := t.addJob(j); err != nil {
			return err
		}
	}
	return nil
}

// renewMembers asks in the background for newer proofs of everybody we talk to: a reset is found before the next message, and not at the next
// change of members.
func (t *txn) renewMembers() error {
	ids, err := t.active()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	var actors, unvouched []string
	for _, id := range ids {
		var row conversationRow
		if _, err := t.row(bucketConversation, id, &row); err != nil {
			return err
		}
		for _, u := range row.Unvouched {
			unvouched = append(unvouched, u.Actor)
		}
		members, err := t.members(id, row)
		if err != nil {
			return err
		}
		for _, m := range members {
			if !seen[m.Actor] {
				seen[m.Actor], actors = true, append(actors, m.Actor)
			}
		}
	}
	stale, err := t.stale(actors)
	if err != nil {
		return err
	}
	stale = append(stale, unvouched...)
	slices.Sort(stale)
	return t.renew(slices.Compact(stale)...)
}
