package device

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// What a device has sent where the others could not read it, in epochs that they did not have or after they had gone on, is sent again once it
// is back. Who did read it, having been on the same way, knows it again.

// sendAstray queues it.
func (t *txn) sendAstray(c *conversation, lost resync) error {
	astray, hashes := map[uint64]outgoing{}, []string{} // by number of the message
	if err := t.Each(bucketSeen, func(hash string, value []byte) error {
		var o outgoing // what others sent is a number
		if json.Unmarshal(value, &o) == nil && o.Conversation == c.id && o.Seq > 0 && (o.Astray || lost.Common != nil && o.Epoch > *lost.Common) {
			raw, err := hex.DecodeString(hash)
			if err != nil {
				return err
			}
			o.Instead = inPlaceOf(append(o.Instead, astray[o.Seq].Instead...), raw)
			if lost.Common != nil { // the others have counted on from there: whoever joined them since was not meant, whatever we had come to
				o.Epoch = min(o.Epoch, *lost.Common)
			}
			astray[o.Seq], hashes = o, append(hashes, hash)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("device: looking for what went astray in %s: %w", c.id, err)
	}
	for _, hash := range hashes {
		if err := t.Put(bucketSeen, hash, []byte{1}); err != nil { // nobody has to ask for it
			return fmt.Errorf("device: writing a message's hash: %w", err)
		}
	}
	if err := t.dropJobs(func(j Job) bool {
		s, ok := j.(*SendJob)
		if !ok || s.ConversationID != c.id {
			return false
		}
		_, again := astray[s.Seq]
		return again
	}); err != nil {
		return err
	}
	return t.sendAllAgain(c, astray)
}

func (t *txn) sendAllAgain(c *conversation, astray map[uint64]outgoing) error {
	for _, seq := range slices.Sorted(maps.Keys(astray)) {
		row, err := t.message(c.id, seq)
		if err != nil {
			return err
		}
		if row.State != MessageSending && row.State != MessageSent {
			continue // given up, or queued already
		}
		if err := t.sendAgain(c, seq, astray[seq].Epoch, astray[seq].Instead); err != nil {
			return err
		}
		c.queued = true
	}
	return nil
}
