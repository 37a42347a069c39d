package device

import (
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/keydir"
)

// A lifeline is what is kept of a conversation apart from its MLS state: enough to come back without it.
type lifeline struct {
	Keys [][]byte  `json:"keys"`          // private keys of our leaf: of this epoch, and of the one that a commit of ours would open
	Old  []leafKey `json:"old,omitempty"` // those that they have replaced: under another hub, the others may go on with one
	Room []byte    `json:"room"`
}

type leafKey struct {
	Key   []byte    `json:"key"`
	Until time.Time `json:"until"`
}

// all are the keys that may open something, the likeliest first.
func (l lifeline) all() (keys [][]byte) {
	keys = slices.Clone(l.Keys)
	for _, old := range l.Old {
		keys = append(keys, old.Key)
	}
	return keys
}

// replaces takes over what is to be kept of the lifeline before.
func (l *lifeline) replaces(was lifeline, now time.Time) {
	for _, key := range was.Keys {
		if !slices.ContainsFunc(l.Keys, func(k []byte) bool { return string(k) == string(key) }) {
			l.Old = append(l.Old, leafKey{key, now.Add(oldLeafKeys)})
		}
	}
	for _, old := range was.Old {
		if old.Until.After(now) && len(l.Old) < maxLeafKeys {
			l.Old = append(l.Old, old)
		}
	}
}

const bucketLifeline = "lifeline" // by conversation

func (t *txn) lifeline(id string) (life lifeline, err error) {
	ok, err := t.row(bucketLifeline, id, &life)
	if err != nil || ok {
		return life, err
	}
	c, err := t.open(id) // from before there were any
	if err != nil || c == nil {
		return life, err
	}
	return c.lifeline()
}

func (c *conversation) lifeline() (life lifeline, err error) {
	rm, err := c.room()
	if err != nil {
		return life, err
	}
	life = lifeline{Keys: [][]byte{c.group.LeafKey()}, Room: rm.marshal()}
	if p := c.group.Pending(); p != nil {
		life.Keys = append(life.Keys, p.Next().LeafKey())
	}
	return life, nil
}

// keepLifeline follows each epoch and each commit of ours.
func (t *txn) keepLifeline(c *conversation) error {
	life, err := c.lifeline()
	if err != nil {
		return fmt.Errorf("device: keeping the keys of our leaf in %s: %w", c.id, err)
	}
	var was lifeline
	if _, err := t.row(bucketLifeline, c.id, &was); err != nil {
		return err
	}
	life.replaces(was, t.now)
	return t.putRow(bucketLifeline, c.id, life)
}

// hasDevice tells whether a key is one of a member's devices.
func hasDevice(members []Member, actor string, key []byte) bool {
	return slices.ContainsFunc(members, func(m Member) bool {
		return m.Actor == actor && slices.Contains(m.Devices, keydir.DeviceID(key))
	})
}
