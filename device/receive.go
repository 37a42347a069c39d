package device

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

const (
	bucketSeen = "seen" // hashes of application messages that were read, and of our own, and of our commits
	logEvents  = "events"
)

// A verdict is what an item came to.
type verdict struct {
	status  status
	code    string // of the event, if there is one
	detail  string
	lookups []string // actors to look up before the item can be judged
	fetch   bool     // something of the chain is missing
}

type status int

const (
	accepted   status = iota // its effects are in the transaction
	stepped                  // so, and the conversation is in another epoch
	ignored                  // it had its effect before, or concerns us no more
	refused                  // never
	waiting                  // not yet
	asking                   // a stranger's: the person has to decide
	forbidding               // the chain cannot be followed over it: the conversation pauses and the item holds its place
)

func refuse(code, format string, args ...any) verdict {
	return verdict{status: refused, code: code, detail: fmt.Sprintf(format, args...)}
}

func pause(code string, err error) verdict {
	return verdict{status: forbidding, code: code, detail: err.Error()}
}

// Cursor is the highest mailbox cursor whose effects are durable.
func (d *Device) Cursor() (cursor uint64, err error) {
	err = d.view(func(t *txn) error {
		_, err := t.row(bucketDevice, keyCursor, &cursor)
		return err
	})
	return cursor, err
}

// Receive takes a mailbox item. It returns an error only if the store fails: what a hostile item gets is an event. An item whose cursor was
// received before has no effect.
func (d *Device) Receive(item Incoming) error {
	return d.update(func(t *txn) error {
		var cursor uint64
		if _, err := t.row(bucketDevice, keyCursor, &cursor); err != nil {
			return err
		}
		if item.Cursor <= cursor {
			return nil
		}
		if err := t.putRow(bucketDevice, keyCursor, item.Cursor); err != nil {
			return err
		}
		if item.Undelivered != nil {
			return t.undelivered(item)
		}
		return t.receive(item)
	})
}

func (t *txn) receive(item Incoming) error {
	item.Actor = item.Actor[:min(len(item.Actor), maxURL)] // it is stored with whatever we tell about the item
	item.Activity = ""                                     // nothing here asks for it, and it may be long
	id, m, err := address(item)
	if err != nil {
		return t.emit(Event{Type: EventMessageRefused, Actor: item.Actor, Code: CodeRejectedForged, Detail: err.Error()})
	}
	if id == "" {
		var refused *verdict
		if id, refused, err = t.nameOf(m); err != nil || refused != nil {
			if err == nil {
				err = t.conclude(nil, "", item, *refused)
			}
			return err
		}
	}
	c, err := t.open(id)
	if errors.Is(err, ErrStateLost) {
		return t.receiveLost(id, m, item)
	}
	if err != nil {
		return err
	}
	since, err := t.lookups()
	if err != nil {
		return err
	}
	c, v, err := t.judge(c, id, m, item, since)
	if err != nil {
		return err
	}
	if v.status == asking {
		return t.keepRequest(id, item)
	}
	if v.status == waiting || v.status == forbidding {
		if v, err = t.park(c, id, m, item, since, v); err != nil {
			return err
		}
	}
	if err := t.conclude(c, id, item, v); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	if v.fetch {
		if err := t.fetch(c); err != nil {
			return err
		}
	}
	if v.status == stepped || v.status == forbidding || c.queued {
		return t.finish(c)
	}
	return t.save(c)
}

// receiveLost keeps an item until the damaged state of its conversation has been replaced.
func (t *txn) receiveLost(id string, m *mls.Message, item Incoming) error {
	c, err := t.rowOf(id)
	if err != nil || c.State == StateLeft {
		return err
	}
	if err := t.stateLost(c); err != nil {
		return err
	}
	if err := t.heardOf(c, item.Receipt); err != nil {
		return err
	}
	since, err := t.lookups()
	if err != nil {
		return err
	}
	_, err = t.park(nil, id, m, item, since, verdict{status: waiting})
	return err
}

// heardOf asks the hub whose receipt has come, if it is of the present one or of one that had the room's word: who made the commit has left something
// for us there.
func (t *txn) heardOf(c *conversation, raw []byte) error {
	r, err := parseReceipt(raw)
	if err != nil || c.Resync == nil || r.Seq <= c.Seq && r.Term == c.term() {
		return nil
	}
	if r.Term == c.term() && r.Verify(c.HubKey) {
		return t.fetch(c)
	}
	life, err := t.lifeline(c.id)
	if err != nil {
		return err
	}
	rm, err := parseRoom(life.Room)
	if err != nil {
		return err
	}
	for _, h := range rm.hubs() {
		if r.Term > c.term() && r.Verify(h.Key[:]) {
			return t.fetchAt(c, h.Hub)
		}
	}
	return nil
}

// address finds out which conversation an item is for, without believing anything else of it. The id is empty if it has to do with no hub.
func address(item Incoming) (id string, m *mls.Message, err error) {
	if len(item.Message) > maxMessage || len(item.Receipt) > maxReceipt || len(item.Conversation) > maxURL {
		return "", nil, fmt.Errorf("device: an item of %d bytes", len(item.Message))
	}
	if m, err = mls.ParseMessage(item.Message); err != nil {
		return "", nil, fmt.Errorf("device: reading an item: %w", err)
	}
	switch m.WireFormat() {
	case mls.WireWelcome:
		if len(item.Receipt) == 0 {
			return "", m, nil
		}
		id, err = conversationOf(item.Conversation)
		return id, m, err
	case mls.WirePrivateMessage, mls.WirePublicMessage:
		switch {
		case len(m.GroupID()) == groupIDSize:
			return hex.EncodeToString(m.GroupID()), m, nil
		case isPlainGroupID(m.GroupID()):
			return "", m, nil
		}
		return "", nil, fmt.Errorf("device: an item for a group whose id has %d bytes", len(m.GroupID()))
	}
	return "", nil, fmt.Errorf("device: an item of wire format %d, which this room does not use", m.WireFormat())
}

// judge decides on an item as things stand. c is nil if there is no such conversation; a Welcome may bring one about.
func (t *txn) judge(c *conversation, id string, m *mls.Message, item Incoming, since uint64) (*conversation, verdict, error) {
	if m.WireFormat() == mls.WireWelcome && len(item.Receipt) == 0 {
		return t.judgePlainWelcome(c, id, m, item, since)
	}
	if m.WireFormat() == mls.WireWelcome {
		return t.judgeWelcome(c, id, m, item, since)
	}
	if c == nil {
		return nil, verdict{status: waiting}, nil
	}
	if c.Plain != nil {
		v, err := t.judgePlain(c, m, item, since)
		return c, v, err
	}
	if item.Conversation != "" && item.Conversation != c.URL {
		return c, refuse(CodeRejectedForged, "the item names another conversation than its group's"), nil
	}
	var (
		v   verdict
		err error
	)
	switch m.ContentType() {
	case mls.ContentApplication:
		v, err = t.judgeApplication(c, m, item, since)
	case mls.ContentCommit:
		v, err = t.judgeCommit(c, m, item, since)
	default:
		v, err = t.judgeProposal(c, m)
	}
	return c, v, err
}

// conclude tells the person what became of an item, where there is something to tell.
func (t *txn) conclude(c *conversation, id string, item Incoming, v verdict) error {
	switch v.status {
	case refused:
		return t.emit(Event{Type: EventMessageRefused, Conversation: id, Actor: item.Actor, Code: v.code, Detail: v.detail})
	case waiting:
		if v.code == "" {
			return nil
		}
		return t.emit(Event{Type: EventMessageWaiting, Conversation: id, Actor: item.Actor, Code: v.code, Detail: v.detail})
	case forbidding:
		return t.pause(c, v.code, v.detail)
	}
	return nil
}

// judgeApplication reads an application message.
func (t *txn) judgeApplication(c *conversation, m *mls.Message, item Incoming, since uint64) (verdict, error) {
	hash := sha256.Sum256(item.Message)
	seen := hex.EncodeToString(hash[:])
	if _, ok, err := t.Get(bucketSeen, seen); err != nil {
		return verdict{}, err
	} else if ok || c.State == StateLeft && m.Epoch() <= c.group.Epoch() {
		return verdict{status: ignored}, nil
	}
	if c.State == StateLeft {
		return verdict{status: waiting}, nil // a Welcome may be under way
	}
	if m.Epoch() > c.group.Epoch() && c.Resync != nil {
		return verdict{status: waiting}, nil
	}
	if m.Epoch() > c.group.Epoch() {
		return verdict{status: waiting, code: CodeWaitingKey, detail: "a change of members has to come first", fetch: true}, nil
	}
	g := c.group
	if len(c.Unvouched) > 0 { // it may have to wait, and be read again with the same key
		g = g.Clone()
	}
	p, err := g.Process(m, t.now)
	if err != nil && c.missed(m.Epoch()) {
		return verdict{status: ignored}, nil // the person knows
	}
	if err != nil {
		return t.askUnread(c, item.Actor, err, hash)
	}
	app, ok := p.(*mls.ApplicationMessage)
	if !ok {
		return refuse(CodeRejectedForged, "the message is not what its header says"), nil
	}
	v, err := t.judgeUnvouched(c, leafOf(app.Sender), since)
	if err != nil || v.status == waiting {
		return v, err
	}
	c.group = g
	// From here on the message is a member's, and its key is used up whatever becomes of it.
	if err := t.Put(bucketSeen, seen, []byte{1}); err != nil {
		return verdict{}, fmt.Errorf("device: writing a message's hash: %w", err)
	}
	if v.status != accepted {
		return v, nil
	}
	return t.accept(c, app)
}

func unreadable(err error) verdict {
	var epoch *mls.WrongEpochError
	switch {
	case errors.As(err, &epoch):
		return refuse(CodeCannotDecrypt, "the message is of epoch %d, whose keys are gone", epoch.Message)
	case errors.Is(err, mls.ErrReplay):
		return refuse(CodeCannotDecrypt, "the message's key is gone")
	case errors.Is(err, mls.ErrTooFarAhead):
		return refuse(CodeCannotDecrypt, "too many messages before it are missing")
	}
	return refuse(CodeRejectedForged, "the message was not made by a member")
}

// accept checks what a member sent and writes it down.
func (t *txn) accept(c *conversation, app *mls.ApplicationMessage) (verdict, error) {
	sender := leafOf(app.Sender)
	f, err := parseFence(app.AuthenticatedData, app.Epoch)
	if err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	if len(f.leaving) > 0 {
		return refuse(CodeRejectedForged, "the message carries proposals"), nil
	}
	content, err := parseContent(app.Data)
	if err != nil {
		return refuse(CodeRejectedForged, "the content is malformed"), nil // the error may quote it
	}
	if err := f.checkFranking(content.salt, app.Data); err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	if content.actor != sender.actor {
		return refuse(CodeRejectedForged, "the content names another author than its sender %s", sender.actor), nil
	}
	if err := f.check(c.Places); err != nil {
		if content.shown != nil && content.shown.ofHub() {
			return t.shown(c, sender.actor, content.shown) // it may be the reason
		}
		return refuse(CodeForkDetected, "%v", err), t.otherHead(c, f, sender.actor)
	}
	if app.Epoch >= c.Alone {
		c.heard(sender.actor)
	}
	v := verdict{status: accepted}
	if blocked, err := t.isBlocked(sender.actor); err != nil || blocked {
		return verdict{status: ignored}, err
	}
	if content.shown != nil {
		v, err = t.shown(c, sender.actor, content.shown)
	} else {
		err = t.write(c, sender, app.Epoch, content)
	}
	if err != nil {
		return v, err
	}
	return v, t.sighted(c, sender.actor, f.seen)
}

// write writes down what a member wrote.
func (t *txn) write(c *conversation, sender leaf, epoch uint64, content content) error {
	row := messageRow{
		Message: Message{
			ID: content.id, Conversation: c.id, Sender: sender.actor, Device: keydir.DeviceID(sender.key), Time: t.now,
			Published: content.published, Kind: content.kind, Text: content.text, State: MessageReceived,
		},
		Files: content.attachments,
	}
	if again, err := t.wasRead(c, sender, epoch, content); err != nil || again {
		return orElse(err, t.recovered(c, sender.actor, content.instead, nil))
	}
	changed, err := t.changed([]string{sender.actor})
	if err != nil {
		return err
	}
	row.KeysReset, row.Plain = len(changed) > 0, c.Plain != nil
	m, err := t.addMessage(row)
	if err != nil {
		return err
	}
	if err := t.recovered(c, sender.actor, content.instead, &m); err != nil {
		return err
	}
	return t.emit(Event{Type: EventMessageReceived, Conversation: c.id, Actor: sender.actor, Message: &m})
}

// emit appends an event.
func (t *txn) emit(e Event) error {
	e.Time = t.now
	_, err := t.appendRow(logEvents, e)
	return err
}
