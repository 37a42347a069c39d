package device

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// What came too late to be read mostly comes again moments later, encrypted anew (unread.go). So the person is not told before the mailbox was read to
// its end, the chain is followed to its end, and the answer has had time to come. If the text comes after all, even days later, that is told, too.

const (
	bucketRecovered = "recovered" // by the number of the event that told of what could not be read: the text has come
	maxNotices      = 256         // of one conversation
	maxInstead      = 8           // messages that one takes the place of
	noticeWait      = 30 * time.Second
	noticeAgain     = 10 * time.Second // while the chain is not followed to its end
	noticeKept      = 14 * 24 * time.Hour
)

func noticeBucket(id string) string { return "notice:" + id } // by hash of the message

// insteadBucket has, by the hash of a message that was not seen here and its author, that they have sent something in its place.
func insteadBucket(id string) string { return "instead:" + id }

// A notice is of a message that could not be read.
type notice struct {
	key    string
	Actor  string    `json:"actor"` // who is said to have sent it
	Detail string    `json:"detail"`
	At     time.Time `json:"at"`
	Event  uint64    `json:"event,omitempty"` // that told of it; 0 while it is held
}

func (t *txn) notices(id string) (list []notice, err error) {
	err = t.Each(noticeBucket(id), func(key string, value []byte) error {
		n := notice{key: key}
		if err := json.Unmarshal(value, &n); err != nil {
			return fmt.Errorf("device: decoding a notice of %s: %w", id, err)
		}
		list = append(list, n)
		return nil
	})
	return list, err
}

// hold keeps what the person would be told, because the message was asked for again. There is room for so many; what finds none is told at once.
func (t *txn) hold(c *conversation, author string, v verdict, hash []byte) (verdict, error) {
	list, err := t.notices(c.id)
	if err != nil {
		return v, err
	}
	if len(list) >= maxNotices {
		i := slices.IndexFunc(list, func(n notice) bool { return n.Event != 0 })
		if i < 0 {
			return v, nil
		}
		if err := t.dropNotice(&c.conversationRow, c.id, list[i]); err != nil {
			return v, err
		}
	}
	c.noticeAt(t.now.Add(noticeWait))
	return verdict{status: ignored}, t.putRow(noticeBucket(c.id), hex.EncodeToString(hash), notice{Actor: author, Detail: v.detail, At: t.now})
}

func (t *txn) dropNotice(c *conversationRow, id string, n notice) error {
	if n.Event != 0 {
		c.Unreadable = max(0, c.Unreadable-1)
	}
	if err := t.Delete(noticeBucket(id), n.key); err != nil {
		return fmt.Errorf("device: removing a notice of %s: %w", id, err)
	}
	return nil
}

// ReadToEnd reports that the mailbox has nothing more now.
func (d *Device) ReadToEnd() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.atEnd = d.now()
}

// tellUnreadable tells the person what is held for long enough.
func (t *txn) tellUnreadable(id string) error {
	c, err := t.rowOf(id)
	if err != nil {
		return err
	}
	behind, err := t.catchingUp(c)
	if err != nil {
		return err
	}
	if behind && c.AwaySince.IsZero() && c.State != StateLeft {
		c.NoticeAt = t.now.Add(noticeAgain)
		return t.putRowOf(c)
	}
	list, err := t.notices(id)
	if err != nil {
		return err
	}
	c.NoticeAt = time.Time{}
	for _, n := range list {
		switch due := n.At.Add(noticeWait); {
		case n.Event != 0 && t.now.Sub(n.At) >= noticeKept:
			err = t.dropNotice(&c.conversationRow, id, n)
		case n.Event != 0:
		case due.After(t.now):
			c.noticeAt(due)
		case n.At.After(t.atEnd):
			c.noticeAt(t.now.Add(noticeAgain))
		default:
			err = t.tellNotice(c, n)
		}
		if err != nil {
			return err
		}
	}
	return t.putRowOf(c)
}

func (c *conversationRow) noticeAt(when time.Time) {
	if c.NoticeAt.IsZero() || when.Before(c.NoticeAt) {
		c.NoticeAt = when
	}
}

func (t *txn) tellNotice(c *conversation, n notice) (err error) {
	if n.Event, err = t.appendRow(logEvents, Event{
		Type: EventMessageRefused, Time: t.now, Conversation: c.id, Actor: n.Actor, Code: CodeCannotDecrypt, Detail: n.Detail,
	}); err != nil {
		return err
	}
	c.Unreadable++
	return t.putRow(noticeBucket(c.id), n.key, n)
}

// recovered ends what is held or was told of messages in whose place a text has come. Only their sender can say so.
func (t *txn) recovered(c *conversation, author string, instead [][]byte, m *Message) error {
	for _, hash := range instead {
		n := notice{key: hex.EncodeToString(hash)}
		ok, err := t.row(noticeBucket(c.id), n.key, &n)
		if err != nil {
			return err
		}
		if !ok { // it may come yet
			if err := t.putRow(insteadBucket(c.id), n.key+" "+author, true); err != nil {
				return err
			}
		}
		if !ok || n.Actor != author {
			continue
		}
		if err := t.dropNotice(&c.conversationRow, c.id, n); err != nil {
			return err
		}
		if n.Event == 0 {
			continue
		}
		if err := t.putRow(bucketRecovered, strconv.FormatUint(n.Event, 10), true); err != nil {
			return err
		}
		if err := t.emit(Event{Type: EventMessageRecovered, Conversation: c.id, Actor: author, Message: m, Refused: n.Event}); err != nil {
			return err
		}
	}
	return nil
}

// wasRecovered tells whether what an event says could not be read has come.
func (t *txn) wasRecovered(e Event) (recovered bool, err error) {
	if e.Type != EventMessageRefused || e.Code != CodeCannotDecrypt {
		return false, nil
	}
	_, err = t.row(bucketRecovered, strconv.FormatUint(e.Seq, 10), &recovered)
	return recovered, err
}

// inPlaceOf adds a message to those that the next one takes the place of.
func inPlaceOf(before [][]byte, hash []byte) [][]byte {
	all := append(slices.Clone(before), hash)
	return all[max(0, len(all)-maxInstead):]
}
