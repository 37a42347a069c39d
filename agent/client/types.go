// Package client is what programs say to an agent: the JSON of its local API, and [Client], which speaks it over the agent's Unix
// socket or over loopback TCP. The agent serves the same description as OpenAPI 3.1 at /v1/openapi.json.
//
// What the agent refuses is a *[problem.Problem] with a stable code.
package client

import "time"

// Limits of the interface.
const (
	MaxText     = 64 << 10 // bytes
	MaxFile     = 25 << 20 // bytes
	MaxPage     = 200      // messages in one answer
	MaxKey      = 200      // bytes of an Idempotency-Key
	MaxHandles  = 255      // in one request
	DefaultPage = 50
)

// Account says who this device belongs to.
type Account struct {
	Handle   string `json:"handle" doc:"As in @alice@a.example"`
	Actor    string `json:"actor" doc:"URL of the ActivityPub actor, the identity"`
	Instance string `json:"instance"`
	Device   string `json:"device" doc:"Identifier of this device in the directory"`
	State    string `json:"state" enum:"ready,login_required,removed" doc:"login_required: the instance does not know this device any more; log in again. removed: this device is not in the account's list any more: what it has can be read, and nothing sent or received"`
	Reason   string `json:"reason,omitempty" doc:"Why it is removed: list_changed, list_reset, device_revoked, account_moved, list_erased"`
}

// Login is the body of a login.
type Login struct {
	Handle string `json:"handle" maxLength:"320" example:"@alice@a.example"`
	Code   string `json:"code" maxLength:"200" doc:"The login code from the instance's admin"`
	Reset  bool   `json:"reset,omitempty" doc:"The account's device is lost: replace it by this one. Everybody who knows the account is told that its keys changed, and nothing vouches for it"`
}

// Contact says what the directory proves of somebody.
type Contact struct {
	Handle  string     `json:"handle"`
	Actor   string     `json:"actor"`
	State   string     `json:"state" enum:"ready,plain,none" doc:"ready: has keys that are proven to be in the log of its instance; plain: its instance has no directory, so nobody vouches for its keys, if it has any; none: cannot be written to"`
	Note    string     `json:"note,omitempty" doc:"With plain: what that means, for people"`
	Devices []string   `json:"devices" doc:"Identifiers of the devices"`
	Checked *time.Time `json:"checked,omitempty" doc:"Of the newest lookup that proved something"`
	Resets  int        `json:"resets" doc:"How often the keys were replaced by some that the old ones do not vouch for"`
	Changed bool       `json:"changed" doc:"The newest reset is not accepted: nothing is sent to them before it is"`
	MovedTo string     `json:"moved_to,omitempty" doc:"Handle: where the account says that it goes on"`
	Proven  bool       `json:"moved_proven,omitempty" doc:"The account there says so, too, with the key that was promised here; otherwise moved_to says nothing about anybody there"`
	// Believed is missing for somebody whose keys were never proven.
	Believed *Believed `json:"believed,omitempty"`
}

// Accept is the body that accepts somebody's keys after a reset.
type Accept struct {
	Resets int `json:"resets" minimum:"0" doc:"Of the contact, as it was shown to the person: one that came later is not accepted"`
}

// Believed says why somebody's keys are believed.
type Believed struct {
	Log       string     `json:"log" doc:"Origin of the log that has them"`
	Size      int64      `json:"size" doc:"Of the log, in entries, when it proved them"`
	AsOf      *time.Time `json:"as_of,omitempty" doc:"As of when enough witnesses vouch that the log was no longer than that; missing: they were not asked"`
	Witnesses []Witness  `json:"witnesses" doc:"Whose cosignatures were there"`
	Auditor   bool       `json:"auditor" doc:"One that counts has recomputed the log, too"`
	Checked   *time.Time `json:"checked,omitempty" doc:"Of the newest lookup that proved it"`
	FirstSeen *time.Time `json:"first_seen,omitempty" doc:"Since when this device knows the person; a reset begins it anew"`
	LogPinned *time.Time `json:"log_pinned,omitempty" doc:"When this device got the log's key from the instance itself"`
	Unchanged *time.Time `json:"unchanged,omitempty" doc:"Since when the list is what it is, as the log says"`
	Resets    int        `json:"resets"`
	Stale     bool       `json:"stale" doc:"Older than six hours; a newer proof is asked for"`
	Problem   string     `json:"problem,omitempty" doc:"Why there is no newer proof now"`
	Sentence  string     `json:"sentence" doc:"All of that for people, with what is missing"`
}

// Witness is a cosignature under a log's checkpoint.
type Witness struct {
	Name   string     `json:"name" doc:"In the policy of this device"`
	Domain string     `json:"domain"`
	Time   *time.Time `json:"time,omitempty"`
	Counts bool       `json:"counts" doc:"false: it is of the log's own domain, or the own instance's"`
}

// Member of a conversation.
type Member struct {
	Handle  string   `json:"handle"`
	Actor   string   `json:"actor"`
	Admin   bool     `json:"admin"`
	Me      bool     `json:"me"`
	Devices []string `json:"devices"`
	Gone    []string `json:"unlisted,omitempty" doc:"Those of the devices that are not in the person's list any more; they read until an admin of the conversation has removed them"`
}

// Conversation is a group of people who read the same.
type Conversation struct {
	ID         string    `json:"id"`
	State      string    `json:"state" enum:"opening,active,paused,leaving,left"`
	Reason     string    `json:"reason,omitempty" doc:"Why it is paused or left, or why what waits in it does"`
	Created    time.Time `json:"created"`
	Hub        string    `json:"hub" doc:"Host of the instance that keeps the order of changes"`
	Members    []Member  `json:"members"`
	Waiting    int       `json:"waiting" doc:"Steps that are not done yet: people to add or remove, messages to encrypt"`
	Epoch      uint64    `json:"epoch"`
	Plain      bool      `json:"plain,omitempty" doc:"Without a hub, with somebody for whose keys nobody vouches. It stays so"`
	Note       string    `json:"note,omitempty" doc:"With plain: what is missing, for people"`
	Unsent     int       `json:"unsent" doc:"Own messages that the own instance does not have yet"`
	Unreadable int       `json:"unreadable,omitempty" doc:"Messages that cannot be read here, of which an event message.refused has told, and that have not come anew since"`
	Troubles   []Trouble `json:"troubles" doc:"What keeps it from working as it should, for people; empty if nothing does"`
	Safety     string    `json:"safety" doc:"Hex of the epoch authenticator (RFC 9420 section 8.7): the same for all members in one epoch"`
}

// Trouble is something that does not work as it should.
type Trouble struct {
	Code     string     `json:"code" doc:"Stable, for programs"`
	Since    *time.Time `json:"since,omitempty"`
	Sentence string     `json:"sentence" doc:"What has happened, and to whom"`
	Next     string     `json:"next" doc:"What will happen by itself"`
	Help     string     `json:"help,omitempty" doc:"What the person can do, if there is something"`
}

// Status is how things stand.
type Status struct {
	Account       *Account       `json:"account,omitempty" doc:"Missing before the login"`
	Connected     bool           `json:"connected" doc:"The own instance answers, and its mailbox was read to its end"`
	AwaySince     *time.Time     `json:"away_since,omitempty" doc:"Since when the own instance has not answered"`
	Unsent        int            `json:"unsent" doc:"Own messages that it does not have yet"`
	Troubles      []Trouble      `json:"troubles" doc:"Those that are of no conversation"`
	Conversations []Conversation `json:"conversations" doc:"Those that have troubles or something unsent"`
	Undelivered   []Message      `json:"undelivered" doc:"Messages written in the last 28 days that did not reach everybody, the newest first, at most 20"`
	Requests      int            `json:"requests" doc:"Who waits to be accepted"`
}

// Start is the body that starts a conversation.
type Start struct {
	To    []string `json:"to" minItems:"1" maxItems:"255" doc:"Handles" example:"[\"@bob@b.example\"]"`
	Plain bool     `json:"plain,omitempty" doc:"The person knows that nobody vouches for the keys of those whose instance has no directory. If all have one it changes nothing"`
}

// Handles is a body that names people.
type Handles struct {
	Handles []string `json:"handles" minItems:"1" maxItems:"255"`
}

// Leave is the body that leaves a conversation.
type Leave struct {
	Admin string `json:"admin,omitempty" maxLength:"320" doc:"Handle of the member who is made an admin first; the last admin has to name one"`
}

// Move is the body that moves a conversation's hub.
type Move struct {
	Instance string `json:"instance" maxLength:"255" doc:"Origin of the instance that is to keep the order of changes: one of a member's" example:"https://b.example"`
}

// Outgoing is the body that sends a message: to people, or in a conversation.
type Outgoing struct {
	To           []string `json:"to,omitempty" maxItems:"255" doc:"Handles; the conversation with exactly these people is found or started"`
	Conversation string   `json:"conversation,omitempty" maxLength:"128" doc:"Instead of to: id of a conversation"`
	Text         string   `json:"text" minLength:"1" maxLength:"65536"`
	Plain        bool     `json:"plain,omitempty" doc:"With to: as when a conversation is started. Only the first message needs it"`
}

// Attachment is a file of a message.
type Attachment struct {
	N         int    `json:"n" doc:"Its place in the message, for fetching it"`
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Size      int64  `json:"size"`
}

// Message of a conversation.
type Message struct {
	Seq          uint64       `json:"seq" doc:"Place in the conversation on this device"`
	ID           string       `json:"id" doc:"The same on all devices"`
	Conversation string       `json:"conversation"`
	Sender       string       `json:"sender" doc:"Handle"`
	Actor        string       `json:"actor"`
	Mine         bool         `json:"mine"`
	Time         time.Time    `json:"time" doc:"When this device wrote it down"`
	Published    *time.Time   `json:"published,omitempty" doc:"What the sender says"`
	Kind         string       `json:"kind" enum:"text,unsupported"`
	Text         string       `json:"text"`
	Attachments  []Attachment `json:"attachments"`
	State        string       `json:"state" enum:"received,queued,sending,sent,failed" doc:"sent: the own sidecar has it and will deliver it"`
	KeysReset    bool         `json:"keys_reset,omitempty" doc:"When it came, a reset of the sender's keys was not accepted: it may be from somebody else"`
	Plain        bool         `json:"plain,omitempty" doc:"Of a plain conversation"`
	Undelivered  []Missed     `json:"undelivered,omitempty" doc:"Whom it did not reach, for good"`
}

// Missed is somebody whom a message did not reach.
type Missed struct {
	Handle string `json:"handle"`
	Actor  string `json:"actor"`
	Code   string `json:"code" doc:"Stable, for programs: host_unreachable, queue_full, no_such_recipient, or what their instance answered"`
	Detail string `json:"detail" doc:"Why, in one sentence"`
}

// Conversations is a list of them, oldest first.
type Conversations struct {
	Conversations []Conversation `json:"conversations"`
}

// Messages is a page of a conversation. Ask after Next for more.
type Messages struct {
	Messages []Message `json:"messages"`
	Next     uint64    `json:"next"`
}

// Revoked is the answer when this device has taken itself off the list.
type Revoked struct {
	Seen bool `json:"seen" doc:"Lookups show it. Otherwise the instance has it in its log, and it counts for others once that is witnessed"`
}

// Devices is a list of the account's devices.
type Devices struct {
	Devices []Device `json:"devices"`
}

// Device of the account.
type Device struct {
	ID   string `json:"id"`
	This bool   `json:"this"`
}

// Consent says who may write to this person.
type Consent struct {
	From    string   `json:"from" enum:"everybody,requests,nobody" doc:"Of those who were neither written to nor accepted. everybody: they write at once; requests: they wait until they are accepted; nobody: they do not write"`
	Blocked []string `json:"blocked" doc:"Handles; they are not told"`
}

// Ask is the body that sets who may write.
type Ask struct {
	From string `json:"from" enum:"everybody,requests,nobody"`
}

// Request is a conversation that a stranger has opened. What is said there is not shown before somebody looks.
type Request struct {
	Conversation string    `json:"conversation" doc:"Id; the conversation itself is there once it is accepted"`
	Handle       string    `json:"handle" doc:"Of who has asked, as their instance says"`
	Actor        string    `json:"actor"`
	Time         time.Time `json:"time"`
	Waiting      int       `json:"waiting" doc:"Messages"`
}

// Requests is a list of them, oldest first.
type Requests struct {
	Requests []Request `json:"requests"`
}

// Preview is a request that somebody looks at. Nothing was looked up for it, so no key in it is proven.
type Preview struct {
	Request
	Members  []string  `json:"members" doc:"Handles"`
	Messages []Message `json:"messages"`
}

// Decision is the body that ends a request.
type Decision struct {
	Decision string `json:"decision" enum:"accept,delete,block" doc:"accept: who asked may write, and the conversation is joined; delete: it is forgotten, and for a month what follows it; block: it is forgotten, and what they ever send. Neither is told to them"`
}

// Event is one entry of the device's history of happenings.
type Event struct {
	Cursor       uint64    `json:"cursor" doc:"Ask after it to go on from here"`
	Type         string    `json:"type" example:"message.received"`
	Time         time.Time `json:"time"`
	Conversation string    `json:"conversation,omitempty"`
	Actor        string    `json:"actor,omitempty"`
	Handle       string    `json:"handle,omitempty" doc:"Of the actor"`
	By           string    `json:"by,omitempty" doc:"Handle"`
	Log          string    `json:"log,omitempty" doc:"Host of the instance whose log it is about"`
	Message      *Message  `json:"message,omitempty"`
	Code         string    `json:"code,omitempty" doc:"Stable, for programs"`
	Detail       string    `json:"detail,omitempty"`
	Refused      uint64    `json:"refused,omitempty" doc:"Of message.recovered: cursor of the message.refused that it ends"`
	Recovered    bool      `json:"recovered,omitempty" doc:"Of message.refused: what could not be read has come since. An event that was read before does not change by itself; message.recovered tells"`
}

// DistrustedLog is a log of an instance in which nothing new is believed.
type DistrustedLog struct {
	Host     string     `json:"host"`
	State    string     `json:"state" enum:"unproven,split" doc:"unproven: until it has proven what it should; split: it has shown two histories, and is not believed any more"`
	Found    *time.Time `json:"found,omitempty" doc:"When it was found to be split"`
	Evidence string     `json:"evidence,omitempty" doc:"Proof that it is split, which anybody can check: waxwing log evidence verify"`
}

// DistrustedLogs is a list of them.
type DistrustedLogs struct {
	Logs []DistrustedLog `json:"logs"`
	Hubs []LyingHub      `json:"hubs"`
}

// LyingHub is an instance that has signed two orders of one conversation.
type LyingHub struct {
	Host         string    `json:"host"`
	Conversation string    `json:"conversation" doc:"URL"`
	Found        time.Time `json:"found"`
	Evidence     string    `json:"evidence" doc:"Proof of it, which anybody can check: waxwing log evidence verify"`
}
