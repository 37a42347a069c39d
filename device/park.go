package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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

// park keeps an item for later and asks for the lookups it needs. If there is no room left, the item is refused. One that waits already
// keeps its place and its time, and is no news: hubs are asked again and again.
func (t *txn) park(c *conversation, id string, m *mls.Message, item Incoming, since uint64, v verdict) (verdict, error) {
	key := item.key()
	_, again, err := t.Get(parkedBucket(id), key)
	switch {
	case err != nil:
		return v, fmt.Errorf("device: looking for a parked item: %w", err)
	case again && v.status == waiting:
		v.code = ""
	case v.status == waiting:
		if room, err := t.roomFor(c, id, item); err != nil || !room {
			full := refuse(CodeCannotDecrypt, tooManyWait)
			full.fetch = v.fetch
			return full, err
		}
	}
	if !again {
		p := parkedItem{Item: item, Since: since, At: t.now, Epoch: m.Epoch(), Commit: m.ContentType() == mls.ContentCommit}
		if err := t.putRow(parkedBucket(id), key, p); err != nil {
			return v, err
		}
		if c == nil {
			if err := t.putRow(bucketStrangers, key, id+" "+senderInstance(item.Actor)); err != nil {
				return v, err
			}
		}
	}
	if len(v.lookups) > 0 {
		return v, t.lookUp(id, v.lookups)
	}
	return v, nil
}

const tooManyWait = "too many items wait in this conversation"

// key names an item by everything in it that counts.
func (item Incoming) key() string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(item.Actor), []byte(item.Conversation), item.Receipt, item.Message} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

// senderInstance is who is answerable for a sender of whom we know nothing: names cost an instance nothing.
func senderInstance(actor string) string {
	instance, _ := originOf(actor)
	return instance
}

// roomFor makes room, within bounds. Whoever takes up most of it makes room for the others, so that no member keeps another's items out;
// everybody who is not a member counts as one, with a small share.
func (t *txn) roomFor(c *conversation, id string, item Incoming) (bool, error) {
	if c == nil {
		if err := t.evictStranger(senderInstance(item.Actor)); err != nil {
			return false, err
		}
	}
	items, err := t.parked(id)
	if err != nil {
		return false, err
	}
	used, total := map[string]int{}, 0
	for _, p := range items {
		used[c.share(p.Item.Actor)] += places(p.Item)
		total += places(p.Item)
	}
	mine := used[c.share(item.Actor)] + places(item)
	if c != nil && !c.has(item.Actor) && mine > maxParkedOutside {
		return false, nil
	}
	for total+places(item) > maxParked {
		last := -1 // the newest item of whoever takes up most
		for i, p := range items {
			if last < 0 || used[c.share(p.Item.Actor)] >= used[c.share(items[last].Item.Actor)] {
				last = i
			}
		}
		if last < 0 || used[c.share(items[last].Item.Actor)] <= mine {
			return false, nil
		}
		p := items[last]
		if err := t.giveUp(id, p, tooManyWait); err != nil {
			return false, err
		}
		used[c.share(p.Item.Actor)] -= places(p.Item)
		total -= places(p.Item)
		items = slices.Delete(items, last, last+1)
	}
	return true, nil
}

// places is how much room an item takes: what waits is read again with every step, so its bytes count.
func places(item Incoming) int { return 1 + len(item.Message)/parkedPlace }

// share names whose room an item takes. The hub, whose items have no sender, has a share like everybody.
func (c *conversation) share(actor string) string {
	if c == nil || actor == "" || c.has(actor) {
		return actor
	}
	return "outside"
}

// giveUp drops a parked item and tells the person.
func (t *txn) giveUp(id string, p parkedItem, why string) error {
	if err := t.unpark(id, p.key); err != nil {
		return err
	}
	return t.emit(Event{Type: EventMessageRefused, Conversation: id, Actor: p.Item.Actor, Code: CodeCannotDecrypt, Detail: why})
}

// evictStranger lets the oldest item go of the instance that has most of them, if there are too many.
func (t *txn) evictStranger(from string) error {
	type stranger struct{ key, id, from string }
	var all []stranger
	count := map[string]int{from: 1}
	if err := t.Each(bucketStrangers, func(key string, value []byte) error {
		s := stranger{key: key}
		var row string
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding a parked item: %w", err)
		}
		s.id, s.from, _ = strings.Cut(row, " ")
		all = append(all, s)
		count[s.from]++
		return nil
	}); err != nil || len(all) < maxParkedUnknown {
		return err
	}
	most := from
	for _, s := range all {
		if count[s.from] > count[most] {
			most = s.from
		}
	}
	oldest := all[max(0, slices.IndexFunc(all, func(s stranger) bool { return s.from == most }))]
	return t.unpark(oldest.id, oldest.key)
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
	if errors.Is(err, ErrStateLost) || err == nil && c != nil && c.Resync != nil {
		return t.settleAstray(id)
	}
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

// settleAstray goes on with the way back, if that is what somebody was looked up for.
func (t *txn) settleAstray(id string) error {
	c, err := t.astray(id)
	if err != nil || c == nil {
		return err
	}
	if back, err := t.invited(c); err != nil || back {
		return err
	}
	return t.askGroupInfo(c)
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
	moved, more := false, false
	for again := true; again; {
		items, err := t.parked(id)
		if err != nil {
			return nil, err
		}
		again = false
		c.readableFirst(items)
		for _, p := range items {
			var v verdict
			if c, v, err = t.retry(c, id, p); err != nil {
				return nil, err
			}
			more = more || p.Item.Actor == "" && v.status != waiting // what the hub said after it was not kept
			if v.status == stepped {
				again, moved = true, true
				break
			}
		}
	}
	if c == nil || !moved {
		return c, nil
	}
	if more {
		return c, t.fetch(c)
	}
	return c, t.fetchIfBehind(c)
}

// readableFirst puts what can be read now before the commits: after those, its keys may be gone.
func (c *conversation) readableFirst(items []parkedItem) {
	if c == nil || c.Plain != nil || c.group == nil {
		return
	}
	now := c.group.Epoch()
	rank := func(p parkedItem) int {
		if !p.Commit && p.Epoch > 0 && p.Epoch <= now {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(items, func(x, y parkedItem) int { return rank(x) - rank(y) })
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
	limit := parkedFor
	if c != nil && c.Plain != nil && len(v.lookups) == 0 {
		limit = plainWait
	}
	switch {
	case v.status == waiting && t.now.Sub(p.At) >= limit:
		v = refuse(CodeCannotDecrypt, "what it needs did not come within %v", limit)
		if c != nil && c.Plain != nil {
			err = t.strayed(c, p.Item.Actor)
		}
		if c != nil && c.group.Pending() != nil && bytes.Equal(c.group.Pending().Message(), p.Item.Message) {
			err = t.raceLost(c)
		}
		if err != nil {
			return c, v, err
		}
	case v.status == waiting:
		if len(v.lookups) > 0 {
			err = t.lookUp(id, v.lookups)
		}
		return c, v, err
	case v.status == asking: // it was accepted when it came
		if err := t.unpark(id, p.key); err != nil {
			return c, v, err
		}
		return c, v, t.keepRequest(id, p.Item)
	case v.status == forbidding:
		return c, v, t.conclude(c, id, p.Item, v) // it keeps its place
	}
	if err := errors.Join(err, t.unpark(id, p.key)); err != nil {
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
