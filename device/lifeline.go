package device

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/keydir"
)

// A lifeline is what is kept of a conversation apart from its MLS state: enough to come back without it.
type lifeline struct {
	Keys   [][]byte  `json:"keys"`             // private keys of our leaf: of this epoch, and of the one that a commit of ours would open
	Old    []leafKey `json:"old,omitempty"`    // those that they have replaced: under another hub, the others may go on with one
	Leaf   []byte    `json:"leaf,omitempty"`   // the key that was there when the leaf was made: the MLS state's may be damaged since
	Public []byte    `json:"public,omitempty"` // of the leaf
	Room   []byte    `json:"room"`
}

type leafKey struct {
	Key   []byte    `json:"key"`
	Until time.Time `json:"until"`
}

// all are the keys that may open something, the likeliest first.
func (l lifeline) all() (keys [][]byte) {
	keys = slices.Clone(l.Keys)
	if len(l.Leaf) > 0 && !l.has(l.Leaf) {
		keys = append(keys, l.Leaf)
	}
	for _, old := range l.Old {
		keys = append(keys, old.Key)
	}
	return keys
}

func (l lifeline) has(key []byte) bool {
	return slices.ContainsFunc(l.Keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// replaces takes over what is to be kept of the lifeline before.
func (l *lifeline) replaces(was lifeline, now time.Time) {
	replaced := was.Keys
	if bytes.Equal(l.Public, was.Public) {
		l.Leaf = was.Leaf
	} else if len(was.Leaf) > 0 && !was.has(was.Leaf) {
		replaced = append(slices.Clone(replaced), was.Leaf)
	}
	for _, key := range replaced {
		if !l.has(key) {
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
	own, _ := c.group.Member(c.group.OwnLeaf())
	life = lifeline{Keys: [][]byte{c.group.LeafKey()}, Leaf: c.group.LeafKey(), Public: own.Node.EncryptionKey, Room: rm.marshal()}
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
