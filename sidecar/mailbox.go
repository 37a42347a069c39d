package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

const maxMailboxBytes = 2 << 20 // of one answer, before base64

// mailbox is GET /mailbox. While there is nothing it holds the answer, as long as the device asked for.
func (s *Sidecar) mailbox(w http.ResponseWriter, r *http.Request, d store.Device) error {
	q := r.URL.Query()
	after, err := number(q, "after", 0)
	if err != nil {
		return err
	}
	limit, err := number(q, "limit", clientapi.MaxItems)
	if err != nil {
		return err
	}
	wait, err := number(q, "wait", 0)
	if err != nil {
		return err
	}
	limit, wait = max(1, min(limit, clientapi.MaxItems)), min(wait, clientapi.MaxWait)
	items, err := s.await(r.Context(), d, after, int(limit), time.Duration(wait)*time.Second)
	if err != nil {
		return err
	}
	answer := clientapi.Mailbox{Items: make([]clientapi.Item, 0, len(items)), Next: after}
	for _, i := range items {
		answer.Next = i.Cursor
		item := clientapi.Item{
			Cursor: i.Cursor, Activity: i.Activity, Actor: i.Sender, Conversation: i.Conversation,
			Message: i.Message, Receipt: i.Receipt, Received: uint64(i.Received),
		}
		if len(i.Undelivered) > 0 {
			if err := json.Unmarshal(i.Undelivered, &item.Undelivered); err != nil {
				return fmt.Errorf("sidecar: reading what was not delivered: %w", err)
			}
		}
		answer.Items = append(answer.Items, item)
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *Sidecar) await(ctx context.Context, d store.Device, after uint64, limit int, wait time.Duration) ([]store.Item, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		woken := s.notify.wait(d.Actor)
		items, err := s.store.Mailboxes.Read(ctx, d.Actor, d.ID, after, limit, maxMailboxBytes)
		if err != nil || len(items) > 0 || wait == 0 {
			return items, err
		}
		select {
		case <-woken:
			if has, err := s.store.Accounts.HasDevice(ctx, d.Actor, d.ID); err != nil {
				return nil, err
			} else if !has { // logged out while it waited
				return nil, errToken
			}
		case <-timeout.C:
			return nil, nil
		case <-s.stopping:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// emptyMailbox is DELETE /mailbox.
func (s *Sidecar) emptyMailbox(w http.ResponseWriter, r *http.Request, d store.Device) error {
	if !r.URL.Query().Has("upto") {
		return invalid("upto is missing")
	}
	upto, err := number(r.URL.Query(), "upto", 0)
	if err != nil {
		return err
	}
	if err := s.store.Mailboxes.Delete(r.Context(), d.Actor, d.ID, upto); err != nil {
		return err
	}
	s.limit.strangers.emptied(d.Actor)
	s.limit.members.emptied(d.Actor)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// number reads a query parameter that a database column can hold.
func number(q url.Values, name string, otherwise uint64) (uint64, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, invalid("%s is not a number that can be used", name)
	}
	return n, nil
}
