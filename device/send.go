package device

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/waxwing-dm/waxwing/mls"
)

// clientRow remembers what an idempotency key stood for.
type clientRow struct {
	Conversation string   `json:"conversation"`
	Seq          uint64   `json:"seq"`
	Digest       [32]byte `json:"digest"` // of the request
}

// Send writes a message down and sends it when its turn comes: after what was asked for before it. clientID makes it idempotent: the same
// key with the same message gives the message back, with another one ErrIdempotencyConflict.
func (d *Device) Send(id, text string, files []File, clientID string) (m Message, err error) {
	return d.send(draft{to: []string{id}, text: text, files: files, clientID: clientID}, func(t *txn, _ Account) (*conversation, error) {
		return t.mustOpen(id)
	})
}

// SendTo is Send to exactly these actors and the own: into the newest conversation that has just these members, or will have once its
// queue is worked off, else into a new one. The same key finds the same message wherever that went.
// Who can be written to in a plain conversation only is named in a PlainOnlyError, unless there is one with just these already.
func (d *Device) SendTo(actors []string, text string, files []File, clientID string) (m Message, err error) {
	return d.sendTo(actors, text, files, clientID, false)
}

func (d *Device) sendTo(actors []string, text string, files []File, clientID string, plain bool) (m Message, err error) {
	to := slices.Sorted(slices.Values(actors))
	return d.send(draft{to: append([]string{"actors"}, to...), text: text, files: files, clientID: clientID}, func(t *txn, account Account) (*conversation, error) {
		return t.conversationWith(account, to, plain)
	})
}

// A draft is what somebody wants to send. All of it counts for idempotency.
type draft struct {
	to       []string // the conversation, or "actors" and who they are
	text     string
	files    []File
	clientID string
}

func (d *Device) send(x draft, find func(*txn, Account) (*conversation, error)) (m Message, err error) {
	if err := x.check(); err != nil {
		return m, err
	}
	err = d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		again, err := t.sentBefore(x.clientID, x.digest())
		if err != nil || again != nil {
			if again != nil {
				m = *again
			}
			return err
		}
		c, err := find(t, account)
		if err != nil {
			return err
		}
		if c.State == StateLeft {
			return ErrLeft
		}
		if leaving, err := t.isLeaving(c.id); err != nil || leaving {
			return orElse(err, ErrLeaving)
		}
		outline, err := t.outline(c.id, c.conversationRow)
		if err == nil {
			err = t.requireAccepted(outline.Expected)
		}
		if err == nil {
			err = t.requireUnblocked(slices.DeleteFunc(slices.Clone(outline.Expected), func(a string) bool { return a == account.Actor }))
		}
		if err == nil && c.Plain != nil && len(x.files) > 0 {
			err = ErrPlainFile
		}
		if err != nil {
			return err
		}
		m, err = t.compose(c, account, x)
		return err
	})
	return m, err
}

func (x draft) check() error {
	switch {
	case len(x.text) > maxText || len(x.files) > maxAttachments || len(x.clientID) > maxName:
		return fmt.Errorf("device: sending %d bytes and %d files: %w", len(x.text), len(x.files), ErrTooLarge)
	case !utf8.ValidString(x.text):
		return fmt.Errorf("device: sending: the text is not UTF-8: %w", ErrContent)
	case x.text == "" && len(x.files) == 0:
		return fmt.Errorf("device: sending: there is nothing to send: %w", ErrContent)
	}
	return nil
}

func (x draft) digest() [32]byte {
	h := sha256.New()
	part := func(b []byte) { _, _ = fmt.Fprintf(h, "%d:%s", len(b), b) } // a hash takes everything
	part(fmt.Append(nil, len(x.to)))
	for _, to := range x.to {
		part([]byte(to))
	}
	part([]byte(x.text))
	for _, f := range x.files {
		part([]byte(f.Name))
		part([]byte(f.MediaType))
		part(f.Data)
	}
	return [32]byte(h.Sum(nil))
}

// conversationWith finds or starts the conversation of just these actors.
func (t *txn) conversationWith(account Account, actors []string, plain bool) (*conversation, error) {
	are, err := t.plainAmong(actors)
	if err != nil {
		return nil, err
	}
	var found string
	if err := t.Each(bucketConversation, func(id string, value []byte) error {
		var row conversationRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding conversation %s: %w", id, err)
		}
		if row.State == StateLeft || (row.Plain != nil) != (len(are) > 0) {
			return nil
		}
		c, err := t.describe(id, row)
		if c.State == StateLeaving {
			return err
		}
		others := slices.DeleteFunc(c.Expected, func(a string) bool { return a == account.Actor })
		if err == nil && slices.Equal(others, actors) {
			found = id
		}
		return err
	}); err != nil {
		return nil, err
	}
	if found == "" {
		return t.start(account, actors, plain)
	}
	return t.mustOpen(found)
}

// sentBefore finds the message of an idempotency key.
func (t *txn) sentBefore(clientID string, digest [32]byte) (*Message, error) {
	var row clientRow
	if clientID == "" {
		return nil, nil
	}
	ok, err := t.row(bucketClient, clientID, &row)
	if err != nil || !ok {
		return nil, err
	}
	if row.Digest != digest {
		return nil, ErrIdempotencyConflict
	}
	m, err := t.message(row.Conversation, row.Seq)
	return &m.Message, err
}

// compose stores the message, seals its files and queues both.
func (t *txn) compose(c *conversation, account Account, x draft) (Message, error) {
	s := step{Kind: stepSend}
	row := messageRow{Message: Message{
		Conversation: c.id, Sender: account.Actor, Device: account.DeviceID, Mine: true, Time: t.now, Published: t.now,
		ClientID: x.clientID, Kind: KindText, Text: x.text, State: MessageQueued, Plain: c.Plain != nil,
	}}
	var err error
	if row.ID, err = t.uuidIRI(); err != nil {
		return Message{}, err
	}
	for _, f := range x.files {
		a, hash, err := t.storeFile(c, account, f)
		if err != nil {
			return Message{}, err
		}
		row.Files, s.Uploads = append(row.Files, a), append(s.Uploads, hash)
	}
	if data, err := row.content(make([]byte, saltSize)).marshal(row.ID); err != nil {
		return Message{}, err
	} else if len(data) > maxApplication { // text that is nearly all escapes
		return Message{}, fmt.Errorf("device: sending %d bytes of content: %w", len(data), ErrTooLarge)
	}
	m, err := t.addMessage(row)
	if err != nil {
		return Message{}, err
	}
	s.Message = m.Seq
	if x.clientID != "" {
		client := clientRow{Conversation: c.id, Seq: m.Seq, Digest: x.digest()}
		if err := t.putRow(bucketClient, x.clientID, client); err != nil {
			return Message{}, err
		}
	}
	return t.enqueue(c, s)
}

// enqueue queues a message, works off what can be, and returns the message as it stands then.
func (t *txn) enqueue(c *conversation, s step) (Message, error) {
	if err := t.setState(c.id, s.Message, MessageQueued, "", ""); err != nil {
		return Message{}, err
	}
	if err := t.queue(c.id, s); err != nil {
		return Message{}, err
	}
	if err := t.finish(c); err != nil {
		return Message{}, err
	}
	row, err := t.message(c.id, s.Message)
	return row.Message, err
}

func (t *txn) uuidIRI() (string, error) {
	id, err := uuid.NewRandomFromReader(t.rand)
	if err != nil {
		return "", fmt.Errorf("device: naming a message: %w", err)
	}
	return uuidIRI + id.String(), nil
}

// storeFile seals a file and writes down the job that uploads it. Where the blob will be is known beforehand: by its hash, at our sidecar.
func (t *txn) storeFile(c *conversation, account Account, f File) (attachment, string, error) {
	a, hash, blob, err := t.sealFile(f)
	if err != nil {
		return a, "", err
	}
	a.URL = account.Instance + "/waxwing/blobs/" + hash
	if err := t.Put(bucketBlob, hash, blob); err != nil {
		return a, "", fmt.Errorf("device: writing a blob: %w", err)
	}
	return a, hash, t.addJob(&UploadJob{Hash: hash, For: c.id})
}

// content is the message in its wire form.
func (row messageRow) content(salt []byte) content {
	return content{
		id: row.ID, actor: row.Sender, kind: KindText, text: row.Text, published: row.Published.UTC(), salt: salt, attachments: row.Files,
	}
}

// workSend encrypts a message whose turn has come and whose files are up.
func (t *txn) workSend(c *conversation, s *step) (done bool, err error) {
	if len(s.Uploads) > 0 {
		return false, nil
	}
	if changed, err := t.changed(c.others("")); err != nil || len(changed) > 0 {
		return false, err
	}
	if s.Again != nil {
		now, never, err := t.mayGoAgain(c, *s.Again)
		if never {
			return true, t.messageFailed(c.id, s.Message, CodeTooLate, "it came too late for some to be read, and since it was written somebody has joined: send it anew if they may read it, too")
		}
		if err != nil || !now {
			return false, err
		}
	}
	row, err := t.message(c.id, s.Message)
	if err != nil {
		return false, err
	}
	of := outgoing{Seq: row.Seq}
	if s.Again != nil {
		of.Instead = s.Again.Instead
	}
	sent, err := t.dispatch(c, row.Sender, of, func(salt []byte, activity string) ([]byte, error) {
		x := row.content(salt)
		x.instead = of.Instead
		return x.marshal(activity)
	})
	switch {
	case errors.Is(err, mls.ErrRemoved):
		return true, t.messageFailed(c.id, s.Message, CodeRemoved, "this device is no longer in the conversation")
	case err != nil:
		return false, err
	case !sent: // who was to be added could not be
		return true, t.messageFailed(c.id, row.Seq, CodeRecipientNotReady, "nobody else is in the conversation")
	}
	return true, t.setState(c.id, row.Seq, MessageSending, "", "")
}

// dispatch encrypts application data and writes down the job that hands it to the sidecar, if there is anybody to send it to. Nothing but
// these bytes is ever sent for this step of the ratchet. of is what is kept of them, as far as it is known.
func (t *txn) dispatch(c *conversation, self string, of outgoing, content func(salt []byte, activity string) ([]byte, error)) (sent bool, err error) {
	message, err := t.encrypt(c, self, content)
	if err != nil {
		return false, err
	}
	hash := sha256.Sum256(message)
	c.Sent++
	to := c.others(self)
	of.Conversation, of.To, of.Epoch, of.Astray = c.id, len(to), c.group.Epoch(), c.Resync != nil
	if err := t.putRow(bucketSeen, hex.EncodeToString(hash[:]), of); err != nil {
		return false, err
	}
	if len(to) == 0 {
		return false, nil
	}
	j := &SendJob{ConversationID: c.id, Conversation: c.URL, Message: message, To: to, Seq: of.Seq, Epoch: c.group.Epoch()}
	if c.Plain != nil {
		j.Plain, j.Conversation = true, contextOf(c.Plain.GroupID)
		c.Plain.Sent = append(c.Plain.Sent[max(0, len(c.Plain.Sent)+1-maxPlainSent):], sentAt{of.Seq, j.Epoch})
	}
	return true, t.addJob(j)
}

func (t *txn) encrypt(c *conversation, self string, content func(salt []byte, activity string) ([]byte, error)) ([]byte, error) {
	if c.Plain != nil {
		return t.encryptPlain(c, content)
	}
	salt, err := t.random(saltSize)
	if err != nil {
		return nil, err
	}
	activity, err := t.uuidIRI()
	if err != nil {
		return nil, err
	}
	data, err := content(salt, activity)
	if err != nil {
		return nil, err
	}
	seen, err := t.sightings(c, self)
	if err != nil {
		return nil, err
	}
	f := fence{place: c.Places[0], franking: frankingTag(salt, data), seen: seen}
	message, err := c.group.Encrypt(t.rand, data, f.marshal(), bucketOf)
	if err != nil {
		return nil, fmt.Errorf("device: encrypting a message in %s: %w", c.id, err)
	}
	return message, nil
}

// sendFailed gives up a message on its way. What no person wrote, no person misses.
func (t *txn) sendFailed(j *SendJob, code, detail string) error {
	if j.Seq == 0 && j.Plain {
		for _, actor := range j.To {
			if err := t.tellMissed(j.ConversationID, 0, Missed{Actor: actor, Code: code, Detail: detail}); err != nil {
				return err
			}
		}
	}
	if j.Seq == 0 {
		return nil
	}
	return t.messageFailed(j.ConversationID, j.Seq, code, detail)
}

// dropStale takes back messages that are encrypted in an epoch the others have forgotten by now.
func (t *txn) dropStale(c *conversation) error {
	ids, err := t.idsOf(c.id, TaskSend)
	if err != nil {
		return err
	}
	var stale []*SendJob
	for _, id := range ids {
		j, _, err := t.job(id)
		if err != nil {
			return err
		}
		if s, ok := j.(*SendJob); ok && s.Epoch+pastEpochs < c.group.Epoch() {
			stale = append(stale, s)
		}
	}
	for _, j := range stale {
		if err := t.dropJob(j.ID()); err != nil {
			return err
		}
		hash := sha256.Sum256(j.Message)
		of, _, err := t.outgoing(hash[:])
		if err != nil {
			return err
		}
		of.Seq, of.Epoch = j.Seq, j.Epoch // somebody may have asked for it already
		if err := t.sendAnew(c, of, hash[:]); err != nil {
			return err
		}
	}
	return nil
}

// Sent reports that the sidecar has taken a message.
func (d *Device) Sent(job string) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*SendJob](t, job)
		if err != nil || !ok || j.Seq == 0 {
			return err
		}
		return t.setState(j.ConversationID, j.Seq, MessageSent, "", "")
	})
}

// Uploaded reports where a blob is.
func (d *Device) Uploaded(job, url string) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*UploadJob](t, job)
		if err != nil || !ok {
			return err
		}
		account, err := t.account()
		if err != nil {
			return err
		}
		if want := account.Instance + "/waxwing/blobs/" + j.Hash; url != want {
			return t.uploadFailed(j, "blob_misplaced", fmt.Sprintf("the sidecar put the file at %.200q", url))
		}
		if err := t.uploaded(j); err != nil {
			return err
		}
		return t.settle(j.For)
	})
}

// uploaded strikes a blob off the list of the message that waits for it.
func (t *txn) uploaded(j *UploadJob) error {
	if err := t.Delete(bucketBlob, j.Hash); err != nil {
		return fmt.Errorf("device: removing a blob: %w", err)
	}
	key, s, ok, err := t.stepWith(j)
	if err != nil || !ok {
		return err
	}
	s.Uploads = slices.DeleteFunc(s.Uploads, func(h string) bool { return h == j.Hash })
	return t.putRow(stepBucket(j.For), key, s)
}

// uploadFailed gives up the message that a blob belongs to.
func (t *txn) uploadFailed(j *UploadJob, code, detail string) error {
	if err := t.Delete(bucketBlob, j.Hash); err != nil {
		return fmt.Errorf("device: removing a blob: %w", err)
	}
	key, s, ok, err := t.stepWith(j)
	if err != nil || !ok {
		return err
	}
	if err := t.Delete(stepBucket(j.For), key); err != nil {
		return fmt.Errorf("device: removing a step: %w", err)
	}
	if err := t.messageFailed(j.For, s.Message, code, detail); err != nil {
		return err
	}
	return t.settle(j.For)
}

// stepWith finds the step that waits for an upload.
func (t *txn) stepWith(j *UploadJob) (key string, found step, ok bool, err error) {
	err = t.Each(stepBucket(j.For), func(k string, value []byte) error {
		var s step
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("device: decoding a step of %s: %w", j.For, err)
		}
		if slices.Contains(s.Uploads, j.Hash) {
			key, found, ok = k, s, true
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return key, found, ok, err
}
