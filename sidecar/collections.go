package sidecar

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// readMessages is the draft's messages collection: the mailbox of the device whose token it is, newest first. after and item name an
// activity; upto and since, in the links between pages, a cursor.
func (s *Sidecar) readMessages(w http.ResponseWriter, r *http.Request, d store.Device) error {
	q := r.URL.Query()
	switch {
	case q.Has("item"):
		return s.seekMessage(w, r, d, q.Get("item"))
	case q.Has("after"):
		return s.messagesAfter(w, r, d, q.Get("after"))
	case q.Has("since"):
		return s.messagesSince(w, r, d)
	case q.Has("upto"):
		return s.messagesUpto(w, r, d)
	}
	span, err := s.store.Mailboxes.Span(r.Context(), d.Actor, d.ID)
	if err != nil {
		return err
	}
	id := d.Actor + "/messages"
	c := federation.Collection{ID: id, Total: span.Count, EventStream: id + "/events", SeekItem: id}
	if span.Count > 0 {
		c.First, c.Last = messagesPage(d, "upto", span.Newest), messagesPage(d, "upto", span.Oldest)
	}
	return writeCollection(w, c)
}

func messagesPage(d store.Device, name string, cursor uint64) string {
	return fmt.Sprintf("%s/messages?%s=%d", d.Actor, name, cursor)
}

// seekMessage is the Seek Item endpoint. A page does not keep its items for ever: they go when the device has taken them.
func (s *Sidecar) seekMessage(w http.ResponseWriter, r *http.Request, d store.Device, activity string) error {
	cursor, found, err := s.store.Mailboxes.Find(r.Context(), d.Actor, d.ID, activity)
	if err != nil {
		return err
	}
	if !found {
		return store.ErrNotFound
	}
	w.Header().Set("Location", messagesPage(d, "upto", cursor))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// messagesAfter goes forward in time from an activity that the client has seen, oldest first. One that is not there any more was taken with
// all before it, so then it begins with what is left: a client may see something twice, and misses nothing.
func (s *Sidecar) messagesAfter(w http.ResponseWriter, r *http.Request, d store.Device, activity string) error {
	cursor, _, err := s.store.Mailboxes.Find(r.Context(), d.Actor, d.ID, activity)
	if err != nil {
		return err
	}
	items, err := s.store.Mailboxes.Read(r.Context(), d.Actor, d.ID, cursor, clientapi.MaxItems, maxMailboxBytes)
	if err != nil {
		return err
	}
	id := d.Actor + "/messages"
	page := federation.Page{ID: id + "?" + url.Values{"after": {activity}}.Encode(), Of: id, Items: activities(d, items)}
	if len(items) > 0 {
		page.Next = id + "?" + url.Values{"after": {items[len(items)-1].Activity}}.Encode()
	}
	return writePage(w, page)
}

// messagesSince is the page before another one, which is the later one in time.
func (s *Sidecar) messagesSince(w http.ResponseWriter, r *http.Request, d store.Device) error {
	since, err := number(r.URL.Query(), "since", 0)
	if err != nil {
		return err
	}
	items, err := s.store.Mailboxes.Read(r.Context(), d.Actor, d.ID, since, clientapi.MaxItems, maxMailboxBytes)
	if err != nil {
		return err
	}
	slices.Reverse(items)
	return s.writeMessages(w, r, d, messagesPage(d, "since", since), items)
}

func (s *Sidecar) messagesUpto(w http.ResponseWriter, r *http.Request, d store.Device) error {
	upto, err := number(r.URL.Query(), "upto", 0)
	if err != nil {
		return err
	}
	items, err := s.store.Mailboxes.ReadBack(r.Context(), d.Actor, d.ID, upto, clientapi.MaxItems, maxMailboxBytes)
	if err != nil {
		return err
	}
	return s.writeMessages(w, r, d, messagesPage(d, "upto", upto), items)
}

// writeMessages links a page, newest first, to those on both sides of it.
func (s *Sidecar) writeMessages(w http.ResponseWriter, r *http.Request, d store.Device, id string, items []store.Item) error {
	span, err := s.store.Mailboxes.Span(r.Context(), d.Actor, d.ID)
	if err != nil {
		return err
	}
	page := federation.Page{ID: id, Of: d.Actor + "/messages", Items: activities(d, items)}
	if n := len(items); n > 0 {
		if newest := items[0].Cursor; newest < span.Newest {
			page.Prev = messagesPage(d, "since", newest)
		}
		if oldest := items[n-1].Cursor; oldest > span.Oldest {
			page.Next = messagesPage(d, "upto", oldest-1)
		}
	}
	return writePage(w, page)
}

func activities(d store.Device, items []store.Item) (all []any) {
	for _, i := range items {
		all = append(all, activityOf(d, i))
	}
	return all
}

// activityOf is the Create that an item came in, for as much as is kept of it: others that it was addressed to are not.
func activityOf(d store.Device, i store.Item) any {
	kind, _ := classify(i.Message) // it was an MLS message when it came
	return federation.Item(federation.Envelope{
		ID: i.Activity, Actor: i.Sender, To: []string{d.Actor}, Conversation: i.Conversation, Kind: kind, Message: i.Message, Receipt: i.Receipt,
	}, time.UnixMilli(i.Received))
}

// conversation is the collection of what its hub has granted, oldest first, in the order of term and seq, for whoever may ask for the
// events: instances, and devices of this one.
func (s *Sidecar) conversation(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Authorization") != "" {
		return s.asDevice(func(w http.ResponseWriter, r *http.Request, _ store.Device) error { return s.showConversation(w, r) })(w, r)
	}
	if _, err := s.readPeer(w, r, 0, nil); err != nil {
		return err
	}
	return s.showConversation(w, r)
}

func (s *Sidecar) showConversation(w http.ResponseWriter, r *http.Request) error {
	groupID, err := s.groupOf(r)
	if err != nil {
		return err
	}
	after, err := number(r.URL.Query(), "after", 0)
	if err != nil {
		return err
	}
	events, _, err := s.hub.Events(r.Context(), groupID, after)
	if err != nil {
		return err
	}
	id := receipt.ConversationURL(s.instance, groupID)
	if !r.URL.Query().Has("after") {
		return writeCollection(w, federation.Collection{ID: id, Total: -1, First: id + "?after=0"})
	}
	page := federation.Page{ID: fmt.Sprintf("%s?after=%d", id, after), Of: id}
	for _, e := range events {
		granted, err := receipt.Parse(e.Receipt)
		if err != nil {
			return err
		}
		kind, err := classify(e.Commit)
		if err != nil {
			return err
		}
		page.Items = append(page.Items, federation.Granted(id, granted.Term, granted.Seq, kind, e.Commit, e.Receipt))
		page.Next = fmt.Sprintf("%s?after=%d", id, granted.Seq)
	}
	return writePage(w, page)
}
