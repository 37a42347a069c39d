package device

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
)

// requestRow is the Welcome of a stranger.
type requestRow struct {
	Item Incoming  `json:"item"`
	At   time.Time `json:"at"`
}

// Request is a conversation that a stranger has opened.
type Request struct {
	ID      string // of the conversation
	Actor   string // who has asked
	Time    time.Time
	Waiting int // messages
}

// Preview is what a request would show. No directory was asked, so nothing in it is proven but that whoever wrote one thing in it wrote the rest.
type Preview struct {
	Request
	Members  []string // actors
	Messages []Message
}

// keepRequest keeps a Welcome until the person decides. Of more than there is room for nothing is kept: the own sidecar has the same bounds, so
// that others hear from it that they have to wait.
func (t *txn) keepRequest(id string, item Incoming) error {
	rows, err := t.requests()
	if err != nil {
		return err
	}
	of := 0
	for _, r := range rows {
		if r.id == id {
			return nil
		}
		if senderInstance(r.Item.Actor) == senderInstance(item.Actor) {
			of++
		}
	}
	if len(item.Message) > maxRequestWelcome || len(rows) >= maxRequests || of >= maxRequestsOf {
		return nil
	}
	if err := t.putRow(bucketRequest, id, requestRow{item, t.now}); err != nil {
		return err
	}
	return t.emit(Event{Type: EventRequestReceived, Conversation: id, Actor: item.Actor})
}

type storedRequest struct {
	id string
	requestRow
}

func (t *txn) requests() (rows []storedRequest, err error) {
	err = t.Each(bucketRequest, func(id string, value []byte) error {
		r := storedRequest{id: id}
		if err := json.Unmarshal(value, &r.requestRow); err != nil {
			return fmt.Errorf("device: decoding request %s: %w", id, err)
		}
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func (t *txn) request(id string) (r storedRequest, err error) {
	r.id = id
	ok, err := t.row(bucketRequest, id, &r.requestRow)
	if err == nil && !ok {
		err = ErrNoSuchRequest
	}
	return r, err
}

// Requests lists who waits to be accepted, oldest first.
func (d *Device) Requests() (list []Request, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		rows, err := t.requests()
		if err != nil {
			return err
		}
		for _, row := range rows {
			r, _, err := t.describeRequest(row)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return nil
	})
	return list, err
}

// describeRequest returns also the items that wait with a request.
func (t *txn) describeRequest(row storedRequest) (r Request, items []parkedItem, err error) {
	r = Request{ID: row.id, Actor: row.Item.Actor, Time: row.At}
	if items, err = t.parked(row.id); err != nil {
		return r, nil, err
	}
	items = slices.DeleteFunc(items, func(p parkedItem) bool {
		m, err := mls.ParseMessage(p.Item.Message)
		return err != nil || m.WireFormat() != mls.WirePrivateMessage || m.ContentType() != mls.ContentApplication
	})
	r.Waiting = len(items)
	return r, items, nil
}

// LookAt opens a request without accepting it. Nothing is kept of that, and nobody is asked anything.
func (d *Device) LookAt(id string) (p Preview, err error) {
	err = d.view(func(t *txn) error {
		row, err := t.request(id)
		if err != nil {
			return err
		}
		var items []parkedItem
		if p.Request, items, err = t.describeRequest(row); err != nil {
			return err
		}
		return t.lookInto(&p, row.Item, items)
	})
	return p, err
}

// lookInto joins the group on a copy that is thrown away. What cannot be read is left out.
func (t *txn) lookInto(p *Preview, welcome Incoming, items []parkedItem) error {
	m, err := mls.ParseMessage(welcome.Message)
	if err != nil {
		return fmt.Errorf("device: looking at a request: %w", err)
	}
	_, secret, err := t.packageFor(m)
	if err != nil || secret == nil { // it has expired meanwhile
		return err
	}
	signer, err := t.signer()
	if err != nil {
		return err
	}
	join, err := mls.JoinWelcome(m, mls.JoinParams{KeyPackage: secret, Signer: signer})
	if err != nil {
		return fmt.Errorf("device: looking at a request: %w", err)
	}
	g := join.Group()
	for _, l := range leavesOf(join.Members()) {
		p.Members = append(p.Members, l.actor)
	}
	slices.Sort(p.Members)
	p.Members = slices.Compact(p.Members)
	for _, item := range items {
		if m, ok := t.glimpse(g, item.Item); ok {
			m.Conversation = p.ID
			p.Messages = append(p.Messages, m)
		}
	}
	return nil
}

// glimpse reads a message that waits, if it can be read now.
func (t *txn) glimpse(g *mls.Group, item Incoming) (Message, bool) {
	m, err := mls.ParseMessage(item.Message)
	if err != nil || m.Epoch() != g.Epoch() {
		return Message{}, false
	}
	processed, err := g.Process(m, t.now)
	app, ok := processed.(*mls.ApplicationMessage)
	if err != nil || !ok {
		return Message{}, false
	}
	sender, isPlain := leafOf(app.Sender), isPlainGroupID(g.GroupID())
	content, shown, err := parsePlainContent(app.Data, sender.actor)
	if !isPlain {
		content, err = parseContent(app.Data)
		shown = content.shown == nil && content.actor == sender.actor
	}
	if err != nil || !shown {
		return Message{}, false
	}
	row := messageRow{
		Message: Message{
			ID: content.id, Sender: sender.actor, Published: content.published, Kind: content.kind, Text: content.text, State: MessageReceived, Plain: isPlain,
		},
		Files: content.attachments,
	}
	return row.public(0), true
}

// AcceptRequest accepts who has asked, and takes up all that they have asked for. The keys of everybody there are looked up first, as with
// any Welcome.
func (d *Device) AcceptRequest(id string) error {
	return d.update(func(t *txn) error {
		if _, err := t.speaker(); err != nil {
			return err
		}
		row, err := t.request(id)
		if err != nil {
			return err
		}
		if err := t.acceptAll([]string{row.Item.Actor}); err != nil {
			return err
		}
		all, err := t.requestsOf(row.Item.Actor)
		if err != nil {
			return err
		}
		for _, r := range all {
			if err := t.addJob(&ConsentJob{Actor: r.Item.Actor, Conversation: r.Item.Conversation, Decision: decideAccept}); err != nil {
				return err
			}
			if err := t.admit(r); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *txn) requestsOf(actor string) ([]storedRequest, error) {
	all, err := t.requests()
	return slices.DeleteFunc(all, func(r storedRequest) bool { return r.Item.Actor != actor }), err
}

// admit takes a request up as if it had come now.
func (t *txn) admit(r storedRequest) error {
	if err := t.Delete(bucketRequest, r.id); err != nil {
		return fmt.Errorf("device: taking up a request: %w", err)
	}
	items, err := t.parked(r.id)
	if err != nil {
		return err
	}
	for _, p := range items {
		p.At = t.now
		if err := t.putRow(parkedBucket(r.id), p.key, p); err != nil {
			return err
		}
	}
	return t.receive(r.Item)
}

// DeleteRequest forgets a request with what waits with it. Who has asked is not told.
func (d *Device) DeleteRequest(id string) error {
	return d.update(func(t *txn) error {
		row, err := t.request(id)
		if err != nil {
			return err
		}
		if err := t.forgetRequest(id); err != nil {
			return err
		}
		return t.addJob(&ConsentJob{Actor: row.Item.Actor, Decision: decideDelete})
	})
}

func (t *txn) forgetRequest(id string) error {
	items, err := t.parked(id)
	if err != nil {
		return err
	}
	for _, p := range items {
		if err := t.unpark(id, p.key); err != nil {
			return err
		}
	}
	if err := t.Delete(bucketRequest, id); err != nil {
		return fmt.Errorf("device: forgetting a request: %w", err)
	}
	return nil
}

// forgetOldRequests lets those go that nobody has decided on.
func (t *txn) forgetOldRequests() error {
	rows, err := t.requests()
	if err != nil {
		return err
	}
	for _, r := range rows {
		if t.now.Sub(r.At) > requestFor {
			if err := t.forgetRequest(r.id); err != nil {
				return err
			}
		}
	}
	return nil
}
