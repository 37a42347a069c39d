package device

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/waxwing-dm/waxwing/mls"
)

// Items that cannot be judged yet are parked under their conversation's id, whether we are in it or not.

const bucketStrangers = "strangers" // parked items of conversations we are not in: one bound for all of them

type parkedItem struct {
	key    string
	Item   Incoming  `json:"item"`
	Since  uint64    `json:"since"` // lookups made when it came
	At     time.Time `json:"at"`
	Epoch  uint64    `json:"epoch"`
	Commit bool      `json:"commit,omitempty"`
}

func parkedBucket(id string) string { return "parked:" + id }

func (t *txn) parked(id string) (items []parkedItem, err error) {
	err = t.Each(parkedBucket(id), func(key string, value []byte) error {
		p := parkedItem{key: key}
		if err := json.Unmarshal(value, &p); err != nil {
			return fmt.Errorf("device: decoding a parked item of %s: %w", id, err)
		}
		items = append(items, p)
		return nil
	})
	return items, err
}

// park keeps an item for later and asks for the lookups it needs. If there is no room left, the item is refused.
func (t *txn) park(c *conversation, id string, m *mls.Message, item Incoming, since uint64, v verdict) (verdict, error) {
	if v.status == waiting {
		room, err := t.roomFor(c, id, item.Actor)
		if err != nil {
			return v, err
		}
		if !room {
			full := refuse(CodeCannotDecrypt, "too many items wait in this conversation")
			full.fetch = v.fetch
			return full, nil
		}
	}
	key, err := uuid.NewRandomFromReader(t.rand)
	if err != nil {
		return v, fmt.Errorf("device: naming a parked item: %w", err)
	}
	p := parkedItem{Item: item, Since: since, At: t.now, Epoch: m.Epoch(), Commit: m.ContentType() == mls.ContentCommit}
	if err := t.putRow(parkedBucket(id), key.String(), p); err != nil {
		return v, err
	}
	if c == nil {
		if err := t.putRow(bucketStrangers, key.String(), id); err != nil {
			return v, err
		}
	}
	if len(v.lookups) > 0 {
		return v, t.lookUp(id, v.lookups)
	}
	return v, nil
}

// roomFor makes room, within bounds. Who is not a member gets a small share, so that nobody outside can keep members' items out; of
// conversations we are not in, the oldest item goes.
func (t *txn) roomFor(c *conversation, id, actor string) (bool, error) {
	if c == nil {
		return true, t.evictStranger()
	}
	items, err := t.parked(id)
	if err != nil {
		return false, err
	}
	strange := 0
	for _, p := range items {
		if p.Item.Actor == actor {
			strange++
		}
	}
	return len(items) < maxParked && (c.has(actor) || strange < maxParkedStranger), nil
}

func (t *txn) evictStranger() error {
	var keys, ids []string
	if err := t.Each(bucketStrangers, func(key string, value []byte) error {
		var id string
		if err := json.Unmarshal(value, &id); err != nil {
			return fmt.Errorf("device: decoding a parked item: %w", err)
		}
		keys, ids = append(keys, key), append(ids, id)
		return nil
	}); err != nil || len(keys) < maxParkedUnknown {
		return err
	}
	return t.unpark(ids[0], keys[0])
}

func (t *txn) unpark(id, key string) error {
	if err := t.Delete(bucketStrangers, key); err != nil {
		return fmt.Errorf("device: removing a parked item: %w", err)
	}
	if err := t.Delete(parkedBucket(id), key); err != nil {
		return fmt.Errorf("device: removing a parked item: %w", err)
	}
	return nil
}

// settle takes up what waits in a conversation, and saves it. There may be nothing but a parked Welcome.
func (t *txn) settle(id string) error {
	c, err := t.open(id)
	if err != nil {
		return err
	}
	if c, err = t.takeUp(c, id); err != nil || c == nil {
		return err
	}
	if err := t.advance(c); err != nil {
		return err
	}
	return t.save(c)
}

// finish is settle for a conversation at hand.
func (t *txn) finish(c *conversation) error {
	c, err := t.takeUp(c, c.id)
	if err != nil {
		return err
	}
	if err := t.advance(c); err != nil {
		return err
	}
	return t.save(c)
}

// takeUp judges parked items again, from the beginning after each step of the chain.
func (t *txn) takeUp(c *conversation, id string) (*conversation, error) {
	moved := false
	for again := true; again; {
		items, err := t.parked(id)
		if err != nil {
			return nil, err
		}
		again = false
		for _, p := range items {
			var v verdict
			if c, v, err = t.retry(c, id, p); err != nil {
				return nil, err
			}
			if v.status == stepped {
				again, moved = true, true
				break
			}
		}
	}
	if c == nil || !moved {
		return c, nil
	}
	return c, t.fetchIfBehind(c)
}

// retry judges one parked item again.
func (t *txn) retry(c *conversation, id string, p parkedItem) (*conversation, verdict, error) {
	m, err := mls.ParseMessage(p.Item.Message)
	if err != nil {
		return c, verdict{}, fmt.Errorf("device: reading a parked item of %s: %w", id, err)
	}
	c, v, err := t.judge(c, id, m, p.Item, p.Since)
	if err != nil {
		return c, v, err
	}
	switch {
	case v.status == waiting && t.now.Sub(p.At) > parkedFor:
		v = refuse(CodeCannotDecrypt, "what it needs did not come within %v", parkedFor)
	case v.status == waiting:
		if len(v.lookups) > 0 {
			err = t.lookUp(id, v.lookups)
		}
		return c, v, err
	case v.status == forbidding:
		return c, v, t.conclude(c, id, p.Item, v) // it keeps its place
	}
	if err := t.unpark(id, p.key); err != nil {
		return c, v, err
	}
	return c, v, t.conclude(c, id, p.Item, v)
}

// fetchIfBehind asks the hub again if, after steps of the chain, items still wait for a later one.
func (t *txn) fetchIfBehind(c *conversation) error {
	items, err := t.parked(c.id)
	if err != nil {
		return err
	}
	for _, p := range items {
		if p.Epoch > c.group.Epoch() {
			return t.fetch(c)
		}
	}
	return nil
}
