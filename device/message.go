package device

import (
	"encoding/json"
	"fmt"
	"strconv"
)

const (
	bucketState  = "state"  // by conversation and number: how far a message of ours has come
	bucketClient = "client" // by idempotency key
)

// messageRow is a message as stored. Files hold the keys, which leave this package in no other form.
type messageRow struct {
	Message
	Files []attachment `json:"files,omitempty"`
}

func messageLog(id string) string { return "messages:" + id }

func stateKey(id string, seq uint64) string { return id + "/" + strconv.FormatUint(seq, 10) }

// addMessage appends a message and returns it as the person sees it.
func (t *txn) addMessage(row messageRow) (Message, error) {
	seq, err := t.appendRow(messageLog(row.Conversation), row)
	if err != nil {
		return Message{}, err
	}
	return row.public(seq), nil
}

func (row messageRow) public(seq uint64) Message {
	m := row.Message
	m.Seq = seq
	m.Attachments = nil
	for _, a := range row.Files {
		m.Attachments = append(m.Attachments, Attachment{Name: a.Name, MediaType: a.MediaType, Size: a.Size, URL: a.URL})
	}
	return m
}

// messages goes through a conversation's messages with the state they are in now.
func (t *txn) messages(id string, after uint64, limit int, f func(messageRow) error) error {
	var rows []messageRow
	err := t.Scan(messageLog(id), after, limit, func(seq uint64, value []byte) error {
		var row messageRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding message %d of %s: %w", seq, id, err)
		}
		row.Message = row.public(seq)
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Mine {
			if _, err := t.row(bucketState, stateKey(id, row.Seq), &row.State); err != nil {
				return err
			}
			if _, err := t.row(bucketMissed, stateKey(id, row.Seq), &row.Undelivered); err != nil {
				return err
			}
		}
		if err := f(row); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) message(id string, seq uint64) (row messageRow, err error) {
	if seq == 0 {
		return row, ErrNoSuchMessage
	}
	err = t.messages(id, seq-1, 1, func(m messageRow) error { row = m; return nil })
	if err == nil && row.Seq != seq {
		err = ErrNoSuchMessage
	}
	return row, err
}

// setState moves a message of ours on and tells the person.
func (t *txn) setState(id string, seq uint64, state MessageState, code, detail string) error {
	if err := t.putRow(bucketState, stateKey(id, seq), state); err != nil {
		return err
	}
	row, err := t.message(id, seq)
	if err != nil {
		return err
	}
	return t.emit(Event{Type: EventMessageState, Conversation: id, Message: &row.Message, Code: code, Detail: detail})
}

func (t *txn) messageFailed(id string, seq uint64, code, detail string) error {
	return t.setState(id, seq, MessageFailed, code, detail)
}

// Messages lists at most limit messages of a conversation after the given number, in the order they were written down.
func (d *Device) Messages(id string, after uint64, limit int) (list []Message, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		var row conversationRow
		if ok, err := t.row(bucketConversation, id, &row); err != nil || !ok {
			return orElse(err, ErrNoSuchConversation)
		}
		return t.messages(id, after, limit, func(m messageRow) error {
			list = append(list, m.Message)
			return nil
		})
	})
	return list, err
}

// Events lists at most limit events after the given one.
func (d *Device) Events(after uint64, limit int) (list []Event, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		if err := t.Scan(logEvents, after, limit, func(seq uint64, value []byte) error {
			e := Event{}
			if err := json.Unmarshal(value, &e); err != nil {
				return fmt.Errorf("device: decoding event %d: %w", seq, err)
			}
			e.Seq = seq
			list = append(list, e)
			return nil
		}); err != nil {
			return err
		}
		for i := range list {
			var err error
			if list[i].Recovered, err = t.wasRecovered(list[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}
