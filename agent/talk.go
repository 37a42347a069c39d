package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/device"
)

// lookupFresh is how old a lookup may be when somebody is about to be written to for the first time.
const lookupFresh = time.Hour

// meetTime is how long a message waits for lookups before it is written down.
const meetTime = 5 * time.Second

// Account that is logged in; ok is false if none is. needsLogin says that the sidecar refuses the token.
func (a *Agent) Account() (account device.Account, ok, needsLogin bool, err error) {
	account, ok, err = a.device.Account()
	a.mu.Lock()
	defer a.mu.Unlock()
	return account, ok, a.refused, err
}

// Contact looks an actor up now and says what is known. With a *device.NotWitnessedError comes what was known before, if anything was.
func (a *Agent) Contact(ctx context.Context, actor string) (device.Contact, error) {
	err := a.lookup(ctx, actor)
	a.touch()
	var unseen *device.NotWitnessedError
	if err != nil && !errors.As(err, &unseen) {
		return device.Contact{}, err
	}
	c, _, known := a.device.Contact(actor)
	if known == nil && c.MovedTo != "" {
		if err := a.lookup(ctx, c.MovedTo); err != nil { // then it is not proven
			a.report(ctx, "looking up where somebody has moved", err)
		}
		c, _, known = a.device.Contact(actor)
	}
	return c, errors.Join(err, known)
}

// AcceptKeys says that the person takes an actor's keys for theirs, as of so many resets. It asks nobody.
func (a *Agent) AcceptKeys(actor string, resets int) (device.Contact, error) {
	defer a.touch()
	if err := a.device.AcceptKeys(actor, resets); err != nil {
		return device.Contact{}, err
	}
	c, _, err := a.device.Contact(actor)
	return c, err
}

// meet looks up who has not been looked up lately, so that somebody without keys is named before anything is begun. Who cannot
// be reached now is left for later.
func (a *Agent) meet(ctx context.Context, actors []string) error {
	ctx, stop := context.WithTimeout(ctx, meetTime)
	defer stop()
	for _, actor := range actors {
		c, ok, err := a.device.Contact(actor)
		if err != nil {
			return err
		}
		if ok && c.State == device.ContactReady && a.now().Sub(c.Checked) < lookupFresh {
			continue
		}
		if err := a.lookup(ctx, actor); err != nil {
			a.report(ctx, "looking somebody up", err)
		}
	}
	return nil
}

// StartConversation starts one with these actors and returns its id.
func (a *Agent) StartConversation(ctx context.Context, actors []string) (id string, err error) {
	if err := a.meet(ctx, actors); err != nil {
		return "", err
	}
	defer a.touch()
	return a.device.StartConversation(actors)
}

// SendTo sends to exactly these actors: in the conversation that has just them, or a new one.
func (a *Agent) SendTo(ctx context.Context, actors []string, text string, files []device.File, key string) (device.Message, error) {
	if err := a.meet(ctx, actors); err != nil {
		return device.Message{}, err
	}
	defer a.touch()
	return a.device.SendTo(actors, text, files, key)
}

// StartPlain is StartConversation of a person who knows that nobody vouches for the keys of who is on an instance without a directory.
func (a *Agent) StartPlain(ctx context.Context, actors []string) (id string, err error) {
	if err := a.meet(ctx, actors); err != nil {
		return "", err
	}
	defer a.touch()
	return a.device.StartPlain(actors)
}

// SendToPlain is SendTo with the same knowledge.
func (a *Agent) SendToPlain(ctx context.Context, actors []string, text string, files []device.File, key string) (device.Message, error) {
	if err := a.meet(ctx, actors); err != nil {
		return device.Message{}, err
	}
	defer a.touch()
	return a.device.SendToPlain(actors, text, files, key)
}

// Send sends in a conversation.
func (a *Agent) Send(id, text string, files []device.File, key string) (device.Message, error) {
	defer a.touch()
	return a.device.Send(id, text, files, key)
}

// AddMembers of a conversation; what they read begins there.
func (a *Agent) AddMembers(ctx context.Context, id string, actors []string) error {
	if err := a.meet(ctx, actors); err != nil {
		return err
	}
	defer a.touch()
	return a.device.AddMembers(id, actors)
}

// RemoveMembers of a conversation; what they read ends there.
func (a *Agent) RemoveMembers(id string, actors []string) error {
	defer a.touch()
	return a.device.RemoveMembers(id, actors)
}

// SetAdmin makes a member an admin of a conversation, or takes that back.
func (a *Agent) SetAdmin(id, actor string, admin bool) error {
	defer a.touch()
	return a.device.SetAdmin(id, actor, admin)
}

// MoveHub has another instance keep the order of a conversation's changes. It is asked for its key now; the rest is done by and by.
func (a *Agent) MoveHub(ctx context.Context, id, instance string) error {
	sidecar, err := a.sidecar()
	if err != nil {
		return err
	}
	key, err := sidecar.HubKey(ctx, instance)
	if err != nil {
		return away(err)
	}
	defer a.touch()
	return a.device.MoveHub(id, instance, key)
}

// Leave a conversation with all devices. heir, if not empty, is made an admin first.
func (a *Agent) Leave(id, heir string) error {
	defer a.touch()
	return a.device.Leave(id, heir)
}

// Resume tries again what a conversation is paused for.
func (a *Agent) Resume(id string) error {
	defer a.touch()
	return a.device.Resume(id)
}

// Resync has this device come back into a conversation that it seems to have lost the thread of.
func (a *Agent) Resync(id string) error {
	defer a.touch()
	return a.device.Resync(id)
}

// Conversations lists all of them.
func (a *Agent) Conversations() ([]device.Conversation, error) { return a.device.Conversations() }

// Conversation returns one, or device.ErrNoSuchConversation.
func (a *Agent) Conversation(id string) (device.Conversation, error) {
	return a.device.Conversation(id)
}

// Messages lists at most limit messages of a conversation after one.
func (a *Agent) Messages(id string, after uint64, limit int) ([]device.Message, error) {
	return a.device.Messages(id, after, limit)
}

// Undelivered lists at most limit messages, written after a time, that did not reach everybody.
func (a *Agent) Undelivered(after time.Time, limit int) ([]device.Message, error) {
	return a.device.Undelivered(after, limit)
}

// Events lists at most limit events after a cursor.
func (a *Agent) Events(after uint64, limit int) ([]device.Event, error) {
	return a.device.Events(after, limit)
}

// File fetches and decrypts the n-th file of a message.
func (a *Agent) File(ctx context.Context, id string, message uint64, n int) (file []byte, meta device.Attachment, err error) {
	list, err := a.device.Messages(id, message-1, 1)
	if err != nil {
		return nil, meta, err
	}
	if message == 0 || len(list) == 0 || list[0].Seq != message || n < 0 || n >= len(list[0].Attachments) {
		return nil, meta, fmt.Errorf("agent: file %d of message %d: %w", n, message, device.ErrNoSuchMessage)
	}
	meta = list[0].Attachments[n]
	sidecar, err := a.sidecar()
	if err != nil {
		return nil, meta, err
	}
	blob, err := sidecar.Blob(ctx, meta.URL)
	if err != nil {
		return nil, meta, away(err)
	}
	file, err = a.device.OpenFile(id, message, n, blob)
	return file, meta, err
}
