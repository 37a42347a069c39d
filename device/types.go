package device

import "time"

// Account is whose device this is.
type Account struct {
	Actor        string // ActivityPub actor URL: the identity
	Handle       string // @alice@a.example
	Instance     string // https://a.example
	Token        string // for the client API; a secret
	DeviceID     string // keydir's identifier of the signature key
	SignatureKey []byte // public half
	Removed      string // the code of why this device is not in the account's list any more; empty if it is, or never was
}

// Publication is what POST /directory takes.
type Publication struct {
	Statement, Opening, Content []byte
}

// ContactState says what is known of an actor's keys.
type ContactState string

// The states of a contact.
const (
	ContactUnknown ContactState = "unknown" // never looked up
	ContactNone    ContactState = "none"    // looked up: no device list, or an empty one
	ContactReady   ContactState = "ready"   // a proven device list
	ContactPlain   ContactState = "plain"   // their instance has no directory: nobody vouches for their keys
)

// Contact is what is known of an actor.
type Contact struct {
	Actor   string
	State   ContactState
	Devices []string  // identifiers of the devices in the newest proven list
	Checked time.Time // of the newest lookup that proved something
	MovedTo string    // actor: where the account says that it goes on
	Moved   bool      // and that account says so, too, with the key that was promised here
	Resets  int       // resets seen since the first lookup; each one made the actor a new contact
	Changed bool      // the newest reset is not accepted: see [Device.AcceptKeys]
	Belief  *Belief   // why the devices are believed; nil if no list was ever proven
}

// Belief is why an actor's keys are believed.
type Belief struct {
	Log       string    // origin of the log that has them
	Size      int64     // of the log, in entries
	Asked     bool      // a policy asks for witnesses
	AsOf      time.Time // as of when they vouch that the log is no longer; zero: they were not asked
	Witnesses []Witness // whose cosignatures were there
	Auditor   bool      // one that counts has replayed the log, too
	Checked   time.Time // of the newest lookup that proved the list
	First     time.Time // of the first such lookup, or of the newest reset; zero: not noted
	Pinned    time.Time // when this device got the log's key from the instance itself; zero: not noted
	Unchanged time.Time // when the list became what it is, as the log says
	Stale     bool      // so old that it is asked for again
}

// Witness is one cosignature under a log's checkpoint.
type Witness struct {
	Name    string    `json:"name"` // in the policy
	Domain  string    `json:"domain"`
	Time    time.Time `json:"time,omitzero"`
	Counts  bool      `json:"counts,omitempty"` // false for the log's own domain and that of the own instance
	Auditor bool      `json:"auditor,omitempty"`
}

// ConversationState says what can be done in a conversation.
type ConversationState string

// The states of a conversation.
const (
	StateOpening ConversationState = "opening" // the hub has not confirmed it yet
	StateActive  ConversationState = "active"
	StatePaused  ConversationState = "paused"  // talk goes on, membership waits; Reason says why
	StateLeaving ConversationState = "leaving" // this person asked to leave, and another member's commit has to do it; nothing is sent any more
	StateLeft    ConversationState = "left"    // this device was removed; what was received stays readable
)

// Conversation is one MLS group and its place in the hub's chain.
type Conversation struct {
	ID      string // hex of the group id
	URL     string
	State   ConversationState
	Reason  string // code and why: of being paused or left, else of what keeps the steps waiting that the person should know
	Created time.Time
	Hub     string // origin of the instance that keeps the order of changes
	Epoch   uint64
	// EpochAuthenticator (RFC 9420 section 8.7) is the same for all members of one epoch.
	EpochAuthenticator []byte
	Members            []Member
	Expected           []string // actors, ascending: the members once all that waits is done
	Waiting            int      // steps (members to add or remove, messages to encrypt) not yet worked off
	Hubless            *Hubless // nil while the hub answers
	Unsent             int      // messages of ours that the sidecar does not have yet
	Unreadable         int      // messages of which the person was told that they cannot be read, and that have not come since
	// Plain is a conversation without a hub, with somebody for whose keys nobody vouches. It stays one.
	Plain bool
}

// Hubless says that nobody keeps the order of changes in a conversation now.
type Hubless struct {
	Since   time.Time // when the hub was first found to be away; of a move, it may be zero
	GivenUp time.Time // when another hub takes its place by itself; zero: none can
	Moving  bool      // the next hub was named and has not begun yet
}

// Member is one actor of a conversation.
type Member struct {
	Actor   string   `json:"actor"`
	Admin   bool     `json:"admin,omitempty"`
	Devices []string `json:"devices"`
	// Unlisted are those of Devices that are not in the actor's newest proven list. They read until a commit has removed them.
	Unlisted []string `json:"-"`
}

// MessageState says how far a message of ours has come.
type MessageState string

// The states of a message.
const (
	MessageReceived MessageState = "received" // somebody else's
	MessageQueued   MessageState = "queued"   // waits for its turn, then it is encrypted
	MessageSending  MessageState = "sending"  // encrypted; the sidecar does not have it yet
	MessageSent     MessageState = "sent"     // the sidecar has taken it
	MessageFailed   MessageState = "failed"
)

// MessageKind says how a message is to be shown.
type MessageKind string

// The kinds of message. An unsupported one holds the place of something a newer program sent.
const (
	KindText        MessageKind = "text"
	KindUnsupported MessageKind = "unsupported"
)

// Message is one message of a conversation.
type Message struct {
	Seq          uint64       `json:"seq"` // place in the conversation on this device
	ID           string       `json:"id"`  // uri:uuid:…
	Conversation string       `json:"conversation"`
	Sender       string       `json:"sender"` // actor
	Device       string       `json:"device"` // identifier of the sending device
	Mine         bool         `json:"mine,omitempty"`
	Time         time.Time    `json:"time"`                // when this device wrote it down
	Published    time.Time    `json:"published,omitzero"`  // what the sender says
	ClientID     string       `json:"client_id,omitempty"` // idempotency key, own messages
	Kind         MessageKind  `json:"kind"`
	Text         string       `json:"text"`
	Attachments  []Attachment `json:"attachments,omitempty"`
	State        MessageState `json:"state"`
	KeysReset    bool         `json:"keys_reset,omitempty"` // when it came, a reset of the sender's keys was not accepted
	Plain        bool         `json:"plain,omitempty"`      // of a plain conversation
	Undelivered  []Missed     `json:"-"`                    // whom a message of ours did not reach
}

// Missed is somebody whom a message did not reach, with a stable code and a sentence.
type Missed struct {
	Actor  string `json:"actor"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Attachment is a file of a message; [Device.OpenFile] decrypts it.
type Attachment struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Size      int64  `json:"size"`
	URL       string `json:"url"` // of the encrypted blob
}

// File is a file to send.
type File struct {
	Name, MediaType string
	Data            []byte
}

// EventType names what happened.
type EventType string

// The types of event.
const (
	EventMessageReceived     EventType = "message.received"     // Message
	EventMessageState        EventType = "message.state"        // Message, with its new State; Code and Detail if failed
	EventDeliveryFailed      EventType = "delivery.failed"      // Actor was not reached by Message or, without one, by a change of members: Code, Detail
	EventMessageWaiting      EventType = "message.waiting"      // an item cannot be read yet: Code waiting_key
	EventMessageRefused      EventType = "message.refused"      // an item was not believed or not readable: Code says why
	EventMessageRecovered    EventType = "message.recovered"    // what event Refused told of has come after all, as Message if it was not there before
	EventConversationCreated EventType = "conversation.created" // by us or by a Welcome
	EventConversationUpdated EventType = "conversation.updated" // epoch, state or room changed
	EventConversationPaused  EventType = "conversation.paused"  // Code, Detail
	EventRequestReceived     EventType = "request.received"     // Actor, a stranger, has opened Conversation and waits to be accepted
	EventMemberAdded         EventType = "member.added"         // Actor; By
	EventMemberRemoved       EventType = "member.removed"       // Actor; By
	EventMemberUnlisted      EventType = "member.unlisted"      // a device of Actor is not in their list any more and still reads: Code, Detail
	EventMemberFailed        EventType = "member.failed"        // Actor could not be added or removed: Code, Detail
	EventContactReset        EventType = "contact.reset"        // Actor has new keys that the old ones do not vouch for
	EventContactPlain        EventType = "contact.plain"        // nobody vouches for the keys that Actor was met with: Code, Detail
	EventContactWaiting      EventType = "contact.waiting"      // what concerns Actor in Conversation waits: Code, Detail
	EventDeviceRemoved       EventType = "device.removed"       // this device is not in its account's list any more: Code, Detail
	EventKeyPackagesRefused  EventType = "key_packages.refused" // Code, Detail
	EventAccountAlarm        EventType = "account.alarm"        // something about the own account that this device did not do: Code, Detail
	EventLogDiffers          EventType = "log.differs"          // Actor says a log showed them something else: Detail; Log
	EventLogUnproven         EventType = "log.unproven"         // a log does not prove what it should: Detail; Log
	EventLogProven           EventType = "log.proven"           // it has by now: Detail; Log
	EventLogSplit            EventType = "log.split"            // a log signed two histories, and evidence is kept: Detail; Log
	EventHubSplit            EventType = "hub.split"            // a hub signed two orders of Conversation, and evidence is kept: Code, Detail
)

// The codes of events: stable, for programs. Codes of the sidecar's problems are passed on as they are.
const (
	CodeWaitingKey        = "waiting_key"
	CodeCannotDecrypt     = "cannot_decrypt"
	CodeRejectedForged    = "rejected_forged"
	CodeNotInLog          = "not_in_log"
	CodeForkDetected      = "fork_detected"
	CodeNotAllowed        = "not_allowed"
	CodeCommitInvalid     = "commit_invalid"
	CodeRecipientNotReady = "recipient_not_ready"
	CodeCommitConflict    = "commit_conflict"
	CodeRemoved           = "removed"
	CodeLeft              = "left"
	CodeLastAdmin         = "last_admin"
	CodeHubMoved          = "hub_moved"
	CodeHubAway           = "hub_away"
	CodeStateLost         = "state_lost"
	CodeOtherBranch       = "other_branch"
	CodeResync            = "resync"
	CodeResynced          = "resynced"
	CodePaused            = "paused"
	CodeTooLarge          = "too_large"
	CodeTooLate           = "too_late"
	CodeNotWitnessed      = "not_witnessed"
	CodeKeysReset         = "keys_reset"
	CodePlain             = "plain"
	CodeBegunAnew         = "begun_anew"
)

// Event is one entry of the device's history of happenings. Seq is the cursor to ask for more with.
type Event struct {
	Seq          uint64    `json:"-"`
	Type         EventType `json:"type"`
	Time         time.Time `json:"time"`
	Conversation string    `json:"conversation,omitempty"`
	Actor        string    `json:"actor,omitempty"`
	By           string    `json:"by,omitempty"`
	Log          string    `json:"log,omitempty"` // host of the instance whose log it is
	Message      *Message  `json:"message,omitempty"`
	Code         string    `json:"code,omitempty"`
	Detail       string    `json:"detail,omitempty"`
	Refused      uint64    `json:"refused,omitempty"` // Seq of the event that told of what has come now
	Recovered    bool      `json:"-"`                 // what this event says could not be read has come since
}

// Incoming is a mailbox item (spec/client-api.md). Conversation is the URL the sender put on it.
type Incoming struct {
	Cursor       uint64
	Activity     string
	Actor        string
	Conversation string
	Message      []byte
	Receipt      []byte // accompanies commits and welcomes

	// Undelivered, if it is there, is all there is: what the own sidecar says of something this device has sent.
	Undelivered *Undelivered
}

// Undelivered says whom a message of ours did not reach.
type Undelivered struct {
	Message []byte // SHA-256 of the MLS message
	To      []Missed
}

// HubEvent is one step of a conversation's chain. The open receipt has no commit.
type HubEvent struct {
	Receipt, Commit []byte
}

// ClaimedPackage is a key package as a claim hands it out.
type ClaimedPackage struct {
	Device     string `json:"device"`
	KeyPackage []byte `json:"key_package"`
	LastResort bool   `json:"last_resort,omitempty"`
}
