package device

import "time"

// Who has copied a device's keys reads what comes until the device makes new ones. It does so now and then by a commit that changes nothing
// else (RFC 9420 section 16.6).

// renewAt is when the device's keys in the group are due to be renewed. A hub that is away is not asked for it.
func (c *conversationRow) renewAt() time.Time {
	since := c.Created
	if c.Renewed.After(since) {
		since = c.Renewed
	}
	switch {
	case !c.AwaySince.IsZero() || c.Plain != nil:
		return time.Time{}
	case c.Sent >= renewAfterSent:
		return since
	}
	return since.Add(renewAfter)
}

// renewKeys queues the renewal; the next is counted from now on, whatever becomes of it.
func (t *txn) renewKeys(c *conversation) error {
	c.Renewed, c.Sent = t.now, 0
	if len(c.Members) < 2 {
		return nil
	}
	_, err := t.queueFirst(c.id, step{Kind: stepRenew})
	return err
}
