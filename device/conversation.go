package device

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

const (
	bucketConversation = "conversation" // by id
	bucketReceipt      = "receipt"      // by id and seq: the chain as far as we followed it

	ticketSize  = 32
	groupIDSize = 32
	firstTerm   = 1
)

// conversationRow is what is stored of a conversation beside its MLS state and its members.
type conversationRow struct {
	URL     string            `json:"url"`
	State   ConversationState `json:"state"`
	Reason  string            `json:"reason,omitempty"`
	Created time.Time         `json:"created"`
	HubKey  []byte            `json:"hub_key"`
	Seq     uint64            `json:"seq"`
	Head    [32]byte          `json:"head"`
	Term    uint64            `json:"term,omitempty"`  // 0 is the first
	Hub     string            `json:"hub,omitempty"`   // origin of the present hub; empty is that of the URL
	Moved   bool              `json:"moved,omitempty"` // the newest receipt is a move
	Places  []place           `json:"places"`          // newest first: this epoch and those before it that can still be read
	Saves   uint64            `json:"saves"`           // how often it was saved: which state the other rows of it are
	// Sighted counts on through the logs whose sightings do not fit into one message.
	Sighted int `json:"sighted,omitempty"`
	// Leaving are who asked in this epoch to be let go, and PartAt is when we do it if nobody else has.
	Leaving []leaving `json:"leaving,omitempty"`
	PartAt  time.Time `json:"part_at,omitzero"`
	// Disputed is the place of a commit that nobody can follow, until the hub has opened its epoch again; AskAt is when to look.
	Disputed      uint64    `json:"disputed,omitempty"`
	DisputedSince time.Time `json:"disputed_since,omitzero"`
	AskAt         time.Time `json:"ask_at,omitzero"`
	// CloseAt is when to end an epoch that was opened again, if nobody has.
	CloseAt time.Time `json:"close_at,omitzero"`
	// Renewed is when our keys in the group were last renewed for their age, and Sent counts the messages since.
	Renewed time.Time `json:"renewed,omitzero"`
	Sent    int       `json:"sent,omitempty"`
	// AwaySince is when the hub was first found to be away, PassAt when messages stop waiting for it, TakeOverAt when it is given up, and
	// Tried how often a fallback was asked since.
	AwaySince  time.Time `json:"away_since,omitzero"`
	PassAt     time.Time `json:"pass_at,omitzero"`
	TakeOverAt time.Time `json:"take_over_at,omitzero"`
	Tried      int       `json:"tried,omitempty"`
	// Despite is the hash of a claim that the hub believes and that is wrong.
	Despite []byte `json:"despite,omitempty"`
	// Resync is there while the thread is lost, and Missed what nobody can read any more here because it was.
	Resync *resync `json:"resync,omitempty"`
	Missed *missed `json:"missed,omitempty"`
	Vote   vote    `json:"vote,omitzero"` // among the admins
	// MembersVote is the same among all members.
	MembersVote vote `json:"members_vote,omitzero"`
	// Alone is the epoch that our return has made, until an admin is heard in it or after: who has misled us would let themselves be heard.
	Alone uint64 `json:"alone,omitempty"`
	// NoticeAt is when the person may be told what could not be read, and Unreadable how much of that has not come since.
	NoticeAt   time.Time `json:"notice_at,omitzero"`
	Unreadable int       `json:"unreadable,omitempty"`
	// Unvouched are the devices that somebody's commit has let in, and that are, or may be, in no list.
	Unvouched []unvouched `json:"unvouched,omitempty"`
	// Authenticator is that of the current epoch.
	Authenticator []byte `json:"authenticator,omitempty"`
	// Plain is what a plain conversation has instead of all that has to do with hubs; nil in all others.
	Plain *plainRow `json:"plain,omitempty"`
}

// A conversation is a row and its group inside a transaction. What is changed in it counts when it is saved.
type conversation struct {
	id string
	conversationRow
	Members []Member // by actor; replaced and not changed
	group   *mls.Group
	// elsewhere is the hub to ask for what is missing, if it is not the present one.
	elsewhere string
	queued    bool   // a step of ours, while something of somebody else's was judged
	parted    []leaf // whom the commit at hand lets go at their own wish
}

// open reads a conversation; nil if there is none.
func (t *txn) open(id string) (*conversation, error) {
	c := &conversation{id: id}
	ok, err := t.row(bucketConversation, id, &c.conversationRow)
	if err != nil || !ok {
		return nil, err
	}
	k, err := t.current(id, c.conversationRow)
	if errors.Is(err, mls.ErrDamaged) {
		return nil, errors.Join(ErrStateLost, err)
	}
	if err != nil {
		return nil, err
	}
	c.group, c.Members = k.group.Clone(), k.members
	return c, nil
}

// mustOpen is open where the caller named the conversation.
func (t *txn) mustOpen(id string) (*conversation, error) {
	c, err := t.open(id)
	if err == nil && c == nil {
		err = ErrNoSuchConversation
	}
	return c, err
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func leafOf(m mls.Member) leaf {
	l := leaf{key: m.Node.SignatureKey}
	if m.Node.Credential.Type == mls.CredentialBasic {
		l.actor = string(m.Node.Credential.Identity)
	}
	return l
}

func leavesOf(members []mls.Member) []leaf {
	leaves := make([]leaf, len(members))
	for i, m := range members {
		leaves[i] = leafOf(m)
	}
	return leaves
}

// chain is the conversation's place in the hub's chain, for checks R1 and R2.
func (c *conversation) chain() receipt.Chain {
	return receipt.Chain{GroupID: c.groupID(), HubKey: [32]byte(c.HubKey), Term: c.term(), Seq: c.Seq, Head: c.Head, Moved: c.Moved}
}

func (c *conversation) groupID() []byte {
	id, _ := hex.DecodeString(c.id) // it was made of one
	return id
}

// term of the present hub.
func (c *conversationRow) term() uint64 { return max(firstTerm, c.Term) }

// step takes a place in the chain.
func (t *txn) step(c *conversation, r receipt.Receipt, raw []byte) error {
	c.Seq, c.Head, c.Moved = r.Seq, receipt.Head(raw), r.Kind == receipt.KindMove
	if err := t.Put(bucketReceipt, receiptKey(c.id, r.Seq), raw); err != nil {
		return fmt.Errorf("device: writing a receipt: %w", err)
	}
	return nil
}

// room is the policy in force.
func (c *conversation) room() (room, error) { return roomOf(c.group.Extensions()) }

// others are the actors of the conversation but self.
func (c *conversation) others(self string) []string {
	var actors []string
	for _, m := range c.Members {
		if m.Actor != self {
			actors = append(actors, m.Actor)
		}
	}
	return actors
}

func (c *conversation) has(actor string) bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool { return m.Actor == actor })
}

// ticketKey is the key that members of an epoch write to the hub with.
func ticketKey(e interface {
	Export(label string, context []byte, length int) ([]byte, error)
}) (ed25519.PrivateKey, error) {
	secret, err := e.Export(receipt.TicketLabel, nil, ticketSize)
	if err != nil {
		return nil, fmt.Errorf("device: deriving a ticket key: %w", err)
	}
	return receipt.TicketKey(secret), nil
}

// ticketOf is the public half of ticketKey.
func ticketOf(e interface {
	Export(label string, context []byte, length int) ([]byte, error)
}) ([]byte, error) {
	key, err := ticketKey(e)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}

// adopt makes next the conversation's group, ordered by r, and tells what changed. by is the committer.
func (t *txn) adopt(c *conversation, next *mls.Group, r receipt.Receipt, raw []byte, by string) error {
	before := c.Members
	c.Leaving, c.PartAt = nil, time.Time{} // proposals are of one epoch
	c.Disputed, c.CloseAt = 0, time.Time{}
	c.group = next
	if err := t.step(c, r, raw); err != nil {
		return err
	}
	if err := c.refresh(); err != nil {
		return err
	}
	c.Unvouched = c.present(c.Members)
	if err := t.keepLifeline(c); err != nil {
		return err
	}
	if err := t.dropLease(c.id); err != nil {
		return err
	}
	if err := t.dropStale(c); err != nil {
		return err
	}
	return t.tellMembers(c, before, by)
}

func receiptKey(id string, seq uint64) string { return fmt.Sprintf("%s/%d", id, seq) }

// refresh derives the row from the group and the chain.
func (c *conversation) refresh() error {
	if c.Plain != nil {
		c.refreshPlain()
		return nil
	}
	r, err := c.room()
	if err != nil {
		return err
	}
	c.Members = membersOf(c.group.Members(), r)
	c.Authenticator = c.group.EpochAuthenticator()
	p := place{Epoch: c.group.Epoch(), Term: c.term(), Seq: c.Seq}
	copy(p.Head[:], c.Head[:])
	copy(p.Authenticator[:], c.Authenticator)
	c.Places = append([]place{p}, c.Places[:min(len(c.Places), pastEpochs)]...)
	return nil
}

// membersOf groups leaves by actor, sorted.
func membersOf(leaves []mls.Member, r room) []Member { return membersIn(leavesOf(leaves), r) }

func membersIn(leaves []leaf, r room) []Member {
	byActor := map[string][]string{}
	for _, l := range leaves {
		byActor[l.actor] = append(byActor[l.actor], keydir.DeviceID(l.key))
	}
	members := make([]Member, 0, len(byActor))
	for actor, devices := range byActor {
		sort.Strings(devices)
		members = append(members, Member{Actor: actor, Admin: r.admin(actor), Devices: devices})
	}
	sort.Slice(members, func(i, j int) bool { return members[i].Actor < members[j].Actor })
	return members
}

func (t *txn) tellMembers(c *conversation, before []Member, by string) error {
	was := conversation{Members: before}
	for _, m := range c.Members {
		if !was.has(m.Actor) {
			if err := t.putRow(joinedBucket(c.id), m.Actor, c.group.Epoch()); err != nil {
				return err
			}
			if err := t.emit(Event{Type: EventMemberAdded, Conversation: c.id, Actor: m.Actor, By: by}); err != nil {
				return err
			}
		}
	}
	for _, m := range before {
		if !c.has(m.Actor) {
			if err := t.Delete(joinedBucket(c.id), m.Actor); err != nil {
				return fmt.Errorf("device: removing a member of %s: %w", c.id, err)
			}
			if err := t.emit(Event{Type: EventMemberRemoved, Conversation: c.id, Actor: m.Actor, By: c.removedBy(m.Actor, by)}); err != nil {
				return err
			}
		}
	}
	return t.emit(Event{Type: EventConversationUpdated, Conversation: c.id, By: by})
}

// Conversations lists all of them, oldest first.
func (d *Device) Conversations() (list []Conversation, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		var ids []string
		var rows []conversationRow
		if err := t.Each(bucketConversation, func(id string, value []byte) error {
			var row conversationRow
			if err := json.Unmarshal(value, &row); err != nil {
				return fmt.Errorf("device: decoding conversation %s: %w", id, err)
			}
			ids, rows = append(ids, id), append(rows, row)
			return nil
		}); err != nil {
			return err
		}
		for i, id := range ids {
			c, err := t.describe(id, rows[i])
			if err != nil {
				return err
			}
			list = append(list, c)
		}
		return nil
	})
	return list, err
}

// Conversation returns one, or ErrNoSuchConversation.
func (d *Device) Conversation(id string) (c Conversation, err error) {
	err = d.view(func(t *txn) error {
		var row conversationRow
		ok, err := t.row(bucketConversation, id, &row)
		if err == nil && !ok {
			err = ErrNoSuchConversation
		}
		if err != nil {
			return err
		}
		c, err = t.describe(id, row)
		return err
	})
	return c, err
}

func (t *txn) describe(id string, row conversationRow) (Conversation, error) {
	c, err := t.outline(id, row)
	if err != nil {
		return Conversation{}, err
	}
	for i, m := range c.Members {
		known, err := t.contact(m.Actor)
		if err != nil {
			return Conversation{}, err
		}
		c.Members[i].Unlisted = known.unlistedIn(&row, m.Actor, c.Members)
	}
	if c.Hubless, err = t.hubless(id, row); err != nil {
		return Conversation{}, err
	}
	if c.State == StateActive || c.State == StateLeaving {
		c.Reason, err = t.waitsFor(c)
		if err == nil && c.Reason == "" {
			c.Reason, err = t.held(&row, c.Members)
		}
		if err == nil && c.Reason == "" {
			c.Reason, err = t.keptByHub(id, row)
		}
	}
	return c, err
}

// outline is what can be said of a conversation without looking at each member.
func (t *txn) outline(id string, row conversationRow) (Conversation, error) {
	members, err := t.members(id, row)
	if err != nil {
		return Conversation{}, err
	}
	c := Conversation{
		ID: id, URL: row.URL, State: row.State, Reason: row.Reason, Created: row.Created,
		EpochAuthenticator: bytes.Clone(row.Authenticator), Members: members, Plain: row.Plain != nil, Unreadable: row.Unreadable,
	}
	if row.Plain == nil {
		c.Hub = row.presentHub().Hub
	}
	if len(row.Places) > 0 {
		c.Epoch = row.Places[0].Epoch
	}
	if c.State == StateActive && row.Disputed != 0 {
		c.State = StatePaused
	}
	expected := map[string]bool{}
	for _, m := range c.Members {
		expected[m.Actor] = true
	}
	err = t.Each(stepBucket(id), func(_ string, value []byte) error {
		var s step
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("device: decoding a step of %s: %w", id, err)
		}
		c.Waiting++
		if s.Kind == stepSend {
			c.Unsent++
		}
		for _, actor := range s.Actors {
			switch s.Kind {
			case stepAdd:
				expected[actor] = true
			case stepRemove:
				delete(expected, actor)
			}
		}
		if s.Kind == stepLeave && c.State != StateLeft {
			c.State = StateLeaving
		}
		return nil
	})
	c.Expected = slices.Sorted(maps.Keys(expected))
	if jobs, err := t.index(); err == nil {
		c.Unsent += jobs.written(id)
	}
	return c, err
}

// hubless says whether and since when a conversation has no hub, and what will become of that.
func (t *txn) hubless(id string, row conversationRow) (*Hubless, error) {
	if row.Plain != nil || !row.goesOn() || row.AwaySince.IsZero() && !row.Moved {
		return nil, nil
	}
	h := &Hubless{Since: row.AwaySince, Moving: row.Moved}
	c, err := t.open(id)
	if errors.Is(err, ErrStateLost) || row.AwaySince.IsZero() {
		return h, nil
	}
	if err != nil {
		return nil, err
	}
	if rm, err := c.room(); err == nil && len(rm.fallbacks) > 0 && row.State == StateActive {
		h.GivenUp = row.AwaySince.Add(hubGivenUp)
	}
	return h, nil
}

// conversationOf is the id of the conversation that a URL names.
func conversationOf(url string) (id string, err error) {
	_, groupID, err := receipt.ParseConversationURL(url)
	if err != nil {
		return "", fmt.Errorf("device: reading a conversation's URL: %w", err)
	}
	return hex.EncodeToString(groupID), nil
}
