package device

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waxwing-dm/waxwing/mls"
)

// A plain conversation (spec/conversation.md, P1 to P12) has somebody in it whose instance speaks the draft and nothing of ours: no directory proves
// their keys and no hub orders commits. Everybody applies a commit when they see it. It is a kind of its own from the beginning to the end,
// so that nothing here ever weakens a conversation that has both.

// plainRow is what is stored of a plain conversation instead of its place in a chain.
type plainRow struct {
	GroupID  []byte    `json:"group_id"`       // of the present MLS group; a conversation that is begun anew gets another
	Begun    time.Time `json:"begun"`          // the present group
	From     uint64    `json:"from,omitempty"` // the epoch in which we entered it
	Branches []branch  `json:"branches,omitempty"`
	Made     uint64    `json:"made,omitempty"` // branches so far; numbers name them
	// Forked is who has gone another way, so that the group has to be begun anew.
	Forked   string    `json:"forked,omitempty"`
	ForkedAt time.Time `json:"forked_at,omitzero"`
	// Continues is the group that this one was begun in place of.
	Continues []byte `json:"continues,omitempty"`
	// Moved is when the present epoch began.
	Moved time.Time `json:"moved,omitzero"`
	// LookAt is when something here is due with time alone.
	LookAt time.Time `json:"look_at,omitzero"`
	// Going are actors who asked to be let go.
	Going []string `json:"going,omitempty"`
	// Sent are the newest messages of ours and the epochs they were encrypted in.
	Sent []sentAt `json:"sent,omitempty"`
}

type sentAt struct {
	Seq   uint64 `json:"seq"`
	Epoch uint64 `json:"epoch"`
}

const bucketPlainGroup = "plain group" // by the name of an MLS group that a conversation was begun anew with: the conversation's id

// plainName names a plain conversation by its first group. It has a letter that no id of another kind has: whatever a stranger calls
// their group, it is never taken for one with a hub.
func plainName(groupID []byte) string {
	hash := sha256.Sum256(append([]byte("waxwing plain group\x00"), groupID...))
	return "p" + hex.EncodeToString(hash[:16])
}

// isPlainGroupID is P1. Groups with a hub have ids of 32 bytes, and others have not.
func isPlainGroupID(id []byte) bool {
	return len(id) > 0 && len(id) <= maxPlainGroupID && len(id) != groupIDSize
}

// plainID is the conversation of a group.
func (t *txn) plainID(name string) (string, error) {
	id, ok, err := t.Get(bucketPlainGroup, name)
	if err != nil || !ok {
		return name, err
	}
	return string(id), nil
}

// contextOf is what the draft's context says of a group: its id, where that is text.
func contextOf(groupID []byte) string {
	for _, r := range string(groupID) {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ""
		}
	}
	return string(groupID)
}

// isPlain tells whether an actor can be met in plain conversations only. Where there was a directory once, there is one.
func (t *txn) isPlain(actor string) (bool, error) {
	instance, err := instanceOf(actor)
	if err != nil {
		return false, nil
	}
	_, pinned, err := t.log(instance)
	if err != nil || pinned {
		return false, err
	}
	c, err := t.contact(actor)
	return err == nil && c.record == nil && !c.Plain.IsZero(), err
}

// plainAmong are those of the actors who are plain.
func (t *txn) plainAmong(actors []string) (plain []string, err error) {
	for _, actor := range actors {
		is, err := t.isPlain(actor)
		if err != nil {
			return nil, err
		}
		if is {
			plain = append(plain, actor)
		}
	}
	return plain, nil
}

// StartPlain is StartConversation of a person who knows that nobody vouches for the keys of members whose instances have no directory. If all
// have one it is a conversation like others.
func (d *Device) StartPlain(members []string) (id string, err error) {
	return d.startConversation(members, true)
}

// SendToPlain is SendTo with the same knowledge.
func (d *Device) SendToPlain(actors []string, text string, files []File, clientID string) (m Message, err error) {
	return d.sendTo(actors, text, files, clientID, true)
}

// startPlain makes a plain conversation. There is nobody to ask for it.
func (t *txn) startPlain(account Account, members []string) (*conversation, error) {
	c := &conversation{conversationRow: conversationRow{State: StateActive, Created: t.now, Plain: new(plainRow)}}
	if err := t.newPlainGroup(c, account); err != nil {
		return nil, err
	}
	c.id = plainName(c.Plain.GroupID)
	if err := t.emit(Event{Type: EventConversationCreated, Conversation: c.id, By: account.Actor, Code: CodePlain, Detail: plainWarning}); err != nil {
		return nil, err
	}
	return c, t.intend(c, step{Kind: stepAdd, Actors: members})
}

// plainWarning is what a plain conversation is, for people.
const plainWarning = "plain: nobody vouches for the keys of who is on an instance without a directory, and nobody orders changes; " +
	"their instance, or yours, could read along from the beginning"

// newPlainGroup gives a conversation a group with nobody but us. Its id is text, since other programs use it as such.
func (t *txn) newPlainGroup(c *conversation, account Account) error {
	signer, err := t.signer()
	if err != nil {
		return err
	}
	id, err := t.uuidIRI()
	if err != nil {
		return err
	}
	if c.group, err = mls.NewGroup(t.rand, mls.GroupParams{
		Suite: suite, GroupID: []byte(id), Signer: signer, Credential: mls.BasicCredential([]byte(account.Actor)),
		Capabilities: capabilities(), Lifetime: lifetime(t.now),
	}); err != nil {
		return fmt.Errorf("device: creating a plain group: %w", err)
	}
	c.Plain.GroupID, c.Plain.Begun, c.Plain.From, c.URL = []byte(id), t.now, 0, id
	c.refreshPlain()
	return nil
}

// refreshPlain derives the row from the group.
func (c *conversation) refreshPlain() {
	c.Members = membersOf(c.group.Members(), room{})
	c.Authenticator = c.group.EpochAuthenticator()
	p := place{Epoch: c.group.Epoch()}
	copy(p.Authenticator[:], c.Authenticator)
	c.Places = []place{p}
}

// plainMoved tells what changed once the group is another.
func (t *txn) plainMoved(c *conversation, by string) error {
	before := c.Members
	c.Plain.Moved = t.now
	c.refreshPlain()
	return t.tellMembers(c, before, by)
}

// rank tells how many come before this device where a plain group is to be mended: the members who are not plain, by name.
func (t *txn) rank(c *conversation, account Account) (n int, err error) {
	for _, m := range c.Members { // ascending
		if m.Actor >= account.Actor {
			break
		}
		plain, err := t.isPlain(m.Actor)
		if err != nil {
			return 0, err
		}
		if !plain {
			n++
		}
	}
	return n, nil
}

// strayed notes that a member's program has gone another way: what it writes there cannot be read, nor can it read us. The person is told once.
func (t *txn) strayed(c *conversation, actor string) error {
	if !c.has(actor) {
		return nil
	}
	return t.fallApart(c, actor)
}

// fallApart is strayed for somebody who may not even be in the present group.
func (t *txn) fallApart(c *conversation, actor string) error {
	if c.Plain.Forked != "" || c.State == StateLeft {
		return nil
	}
	c.Plain.Forked, c.Plain.ForkedAt, c.State, c.queued = actor, t.now, StatePaused, true
	detail := "the program of " + actor + " has gone another way, as plain ones do when two change a conversation at once: " +
		"what it wrote there cannot be read, and what you write waits until the conversation was begun anew"
	c.Reason = CodeForkDetected + ": " + detail
	return t.emit(Event{Type: EventConversationPaused, Conversation: c.id, Actor: actor, Code: CodeForkDetected, Detail: detail})
}

// plainFirst does what comes before the queue of a plain conversation: a group that has fallen apart is begun anew, and who asked for it is let go.
func (t *txn) plainFirst(c *conversation) error {
	if c.State == StateLeft {
		return nil
	}
	if c.Plain.Forked != "" {
		return t.mend(c)
	}
	c.Plain.Going = slices.DeleteFunc(c.Plain.Going, func(actor string) bool { return !c.has(actor) })
	if len(c.Plain.Going) == 0 {
		c.PartAt = time.Time{}
	}
	if c.PartAt.IsZero() || t.now.Before(c.PartAt) {
		return nil
	}
	s := step{Kind: stepRemove, Actors: c.Plain.Going}
	c.Plain.Going, c.PartAt = nil, time.Time{}
	_, err := t.queueFirst(c.id, s)
	return err
}

// mend begins a group that has fallen apart anew, if that is for us to do by now and was not done just before.
func (t *txn) mend(c *conversation) error {
	c.PartAt = time.Time{}
	account, err := t.account()
	if err != nil {
		return err
	}
	before, err := t.rank(c, account)
	if err != nil {
		return err
	}
	at := c.Plain.ForkedAt.Add(time.Duration(before) * plainHeir) // who comes first may be away
	if again := c.Plain.Begun.Add(plainAgain); again.After(at) {
		at = again
	}
	if at.After(t.now) {
		c.Plain.LookAt = at
		return nil
	}
	return t.beginAnew(c, account)
}

// beginAnew makes a group with the same people under the same conversation. To remove and add who has strayed would not do: their program takes no
// Welcome to a group that it knows.
func (t *txn) beginAnew(c *conversation, account Account) error {
	others, old := c.others(account.Actor), c.Plain.GroupID
	if err := t.leaveGroup(c); err != nil {
		return err
	}
	if err := t.newPlainGroup(c, account); err != nil {
		return err
	}
	c.Plain.Continues = old
	since, err := t.lookups()
	if err != nil {
		return err
	}
	if len(others) > 0 {
		if _, err := t.queueFirst(c.id, step{Kind: stepAdd, Actors: others, Since: since}); err != nil {
			return err
		}
	}
	return t.begunAnew(c, account.Actor)
}

// leaveGroup keeps the group that has fallen apart for what is still written there.
func (t *txn) leaveGroup(c *conversation) error {
	if err := t.dropLatterBranches(c, 0); err != nil {
		return err
	}
	return t.keepBranch(c, branch{Lost: true}, c.group)
}

// begunAnew names the conversation's new group.
func (t *txn) begunAnew(c *conversation, by string) error {
	if err := t.Put(bucketPlainGroup, plainName(c.Plain.GroupID), []byte(c.id)); err != nil {
		return fmt.Errorf("device: naming a group: %w", err)
	}
	c.Plain.Forked, c.State, c.Reason, c.Plain.Sent, c.Plain.Going = "", StateActive, "", nil, nil
	return t.emit(Event{Type: EventConversationUpdated, Conversation: c.id, By: by, Code: CodeBegunAnew,
		Detail: "the conversation was begun anew with the same people, since their programs did not agree on its members"})
}

// resumePlain begins a group anew that waits for it.
func (t *txn) resumePlain(c *conversation) error {
	account, err := t.account()
	if err == nil {
		err = t.beginAnew(c, account)
	}
	if err != nil {
		return err
	}
	return t.finish(c)
}
